/// What protects ESP packets and the SK payload of IKE messages.
public enum CipherTransform: Hashable, Sendable {
    /// AES-GCM with an ICV of 8, 12 or 16 octets (RFC 4106, RFC 5282); 128, 192 or 256 bits.
    case aesGCM(keyBits: Int, icvLength: Int)
    /// AES-CCM with an ICV of 8, 12 or 16 octets (RFC 4309, RFC 5282); 128, 192 or 256 bits.
    case aesCCM(keyBits: Int, icvLength: Int)
    /// AES-GMAC (RFC 4543): integrity alone, for ESP; 128, 192 or 256 bits.
    case aesGMAC(keyBits: Int)
    /// ChaCha20-Poly1305 (RFC 7634).
    case chacha20Poly1305
    /// AES-CBC (RFC 3602) with an integrity algorithm; 128, 192 or 256 bits.
    case aesCBC(keyBits: Int, IntegrityAlgorithm)
    /// AES-CTR (RFC 3686, RFC 5930) with an integrity algorithm; 128, 192 or 256 bits.
    case aesCTR(keyBits: Int, IntegrityAlgorithm)
    /// Camellia-CBC (RFC 5529) with an integrity algorithm; 128, 192 or 256 bits.
    case camelliaCBC(keyBits: Int, IntegrityAlgorithm)
    /// Triple-DES-CBC (RFC 2451) with an integrity algorithm.
    case tripleDESCBC(IntegrityAlgorithm)
    /// DES-CBC (RFC 2405) with an integrity algorithm: broken, for devices that have nothing else.
    case desCBC(IntegrityAlgorithm)
    /// No encryption (RFC 2410), integrity alone.
    case null(IntegrityAlgorithm)

    /// AES-GCM with the whole ICV, which is what almost everybody means.
    public static func aesGCM16(keyBits: Int) -> CipherTransform { .aesGCM(keyBits: keyBits, icvLength: 16) }

    /// Octets of KEYMAT for the cipher, the salt included.
    public var encryptionKeyLength: Int {
        switch self {
        case .aesGCM(let keyBits, _), .aesCCM(let keyBits, _), .aesGMAC(let keyBits), .aesCTR(let keyBits, _):
            keyBits / 8 + saltLength
        case .chacha20Poly1305: 32 + saltLength
        case .aesCBC(let keyBits, _), .camelliaCBC(let keyBits, _): keyBits / 8
        case .tripleDESCBC: 24
        case .desCBC: 8
        case .null: 0
        }
    }

    /// Octets of KEYMAT for the integrity algorithm; 0 for an AEAD.
    public var integrityKeyLength: Int { integrity?.keyLength ?? 0 }

    /// Octets of the IV on the wire.
    public var ivLength: Int {
        switch self {
        case .aesGCM, .aesCCM, .aesGMAC, .chacha20Poly1305, .aesCTR, .tripleDESCBC, .desCBC: 8
        case .aesCBC, .camelliaCBC: 16
        case .null: 0
        }
    }

    /// Octets of the integrity check value.
    public var icvLength: Int {
        switch self {
        case .aesGCM(_, let icvLength), .aesCCM(_, let icvLength): icvLength
        case .aesGMAC, .chacha20Poly1305: 16
        case .aesCBC(_, let integrity), .aesCTR(_, let integrity), .camelliaCBC(_, let integrity),
            .tripleDESCBC(let integrity), .desCBC(let integrity), .null(let integrity):
            integrity.icvLength
        }
    }

    /// What payload, padding and trailer together are a multiple of.
    public var blockLength: Int {
        switch self {
        case .aesGCM, .aesCCM, .aesGMAC, .chacha20Poly1305, .aesCTR, .null: 4
        case .tripleDESCBC, .desCBC: 8
        case .aesCBC, .camelliaCBC: 16
        }
    }

    /// True when one algorithm encrypts and authenticates.
    public var isAEAD: Bool { integrity == nil }

    /// True when an IV must never come twice under a key, so that a counter is the right one; else it must not be
    /// foreseen (RFC 5282 §3.1, RFC 3686 §3.1; RFC 7296 §3.14).
    public var ivIsCounter: Bool {
        switch self {
        case .aesGCM, .aesCCM, .aesGMAC, .chacha20Poly1305, .aesCTR, .null: true
        case .aesCBC, .camelliaCBC, .tripleDESCBC, .desCBC: false
        }
    }

