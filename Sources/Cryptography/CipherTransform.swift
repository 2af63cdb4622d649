/// An integrity algorithm for packets and messages: an HMAC cut to its first octets.
public enum IntegrityAlgorithm: Hashable, Sendable, CaseIterable {
    /// AUTH_HMAC_SHA1_96 (RFC 2404).
    case hmacSHA1_96
    /// AUTH_HMAC_SHA2_256_128 (RFC 4868).
    case hmacSHA256_128
    /// AUTH_HMAC_SHA2_384_192 (RFC 4868).
    case hmacSHA384_192
    /// AUTH_HMAC_SHA2_512_256 (RFC 4868).
    case hmacSHA512_256

    /// Octets of the key: those of the hash.
    public var keyLength: Int { hash.outputLength }

    /// Octets of the integrity check value.
    public var icvLength: Int {
        switch self {
        case .hmacSHA1_96: 12
        case .hmacSHA256_128: 16
        case .hmacSHA384_192: 24
        case .hmacSHA512_256: 32
        }
    }

    /// The name in logs and status output.
    public var name: String {
        switch self {
        case .hmacSHA1_96: "HMAC_SHA1_96"
        case .hmacSHA256_128: "HMAC_SHA2_256_128"
        case .hmacSHA384_192: "HMAC_SHA2_384_192"
        case .hmacSHA512_256: "HMAC_SHA2_512_256"
        }
    }

    var hash: HashFunction {
        switch self {
        case .hmacSHA1_96: .sha1
        case .hmacSHA256_128: .sha256
        case .hmacSHA384_192: .sha384
        case .hmacSHA512_256: .sha512
        }
    }
}

/// What protects ESP packets and the SK payload of IKE messages.
public enum CipherTransform: Hashable, Sendable {
    /// AES-GCM with a 16-octet ICV (RFC 4106, RFC 5282); 128, 192 or 256 bits.
    case aesGCM16(keyBits: Int)
    /// ChaCha20-Poly1305 (RFC 7634).
    case chacha20Poly1305
    /// AES-CBC (RFC 3602) with an HMAC; 128, 192 or 256 bits.
    case aesCBC(keyBits: Int, IntegrityAlgorithm)
    /// No encryption (RFC 2410), integrity alone.
    case null(IntegrityAlgorithm)

    /// Octets of KEYMAT for the cipher, the salt included.
    public var encryptionKeyLength: Int {
        switch self {
        case .aesGCM16(let keyBits): keyBits / 8 + Self.saltLength
        case .chacha20Poly1305: 32 + Self.saltLength
        case .aesCBC(let keyBits, _): keyBits / 8
        case .null: 0
        }
    }

    /// Octets of KEYMAT for the HMAC; 0 for an AEAD.
    public var integrityKeyLength: Int { integrity?.keyLength ?? 0 }

    /// Octets of the IV on the wire.
    public var ivLength: Int {
        switch self {
        case .aesGCM16, .chacha20Poly1305: 8
        case .aesCBC: 16
        case .null: 0
        }
    }

    /// Octets of the integrity check value.
    public var icvLength: Int { integrity?.icvLength ?? 16 }

    /// What payload, padding and trailer together are a multiple of.
    public var blockLength: Int {
        switch self {
        case .aesGCM16, .chacha20Poly1305, .null: 4
        case .aesCBC: 16
        }
    }

    /// True when one algorithm encrypts and authenticates.
    public var isAEAD: Bool { integrity == nil }

    /// The name in logs and status output.
    public var name: String {
        switch self {
        case .aesGCM16(let keyBits): "AES_GCM_16-\(keyBits)"
        case .chacha20Poly1305: "CHACHA20_POLY1305"
        case .aesCBC(let keyBits, let integrity): "AES_CBC-\(keyBits)/\(integrity.name)"
        case .null(let integrity): "NULL/\(integrity.name)"
        }
    }

    static let saltLength = 4
    static let nonceLength = 12

    var integrity: IntegrityAlgorithm? {
        switch self {
        case .aesGCM16, .chacha20Poly1305: nil
        case .aesCBC(_, let integrity), .null(let integrity): integrity
        }
    }

    /// The cipher, or nil for `.null`.
    var fetched: Fetched? {
        get throws(CryptoError) {
            switch self {
            case .aesGCM16(128): .aes128GCM
            case .aesGCM16(192): .aes192GCM
            case .aesGCM16(256): .aes256GCM
            case .aesGCM16(let keyBits): throw .unsupported("AES_GCM_16 with \(keyBits) bits")
            case .chacha20Poly1305: .chacha20Poly1305
            case .aesCBC(128, _): .aes128CBC
            case .aesCBC(192, _): .aes192CBC
            case .aesCBC(256, _): .aes256CBC
            case .aesCBC(let keyBits, _): throw .unsupported("AES_CBC with \(keyBits) bits")
            case .null: nil
            }
        }
    }

    /// Refuses key sizes that are not offered and keys of another length.
    func checkKeys(_ encryptionKey: SecretKey, _ integrityKey: SecretKey?) throws(CryptoError) {
        _ = try fetched
        guard encryptionKey.count == encryptionKeyLength, (integrityKey?.count ?? 0) == integrityKeyLength
        else {
            throw .invalidKeyLength
        }
    }
}
