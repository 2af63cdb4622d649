public import Cryptography

/// What one algorithm is called, by whom, and whether we carry it out.
public struct AlgorithmEntry: Sendable {
    /// Its type.
    public let type: TransformType
    /// IANA's Transform ID.
    public let id: UInt16
    /// The key sizes in bits it comes in; empty when it has no Key Length attribute.
    public let keySizes: [UInt16]
    /// The name in logs and `list-sas`: `AES_GCM_16`.
    public let name: String
    /// strongSwan's proposal words, with `*` for the key size: `aes*gcm16`.
    public let keywords: [String]
    /// False for what we can name in an explanation but do not offer.
    public let isSupported: Bool
    /// Why it is only taken where a connection names it; nil for a sound one.
    public let weakness: String?

    init(
        _ type: TransformType,
        _ id: UInt16,
        _ name: String,
        _ keywords: [String],
        keySizes: [UInt16] = [],
        supported: Bool = true,
        weakness: String? = nil
    ) {
        self.type = type
        self.id = id
        self.keySizes = keySizes
        self.name = name
        self.keywords = keywords
        self.isSupported = supported
        self.weakness = weakness
    }
}

/// Every algorithm that we can name (IANA "IKEv2 Parameters"; strongSwan's words and names).
public enum AlgorithmTable {
    /// All entries; strongest first within a type.
    public static let entries: [AlgorithmEntry] = encryption + prfs + integrity + groups + sequenceNumbers

    private static let aesSizes: [UInt16] = [256, 192, 128]

    private static let encryption: [AlgorithmEntry] = [
        AlgorithmEntry(
            .encryption,
            20,
            "AES_GCM_16",
            ["aes*gcm16", "aes*gcm", "aes*gcm128"],
            keySizes: aesSizes
        ),
        AlgorithmEntry(.encryption, 28, "CHACHA20_POLY1305", ["chacha20poly1305", "chacha20poly1305compat"]),
        AlgorithmEntry(.encryption, 12, "AES_CBC", ["aes*"], keySizes: aesSizes),
        AlgorithmEntry(
            .encryption,
            16,
            "AES_CCM_16",
            ["aes*ccm16", "aes*ccm", "aes*ccm128"],
            keySizes: aesSizes
        ),
        AlgorithmEntry(.encryption, 19, "AES_GCM_12", ["aes*gcm12", "aes*gcm96"], keySizes: aesSizes),
        AlgorithmEntry(.encryption, 15, "AES_CCM_12", ["aes*ccm12", "aes*ccm96"], keySizes: aesSizes),
        AlgorithmEntry(.encryption, 18, "AES_GCM_8", ["aes*gcm8", "aes*gcm64"], keySizes: aesSizes),
        AlgorithmEntry(.encryption, 14, "AES_CCM_8", ["aes*ccm8", "aes*ccm64"], keySizes: aesSizes),
        AlgorithmEntry(.encryption, 13, "AES_CTR", ["aes*ctr"], keySizes: aesSizes),
        AlgorithmEntry(.encryption, 23, "CAMELLIA_CBC", ["camellia*"], keySizes: aesSizes),
        AlgorithmEntry(
            .encryption,
            21,
            "NULL_AES_GMAC",
            ["aes*gmac"],
            keySizes: aesSizes,
            weakness: "it does not encrypt (RFC 4543)"
        ),
        AlgorithmEntry(.encryption, 11, "NULL", ["null"], weakness: "it does not encrypt (RFC 2410)"),
        AlgorithmEntry(
            .encryption,
            3,
            "3DES_CBC",
            ["3des"],
            weakness: "its blocks have 64 bits (RFC 8221 §5)"
        ),
        AlgorithmEntry(.encryption, 2, "DES_CBC", ["des"], weakness: "it is broken (RFC 8247 §2.1)"),
    ]

