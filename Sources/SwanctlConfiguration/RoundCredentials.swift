import Cryptography
import Policy

/// The certificates and keys that the rounds of a connection bring with them.
struct RoundCredentials: Sendable {
    /// Those of one round.
    struct Round: Sendable {
        var certificates: [CertificateInfo] = []
        var authorities: [CertificateInfo] = []
        var publicKeys: [PublicKeyInfo] = []
    }

    let local: [Round]
    let remote: [Round]

    /// All certificates.
    var certificates: [CertificateInfo] { (local + remote).flatMap { $0.certificates + $0.authorities } }

    init(_ options: ConnectionOptions) throws(LoadRefusal) {
        local = try Self.rounds(options.localRounds)
        remote = try Self.rounds(options.remoteRounds)
    }

    private static func rounds(_ options: [AuthenticationOptions]) throws(LoadRefusal) -> [Round] {
        let certificate = { (octets: [UInt8]) in try? CertificateInfo(parsing: octets) }
        var rounds: [Round] = []
        for round in options {
            rounds.append(
                Round(
                    certificates: try parsed(round.certificates, "certs", certificate),
                    authorities: try parsed(round.authorityCertificates, "cacerts", certificate),
                    publicKeys: try parsed(round.publicKeys, "pubkeys") { try? PublicKeyInfo(parsing: $0) }
                )
            )
        }
        return rounds
    }

    private static func parsed<Value>(
        _ encoded: [[UInt8]],
        _ key: String,
        _ parse: ([UInt8]) -> Value?
    ) throws(LoadRefusal) -> [Value] {
        var result: [Value] = []
        for octets in encoded {
            guard let value = parse(octets) else {
                throw LoadRefusal("invalid value for: \(key), config discarded")
            }
            result.append(value)
        }
        return result
    }
}

extension ConnectionPolicy {
    /// The same with the secrets, certificates and keys of the moment.
    func with(_ keyrings: LoadedKeyrings, _ credentials: CredentialStore) -> ConnectionPolicy {
        var policy = self
        policy.postquantum?.keys = keyrings.postquantum
        policy.sharedKeys = keyrings.shared
        policy.eapSecrets = keyrings.eap
        policy.credentials = credentials
        let first = LocalRound(identity: localIdentity, authentication: localAuthentication).named(
            by: credentials
        )
        policy.localIdentity = first.identity
        policy.localAuthentication = first.authentication
        policy.laterLocalRounds = laterLocalRounds.map { $0.named(by: credentials) }
        return policy
    }
}

extension LocalRound {
    /// The same with the identity that its certificate gives.
    ///
    /// Who signs is the one that its certificate names: an identity that is not configured, or not in the certificate that
    /// is, is the certificate's subject, as in strongSwan.
    fileprivate func named(by credentials: CredentialStore) -> LocalRound {
        var round = self
        let named = authentication.certificates
        switch authentication.method {
        case .sharedKey: return round
        // Passwords need no certificate: only one that is configured names us.
        case .eap: if named.isEmpty { return round }
        case .signature: break
        }
        let configured = identity.flatMap { $0.isPattern ? nil : $0 }
        if let configured,
            named.isEmpty || credentials.choose(named: named, identity: configured, requested: []) != nil
        {
            return round
        }
        round.authentication.takesWantedIdentity = configured == nil && authentication.method == .signature
        if let own = credentials.choose(named: named, identity: nil, requested: []) {
            round.identity = own.certificate.subjectIdentity
        } else if configured == nil, let key = try? credentials.bareKeys.first?.publicKey() {
            round.identity = .keyID(key.infoHash)
        }
        return round
    }
}
