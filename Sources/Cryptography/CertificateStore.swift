import COpenSSL

/// OpenSSL's verifier with one set of anchors.
///
/// Safe: it owns its pointers and nothing shares it.
@safe
struct CertificateStore: ~Copyable {
    let pointer: OpaquePointer

    /// An empty store.
    init() throws(CryptoError) {
        guard let pointer = unsafe X509_STORE_new() else { throw .exhausted }
        unsafe self.pointer = pointer
    }

    /// Takes over what is believed, and for which moment.
    func prepare(
        _ trust: CertificateTrust,
        _ seconds: Int64,
        asksLists: Bool = false
    ) throws(CryptoError) {
        for info in trust.anchors {
            try check(unsafe X509_STORE_add_cert(pointer, info.parsed.pointer), "X509_STORE_add_cert")
        }
        for info in trust.revocations {
            let list = unsafe EncodedObject.decode(info.encoded) { unsafe d2i_X509_CRL(nil, $0, $1) }
            guard let list = unsafe list else { throw .unsupported("certificate revocation list") }
            defer { unsafe X509_CRL_free(list) }
            try check(unsafe X509_STORE_add_crl(pointer, list), "X509_STORE_add_crl")
        }
        guard let parameters = unsafe X509_STORE_get0_param(pointer) else { throw .exhausted }
        // An anchor need not be a root: whom the configuration names is believed.
        var flags = UInt(X509_V_FLAG_PARTIAL_CHAIN)
        if asksLists {
            flags |= UInt(X509_V_FLAG_CRL_CHECK)
            flags |= UInt(X509_V_FLAG_EXTENDED_CRL_SUPPORT) | UInt(X509_V_FLAG_USE_DELTAS)
        }
        try check(unsafe X509_VERIFY_PARAM_set_flags(parameters, flags), "X509_VERIFY_PARAM_set_flags")
        unsafe X509_VERIFY_PARAM_set_time(parameters, time_t(seconds))
        unsafe X509_VERIFY_PARAM_set_depth(parameters, Int32(VerifiedCertificate.longestChain))
        // 80 bits: no MD5, no SHA-1 in signatures of certificates, no RSA below 1,024 bits.
        unsafe X509_VERIFY_PARAM_set_auth_level(parameters, 1)
    }

    deinit { unsafe X509_STORE_free(pointer) }

    func run(
        _ leaf: Certificate,
        _ others: [Certificate]
    ) throws(CryptoError) -> Result<[Certificate], CertificateRefusal> {
        guard let context = unsafe X509_STORE_CTX_new(), let untrusted = unsafe OPENSSL_sk_new_null() else {
            throw .exhausted
        }
        defer {
            unsafe X509_STORE_CTX_free(context)
            unsafe OPENSSL_sk_free(untrusted)
            ERR_clear_error()
        }
        for other in others { _ = unsafe OPENSSL_sk_push(untrusted, UnsafeRawPointer(other.pointer)) }
        try check(
            unsafe X509_STORE_CTX_init(context, pointer, leaf.pointer, untrusted),
            "X509_STORE_CTX_init"
        )
        let result = unsafe X509_verify_cert(context)
        // The certificates must outlive the check, whose stack does not hold them.
        return try withExtendedLifetime(others) { () throws(CryptoError) in
            guard result == 1 else { return .failure(unsafe Self.refusal(context)) }
            return .success(try unsafe Self.chain(context))
        }
    }

    @unsafe private static func refusal(_ context: OpaquePointer) -> CertificateRefusal {
        let code = unsafe X509_STORE_CTX_get_error(context)
        let text = unsafe X509_verify_cert_error_string(Int(code)).map { unsafe String(cString: $0) }
        let current = unsafe X509_STORE_CTX_get_current_cert(context)
        let subject =
            (try? unsafe CertificateText.name(current.map { unsafe X509_get_subject_name($0) } ?? nil)) ?? ""
        return CertificateRefusal(
            reason: text ?? "error \(code)",
            subject: subject,
            depth: unsafe Int(X509_STORE_CTX_get_error_depth(context)),
            code: Int(code)
        )
    }

    @unsafe private static func chain(_ context: OpaquePointer) throws(CryptoError) -> [Certificate] {
        guard let chain = unsafe X509_STORE_CTX_get0_chain(context) else { return [] }
        var result = [Certificate]()
        let count = unsafe OPENSSL_sk_num(chain)
        for index in 0..<max(0, count) {
            guard let entry = unsafe OPENSSL_sk_value(chain, index) else { continue }
            guard unsafe X509_up_ref(OpaquePointer(entry)) == 1 else { throw .exhausted }
            result.append(unsafe Certificate(owning: OpaquePointer(entry)))
        }
        return result
    }
}