    private static let prfs: [AlgorithmEntry] = [
        AlgorithmEntry(.prf, 7, "PRF_HMAC_SHA2_512", ["prfsha512"]),
        AlgorithmEntry(.prf, 6, "PRF_HMAC_SHA2_384", ["prfsha384"]),
        AlgorithmEntry(.prf, 5, "PRF_HMAC_SHA2_256", ["prfsha256"]),
        AlgorithmEntry(.prf, 2, "PRF_HMAC_SHA1", ["prfsha1", "prfsha"]),
        AlgorithmEntry(.prf, 8, "PRF_AES128_CMAC", ["prfaescmac"]),
        AlgorithmEntry(.prf, 4, "PRF_AES128_XCBC", ["prfaesxcbc"]),
        AlgorithmEntry(.prf, 1, "PRF_HMAC_MD5", ["prfmd5"], weakness: "it is broken (RFC 8247 §2.2)"),
    ]

    private static let integrity: [AlgorithmEntry] = [
        AlgorithmEntry(.integrity, 14, "HMAC_SHA2_512_256", ["sha512", "sha2_512"]),
        AlgorithmEntry(.integrity, 13, "HMAC_SHA2_384_192", ["sha384", "sha2_384"]),
        AlgorithmEntry(.integrity, 12, "HMAC_SHA2_256_128", ["sha256", "sha2_256"]),
        AlgorithmEntry(.integrity, 2, "HMAC_SHA1_96", ["sha1", "sha"]),
        AlgorithmEntry(.integrity, 7, "HMAC_SHA1_160", ["sha1_160"]),
        AlgorithmEntry(.integrity, 8, "AES_CMAC_96", ["aescmac"]),
        AlgorithmEntry(.integrity, 5, "AES_XCBC_96", ["aesxcbc"]),
        AlgorithmEntry(.integrity, 6, "HMAC_MD5_128", ["md5_128"], weakness: "it is broken (RFC 8247 §2.3)"),
        AlgorithmEntry(.integrity, 1, "HMAC_MD5_96", ["md5"], weakness: "it is broken (RFC 8247 §2.3)"),
    ]

    private static let groups: [AlgorithmEntry] = [
        AlgorithmEntry(.keyExchange, 31, "CURVE_25519", ["x25519", "curve25519"]),
        AlgorithmEntry(.keyExchange, 20, "ECP_384", ["ecp384"]),
        AlgorithmEntry(.keyExchange, 19, "ECP_256", ["ecp256"]),
        AlgorithmEntry(.keyExchange, 14, "MODP_2048", ["modp2048"]),
        AlgorithmEntry(.keyExchange, 15, "MODP_3072", ["modp3072"]),
        AlgorithmEntry(.keyExchange, 16, "MODP_4096", ["modp4096"]),
        AlgorithmEntry(.keyExchange, 21, "ECP_521", ["ecp521"]),
        AlgorithmEntry(.keyExchange, 32, "CURVE_448", ["x448", "curve448"]),
        AlgorithmEntry(.keyExchange, 36, "ML_KEM_768", ["mlkem768"]),
        AlgorithmEntry(.keyExchange, 37, "ML_KEM_1024", ["mlkem1024"]),
        AlgorithmEntry(.keyExchange, 35, "ML_KEM_512", ["mlkem512"], supported: false),
        AlgorithmEntry(.keyExchange, 17, "MODP_6144", ["modp6144"]),
        AlgorithmEntry(.keyExchange, 18, "MODP_8192", ["modp8192"]),
        AlgorithmEntry(.keyExchange, 30, "ECP_512_BP", ["ecp512bp"]),
        AlgorithmEntry(.keyExchange, 29, "ECP_384_BP", ["ecp384bp"]),
        AlgorithmEntry(.keyExchange, 28, "ECP_256_BP", ["ecp256bp"]),
        AlgorithmEntry(.keyExchange, 27, "ECP_224_BP", ["ecp224bp"]),
        AlgorithmEntry(.keyExchange, 24, "MODP_2048_256", ["modp2048s256"], weakness: subgroupWeakness),
        AlgorithmEntry(.keyExchange, 23, "MODP_2048_224", ["modp2048s224"], weakness: subgroupWeakness),
        AlgorithmEntry(.keyExchange, 22, "MODP_1024_160", ["modp1024s160"], weakness: subgroupWeakness),
        AlgorithmEntry(
            .keyExchange,
            5,
            "MODP_1536",
            ["modp1536"],
            weakness: "1536 bits are too few (RFC 8247 §2.4)"
        ),
        AlgorithmEntry(
            .keyExchange,
            2,
            "MODP_1024",
            ["modp1024"],
            weakness: "1024 bits are too few (RFC 8247 §2.4)"
        ),
        AlgorithmEntry(
            .keyExchange,
            1,
            "MODP_768",
            ["modp768"],
            weakness: "768 bits are too few (RFC 8247 §2.4)"
        ),
        AlgorithmEntry(.keyExchange, 26, "ECP_224", ["ecp224"], supported: false),
        AlgorithmEntry(.keyExchange, 25, "ECP_192", ["ecp192"], supported: false),
        AlgorithmEntry(.keyExchange, 0, "MODP_NONE", ["modpnone"]),
    ]

