import COpenSSL

/// An algorithm that OpenSSL looked up once for the process: a look-up for each use costs more than the use.
///
/// Safe to share: OpenSSL never changes a fetched algorithm, and it is never freed.
@safe
struct Fetched: @unchecked Sendable {
    let pointer: OpaquePointer?

    private init(_ pointer: OpaquePointer?) { unsafe self.pointer = pointer }

    private static func digest(_ name: String) -> Fetched { unsafe Fetched(EVP_MD_fetch(nil, name, nil)) }
    private static func cipher(_ name: String) -> Fetched { unsafe Fetched(EVP_CIPHER_fetch(nil, name, nil)) }

    static let md5 = digest("MD5")
    static let sha1 = digest("SHA1")
    static let sha256 = digest("SHA256")
    static let sha384 = digest("SHA384")
    static let sha512 = digest("SHA512")

    static let aes128GCM = cipher("AES-128-GCM")
    static let aes192GCM = cipher("AES-192-GCM")
    static let aes256GCM = cipher("AES-256-GCM")
    static let chacha20Poly1305 = cipher("ChaCha20-Poly1305")
    static let aes128CBC = cipher("AES-128-CBC")
    static let aes192CBC = cipher("AES-192-CBC")
    static let aes256CBC = cipher("AES-256-CBC")
    static let aes128CTR = cipher("AES-128-CTR")
    static let aes192CTR = cipher("AES-192-CTR")
    static let aes256CTR = cipher("AES-256-CTR")
    static let aes128CCM = cipher("AES-128-CCM")
    static let aes192CCM = cipher("AES-192-CCM")
    static let aes256CCM = cipher("AES-256-CCM")
    static let camellia128CBC = cipher("CAMELLIA-128-CBC")
    static let camellia192CBC = cipher("CAMELLIA-192-CBC")
    static let camellia256CBC = cipher("CAMELLIA-256-CBC")
    static let tripleDESCBC = cipher("DES-EDE3-CBC")
}

/// The hash functions beneath PRFs and integrity algorithms.
enum HashFunction: Hashable, Sendable {
    case md5, sha1, sha256, sha384, sha512

    var outputLength: Int {
        switch self {
        case .md5: 16
        case .sha1: 20
        case .sha256: 32
        case .sha384: 48
        case .sha512: 64
        }
    }

    /// Octets of a block: the length of HMAC's padded key.
    var blockLength: Int {
        switch self {
        case .md5, .sha1, .sha256: 64
        case .sha384, .sha512: 128
        }
    }

    var fetched: Fetched {
        switch self {
        case .md5: .md5
        case .sha1: .sha1
        case .sha256: .sha256
        case .sha384: .sha384
        case .sha512: .sha512
        }
    }
}
