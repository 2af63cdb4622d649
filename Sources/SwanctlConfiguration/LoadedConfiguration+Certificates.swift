import Cryptography
import Primitives
public import Vici

extension LoadedConfiguration {
    /// The certificates, revocation lists and public keys in the order of loading.
    public var certificates: [LoadedCertificate] { certificateTable.certificates }

    /// True when the private key of a certificate was loaded.
    public func hasPrivateKey(for certificate: LoadedCertificate) -> Bool {
        certificate.keyID.map { privateKeys[Hex.encode($0)] != nil } ?? false
    }

    /// The `list-cert` events for `list-certs`, in charon's order; a `type` that charon does not know lists
    /// nothing, as there.
    ///
    /// - Parameters:
    ///   - type: `x509`, `x509ca`, `X509_CRL`…; nil or `any` for all.
    ///   - flag: With the type `X509` only those of this flag; nil or `any` for all.
    ///   - subject: Only those with exactly this subject.
    public func certificateListing(type: String?, flag: String?, subject: String?) -> [ViciMessage] {
        var kinds = LoadedCertificate.Kind.allCases
        var flags = LoadedCertificate.Flag.allCases
        if let type, type.lowercased() != "any" {
            guard let wanted = CertificateType(type), let kind = wanted.kind else { return [] }
            kinds = [kind]
            if wanted.isPlain {
                if let flag, flag.lowercased() != "any" {
                    guard let named = LoadedCertificate.Flag(rawValue: flag.uppercased()) else { return [] }
                    flags = [named]
                }
            } else if kind == .certificate {
                flags = [wanted.flag]
            }
        }
        // Authorities bring certificates of their own.
        let loaded = Set(certificates.map { $0.encoded })
        let all =
            certificates
            + authorities.map { LoadedCertificate(flag: .authority, facts: .certificate($0.certificate)) }
            .filter { !loaded.contains($0.encoded) }
        return kinds.flatMap { kind in
            flags.flatMap { flag in
                all.filter { certificate in
                    // What is no X.509 certificate has no flag but "none", so it is told once.
                    certificate.kind == kind
                        && (certificate.flag == flag || kind != .certificate && flag == flags.first)
                        && (subject == nil || certificate.subject == subject)
                }.map { $0.listing(hasPrivateKey: hasPrivateKey(for: $0)) }
            }
        }
    }

    /// Carries out `load-cert`: `type`, for X.509 `flag`, and `data` as DER or PEM.
    public mutating func loadCertificate(_ message: ViciMessage) throws(LoadRefusal) {
        guard let text = message.string("type") else { throw LoadRefusal("certificate type missing") }
        guard let type = CertificateType(text), text.lowercased() != "any" else {
            throw LoadRefusal("invalid certificate type '\(text)'")
        }
        var flag = type.flag
        if type.isPlain, let word = message.string("flag") {
            guard let named = LoadedCertificate.Flag(rawValue: word.uppercased()) else {
                throw LoadRefusal("invalid certificate flag '\(word)'")
            }
            flag = named
        }
        guard let data = message.octets("data"), !data.isEmpty else {
            throw LoadRefusal("certificate data missing")
        }
        guard let kind = type.kind else { throw .notSupported("load-cert: type", type.name) }
        let facts: LoadedCertificate.Facts
        do throws(CryptoError) {
            switch kind {
            case .publicKey: facts = .publicKey(try PublicKeyInfo(parsing: data))
            case .certificate: facts = .certificate(try CertificateInfo(parsing: data))
            case .revocationList: facts = .revocationList(try RevocationListInfo(parsing: data))
            }
        } catch {
            throw LoadRefusal("parsing \(type.name) certificate failed")
        }
        if case .certificate(let certificate) = facts {
            // The certificate says whether it is an authority's, not who loads it.
            if certificate.isAuthority {
                flag = .authority
            } else if flag == .authority {
                throw LoadRefusal("ca certificate lacks CA basic constraint, rejected")
            }
        }
        try certificateTable.add(LoadedCertificate(flag: flag, facts: facts))
        credentialsChanged()
    }

    /// Carries out `flush-certs`, which empties charon's cache of certificates received from peers: what was
    /// loaded stays.
    ///
    /// Causeway keeps none that it received, so that only the type is checked.
    public func flushCertificates(type: String?) throws(LoadRefusal) {
        guard let type, CertificateType(type) == nil else { return }
        throw LoadRefusal("invalid certificate type '\(type)'")
    }

    /// Carries out `clear-creds`: secrets, private keys and certificates go; authorities keep theirs.
    public mutating func clearCredentials() {
        secrets.removeAll()
        privateKeys.removeAll()
        certificateTable.removeAll()
        credentialsChanged()
    }
}
