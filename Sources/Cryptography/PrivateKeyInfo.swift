import COpenSSL

/// Which signatures a key makes.
public enum SignatureKeyAlgorithm: String, Hashable, Sendable {
    /// RSA.
    case rsa = "RSA"
    /// ECDSA on a curve of NIST's or Brainpool's.
    case ecdsa = "ECDSA"
    /// Ed25519 (RFC 8032).
    case ed25519 = "ED25519"
    /// Ed448 (RFC 8032).
    case ed448 = "ED448"
}

/// A private key as a file has it, parsed and kept in the guarded key arena.
public struct PrivateKeyInfo: Sendable {
    /// Octets of the longest encoding that is looked at: RSA with 8,192 bits has 6.5 KiB as PEM.
    public static let longestEncoding = 16_384

    /// Which signatures it makes.
    public let algorithm: SignatureKeyAlgorithm
    /// Bits of its modulus or its curve.
    public let bits: Int
    /// SHA-1 of the subjectPublicKey: what joins it to its certificate, and what strongSwan calls it by.
    public let keyID: [UInt8]
    /// The key as PKCS#8 (RFC 5958), unencrypted.
    public let encoded: SecretKey

    /// Parses PKCS#1, PKCS#8 or SEC1, as DER or PEM, unencrypted; `octets` is filled with zeros, also on failure.
    /// - Throws: `CryptoError.unsupported` for what is no private key of these kinds.
    public init(wiping octets: inout [UInt8]) throws(CryptoError) {
        defer { Sodium.wipe(&octets) }
        guard octets.count <= Self.longestEncoding else { throw .invalidLength }
        try self.init(PublicOrPrivateKey(octets, isPrivate: true))
    }
}

/// A bare public key, as a peer's `pubkeys` has it.
public struct PublicKeyInfo: Hashable, Sendable {
    /// Which signatures it checks.
    public let algorithm: SignatureKeyAlgorithm
    /// Bits of its modulus or its curve.
    public let bits: Int
    /// SHA-1 of the subjectPublicKey.
    public let keyID: [UInt8]
    /// The SubjectPublicKeyInfo (RFC 5280 §4.1) as DER.
    public let encoded: [UInt8]
    /// The same as OpenSSL has it: to parse a key takes longer than to check a signature with it.
    let parsed: SharedPublicKey

    /// SHA-1 of the SubjectPublicKeyInfo: the identity of who has no other.
    public var infoHash: [UInt8] { (try? Digest.sha1([encoded])) ?? [] }

    /// Parses a SubjectPublicKeyInfo or a PKCS#1 public key, as DER or PEM.
    /// - Throws: `CryptoError.unsupported` for what is no public key of these kinds.
    public init(parsing octets: [UInt8]) throws(CryptoError) {
        guard octets.count <= EncodedObject.longest else { throw .invalidLength }
        let shared = SharedPublicKey(try PublicOrPrivateKey(octets, isPrivate: false))
        try self.init(
            shared,
            encoded: unsafe EncodedObject.encode("i2d_PUBKEY") { unsafe i2d_PUBKEY(shared.key.pointer, $0) },
            keyID: shared.key.keyID()
        )
    }

    /// Describes a key that is parsed.
    init(_ shared: SharedPublicKey, encoded: [UInt8], keyID: [UInt8]) throws(CryptoError) {
        algorithm = try shared.key.algorithm()
        bits = unsafe Int(EVP_PKEY_get_bits(shared.key.pointer))
        self.keyID = keyID
        self.encoded = encoded
        parsed = shared
    }

    /// Equal encodings are equal keys.
    public static func == (left: PublicKeyInfo, right: PublicKeyInfo) -> Bool {
        left.encoded == right.encoded
    }

    /// Hashes the encoding.
    public func hash(into hasher: inout Hasher) { hasher.combine(encoded) }
}

/// A public key that several threads check signatures with.
///
/// Safe to share: OpenSSL does not change a key that is only used.
@safe
final class SharedPublicKey: @unchecked Sendable {
    let key: PublicOrPrivateKey

    init(_ key: consuming PublicOrPrivateKey) { self.key = key }
}

