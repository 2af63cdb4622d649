import COpenSSL

/// What certificates are believed: roots, what may help to reach them, and what was revoked.
public struct CertificateTrust: Sendable {
    /// Certificates that are believed because the configuration says so; those of authorities, or a peer's own.
    public var anchors: [CertificateInfo]
    /// Certificates that may stand between: believed only if they lead to an anchor.
    public var intermediates: [CertificateInfo]
    /// Lists of what was revoked.
    public var revocations: [RevocationListInfo]
    /// What a certificate needs of them.
    public var revocation: RevocationPolicy

    /// Describes what is believed.
    public init(
        anchors: [CertificateInfo],
        intermediates: [CertificateInfo] = [],
        revocations: [RevocationListInfo] = [],
        revocation: RevocationPolicy = .relaxed
    ) {
        self.anchors = anchors
        self.intermediates = intermediates
        self.revocations = revocations
        self.revocation = revocation
    }
}

/// How sure it must be that a certificate is not revoked, in strongSwan's words.
public enum RevocationPolicy: String, Hashable, Sendable, CaseIterable {
    /// There must be a valid list for each certificate.
    case strict
    /// There must be one for each certificate that says where its list is.
    case ifURI = "ifuri"
    /// What a valid list names is refused; without one nothing is.
    case relaxed
}

/// Why a certificate is not believed.
public struct CertificateRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// The check that failed, in OpenSSL's words.
    public let reason: String
    /// The subject of the certificate that failed it.
    public let subject: String
    /// How far it is from the peer's own, which is 0.
    public let depth: Int
    /// OpenSSL's number of the reason.
    public let code: Int

    /// As one line.
    public var description: String {
        depth == 0 ? "certificate '\(subject)': \(reason)" : "issuer '\(subject)' (\(depth) above): \(reason)"
    }
}

/// A certificate that leads to an anchor, with what its owner can be known by.
///
/// Made by `verify` alone.
public struct VerifiedCertificate: Sendable {
    /// The key that it vouches for.
    public let publicKey: PublicKeyInfo
    /// The subject in DER.
    public let subjectName: [UInt8]
    /// The subject as text.
    public let subject: String
    /// The names of its subjectAltName.
    public let alternativeNames: [AlternativeName]
    /// DER of the certificates from the peer's own to the anchor.
    public let chain: [[UInt8]]

    /// Certificates that are looked at between a peer's own and an anchor.
    public static let longestChain = 8
    /// Certificates that a peer may send.
    public static let mostCertificates = 16

    /// Finds a way from a peer's certificate to an anchor and checks all that lies on it (RFC 5280 §6): signatures,
    /// validity at `seconds` since 1970, constraints of names, lengths and key usage, revocation.
    ///
    /// It takes up to some milliseconds: not for a queue that others wait for.
    /// - Parameter peer: what the peer sent in DER, its own certificate first.
    public static func verify(
        peer: [[UInt8]],
        by trust: CertificateTrust,
        at seconds: Int64
    ) -> Result<VerifiedCertificate, CertificateRefusal> {
        guard let first = peer.first, peer.count <= mostCertificates else {
            return .failure(CertificateRefusal(reason: "none, or too many", subject: "", depth: 0, code: -1))
        }
        do throws(CryptoError) {
            let leaf = try Certificate(der: first)
            let subject = leaf.subject()
            guard leaf.maySign() else {
                return .failure(
                    CertificateRefusal(
                        reason: "its key usage allows no signature",
                        subject: subject,
                        depth: 0,
                        code: -2
                    )
                )
            }
            var others = [Certificate]()
            // What cannot be read helps nobody, and harms nobody.
            for octets in peer.dropFirst() {
                if let one = try? Certificate(der: octets) { others.append(one) }
            }
            for info in trust.intermediates { others.append(try Certificate(der: info.encoded)) }
            let check = try ChainCheck()
            try check.prepare(trust, seconds)
            switch try check.run(leaf, others) {
            case .failure(let refusal): return .failure(refusal)
            case .success(let chain):
                if let refusal = try Self.revoked(chain, others, trust, seconds) { return .failure(refusal) }
                return .success(
                    VerifiedCertificate(
                        publicKey: try leaf.publicKey(),
                        subjectName: try leaf.subjectName(),
                        subject: subject,
                        alternativeNames: leaf.alternativeNames(),
                        chain: chain
                    )
                )
            }
        } catch {
            return .failure(CertificateRefusal(reason: "\(error)", subject: "", depth: 0, code: -3))
        }
    }

