public import Cryptography
public import Vici

/// A certification authority that a vici client loaded.
public struct LoadedAuthority: Sendable {
    /// Its name.
    public let name: String
    /// Its certificate.
    public let certificate: CertificateInfo
    /// Where its revocation lists are.
    public let revocationListURIs: [String]
    /// Where its OCSP responders are.
    public let ocspURIs: [String]
    /// What the URIs of certificates begin with (hash and URL, RFC 7296 §3.6).
    public let certificateURIBase: String?

    /// Its section of the `list-authority` event.
    public var listing: ViciMessage {
        ViciMessage { section in
            section.set("cacert", certificate.subject)
            section.list("crl_uris", revocationListURIs)
            section.list("ocsp_uris", ocspURIs)
            if let certificateURIBase { section.set("cert_uri_base", certificateURIBase) }
        }
    }
}

extension LoadedConfiguration {
    /// The authorities; one that is loaded again moves to the end, as in charon.
    public var authorities: [LoadedAuthority] { authorityTable.values }

    /// Carries out `load-authority`: one section named as the authority, with `cacert` as DER or PEM,
    /// `crl_uris`, `ocsp_uris` and `cert_uri_base`.
    ///
    /// A certificate in a file of the daemon's (`file`) or on a token (`handle`) is refused by name.
    public mutating func loadAuthority(_ message: ViciMessage) throws(LoadRefusal) {
        guard case let element? = message.elements.first, message.elements.count == 1,
            case .section(let section) = element.value
        else { throw LoadRefusal("parsing request failed") }
        try ConnectionOptions.check(name: element.name)
        var options = AuthorityOptions()
        for element in section.elements {
            let outcome: OptionOutcome
            switch element.value {
            case .value(let value): outcome = options.set(element.name, value)
            case .list(let items):
                guard items.count <= LoadLimits.uris else {
                    throw .limit(LoadLimits.uris, "items of \(element.name)")
                }
                outcome = options.set(element.name, items: items)
            case .section: throw LoadRefusal("parsing request failed")
            }
            switch outcome {
            case .accepted: break
            case .unknown:
                throw LoadRefusal("unknown option: \(element.name), authority discarded")
            case .invalid:
                throw LoadRefusal("invalid value for: \(element.name), authority discarded")
            }
        }
        let name = element.name
        guard let certificate = options.certificate else {
            if let elsewhere = options.elsewhere {
                throw .notSupported("authorities.\(name).\(elsewhere)", "a certificate")
            }
            throw LoadRefusal("CA certificate missing: \(name)")
        }
        guard certificate.isAuthority else { throw LoadRefusal("certificate without CA flag, rejected") }
        guard authorityTable[name] != nil || authorityTable.count < LoadLimits.authorities else {
            throw .limit(LoadLimits.authorities, "authorities")
        }
        authorityTable.remove(name)
        let authority = LoadedAuthority(
            name: name,
            certificate: certificate,
            revocationListURIs: options.revocationListURIs,
            ocspURIs: options.ocspURIs,
            certificateURIBase: options.certificateURIBase
        )
        authorityTable.set(name, authority)
        credentialsChanged()
    }

    /// Carries out `unload-authority`.
    public mutating func unloadAuthority(_ name: String) throws(LoadRefusal) {
        guard authorityTable.remove(name) != nil else {
            throw LoadRefusal("unload: authority '\(name)' not found")
        }
        credentialsChanged()
    }
}

/// The section of an authority as it was sent.
private struct AuthorityOptions {
    var certificate: CertificateInfo?
    /// The key that says where the certificate is, if not in the message.
    var elsewhere: String?
    var certificateURIBase: String?
    var revocationListURIs: [String] = []
    var ocspURIs: [String] = []

    mutating func set(_ key: String, _ value: [UInt8]) -> OptionOutcome {
        switch key {
        case "cacert": return .keep(try? CertificateInfo(parsing: value), in: &certificate)
        case "file", "handle":
            elsewhere = key
            return OptionText.printable(value) == nil ? .invalid : .accepted
        case "module": return OptionText.printable(value) == nil ? .invalid : .accepted
        case "slot": return OptionText.number(value, as: UInt32.self) == nil ? .invalid : .accepted
        case "cert_uri_base": return .keep(OptionText.printable(value), in: &certificateURIBase)
        default: return .unknown
        }
    }

    mutating func set(_ key: String, items: [[UInt8]]) -> OptionOutcome {
        let texts = items.compactMap { OptionText.printable($0) }
        switch key {
        case "crl_uris": revocationListURIs += texts
        case "ocsp_uris": ocspURIs += texts
        default: return .unknown
        }
        return texts.count == items.count ? .accepted : .invalid
    }
}
