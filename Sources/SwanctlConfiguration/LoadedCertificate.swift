public import Cryptography
public import Vici

/// A certificate, revocation list or bare public key that a vici client loaded.
public struct LoadedCertificate: Hashable, Sendable {
    /// What it is, with strongSwan's words.
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// A bare public key.
        case publicKey = "PUBKEY"
        /// An X.509 certificate.
        case certificate = "X509"
        /// A certificate revocation list.
        case revocationList = "X509_CRL"
    }

    /// What an X.509 certificate is for, with strongSwan's words.
    public enum Flag: String, Hashable, Sendable, CaseIterable {
        /// An end entity.
        case none = "NONE"
        /// A certification authority.
        case authority = "CA"
        /// An attribute authority.
        case attributeAuthority = "AA"
        /// A signer of OCSP answers.
        case ocsp = "OCSP"
    }

    /// What was parsed.
    public enum Facts: Hashable, Sendable {
        /// Of a bare public key.
        case publicKey(PublicKeyInfo)
        /// Of an X.509 certificate.
        case certificate(CertificateInfo)
        /// Of a revocation list.
        case revocationList(RevocationListInfo)
    }

    /// What it is for.
    public let flag: Flag
    /// What was parsed.
    public let facts: Facts

    /// What it is.
    public var kind: Kind {
        switch facts {
        case .publicKey: .publicKey
        case .certificate: .certificate
        case .revocationList: .revocationList
        }
    }

    /// The DER encoding.
    public var encoded: [UInt8] {
        switch facts {
        case .publicKey(let key): key.encoded
        case .certificate(let certificate): certificate.encoded
        case .revocationList(let list): list.encoded
        }
    }

    /// SHA-1 of the subjectPublicKey; nil for a revocation list.
    public var keyID: [UInt8]? {
        switch facts {
        case .publicKey(let key): key.keyID
        case .certificate(let certificate): certificate.keyID
        case .revocationList: nil
        }
    }

    /// Whom it is about: the subject, or a revocation list's issuer; nil for a bare public key.
    public var subject: String? {
        switch facts {
        case .publicKey: nil
        case .certificate(let certificate): certificate.subject
        case .revocationList(let list): list.issuer
        }
    }

    /// The `list-cert` event of it.
    public func listing(hasPrivateKey: Bool) -> ViciMessage {
        ViciMessage { message in
            message.set("type", kind.rawValue)
            if kind == .certificate { message.set("flag", flag.rawValue) }
            if hasPrivateKey { message.set("has_privkey", flag: true) }
            message.set("data", octets: encoded)
        }
    }
}

/// The type of certificates that a command names: `x509ca`, or `X509` with a flag beside it.
struct CertificateType: Equatable {
    /// Nil for kinds that are not kept, such as attribute certificates.
    let kind: LoadedCertificate.Kind?
    let flag: LoadedCertificate.Flag
    /// charon's name of the kind.
    let name: String
    /// True for `x509`, beside which a flag may stand.
    let isPlain: Bool

    /// Nil for what charon does not know either.
    init?(_ text: String) {
        let folded = text.lowercased()
        let words: [String: (LoadedCertificate.Kind?, LoadedCertificate.Flag, String)] = [
            "x509": (.certificate, .none, "X509"), "x509ca": (.certificate, .authority, "X509"),
            "x509ocsp": (.certificate, .ocsp, "X509"), "x509aa": (.certificate, .attributeAuthority, "X509"),
            "x509ac": (nil, .none, "X509_AC"), "x509_ac": (nil, .none, "X509_AC"),
            "x509crl": (.revocationList, .none, "X509_CRL"),
            "x509_crl": (.revocationList, .none, "X509_CRL"), "pubkey": (.publicKey, .none, "PUBKEY"),
            "ocsp_request": (nil, .none, "OCSP_REQUEST"), "ocsp_response": (nil, .none, "OCSP_RESPONSE"),
            "pkcs10_request": (nil, .none, "PKCS10_REQUEST"), "pgp": (nil, .none, "PGP"),
            "any": (nil, .none, "ANY"),
        ]
        guard let word = words[folded] else { return nil }
        (kind, flag, name) = word
        isPlain = folded == "x509"
    }
}