    /// Asks the lists about each certificate below the anchor, the peer's own first; nil when all may be believed.
    ///
    /// One at a time, so that a missing list for one hides nothing that there is about another.
    private static func revoked(
        _ chain: [[UInt8]],
        _ others: [Certificate],
        _ trust: CertificateTrust,
        _ seconds: Int64
    ) throws(CryptoError) -> CertificateRefusal? {
        guard trust.revocation != .relaxed || !trust.revocations.isEmpty else { return nil }
        let check = try ChainCheck()
        try check.prepare(trust, seconds, asksLists: true)
        for (depth, encoded) in chain.dropLast().enumerated() {
            let certificate = try Certificate(der: encoded)
            guard case .failure(let refusal) = try check.run(certificate, others) else { continue }
            let needsList =
                switch trust.revocation {
                case .strict: true
                case .ifURI: certificate.saysWhereListsAre
                case .relaxed: false
                }
            guard needsList || refusal.code == Int(X509_V_ERR_CERT_REVOKED) else { continue }
            return CertificateRefusal(
                reason: refusal.reason,
                subject: certificate.subject(),
                depth: depth,
                code: refusal.code
            )
        }
        return nil
    }
}

/// OpenSSL's verifier with one set of anchors.
///
/// Safe: it owns its pointers and nothing shares it.
@safe
private struct ChainCheck: ~Copyable {
    private let store: OpaquePointer

    /// An empty store.
    init() throws(CryptoError) {
        guard let store = unsafe X509_STORE_new() else { throw .exhausted }
        unsafe self.store = store
    }

    /// Takes over what is believed, and for which moment.
    func prepare(
        _ trust: CertificateTrust,
        _ seconds: Int64,
        asksLists: Bool = false
    ) throws(CryptoError) {
        for info in trust.anchors {
            let anchor = try Certificate(der: info.encoded)
            try check(unsafe X509_STORE_add_cert(store, anchor.pointer), "X509_STORE_add_cert")
        }
        for info in trust.revocations {
            let list = unsafe EncodedObject.decode(info.encoded) { unsafe d2i_X509_CRL(nil, $0, $1) }
            guard let list = unsafe list else { throw .unsupported("certificate revocation list") }
            defer { unsafe X509_CRL_free(list) }
            try check(unsafe X509_STORE_add_crl(store, list), "X509_STORE_add_crl")
        }
        guard let parameters = unsafe X509_STORE_get0_param(store) else { throw .exhausted }
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

    deinit { unsafe X509_STORE_free(store) }

    func run(
        _ leaf: Certificate,
        _ others: [Certificate]
    ) throws(CryptoError) -> Result<[[UInt8]], CertificateRefusal> {
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
            unsafe X509_STORE_CTX_init(context, store, leaf.pointer, untrusted),
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

    @unsafe private static func chain(_ context: OpaquePointer) throws(CryptoError) -> [[UInt8]] {
        guard let chain = unsafe X509_STORE_CTX_get0_chain(context) else { return [] }
        var result = [[UInt8]]()
        let count = unsafe OPENSSL_sk_num(chain)
        for index in 0..<max(0, count) {
            guard let entry = unsafe OPENSSL_sk_value(chain, index) else { continue }
            let certificate = OpaquePointer(entry)
            result.append(try unsafe EncodedObject.encode("i2d_X509") { unsafe i2d_X509(certificate, $0) })
        }
        return result
    }
}