    /// The name in logs and status output.
    public var name: String {
        switch self {
        case .aesGCM(let keyBits, let icvLength): "AES_GCM_\(icvLength)-\(keyBits)"
        case .aesCCM(let keyBits, let icvLength): "AES_CCM_\(icvLength)-\(keyBits)"
        case .aesGMAC(let keyBits): "NULL_AES_GMAC-\(keyBits)"
        case .chacha20Poly1305: "CHACHA20_POLY1305"
        case .aesCBC(let keyBits, let integrity): "AES_CBC-\(keyBits)/\(integrity.name)"
        case .aesCTR(let keyBits, let integrity): "AES_CTR-\(keyBits)/\(integrity.name)"
        case .camelliaCBC(let keyBits, let integrity): "CAMELLIA_CBC-\(keyBits)/\(integrity.name)"
        case .tripleDESCBC(let integrity): "3DES_CBC/\(integrity.name)"
        case .desCBC(let integrity): "DES_CBC/\(integrity.name)"
        case .null(let integrity): "NULL/\(integrity.name)"
        }
    }

    /// Octets at the end of the key that begin each nonce or counter block (RFC 4106 §8.1, RFC 4309 §7.1, RFC 3686 §5.1).
    var saltLength: Int {
        switch self {
        case .aesGCM, .aesGMAC, .chacha20Poly1305, .aesCTR: 4
        case .aesCCM: 3
        case .aesCBC, .camelliaCBC, .tripleDESCBC, .desCBC, .null: 0
        }
    }

    var integrity: IntegrityAlgorithm? {
        switch self {
        case .aesGCM, .aesCCM, .aesGMAC, .chacha20Poly1305: nil
        case .aesCBC(_, let integrity), .aesCTR(_, let integrity), .camelliaCBC(_, let integrity),
            .tripleDESCBC(let integrity), .desCBC(let integrity), .null(let integrity):
            integrity
        }
    }

    /// The cipher, or nil for `.null`.
    var fetched: Fetched? {
        get throws(CryptoError) {
            switch self {
            case .aesGCM(128, 8), .aesGCM(128, 12), .aesGCM(128, 16), .aesGMAC(128): .aes128GCM
            case .aesGCM(192, 8), .aesGCM(192, 12), .aesGCM(192, 16), .aesGMAC(192): .aes192GCM
            case .aesGCM(256, 8), .aesGCM(256, 12), .aesGCM(256, 16), .aesGMAC(256): .aes256GCM
            case .aesCCM(128, 8), .aesCCM(128, 12), .aesCCM(128, 16): .aes128CCM
            case .aesCCM(192, 8), .aesCCM(192, 12), .aesCCM(192, 16): .aes192CCM
            case .aesCCM(256, 8), .aesCCM(256, 12), .aesCCM(256, 16): .aes256CCM
            case .chacha20Poly1305: .chacha20Poly1305
            case .aesCBC(128, _): .aes128CBC
            case .aesCBC(192, _): .aes192CBC
            case .aesCBC(256, _): .aes256CBC
            case .aesCTR(128, _): .aes128CTR
            case .aesCTR(192, _): .aes192CTR
            case .aesCTR(256, _): .aes256CTR
            case .camelliaCBC(128, _): .camellia128CBC
            case .camelliaCBC(192, _): .camellia192CBC
            case .camelliaCBC(256, _): .camellia256CBC
            case .tripleDESCBC, .desCBC: .tripleDESCBC
            case .null: nil
            case .aesGCM, .aesCCM, .aesGMAC, .aesCBC, .aesCTR, .camelliaCBC: throw .unsupported(name)
            }
        }
    }

    /// How packets and messages go through the cipher.
    var mode: Mode {
        switch self {
        case .aesGCM, .chacha20Poly1305: .aead
        case .aesCCM: .ccm
        case .aesGMAC: .gmac
        case .aesCTR: .ctr
        case .aesCBC, .camelliaCBC, .tripleDESCBC, .desCBC: .cbc
        case .null: .null
        }
    }

    enum Mode { case aead, ccm, gmac, cbc, ctr, null }

    /// Refuses key sizes that are not offered and keys of another length.
    func checkKeys(_ encryptionKey: SecretKey, _ integrityKey: SecretKey?) throws(CryptoError) {
        _ = try fetched
        guard encryptionKey.count == encryptionKeyLength, (integrityKey?.count ?? 0) == integrityKeyLength
        else {
            throw .invalidKeyLength
        }
    }
}
