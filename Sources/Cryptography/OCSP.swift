import COpenSSL

/// A question about one certificate to an OCSP responder (RFC 6960 §4.1).
struct OCSPQuestion {
    /// The request in DER, for a POST (RFC 6960 appendix A.1).
    let request: [UInt8]

    /// Asks about `certificate`, which `issuer` signed.
    ///
    /// Without a nonce: responders answer from what they made beforehand (RFC 5019 §4), and its times say how fresh it is.
    init(about certificate: Certificate, issuer: Certificate) throws(CryptoError) {
        guard let request = unsafe OCSP_REQUEST_new() else { throw .exhausted }
        defer { unsafe OCSP_REQUEST_free(request) }
        // The request takes the identifier over.
        let id = unsafe OCSP_cert_to_id(EVP_sha1(), certificate.pointer, issuer.pointer)
        guard let id = unsafe id, unsafe OCSP_request_add0_id(request, id) != nil else {
            throw .backend("OCSP_request_add0_id")
        }
        self.request = try unsafe EncodedObject.encode("i2d_OCSP_REQUEST") {
            unsafe i2d_OCSP_REQUEST(request, $0)
        }
    }
}

/// What an OCSP responder said of one certificate.
enum OCSPAnswer: Equatable {
    /// Not revoked.
    case good
    /// Revoked.
    case revoked
    /// Nothing that helps; why.
    case useless(String)

    /// Clocks differ so much at most, in seconds.
    private static let clockSkew: Int64 = 300
    /// How long an answer is good that does not say when the next one is due, in seconds.
    private static let unboundedAge: Int64 = 3600

    /// Judges a response: its signature by the issuer, by whom the issuer delegated it to (RFC 6960 §4.2.2.2) or by a
    /// `signers` of the configuration, and its times.
    ///
    /// - Parameter believed: a store with the anchors of the chain that the certificate was verified by.
    static func judge(
        _ response: [UInt8],
        about certificate: Certificate,
        issuer: Certificate,
        signers: [Certificate],
        believed store: borrowing CertificateStore,
        at seconds: Int64
    ) -> OCSPAnswer {
        defer { ERR_clear_error() }
        let decoded = unsafe EncodedObject.decode(response) { unsafe d2i_OCSP_RESPONSE(nil, $0, $1) }
        guard let decoded = unsafe decoded else { return .useless("it is no OCSP response") }
        defer { unsafe OCSP_RESPONSE_free(decoded) }
        let status = unsafe OCSP_response_status(decoded)
        guard status == OCSP_RESPONSE_STATUS_SUCCESSFUL else {
            let text = unsafe OCSP_response_status_str(Int(status)).map { unsafe String(cString: $0) }
            return .useless("it answers '\(text ?? "\(status)")'")
        }
        guard let basic = unsafe OCSP_response_get1_basic(decoded) else {
            return .useless("it holds no basic response")
        }
        defer { unsafe OCSP_BASICRESP_free(basic) }
        guard unsafe isSigned(basic, issuer, signers, store) else {
            return .useless("it is signed by nobody whom the issuer trusts with it")
        }
        return unsafe standing(in: basic, certificate, issuer, seconds)
    }

    @unsafe private static func isSigned(
        _ basic: OpaquePointer,
        _ issuer: Certificate,
        _ signers: [Certificate],
        _ store: borrowing CertificateStore
    ) -> Bool {
        guard let known = unsafe OPENSSL_sk_new_null(), let named = unsafe OPENSSL_sk_new_null() else {
            return false
        }
        defer {
            unsafe OPENSSL_sk_free(known)
            unsafe OPENSSL_sk_free(named)
        }
        _ = unsafe OPENSSL_sk_push(known, UnsafeRawPointer(issuer.pointer))
        for signer in signers { _ = unsafe OPENSSL_sk_push(named, UnsafeRawPointer(signer.pointer)) }
        return withExtendedLifetime((issuer, signers)) {
            if unsafe OCSP_basic_verify(basic, known, store.pointer, 0) == 1 { return true }
            // Whom the configuration names needs nobody to vouch for it.
            let flags = UInt(OCSP_TRUSTOTHER) | UInt(OCSP_NOINTERN)
            return unsafe !signers.isEmpty && OCSP_basic_verify(basic, named, store.pointer, flags) == 1
        }
    }

    @unsafe private static func standing(
        in basic: OpaquePointer,
        _ certificate: Certificate,
        _ issuer: Certificate,
        _ seconds: Int64
    ) -> OCSPAnswer {
        guard let id = unsafe OCSP_cert_to_id(EVP_sha1(), certificate.pointer, issuer.pointer) else {
            return .useless("out of memory")
        }
        defer { unsafe OCSP_CERTID_free(id) }
        var status: Int32 = -1
        var reason: Int32 = 0
        var revoked: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
        var made: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
        var next: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
        guard unsafe OCSP_resp_find_status(basic, id, &status, &reason, &revoked, &made, &next) == 1 else {
            return .useless("it says nothing of the certificate")
        }
        guard let since = unsafe CertificateText.seconds(made.map { unsafe UnsafePointer($0) }),
            since <= seconds + clockSkew
        else { return .useless("it is of the future") }
        let until =
            unsafe CertificateText.seconds(next.map { unsafe UnsafePointer($0) }) ?? since + unboundedAge
        guard seconds <= until + clockSkew else { return .useless("it is out of date") }
        switch status {
        case V_OCSP_CERTSTATUS_GOOD: return .good
        case V_OCSP_CERTSTATUS_REVOKED: return .revoked
        default: return .useless("it does not know the certificate")
        }
    }
}

/// Facts of OCSP responses that their keeper needs.
public enum OCSPResponse {
    /// Seconds since 1970 until which the first answer in it is good; nil when it does not say or is no response.
    ///
    /// Not verified: it decides only how long the octets are kept.
    public static func nextUpdate(_ octets: [UInt8]) -> Int64? {
        defer { ERR_clear_error() }
        let decoded = unsafe EncodedObject.decode(octets) { unsafe d2i_OCSP_RESPONSE(nil, $0, $1) }
        guard let decoded = unsafe decoded else { return nil }
        defer { unsafe OCSP_RESPONSE_free(decoded) }
        guard let basic = unsafe OCSP_response_get1_basic(decoded) else { return nil }
        defer { unsafe OCSP_BASICRESP_free(basic) }
        guard let single = unsafe OCSP_resp_get0(basic, 0) else { return nil }
        var next: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
        var made: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
        var revoked: UnsafeMutablePointer<ASN1_GENERALIZEDTIME>?
        var reason: Int32 = 0
        _ = unsafe OCSP_single_get0_status(single, &reason, &revoked, &made, &next)
        return unsafe CertificateText.seconds(next.map { unsafe UnsafePointer($0) })
    }
}
