import Cryptography
import EAP
import Policy
import Testing

@testable import GatewayConfiguration

/// Certificates and keys in gateway.yaml.
@Suite struct CredentialTests {
    private static let now: Int64 = 1_800_000_000

    /// A root, a certificate of it for `hq.test`, both as PEM, and the key.
    private struct Files {
        let root: CertificateInfo
        let own: CertificateInfo
        let rootKey: PrivateKeyInfo
        let key: PrivateKeyInfo

        init() throws {
            rootKey = try PrivateKeyInfo.generate(.ed25519)
            key = try PrivateKeyInfo.generate(.p256)
            root = try rootKey.issue(
                CertificateContent(
                    subject: [("CN", "root")],
                    authority: .unlimited,
                    notBefore: now - 1000,
                    notAfter: now + 1000
                ),
                for: try rootKey.publicKey(),
                issuer: nil
            )
            own = try rootKey.issue(
                CertificateContent(
                    subject: [("O", "Test"), ("CN", "hq")],
                    alternativeNames: [.dns("hq.test"), .address([192, 0, 2, 1])],
                    notBefore: now - 1000,
                    notAfter: now + 1000
                ),
                for: try key.publicKey(),
                issuer: root
            )
        }
    }

    private func pem(_ octets: [UInt8], _ label: String) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
        var text = ""
        for start in stride(from: 0, to: octets.count, by: 3) {
            let part = octets[start..<min(start + 3, octets.count)]
            let number = part.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - part.count))
            for index in 0..<4 {
                text.append(index <= part.count ? alphabet[number >> (18 - 6 * index) & 63] : "=")
            }
            if start % 48 == 45 { text += "\n" }
        }
        return "-----BEGIN \(label)-----\n\(text)\n-----END \(label)-----\n"
    }

    private func memory(_ yaml: String, _ files: Files) throws -> MemoryFiles {
        MemoryFiles(
            texts: [
                path: yaml,
                "/etc/causeway/own.pem": "some words\n" + pem(files.own.encoded, "CERTIFICATE")
                    + pem(files.root.encoded, "CERTIFICATE"),
                "/etc/causeway/root.pem": pem(files.root.encoded, "CERTIFICATE"),
                "/etc/causeway/key.pub": pem(try files.key.publicKey().encoded, "PUBLIC KEY"),
                "/etc/causeway/empty.pem": "nothing",
                "/etc/causeway/broken.pem": pem([0x30, 0x03, 1, 2, 3], "CERTIFICATE"),
            ],
            secrets: [
                "/etc/causeway/own.key": .success(files.key.encoded.exposedForTesting()),
                "/etc/causeway/other.key": .success(files.rootKey.encoded.exposedForTesting()),
                "/etc/causeway/text.key": .success(Array("no key".utf8)),
            ]
        )
    }

    private func load(_ connection: String) throws -> ConnectionPolicy {
        let files = try Files()
        let yaml = gatewayFile(connection: "site: branch, \(connection)")
        let gateway = try GatewayConfigurationFile.load(path: path, files: try memory(yaml, files))
        return try #require(gateway.connections.first)
    }

    private func refusal(_ connection: String) throws -> String {
        do {
            _ = try load(connection)
            return "loaded"
        } catch let errors as ConfigurationErrors {
            return errors.description
        }
    }

    @Test func certificatesOnBothSides() throws {
        let policy = try load(
            "certificate: own.pem, private-key: own.key, ca: root.pem, remote-id: branch.test"
        )
        #expect(
            policy.localAuthentication.method == .signature && policy.remoteAuthentication.acceptsSignature
        )
        #expect(!policy.remoteAuthentication.acceptsSharedKey && policy.sharedKeys.entries.isEmpty)
        #expect(policy.localIdentity?.description == "O=Test, CN=hq")
        #expect(policy.credentials.own.count == 1 && policy.credentials.authorities.count == 1)
        #expect(policy.remoteAuthentication.revocation == .relaxed)
        #expect(policy.origin(of: "ca").line != nil)
    }

    @Test func aConfiguredIdentityMustBeInTheCertificate() throws {
        let certificate = "certificate: own.pem, private-key: own.key, ca: root.pem, remote-id: branch.test"
        #expect(try load(certificate + ", local-id: hq.test").localIdentity == .fqdn("hq.test"))
        #expect(try load(certificate + ", local-id: 192.0.2.1").localIdentity?.description == "192.0.2.1")
        let text = try refusal(certificate + ", local-id: other.test")
        #expect(text.contains("local-id") && text.contains("not one for 'other.test'"))
        #expect(text.contains("O=Test, CN=hq, hq.test, 192.0.2.1"))
    }

    @Test func theOtherSideMayHaveAKey() throws {
        let ours = try load("certificate: own.pem, private-key: own.key, psk-file: /psk")
        #expect(ours.localAuthentication.method == .signature && ours.remoteAuthentication == .sharedKey)
        let theirs = try load("psk-file: /psk, ca: root.pem, remote-id: branch.test")
        #expect(
            theirs.localAuthentication.method == .sharedKey && theirs.remoteAuthentication.acceptsSignature
        )
        let bare = try load("private-key: own.key, remote-public-key: key.pub, local-id: hq.test")
        #expect(bare.credentials.bareKeys.count == 1 && bare.remoteAuthentication.publicKeys.count == 1)
        #expect(bare.localIdentity == .fqdn("hq.test"))
    }

    @Test(arguments: [
        ("certificate: own.pem, ca: root.pem, remote-id: a", "needs the key 'private-key'"),
        ("certificate: own.pem, private-key: own.key", "needs the key 'psk-file'"),
        ("ca: root.pem, remote-id: a", "needs the key 'psk-file'"),
        (
            "certificate: own.pem, private-key: other.key, ca: root.pem, remote-id: a",
            "is not the key of the certificate"
        ),
        ("certificate: own.pem, private-key: text.key, ca: root.pem, remote-id: a", "holds no private key"),
        (
            "certificate: empty.pem, private-key: own.key, ca: root.pem, remote-id: a",
            "holds no -----BEGIN CERTIFICATE"
        ),
        (
            "certificate: broken.pem, private-key: own.key, ca: root.pem, remote-id: a",
            "CERTIFICATE that cannot be read"
        ),
        ("certificate: away.pem, private-key: own.key, ca: root.pem, remote-id: a", "No such file"),
        ("certificate: own.pem, private-key: own.key, ca: root.pem", "needs the key 'remote-id'"),
        (
            "certificate: own.pem, private-key: own.key, ca: root.pem, remote-id: a, psk-file: /psk",
            "is not used"
        ),
        (
            "certificate: own.pem, private-key: own.key, ca: own.pem, remote-id: a",
            "'O=Test, CN=hq' is not an authority's"
        ),
        ("certificate: own.pem, private-key: own.key, ca: root.pem, remote-id: '%any'", "loaded"),
        (
            "certificate: own.pem, private-key: own.key, ca: root.pem, remote-id: a, revocation: maybe",
            "strict, ifuri, relaxed"
        ),
        (
            "certificate: own.pem, private-key: own.key, ca: root.pem, remote-id: a, signature: rsa-md5",
            "rsa-pss, rsa-pss-sha256"
        ),
    ])
    func whatIsWrongIsNamed(connection: String, words: String) throws {
        #expect(try refusal(connection).contains(words))
    }

    @Test func schemesAndRevocation() throws {
        let policy = try load(
            "certificate: own.pem, private-key: own.key, ca: root.pem, remote-id: a, revocation: ifuri, "
                + "signature: rsa-pss-sha384"
        )
        #expect(policy.localAuthentication.constraint.usesPSS == true)
        #expect(policy.localAuthentication.constraint.hashes == [.sha384])
        #expect(policy.remoteAuthentication.revocation == .ifURI)
    }

    @Test func eap() throws {
        let password = try load(
            "remote-id: b.test, ca: root.pem, eap: [mschapv2, md5], eap-id: 'DOM\\carol', eap-password-file: pw"
        )
        #expect(password.localAuthentication.method.eap?.methods == [.mschapv2, .md5])
        #expect(password.localAuthentication.method.eap?.identity?.data == Array("DOM\\carol".utf8))
        #expect(password.remoteAuthentication.acceptsSignature)
        #expect(password.remoteAuthentication.eapMethods.isEmpty)
        #expect(password.eapSecrets.passwords.entries.count == 1)
        let certificate = "certificate: own.pem, private-key: own.key"
        let both = try load("remote-id: b.test, ca: root.pem, eap: tls, eap-only: true, \(certificate)")
        #expect(both.remoteAuthentication.eapMethods == [.tls] && !both.remoteAuthentication.acceptsSignature)
        let key = try load("psk-file: psk, eap: gtc, eap-id: carol, eap-password-file: pw")
        #expect(key.remoteAuthentication == .sharedKey)
    }

    @Test func severalProofs() throws {
        let certificate = "certificate: own.pem, private-key: own.key, ca: root.pem, remote-id: b.test"
        let policy = try load(
            "\(certificate), psk-file: psk, proofs: [certificate, psk], remote-proofs: [psk, certificate]"
        )
        #expect(policy.localRounds.map { $0.authentication.method } == [.signature, .sharedKey])
        #expect(policy.remoteRounds.map { $0.authentication.acceptsSignature } == [false, true])
        #expect(policy.hasSeveralRounds)
        let eap = try load("\(certificate), proofs: [certificate, eap], eap: mschapv2, eap-password-file: pw")
        #expect(eap.laterLocalRounds.first?.authentication.method.eap?.methods == [.mschapv2])
    }

    @Test(arguments: [
        ("psk-file: psk, eap: sim", "mschapv2"),
        ("psk-file: psk, eap: mschapv2", "needs the key 'eap-password-file'"),
        ("psk-file: psk, eap-id: carol", "'eap' names no method"),
        ("psk-file: psk, eap: tls", "certificate"),
        ("psk-file: psk, proofs: [psk, psk]", "each of psk, certificate, eap once"),
        ("psk-file: psk, proofs: [eap]", "with 'eap'"),
        ("psk-file: psk, remote-proofs: [eap]", "eap-only"),
        ("psk-file: psk, eap-only: true", "eap-only"),
        ("ca: root.pem, remote-id: b, psk-file: psk, eap: md5, eap-password-file: pw", "is not used"),
        (
            "ca: root.pem, remote-id: b, psk-file: psk, remote-proofs: [certificate, psk], ppk-id: k, ppk-file: p",
            "does not go with several proofs"
        ),
        (
            "certificate: own.pem, private-key: own.key, psk-file: psk, eap: md5, eap-password-file: pw",
            "proofs: [certificate, eap]"
        ),
        ("psk-file: psk, certificate-url: 'https://x/'", "accepted: http://"),
        ("psk-file: psk, certificate-url: 'http://x'", "accepted: http://"),
        ("psk-file: psk, redirect: 'a b'", "accepted"),
        ("psk-file: psk, send-certificate: sometimes", "ifasked"),
    ])
    func refusedProofs(_ connection: String, _ word: String) throws {
        let text = try refusal(connection)
        #expect(text.contains(word), "\(text)")
    }
}
