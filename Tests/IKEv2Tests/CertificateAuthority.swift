import Cryptography
import Policy

@testable import IKEv2

/// Authorities, certificates and keys of the tests, made once: root → intermediate → gateways.
///
/// The engines of the tests live at 1,800,000,000 seconds since 1970.
struct CertificateAuthority {
    static let now: Int64 = 1_800_000_000
    static let shared = CertificateAuthority("Root")
    static let other = CertificateAuthority("Other Root")

    let root: CertificateInfo
    let intermediate: CertificateInfo
    private let rootKey: PrivateKeyInfo
    private let intermediateKey: PrivateKeyInfo

    init(_ name: String) {
        do throws(CryptoError) {
            rootKey = try PrivateKeyInfo.generate(.p256)
            intermediateKey = try PrivateKeyInfo.generate(.ed25519)
            let authority = { (name: String) in
                CertificateContent(
                    subject: [("O", "Test"), ("CN", name)],
                    authority: .unlimited,
                    notBefore: Self.now - 1_000_000,
                    notAfter: Self.now + 1_000_000
                )
            }
            root = try rootKey.issue(authority(name), for: try rootKey.publicKey(), issuer: nil)
            intermediate = try rootKey.issue(
                authority("\(name) Intermediate"),
                for: try intermediateKey.publicKey(),
                issuer: root
            )
        } catch {
            fatalError("no authority: \(error)")
        }
    }

    /// A certificate of the intermediate, or of the root, for names of one gateway.
    func issue(
        _ kind: SignatureKeyKind = .p256,
        _ names: [AlternativeName],
        commonName: String = "gateway",
        byRoot: Bool = false,
        notAfter: Int64 = now + 500_000
    ) throws -> CredentialStore.Own {
        let key = try Self.key(kind)
        let content = CertificateContent(
            subject: [("O", "Test"), ("CN", commonName)],
            alternativeNames: names,
            notBefore: Self.now - 500_000,
            notAfter: notAfter
        )
        let certificate = try (byRoot ? rootKey : intermediateKey).issue(
            content,
            for: try key.publicKey(),
            issuer: byRoot ? root : intermediate
        )
        return CredentialStore.Own(certificate: certificate, key: key)
    }

    /// RSA keys take a second to make: one of each size is enough.
    private static func key(_ kind: SignatureKeyKind) throws(CryptoError) -> PrivateKeyInfo {
        switch kind {
        case .rsa(2048): try rsa2048.get()
        case .rsa(3072): try rsa3072.get()
        default: try PrivateKeyInfo.generate(kind)
        }
    }

    private static let rsa2048 = Result { () throws(CryptoError) in
        try PrivateKeyInfo.generate(.rsa(bits: 2048))
    }
    private static let rsa3072 = Result { () throws(CryptoError) in
        try PrivateKeyInfo.generate(.rsa(bits: 3072))
    }
}

extension ConnectionPolicy {
    /// The same by certificates: `own` is ours, `authorities` vouch for the peer and for us.
    func signing(
        _ own: CredentialStore.Own?,
        trusting authorities: [CertificateInfo],
        revocations: [RevocationListInfo] = []
    ) -> ConnectionPolicy {
        var policy = self
        policy.credentials = CredentialStore(
            certificates: (own.map { [$0.certificate] } ?? []) + authorities,
            keys: own.map { [$0.key] } ?? [],
            revocations: revocations
        )
        if own != nil { policy.localAuthentication = LocalAuthentication(.signature) }
        if !authorities.isEmpty { policy.remoteAuthentication = .signature }
        policy.keyOrigins["ca"] = ConfigurationOrigin(source: origin.source, line: 16)
        policy.keyOrigins["certificate"] = ConfigurationOrigin(source: origin.source, line: 17)
        return policy
    }
}
