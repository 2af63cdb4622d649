import COpenSSL

/// What a new certificate is to say.
public struct CertificateContent: Sendable {
    /// The subject: pairs such as `("CN", "gateway.example")`, the widest first.
    public var subject: [(String, String)]
    /// Its other names.
    public var alternativeNames: [AlternativeName]
    /// Nil for an end entity; for an authority how many authorities may follow it, or no limit.
    public var authority: Authority?
    /// Seconds since 1970 from which it is valid.
    public var notBefore: Int64
    /// Seconds since 1970 until which it is valid.
    public var notAfter: Int64
    /// Extensions beside as OpenSSL's configuration writes them, by name: `("nameConstraints", "permitted;DNS:.example")`.
    public var extensions: [(String, String)] = []

    /// What makes an authority's certificate one.
    public enum Authority: Hashable, Sendable {
        /// Any number of authorities may follow.
        case unlimited
        /// So many.
        case pathLength(Int)
    }

    /// Describes a certificate.
    public init(
        subject: [(String, String)],
        alternativeNames: [AlternativeName] = [],
        authority: Authority? = nil,
        notBefore: Int64,
        notAfter: Int64
    ) {
        self.subject = subject
        self.alternativeNames = alternativeNames
        self.authority = authority
        self.notBefore = notBefore
        self.notAfter = notAfter
    }
}

extension PrivateKeyInfo {
    /// Signs a certificate for `key`, by this key, whose own certificate is `issuer`; nil makes one of its own key.
    /// - Throws: `CryptoError.unsupported` for names that no certificate can have.
    public func issue(
        _ content: CertificateContent,
        for key: PublicKeyInfo,
        issuer: CertificateInfo?
    ) throws(CryptoError) -> CertificateInfo {
        guard let made = unsafe X509_new() else { throw .exhausted }
        let certificate = unsafe Certificate(owning: made)
        let authority = try issuer.map { (info) throws(CryptoError) in try Certificate(der: info.encoded) }
        try certificate.setContent(content)
        try certificate.setKey(key)
        try certificate.setIssuer(authority ?? certificate)
        try certificate.add("basicConstraints", content.constraints, issuer: authority ?? certificate)
        try certificate.add("keyUsage", content.usage, issuer: authority ?? certificate)
        try certificate.add("subjectKeyIdentifier", "hash", issuer: authority ?? certificate)
        if let names = try content.namesText() {
            try certificate.add("subjectAltName", names, issuer: authority ?? certificate)
        }
        for (name, value) in content.extensions {
            try certificate.add(name, value, issuer: authority ?? certificate)
        }
        if let authority { try certificate.add("authorityKeyIdentifier", "keyid", issuer: authority) }
        let signing = try PublicOrPrivateKey(encoded)
        let digest =
            algorithm == .ed25519 || algorithm == .ed448 ? nil : unsafe HashFunction.sha256.fetched.pointer
        guard unsafe X509_sign(certificate.pointer, signing.pointer, digest) > 0 else {
            throw .backend("X509_sign")
        }
        return try CertificateInfo(parsing: certificate.encoded())
    }
}

extension CertificateContent {
    fileprivate var constraints: String {
        switch authority {
        case nil: "critical,CA:FALSE"
        case .unlimited: "critical,CA:TRUE"
        case .pathLength(let count): "critical,CA:TRUE,pathlen:\(count)"
        }
    }

    fileprivate var usage: String {
        authority == nil ? "critical,digitalSignature" : "critical,keyCertSign,cRLSign"
    }

    /// The names in OpenSSL's words; these are separated by commas, so none may have one.
    fileprivate func namesText() throws(CryptoError) -> String? {
        var parts = [String]()
        for name in alternativeNames {
            switch name {
            case .dns(let text): parts.append("DNS:" + text)
            case .email(let text): parts.append("email:" + text)
            case .address(let octets): parts.append("IP:" + Self.text(octets))
            case .directory: throw .unsupported("a directory name in a new certificate")
            }
        }
        for part in parts where part.utf8.contains(where: { $0 <= 0x20 || $0 == 0x2c || $0 >= 0x7f }) {
            throw .unsupported("name \(part)")
        }
        return parts.isEmpty ? nil : parts.joined(separator: ",")
    }

    private static func text(_ octets: [UInt8]) -> String {
        guard octets.count == 16 else { return octets.map(String.init).joined(separator: ".") }
        return stride(from: 0, to: 16, by: 2)
            .map { String(UInt16(octets[$0]) << 8 | UInt16(octets[$0 + 1]), radix: 16) }
            .joined(separator: ":")
    }
}

extension Certificate {
    fileprivate func setContent(_ content: CertificateContent) throws(CryptoError) {
        try check(unsafe X509_set_version(pointer, 2), "X509_set_version")
        // 20 octets at most, positive, with enough chance that nobody can guess it (RFC 5280 §4.1.2.2).
        var serial = [UInt8](repeating: 0, count: 16)
        try check(unsafe RAND_bytes(&serial, Int32(serial.count)), "RAND_bytes")
        serial[0] = serial[0] & 0x7f | 0x40
        guard let number = unsafe BN_bin2bn(serial, Int32(serial.count), nil) else { throw .exhausted }
        defer { unsafe BN_free(number) }
        guard unsafe BN_to_ASN1_INTEGER(number, X509_get_serialNumber(pointer)) != nil else {
            throw .backend("BN_to_ASN1_INTEGER")
        }
        guard unsafe ASN1_TIME_set(X509_getm_notBefore(pointer), time_t(content.notBefore)) != nil,
            unsafe ASN1_TIME_set(X509_getm_notAfter(pointer), time_t(content.notAfter)) != nil
        else { throw .unsupported("validity") }
        guard let name = unsafe X509_get_subject_name(pointer) else { throw .exhausted }
        for (key, value) in content.subject {
            let octets = Array(value.utf8)
            let added = unsafe X509_NAME_add_entry_by_txt(
                name,
                key,
                MBSTRING_UTF8,
                octets,
                Int32(clamping: octets.count),
                -1,
                0
            )
            guard added == 1 else { throw .unsupported("\(key)=\(value) in a subject") }
        }
    }

    fileprivate func setKey(_ key: PublicKeyInfo) throws(CryptoError) {
        let key = try PublicOrPrivateKey(key.encoded, isPrivate: false)
        try check(unsafe X509_set_pubkey(pointer, key.pointer), "X509_set_pubkey")
    }

    fileprivate func setIssuer(_ issuer: Certificate) throws(CryptoError) {
        try check(
            unsafe X509_set_issuer_name(pointer, X509_get_subject_name(issuer.pointer)),
            "X509_set_issuer_name"
        )
    }

    fileprivate func add(_ name: String, _ value: String, issuer: Certificate) throws(CryptoError) {
        var context = unsafe X509V3_CTX()
        unsafe X509V3_set_ctx(&context, issuer.pointer, pointer, nil, nil, 0)
        let number = unsafe OBJ_txt2nid(name)
        guard number != NID_undef,
            let made = unsafe X509V3_EXT_conf_nid(nil, &context, number, value)
        else {
            ERR_clear_error()
            throw .unsupported("extension \(name) \(value)")
        }
        defer { unsafe X509_EXTENSION_free(made) }
        try check(unsafe X509_add_ext(pointer, made, -1), "X509_add_ext")
    }
}
