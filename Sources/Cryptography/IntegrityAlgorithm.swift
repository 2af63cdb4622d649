/// An integrity algorithm for packets and messages: a keyed function cut to its first octets.
public enum IntegrityAlgorithm: Hashable, Sendable, CaseIterable {
    /// AUTH_HMAC_MD5_96 (RFC 2403).
    case hmacMD5_96
    /// AUTH_HMAC_MD5_128 (RFC 4595 §4).
    case hmacMD5_128
    /// AUTH_HMAC_SHA1_96 (RFC 2404).
    case hmacSHA1_96
    /// AUTH_HMAC_SHA1_160 (RFC 4595 §4).
    case hmacSHA1_160
    /// AUTH_HMAC_SHA2_256_128 (RFC 4868).
    case hmacSHA256_128
    /// AUTH_HMAC_SHA2_384_192 (RFC 4868).
    case hmacSHA384_192
    /// AUTH_HMAC_SHA2_512_256 (RFC 4868).
    case hmacSHA512_256
    /// AUTH_AES_XCBC_96 (RFC 3566).
    case aesXCBC_96
    /// AUTH_AES_CMAC_96 (RFC 4494).
    case aesCMAC_96

    /// Octets of the key: those of the hash or of the block cipher.
    public var keyLength: Int { function.outputLength }

    /// Octets of the integrity check value.
    public var icvLength: Int {
        switch self {
        case .hmacMD5_96, .hmacSHA1_96, .aesXCBC_96, .aesCMAC_96: 12
        case .hmacMD5_128, .hmacSHA256_128: 16
        case .hmacSHA1_160: 20
        case .hmacSHA384_192: 24
        case .hmacSHA512_256: 32
        }
    }

    /// The name in logs and status output.
    public var name: String {
        switch self {
        case .hmacMD5_96: "HMAC_MD5_96"
        case .hmacMD5_128: "HMAC_MD5_128"
        case .hmacSHA1_96: "HMAC_SHA1_96"
        case .hmacSHA1_160: "HMAC_SHA1_160"
        case .hmacSHA256_128: "HMAC_SHA2_256_128"
        case .hmacSHA384_192: "HMAC_SHA2_384_192"
        case .hmacSHA512_256: "HMAC_SHA2_512_256"
        case .aesXCBC_96: "AES_XCBC_96"
        case .aesCMAC_96: "AES_CMAC_96"
        }
    }

    var function: MACFunction {
        switch self {
        case .hmacMD5_96, .hmacMD5_128: .hmac(.md5)
        case .hmacSHA1_96, .hmacSHA1_160: .hmac(.sha1)
        case .hmacSHA256_128: .hmac(.sha256)
        case .hmacSHA384_192: .hmac(.sha384)
        case .hmacSHA512_256: .hmac(.sha512)
        case .aesXCBC_96: .xcbc
        case .aesCMAC_96: .cmac
        }
    }

    /// True for what IPsec-MB is asked for.
    var hasMultiBuffer: Bool {
        switch self {
        case .hmacSHA1_96, .hmacSHA256_128, .hmacSHA384_192, .hmacSHA512_256: true
        case .hmacMD5_96, .hmacMD5_128, .hmacSHA1_160, .aesXCBC_96, .aesCMAC_96: false
        }
    }
}
