import Cryptography
import Policy

/// A certificate for each side, and the authority of both: made once.
///
/// The simulated gateways live at 1,800,000,000 seconds since 1970.
enum Certificates {
    private static let root = made { () throws(CryptoError) in
        let key = try PrivateKeyInfo.generate(.ed25519)
        return CredentialStore.Own(
            certificate: try key.issue(content("root", .unlimited), for: try key.publicKey(), issuer: nil),
            key: key
        )
    }
    private static let sides = Side.allCases.map { side in
        made { () throws(CryptoError) in
            let key = try PrivateKeyInfo.generate(side == .west ? .ed25519 : .p256)
            let certificate = try root.key.issue(
                content("\(side.identity)", nil),
                for: try key.publicKey(),
                issuer: root.certificate
            )
            return CredentialStore.Own(certificate: certificate, key: key)
        }
    }

    /// What a side proves itself with, and believes.
    static func store(_ side: Side) -> CredentialStore {
        let own = sides[side.rawValue]
        return CredentialStore(certificates: [own.certificate, root.certificate], keys: [own.key])
    }

    private static func content(_ name: String, _ authority: CertificateContent.Authority?)
        -> CertificateContent
    {
        CertificateContent(
            subject: [("CN", name)],
            alternativeNames: authority == nil ? [.dns(name)] : [],
            authority: authority,
            notBefore: 1_700_000_000,
            notAfter: 1_900_000_000
        )
    }

    private static func made(_ body: () throws(CryptoError) -> CredentialStore.Own) -> CredentialStore.Own {
        do throws(CryptoError) {
            return try body()
        } catch {
            fatalError("no certificate: \(error)")
        }
    }
}