    private static let subgroupWeakness = "its subgroup is not trusted (RFC 8247 §2.4)"

    private static let sequenceNumbers: [AlgorithmEntry] = [
        AlgorithmEntry(.esn, 0, "NO_EXT_SEQ", ["noesn"]),
        AlgorithmEntry(.esn, 1, "EXT_SEQ", ["esn"]),
    ]

    /// The entry of a transform, whatever its key size.
    public static func entry(for transform: Transform) -> AlgorithmEntry? {
        let type = transform.type.isKeyExchange ? .keyExchange : transform.type
        return entries.first { $0.type == type && $0.id == transform.id }
    }

    /// The transform that a strongSwan proposal word names, with its entry.
    ///
    /// `ke1_` to `ke7_` before a group make it one of the further key exchanges, whose group may be `none`.
    public static func transform(keyword: some StringProtocol) -> (Transform, AlgorithmEntry)? {
        if keyword.hasPrefix("ke"), let underscore = keyword.firstIndex(of: "_"),
            let index = UInt8(keyword.dropFirst(2).prefix(upTo: underscore)), (1...7).contains(index)
        {
            let word = String(keyword[keyword.index(after: underscore)...])
            guard let (group, entry) = transform(keyword: word == "none" ? "modpnone" : word),
                group.type == .keyExchange
            else { return nil }
            return (Transform(.additionalKeyExchange(index), group.id), entry)
        }
        for entry in entries {
            for pattern in entry.keywords {
                guard let star = pattern.firstIndex(of: "*") else {
                    if pattern == keyword { return (Transform(entry.type, entry.id), entry) }
                    continue
                }
                for size in entry.keySizes {
                    let word = pattern[..<star] + String(size) + pattern[pattern.index(after: star)...]
                    if word == keyword { return (Transform(entry.type, entry.id, keyBits: size), entry) }
                }
            }
        }
        // strongSwan reads a bare "aes" as AES-CBC-128.
        guard keyword == "aes", let entry = entries.first(where: { $0.id == 12 && $0.type == .encryption })
        else { return nil }
        return (Transform(.encryption, 12, keyBits: 128), entry)
    }

    /// The words that are accepted for one type, the weak ones left out, for error messages.
    public static func acceptedKeywords(of type: TransformType) -> [String] {
        entries.filter { $0.type == type && $0.isSupported && $0.weakness == nil }.flatMap { entry in
            entry.keywords.prefix(1).flatMap { word in
                entry.keySizes.isEmpty
                    ? [word] : entry.keySizes.map { word.replacing("*", with: "\($0)") }
            }
        }
    }
}

extension Transform {
    /// True when we can carry it out: it gave its known answers.
    public var isSupported: Bool {
        guard !hasUnknownAttribute, let entry = AlgorithmTable.entry(for: self), entry.isSupported,
            keyBits.map({ entry.keySizes.contains($0) }) ?? entry.keySizes.isEmpty
        else { return false }
        return selfTestSubject.map { SelfTest.passes($0) } ?? true
    }

