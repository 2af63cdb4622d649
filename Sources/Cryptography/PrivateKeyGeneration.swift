import COpenSSL

/// The kinds of signature keys that can be made.
public enum SignatureKeyKind: Hashable, Sendable {
    /// RSA with a modulus of so many bits.
    case rsa(bits: Int)
    /// ECDSA on P-256.
    case p256
    /// ECDSA on P-384.
    case p384
    /// ECDSA on P-521.
    case p521
    /// Ed25519.
    case ed25519
    /// Ed448.
    case ed448

    fileprivate var backendName: String {
        switch self {
        case .rsa: "RSA"
        case .p256, .p384, .p521: "EC"
        case .ed25519: "ED25519"
        case .ed448: "ED448"
        }
    }

    fileprivate var curve: String? {
        switch self {
        case .p256: "P-256"
        case .p384: "P-384"
        case .p521: "P-521"
        case .rsa, .ed25519, .ed448: nil
        }
    }
}

extension PrivateKeyInfo {
    /// Makes a new key; RSA takes a second or so.
    /// - Throws: `CryptoError.unsupported` for RSA below 2,048 or above 8,192 bits.
    public static func generate(_ kind: SignatureKeyKind) throws(CryptoError) -> PrivateKeyInfo {
        guard let context = unsafe EVP_PKEY_CTX_new_from_name(nil, kind.backendName, nil) else {
            throw .backend("EVP_PKEY_CTX_new_from_name")
        }
        defer { unsafe EVP_PKEY_CTX_free(context) }
        try check(unsafe EVP_PKEY_keygen_init(context), "EVP_PKEY_keygen_init")
        if case .rsa(let bits) = kind {
            guard (2048...8192).contains(bits) else { throw .unsupported("RSA with \(bits) bits") }
            try check(
                unsafe EVP_PKEY_CTX_set_rsa_keygen_bits(context, Int32(bits)),
                "EVP_PKEY_CTX_set_rsa_keygen_bits"
            )
        }
        if let curve = kind.curve {
            try check(
                unsafe EVP_PKEY_CTX_set_group_name(context, curve),
                "EVP_PKEY_CTX_set_group_name"
            )
        }
        var made: OpaquePointer?
        try check(unsafe EVP_PKEY_generate(context, &made), "EVP_PKEY_generate")
        guard let made = unsafe made else { throw .backend("EVP_PKEY_generate") }
        return try unsafe PrivateKeyInfo(PublicOrPrivateKey(owning: made))
    }

    init(_ key: borrowing PublicOrPrivateKey) throws(CryptoError) {
        algorithm = try key.algorithm()
        bits = unsafe Int(EVP_PKEY_get_bits(key.pointer))
        keyID = try key.keyID()
        encoded = try key.privateEncoding()
    }

    /// The public half.
    /// - Throws: `CryptoError` when the library fails.
    public func publicKey() throws(CryptoError) -> PublicKeyInfo {
        let key = try PublicOrPrivateKey(encoded)
        let octets = try unsafe EncodedObject.encode("i2d_PUBKEY") { unsafe i2d_PUBKEY(key.pointer, $0) }
        return try PublicKeyInfo(parsing: octets)
    }
}
