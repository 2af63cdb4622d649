import COpenSSL

/// What lists tell of an X.509 certificate; nothing here says that it can be trusted.
public struct CertificateInfo: Hashable, Sendable {
    /// The DER encoding.
    public let encoded: [UInt8]
    /// The subject as `C=CH, O=Example, CN=gateway`.
    public let subject: String
    /// The issuer in the same form.
    public let issuer: String
    /// The serial number, most significant octet first.
    public let serialNumber: [UInt8]
    /// Seconds since 1970 from which it is valid.
    public let notBefore: Int64
    /// Seconds since 1970 until which it is valid.
    public let notAfter: Int64
    /// True when its basic constraints make it a certification authority's.
    public let isAuthority: Bool
    /// SHA-1 of the subjectPublicKey: what joins it to its private key.
    public let keyID: [UInt8]
    /// SHA-1 of the SubjectPublicKeyInfo: what an authority is called by in a CERTREQ payload (RFC 7296 §3.7).
    public let publicKeyHash: [UInt8]
    /// The subject in DER.
    public let subjectName: [UInt8]
    /// The issuer in DER.
    public let issuerName: [UInt8]
    /// The names of its subjectAltName that identities can be compared with.
    public let alternativeNames: [AlternativeName]
    /// The same as OpenSSL has it: to parse a certificate takes longer than to verify it.
    let parsed: Certificate

    /// True for a root, and for a certificate that nobody else vouches for.
    public var isSelfIssued: Bool { subjectName == issuerName }

    /// Parses PEM or DER.
    /// - Throws: `CryptoError.unsupported` for what is no certificate.
    public init(parsing octets: [UInt8]) throws(CryptoError) {
        guard octets.count <= EncodedObject.longest else { throw .invalidLength }
        let parsed: OpaquePointer?
        if EncodedObject.isDER(octets) {
            unsafe parsed = unsafe EncodedObject.decode(octets) { unsafe d2i_X509(nil, $0, $1) }
        } else {
            unsafe parsed = try unsafe EncodedObject.withReader(octets) {
                unsafe PEM_read_bio_X509($0, nil, noPassword, nil)
            }
        }
        guard let certificate = unsafe parsed else {
            ERR_clear_error()
            throw .unsupported("X.509 certificate")
        }
        let owner = unsafe Certificate(owning: certificate)
        self.parsed = owner
        defer { withExtendedLifetime(owner) {} }
        encoded = try unsafe EncodedObject.encode("i2d_X509") { unsafe i2d_X509(certificate, $0) }
        try EncodedObject.checkWhole(octets, encoded)
        subject = try unsafe CertificateText.name(X509_get_subject_name(certificate))
        issuer = try unsafe CertificateText.name(X509_get_issuer_name(certificate))
        serialNumber = unsafe CertificateText.octets(X509_get0_serialNumber(certificate))
        guard let from = unsafe CertificateText.seconds(X509_get0_notBefore(certificate)),
            let until = unsafe CertificateText.seconds(X509_get0_notAfter(certificate))
        else { throw .unsupported("validity of the certificate") }
        notBefore = from
        notAfter = until
        isAuthority = unsafe X509_check_ca(certificate) == 1
        let publicKey = unsafe CertificateText.octets(X509_get0_pubkey_bitstr(certificate))
        keyID = try Digest.sha1([publicKey])
        let info = unsafe X509_get_X509_PUBKEY(certificate)
        publicKeyHash = try Digest.sha1([
            try unsafe EncodedObject.encode("i2d_X509_PUBKEY") { unsafe i2d_X509_PUBKEY(info, $0) }
        ])
        subjectName = try owner.subjectName()
        let issuer = unsafe X509_get_issuer_name(certificate)
        issuerName = try unsafe EncodedObject.encode("i2d_X509_NAME") { unsafe i2d_X509_NAME(issuer, $0) }
        alternativeNames = owner.alternativeNames()
    }
}

extension CertificateInfo {
    /// Equal encodings are equal certificates.
    public static func == (left: CertificateInfo, right: CertificateInfo) -> Bool {
        left.encoded == right.encoded
    }

    /// Hashes the encoding.
    public func hash(into hasher: inout Hasher) { hasher.combine(encoded) }
}

/// What lists tell of a certificate revocation list; nothing here says that it can be trusted.
public struct RevocationListInfo: Hashable, Sendable {
    /// The DER encoding.
    public let encoded: [UInt8]
    /// The issuer as `C=CH, O=Example, CN=authority`.
    public let issuer: String
    /// Seconds since 1970 when it was made.
    public let thisUpdate: Int64
    /// Seconds since 1970 when the next one is due; nil when it does not say.
    public let nextUpdate: Int64?

    /// Parses PEM or DER.
    /// - Throws: `CryptoError.unsupported` for what is no revocation list.
    public init(parsing octets: [UInt8]) throws(CryptoError) {
        guard octets.count <= EncodedObject.longestList else { throw .invalidLength }
        let parsed: OpaquePointer?
        if EncodedObject.isDER(octets) {
            unsafe parsed = unsafe EncodedObject.decode(octets) { unsafe d2i_X509_CRL(nil, $0, $1) }
        } else {
            unsafe parsed = try unsafe EncodedObject.withReader(octets) {
                unsafe PEM_read_bio_X509_CRL($0, nil, noPassword, nil)
            }
        }
        guard let list = unsafe parsed else {
            ERR_clear_error()
            throw .unsupported("certificate revocation list")
        }
        defer { unsafe X509_CRL_free(list) }
        encoded = try unsafe EncodedObject.encode("i2d_X509_CRL") { unsafe i2d_X509_CRL(list, $0) }
        try EncodedObject.checkWhole(octets, encoded)
        issuer = try unsafe CertificateText.name(X509_CRL_get_issuer(list))
        guard let made = unsafe CertificateText.seconds(X509_CRL_get0_lastUpdate(list)) else {
            throw .unsupported("date of the revocation list")
        }
        thisUpdate = made
        nextUpdate = unsafe CertificateText.seconds(X509_CRL_get0_nextUpdate(list))
    }
}