    /// What its known answers are asked of; nil for NONE and for sequence numbers.
    public var selfTestSubject: SelfTest.Subject? {
        switch type {
        case .encryption: cipherTransform(.hmacSHA256_128).map { .cipher($0) }
        case .prf: prfAlgorithm.map { .prf($0) }
        case .integrity: integrityAlgorithm.map { .integrity($0) }
        case .keyExchange, .additionalKeyExchange: keyExchangeGroup.map { .group($0) }
        case .esn, .unknown: nil
        }
    }

    /// Why it is only taken where a connection names it; nil for a sound one.
    public var weakness: String? { AlgorithmTable.entry(for: self)?.weakness }

    /// True for combined-mode ciphers, which take no INTEG transform (RFC 5282 §8).
    public var isAEAD: Bool {
        switch (type, id) {
        case (.encryption, 14...16), (.encryption, 18...21), (.encryption, 28): true
        default: false
        }
    }

    /// The PRF that this transform names.
    public var prfAlgorithm: PRFAlgorithm? {
        guard type == .prf else { return nil }
        switch id {
        case 1: return .hmacMD5
        case 2: return .hmacSHA1
        case 4: return .aesXCBC
        case 5: return .hmacSHA256
        case 6: return .hmacSHA384
        case 7: return .hmacSHA512
        case 8: return .aesCMAC
        default: return nil
        }
    }

    /// The integrity algorithm that this transform names.
    public var integrityAlgorithm: IntegrityAlgorithm? {
        guard type == .integrity else { return nil }
        switch id {
        case 1: return .hmacMD5_96
        case 2: return .hmacSHA1_96
        case 5: return .aesXCBC_96
        case 6: return .hmacMD5_128
        case 7: return .hmacSHA1_160
        case 8: return .aesCMAC_96
        case 12: return .hmacSHA256_128
        case 13: return .hmacSHA384_192
        case 14: return .hmacSHA512_256
        default: return nil
        }
    }

    /// The group that this transform names; nil for NONE and for groups we do not carry out.
    public var keyExchangeGroup: KeyExchangeGroup? {
        type.isKeyExchange ? KeyExchangeGroup(rawValue: id) : nil
    }
}

extension Proposal {
    /// The packet protection of a chosen proposal, or nil if it names none that we have.
    public var cipherTransform: CipherTransform? {
        guard let encryption = transform(of: .encryption) else { return nil }
        return encryption.cipherTransform(transform(of: .integrity)?.integrityAlgorithm)
    }
}

extension Transform {
    /// The packet protection of this cipher with an integrity algorithm beside it, or nil if we have none.
    func cipherTransform(_ integrity: IntegrityAlgorithm?) -> CipherTransform? {
        guard type == .encryption else { return nil }
        guard let keyBits else {
            switch id {
            case 2: return integrity.map { .desCBC($0) }
            case 3: return integrity.map { .tripleDESCBC($0) }
            case 11: return integrity.map { .null($0) }
            case 28: return .chacha20Poly1305
            default: return nil
            }
        }
        let bits = Int(keyBits)
        switch id {
        case 12: return integrity.map { .aesCBC(keyBits: bits, $0) }
        case 13: return integrity.map { .aesCTR(keyBits: bits, $0) }
        case 14: return .aesCCM(keyBits: bits, icvLength: 8)
        case 15: return .aesCCM(keyBits: bits, icvLength: 12)
        case 16: return .aesCCM(keyBits: bits, icvLength: 16)
        case 18: return .aesGCM(keyBits: bits, icvLength: 8)
        case 19: return .aesGCM(keyBits: bits, icvLength: 12)
        case 20: return .aesGCM16(keyBits: bits)
        case 21: return .aesGMAC(keyBits: bits)
        case 23: return integrity.map { .camelliaCBC(keyBits: bits, $0) }
        default: return nil
        }
    }
}
