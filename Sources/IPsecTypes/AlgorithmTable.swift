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

    init(
        _ type: TransformType,
        _ id: UInt16,
        _ name: String,
        _ keywords: [String],
        keySizes: [UInt16] = [],
        supported: Bool = true
    ) {
        self.type = type
        self.id = id
        self.keySizes = keySizes
        self.name = name
        self.keywords = keywords
        self.isSupported = supported
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
        AlgorithmEntry(.encryption, 11, "NULL", ["null"], supported: false),
        AlgorithmEntry(.encryption, 13, "AES_CTR", ["aes*ctr"], keySizes: aesSizes, supported: false),
        AlgorithmEntry(.encryption, 14, "AES_CCM_8", ["aes*ccm8"], keySizes: aesSizes, supported: false),
        AlgorithmEntry(.encryption, 15, "AES_CCM_12", ["aes*ccm12"], keySizes: aesSizes, supported: false),
        AlgorithmEntry(.encryption, 16, "AES_CCM_16", ["aes*ccm16"], keySizes: aesSizes, supported: false),
        AlgorithmEntry(.encryption, 18, "AES_GCM_8", ["aes*gcm8"], keySizes: aesSizes, supported: false),
        AlgorithmEntry(.encryption, 19, "AES_GCM_12", ["aes*gcm12"], keySizes: aesSizes, supported: false),
        AlgorithmEntry(.encryption, 21, "NULL_AES_GMAC", ["aes*gmac"], keySizes: aesSizes, supported: false),
        AlgorithmEntry(.encryption, 23, "CAMELLIA_CBC", ["camellia*"], keySizes: aesSizes, supported: false),
        AlgorithmEntry(.encryption, 3, "3DES_CBC", ["3des"], supported: false),
        AlgorithmEntry(.encryption, 2, "DES_CBC", ["des"], supported: false),
    ]

    private static let prfs: [AlgorithmEntry] = [
        AlgorithmEntry(.prf, 7, "PRF_HMAC_SHA2_512", ["prfsha512"]),
        AlgorithmEntry(.prf, 6, "PRF_HMAC_SHA2_384", ["prfsha384"]),
        AlgorithmEntry(.prf, 5, "PRF_HMAC_SHA2_256", ["prfsha256"]),
        AlgorithmEntry(.prf, 2, "PRF_HMAC_SHA1", ["prfsha1", "prfsha"]),
        AlgorithmEntry(.prf, 1, "PRF_HMAC_MD5", ["prfmd5"], supported: false),
        AlgorithmEntry(.prf, 4, "PRF_AES128_XCBC", ["prfaesxcbc"], supported: false),
        AlgorithmEntry(.prf, 8, "PRF_AES128_CMAC", ["prfaescmac"], supported: false),
    ]

    private static let integrity: [AlgorithmEntry] = [
        AlgorithmEntry(.integrity, 14, "HMAC_SHA2_512_256", ["sha512", "sha2_512"]),
        AlgorithmEntry(.integrity, 13, "HMAC_SHA2_384_192", ["sha384", "sha2_384"]),
        AlgorithmEntry(.integrity, 12, "HMAC_SHA2_256_128", ["sha256", "sha2_256"]),
        AlgorithmEntry(.integrity, 2, "HMAC_SHA1_96", ["sha1", "sha"]),
        AlgorithmEntry(.integrity, 1, "HMAC_MD5_96", ["md5"], supported: false),
        AlgorithmEntry(.integrity, 5, "AES_XCBC_96", ["aesxcbc"], supported: false),
        AlgorithmEntry(.integrity, 8, "AES_CMAC_96", ["aescmac"], supported: false),
    ]

    private static let groups: [AlgorithmEntry] = [
        AlgorithmEntry(.keyExchange, 31, "CURVE_25519", ["x25519", "curve25519"]),
        AlgorithmEntry(.keyExchange, 20, "ECP_384", ["ecp384"]),
        AlgorithmEntry(.keyExchange, 19, "ECP_256", ["ecp256"]),
        AlgorithmEntry(.keyExchange, 14, "MODP_2048", ["modp2048"]),
        AlgorithmEntry(.keyExchange, 15, "MODP_3072", ["modp3072"]),
        AlgorithmEntry(.keyExchange, 16, "MODP_4096", ["modp4096"]),
        AlgorithmEntry(.keyExchange, 21, "ECP_521", ["ecp521"]),
        AlgorithmEntry(.keyExchange, 17, "MODP_6144", ["modp6144"], supported: false),
        AlgorithmEntry(.keyExchange, 18, "MODP_8192", ["modp8192"], supported: false),
        AlgorithmEntry(.keyExchange, 5, "MODP_1536", ["modp1536"], supported: false),
        AlgorithmEntry(.keyExchange, 2, "MODP_1024", ["modp1024"], supported: false),
        AlgorithmEntry(.keyExchange, 1, "MODP_768", ["modp768"], supported: false),
        AlgorithmEntry(.keyExchange, 24, "MODP_2048_256", ["modp2048s256"], supported: false),
        AlgorithmEntry(.keyExchange, 32, "CURVE_448", ["x448", "curve448"], supported: false),
        AlgorithmEntry(.keyExchange, 0, "MODP_NONE", ["modpnone"]),
    ]

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

    /// The words that are accepted for one type, for error messages.
    public static func acceptedKeywords(of type: TransformType) -> [String] {
        entries.filter { $0.type == type && $0.isSupported }.flatMap { entry in
            entry.keywords.prefix(1).flatMap { word in
                entry.keySizes.isEmpty
                    ? [word]
                    : entry.keySizes.map {
                        word.split(separator: "*").joined(separator: "\($0)")
                            + (word.hasSuffix("*") ? "\($0)" : "")
                    }
            }
        }
    }
}

extension Transform {
    /// True when we can carry it out.
    public var isSupported: Bool {
        guard !hasUnknownAttribute, let entry = AlgorithmTable.entry(for: self), entry.isSupported else {
            return false
        }
        guard let keyBits else { return entry.keySizes.isEmpty }
        return entry.keySizes.contains(keyBits)
    }

    /// True for combined-mode ciphers, which take no INTEG transform (RFC 5282 §8).
    public var isAEAD: Bool {
        switch (type, id) {
        case (.encryption, 14...16), (.encryption, 18...20), (.encryption, 28): true
        default: false
        }
    }

    /// The PRF that this transform names.
    public var prfAlgorithm: PRFAlgorithm? {
        guard type == .prf else { return nil }
        switch id {
        case 2: return .hmacSHA1
        case 5: return .hmacSHA256
        case 6: return .hmacSHA384
        case 7: return .hmacSHA512
        default: return nil
        }
    }

    /// The integrity algorithm that this transform names.
    public var integrityAlgorithm: IntegrityAlgorithm? {
        guard type == .integrity else { return nil }
        switch id {
        case 2: return .hmacSHA1_96
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
        let integrity = transform(of: .integrity)?.integrityAlgorithm
        switch (encryption.id, encryption.keyBits) {
        case (20, .some(let bits)): return .aesGCM16(keyBits: Int(bits))
        case (28, nil): return .chacha20Poly1305
        case (12, .some(let bits)): return integrity.map { .aesCBC(keyBits: Int(bits), $0) }
        case (11, nil): return integrity.map { .null($0) }
        default: return nil
        }
    }
}