/// A key that OpenSSL parsed.
///
/// Safe: it owns its pointer and nothing shares it.
@safe
struct PublicOrPrivateKey: ~Copyable {
    let pointer: OpaquePointer

    init(_ octets: [UInt8], isPrivate: Bool) throws(CryptoError) {
        var parsed: OpaquePointer?
        let selection = isPrivate ? Selection.keyPair : Selection.publicKey
        // Without a password callback an encrypted key fails: nobody is asked.
        guard
            let context = unsafe OSSL_DECODER_CTX_new_for_pkey(&parsed, nil, nil, nil, selection, nil, nil)
        else { throw .exhausted }
        defer { unsafe OSSL_DECODER_CTX_free(context) }
        let isParsed = unsafe octets.withUnsafeBufferPointer { buffer in
            var cursor = buffer.baseAddress
            var length = buffer.count
            return unsafe OSSL_DECODER_from_data(context, &cursor, &length) == 1
        }
        guard isParsed, let key = unsafe parsed else {
            unsafe EVP_PKEY_free(parsed)
            ERR_clear_error()
            throw .unsupported(isPrivate ? "private key" : "public key")
        }
        unsafe pointer = key
    }

    /// Takes over a key that nobody else frees.
    init(owning key: OpaquePointer) { unsafe pointer = key }

    /// The private key of a PKCS#8 encoding of ours.
    init(_ encoded: SecretKey) throws(CryptoError) {
        let parsed: OpaquePointer? = unsafe encoded.withOctets { octets in
            var cursor = octets.baseAddress
            return unsafe d2i_AutoPrivateKey(nil, &cursor, octets.count)
        }
        guard let key = unsafe parsed else {
            ERR_clear_error()
            throw .unsupported("private key")
        }
        unsafe pointer = key
    }

    deinit { unsafe EVP_PKEY_free(pointer) }

    func algorithm() throws(CryptoError) -> SignatureKeyAlgorithm {
        switch unsafe EVP_PKEY_get_base_id(pointer) {
        case EVP_PKEY_RSA: return .rsa
        case EVP_PKEY_EC: return .ecdsa
        case EVP_PKEY_ED25519: return .ed25519
        case EVP_PKEY_ED448: return .ed448
        default: throw .unsupported("type of the key")
        }
    }

    /// SHA-1 of the bits of subjectPublicKey.
    func keyID() throws(CryptoError) -> [UInt8] {
        var info: OpaquePointer?
        guard unsafe X509_PUBKEY_set(&info, pointer) == 1, let info = unsafe info else {
            throw .backend("X509_PUBKEY_set")
        }
        defer { unsafe X509_PUBKEY_free(info) }
        var bits: UnsafePointer<UInt8>?
        var length: Int32 = 0
        try check(
            unsafe X509_PUBKEY_get0_param(nil, &bits, &length, nil, info),
            "X509_PUBKEY_get0_param"
        )
        let octets = unsafe Array(UnsafeBufferPointer(start: bits, count: Int(length)))
        return try Digest.sha1([octets])
    }

    func privateEncoding() throws(CryptoError) -> SecretKey {
        guard let info = unsafe EVP_PKEY2PKCS8(pointer) else { throw .backend("EVP_PKEY2PKCS8") }
        defer { unsafe PKCS8_PRIV_KEY_INFO_free(info) }
        var buffer: UnsafeMutablePointer<UInt8>?
        let length = unsafe Int(i2d_PKCS8_PRIV_KEY_INFO(info, &buffer))
        guard length > 0, let base = unsafe buffer else { throw .backend("i2d_PKCS8_PRIV_KEY_INFO") }
        defer { unsafe CRYPTO_clear_free(base, length, "", 0) }
        return try unsafe SecretKey(count: length) { target in
            _ = unsafe target.update(fromContentsOf: UnsafeBufferPointer(start: base, count: length))
        }
    }
}

/// OSSL_KEYMGMT_SELECT_…, which are no constants that Swift can see: all parameters with the public key, and
/// with the private key as well.
private enum Selection {
    static let publicKey: Int32 = 0x86
    static let keyPair: Int32 = 0x87
}
