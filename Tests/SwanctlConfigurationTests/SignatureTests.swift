import Cryptography
import Policy
import Testing
import Vici

@testable import SwanctlConfiguration

/// What rounds with signatures become.
@Suite struct SignatureTests {
    private func generated(_ name: String, isAuthority: Bool = false) throws -> (
        CertificateInfo, PrivateKeyInfo
    ) {
        let key = try PrivateKeyInfo.generate(.ed25519)
        let content = CertificateContent(
            subject: [("O", "Test"), ("CN", name)],
            alternativeNames: [.dns("\(name).test")],
            authority: isAuthority ? .unlimited : nil,
            notBefore: 1_700_000_000,
            notAfter: 1_900_000_000
        )
        return (try key.issue(content, for: try key.publicKey(), issuer: nil), key)
    }

    private func connection(
        local: (inout ViciMessage) -> Void,
        remote: (inout ViciMessage) -> Void = { _ in }
    ) -> ViciMessage {
        ViciMessage {
            $0.section("c") { conn in
                conn.section("local", local)
                conn.section("remote", remote)
            }
        }
    }

    private func load(
        _ certificate: CertificateInfo,
        _ key: PrivateKeyInfo?,
        into it: inout LoadedConfiguration
    ) throws {
        try it.loadCertificate(
            ViciMessage {
                $0.set("type", "X509")
                $0.set("data", octets: certificate.encoded)
            }
        )
        guard let key else { return }
        _ = try it.loadKey(
            ViciMessage {
                $0.set("type", "any")
                $0.set("data", octets: key.encoded.exposedForTesting())
            }
        )
    }

    @Test func roundsSayWhatProvesAndWhatIsBelieved() throws {
        let (own, _) = try generated("moon")
        let (authority, _) = try generated("root", isAuthority: true)
        var it = LoadedConfiguration()
        try it.loadConnection(
            connection {
                $0.set("auth", "rsa/pss-sha512-sha384")
                $0.list("certs", octets: [own.encoded])
            } remote: {
                $0.set("auth", "pubkey-sha256")
                $0.set("revocation", "strict")
                $0.list("cacerts", octets: [authority.encoded])
            }
        )
        let policy = try #require(it.connections.first?.policy)
        #expect(policy.localAuthentication.method == .signature)
        #expect(policy.localAuthentication.certificates == [own.encoded])
        #expect(policy.localAuthentication.constraint.hashes == [.sha512, .sha384])
        #expect(policy.localAuthentication.constraint.usesPSS == true)
        let remote = policy.remoteAuthentication
        #expect(remote.acceptsSignature && !remote.acceptsSharedKey && remote.revocation == .strict)
        #expect(remote.authorities == [authority.encoded] && remote.constraint.hashes == [.sha256])
        #expect(policy.credentials.authorities.map { $0.subject } == ["O=Test, CN=root"])
        let rounds = it.connections.first?.listing.head.sections.map { $0.1 }
        #expect(rounds?.first?.items("certs") == [Array("O=Test, CN=moon".utf8)])
        #expect(rounds?.last?.items("cacerts") == [Array("O=Test, CN=root".utf8)])
    }

    @Test func withoutMethodsWeSignAndThePeerMayDoEither() throws {
        var it = LoadedConfiguration()
        try it.loadConnection(connection(local: { _ in }))
        let policy = try #require(it.connections.first?.policy)
        #expect(policy.localAuthentication.method == .signature)
        #expect(policy.remoteAuthentication.acceptsSignature && policy.remoteAuthentication.acceptsSharedKey)
        #expect(policy.localAuthentication.takesWantedIdentity)
    }

    /// As in strongSwan: an identity that the certificate does not have is the certificate's subject.
    @Test func theCertificateSaysWhoWeAre() throws {
        let (own, key) = try generated("moon")
        for (id, expected) in [
            (nil, own.subjectIdentity), ("moon.test", .fqdn("moon.test")), ("sun.test", own.subjectIdentity),
        ] as [(String?, Identity)] {
            var it = LoadedConfiguration()
            try load(own, key, into: &it)
            try it.loadConnection(
                connection {
                    $0.list("certs", octets: [own.encoded])
                    if let id { $0.set("id", id) }
                }
            )
            #expect(it.connections.first?.policy.localIdentity == expected, "\(id ?? "none")")
        }
    }

    /// Keys and certificates may come after the connection, and go before it.
    @Test func credentialsFollowWhatIsLoaded() throws {
        let (own, key) = try generated("moon")
        var it = LoadedConfiguration()
        try it.loadConnection(connection(local: { $0.set("auth", "pubkey") }))
        #expect(it.connections.first?.policy.credentials.own.isEmpty == true)
        try load(own, key, into: &it)
        #expect(it.connections.first?.policy.credentials.own.map { $0.certificate } == [own])
        #expect(it.connections.first?.policy.localIdentity == own.subjectIdentity)
        it.clearCredentials()
        #expect(it.connections.first?.policy.credentials.own.isEmpty == true)
    }

    @Test func aKeyWithoutACertificateIsItsOwnName() throws {
        let key = try PrivateKeyInfo.generate(.p256)
        var it = LoadedConfiguration()
        _ = try it.loadKey(
            ViciMessage {
                $0.set("type", "ecdsa")
                $0.set("data", octets: key.encoded.exposedForTesting())
            }
        )
        try it.loadConnection(connection(local: { $0.set("auth", "pubkey") }))
        #expect(it.connections.first?.policy.localIdentity == .keyID(try key.publicKey().infoHash))
    }
}
