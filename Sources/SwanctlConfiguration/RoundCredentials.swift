import Cryptography
import Policy

/// The certificates and keys that the rounds of a connection bring with them.
struct RoundCredentials: Sendable {
    let local: [CertificateInfo]
    let remote: [CertificateInfo]
    let authorities: [CertificateInfo]
    let publicKeys: [PublicKeyInfo]

    /// All certificates.
    var certificates: [CertificateInfo] { local + remote + authorities }

    init(_ options: ConnectionOptions) throws(LoadRefusal) {
        let (ours, theirs) = (options.localRounds.first, options.remoteRounds.first)
        let certificate = { (octets: [UInt8]) in try? CertificateInfo(parsing: octets) }
        local = try Self.parsed(ours?.certificates, "certs", certificate)
        remote = try Self.parsed(theirs?.certificates, "certs", certificate)
        authorities = try Self.parsed(theirs?.authorityCertificates, "cacerts", certificate)
        publicKeys = try Self.parsed(theirs?.publicKeys, "pubkeys") { try? PublicKeyInfo(parsing: $0) }
    }

    private static func parsed<Value>(
        _ encoded: [[UInt8]]?,
        _ key: String,
        _ parse: ([UInt8]) -> Value?
    ) throws(LoadRefusal) -> [Value] {
        var result: [Value] = []
        for octets in encoded ?? [] {
            guard let value = parse(octets) else {
                throw LoadRefusal("invalid value for: \(key), config discarded")
            }
            result.append(value)
        }
        return result
    }
}

extension ConnectionPolicy {
    /// The same with the certificates and keys of the moment.
    ///
    /// Who signs is the one that its certificate names: an identity that is not configured, or not in the certificate that
    /// is, is the certificate's subject, as in strongSwan.
    func with(
        _ keyring: SharedKeyring,
        _ credentials: CredentialStore,
        _ postquantumKeys: SharedKeyring
    ) -> ConnectionPolicy {
        var policy = self
        policy.postquantum?.keys = postquantumKeys
        policy.sharedKeys = keyring
        policy.credentials = credentials
        guard localAuthentication.method == .signature else { return policy }
        let named = localAuthentication.certificates
        let configured = localIdentity.flatMap { $0.isPattern ? nil : $0 }
        if let configured,
            named.isEmpty || credentials.choose(named: named, identity: configured, requested: []) != nil
        {
            return policy
        }
        policy.localAuthentication.takesWantedIdentity = configured == nil
        if let own = credentials.choose(named: named, identity: nil, requested: []) {
            policy.localIdentity = own.certificate.subjectIdentity
        } else if configured == nil, let key = try? credentials.bareKeys.first?.publicKey() {
            policy.localIdentity = .keyID(key.infoHash)
        }
        return policy
    }
}
