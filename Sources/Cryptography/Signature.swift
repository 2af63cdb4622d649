import COpenSSL

extension PublicKeyInfo {
    /// True when `signature` is this key's over `message`.
    ///
    /// For another kind of key, and for what is no signature at all, it is false.
    public func isValid(_ signature: [UInt8], over message: [UInt8], by scheme: SignatureScheme) -> Bool {
        guard scheme.algorithm == algorithm, let context = unsafe EVP_MD_CTX_new() else { return false }
        defer {
            unsafe EVP_MD_CTX_free(context)
            ERR_clear_error()
        }
        var parameters: OpaquePointer?
        let begun = unsafe EVP_DigestVerifyInit(
            context,
            &parameters,
            scheme.hash?.function.fetched.pointer,
            nil,
            parsed.key.pointer
        )
        guard begun == 1, unsafe scheme.apply(to: parameters) else { return false }
        return unsafe EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
    }
}

extension PrivateKeyInfo {
    /// Signs `message`.
    ///
    /// RSA with 4,096 bits takes some milliseconds: not for a queue that others wait for.
    /// - Throws: `CryptoError.unsupported` for a scheme of another kind of key, or a key too small for it.
    public func sign(_ message: [UInt8], by scheme: SignatureScheme) throws(CryptoError) -> [UInt8] {
        guard scheme.algorithm == algorithm else { throw .unsupported("signature of another kind of key") }
        let key = try PublicOrPrivateKey(encoded)
        guard let context = unsafe EVP_MD_CTX_new() else { throw .exhausted }
        defer {
            unsafe EVP_MD_CTX_free(context)
            ERR_clear_error()
        }
        var parameters: OpaquePointer?
        try check(
            unsafe EVP_DigestSignInit(
                context,
                &parameters,
                scheme.hash?.function.fetched.pointer,
                nil,
                key.pointer
            ),
            "EVP_DigestSignInit"
        )
        guard unsafe scheme.apply(to: parameters) else { throw .unsupported("signature with this key") }
        var length = 0
        try check(
            unsafe EVP_DigestSign(context, nil, &length, message, message.count),
            "EVP_DigestSign"
        )
        var signature = [UInt8](repeating: 0, count: length)
        guard unsafe EVP_DigestSign(context, &signature, &length, message, message.count) == 1 else {
            throw .unsupported("signature with this key")
        }
        return Array(signature.prefix(length))
    }
}

extension SignatureScheme {
    /// Sets what the padding needs beside the hash; false when the key does not take it.
    fileprivate func apply(to parameters: OpaquePointer?) -> Bool {
        switch self {
        case .rsaPKCS1: unsafe EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PADDING) == 1
        case .rsaPSS(let hash, let saltLength):
            unsafe EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1
                && EVP_PKEY_CTX_set_rsa_mgf1_md(parameters, hash.function.fetched.pointer) == 1
                && EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, Int32(clamping: saltLength)) == 1
        case .ecdsa, .ed25519, .ed448: true
        }
    }
}

// MARK: - ECDSA without ASN.1

/// The signatures of methods 9, 10 and 11: two numbers of the curve's length, one behind the other (RFC 4754 §7).
public enum PlainECDSASignature {
    /// The SEQUENCE that stands for two numbers of `width` octets each; nil for another length.
    public static func encoded(_ plain: [UInt8], width: Int) -> [UInt8]? {
        guard width > 0, width <= 66, plain.count == 2 * width else { return nil }
        let numbers = [plain.prefix(width), plain.suffix(width)].map { half -> [UInt8] in
            var digits = Array(half.drop { $0 == 0 })
            if digits.first.map({ $0 >= 0x80 }) ?? true { digits.insert(0, at: 0) }
            return [0x02, UInt8(digits.count)] + digits
        }
        let content = numbers[0] + numbers[1]
        return (content.count < 0x80 ? [0x30] : [0x30, 0x81]) + [UInt8(content.count)] + content
    }

    /// The two numbers of a SEQUENCE, `width` octets each; nil when it is none or they are longer.
    public static func plain(_ encoded: [UInt8], width: Int) -> [UInt8]? {
        var outer = DERReader(encoded)
        guard var body = outer.element(0x30), outer.isAtEnd, let first = body.octets(0x02),
            let second = body.octets(0x02), body.isAtEnd
        else { return nil }
        var result = [UInt8]()
        for number in [first, second] {
            let digits = number.drop { $0 == 0 }
            guard !digits.isEmpty, digits.count <= width else { return nil }
            result += [UInt8](repeating: 0, count: width - digits.count) + digits
        }
        return result
    }
}
