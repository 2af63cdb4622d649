import Cryptography
import Primitives
import Testing
import Vici

@testable import SwanctlConfiguration

@Suite(.enabled(if: OpenSSLTool.isAvailable))
struct CertificateTests {
    private func message(_ data: [UInt8], type: String, flag: String? = nil) -> ViciMessage {
        ViciMessage {
            $0.set("type", type)
            if let flag { $0.set("flag", flag) }
            $0.set("data", octets: data)
        }
    }

    private let subject = "/C=CH/O=strongSwan Project/CN=moon"

    @Test func factsOfACertificate() throws {
        let key = try OpenSSLTool.key("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        let pem = try OpenSSLTool.certificate(key, subject: subject, isAuthority: false)
        let der = try OpenSSLTool.run(["x509", "-in", "INPUT", "-outform", "DER"], input: pem)
        for data in [pem, der] {
            let info = try CertificateInfo(parsing: data)
            #expect(info.encoded == der)
            #expect(info.subject == "C=CH, O=strongSwan Project, CN=moon")
            #expect(info.issuer == info.subject)
            #expect(info.serialNumber == [0x12, 0x67])
            #expect(info.notAfter - info.notBefore == 10 * 86_400)
            #expect(!info.isAuthority)
        }
        var configuration = LoadedConfiguration()
        try configuration.loadCertificate(message(pem, type: "x509"))
        try configuration.loadCertificate(message(der, type: "X509", flag: "NONE"))
        let loaded = try #require(configuration.certificates.first)
        #expect(configuration.certificates.count == 1)
        #expect(!configuration.hasPrivateKey(for: loaded))
        let id = try configuration.loadKey(
            ViciMessage {
                $0.set("type", "any")
                $0.set("data", octets: key)
            }
        )
        #expect(Hex.encode(loaded.keyID ?? []) == id)
        #expect(configuration.hasPrivateKey(for: loaded))
        let listing = configuration.certificateListing(type: nil, flag: nil, subject: nil)
        #expect(listing.count == 1)
        #expect(listing.first?.elements.map { $0.name } == ["type", "flag", "has_privkey", "data"])
        #expect(listing.first?.octets("data") == der)
        configuration.clearCredentials()
        #expect(configuration.certificates.isEmpty)
        #expect(configuration.keyIdentifiers.isEmpty)
    }

    @Test func authoritiesAreToldByTheirCertificate() throws {
        let key = try OpenSSLTool.key("-algorithm", "ED25519")
        let authority = try OpenSSLTool.certificate(key, subject: "/CN=root", isAuthority: true)
        let entity = try OpenSSLTool.certificate(key, subject: "/CN=moon", isAuthority: false)
        var configuration = LoadedConfiguration()
        #expect(throws: LoadRefusal("ca certificate lacks CA basic constraint, rejected")) {
            try configuration.loadCertificate(message(entity, type: "x509ca"))
        }
        try configuration.loadCertificate(message(authority, type: "x509"))
        try configuration.loadCertificate(message(entity, type: "x509", flag: "ocsp"))
        #expect(configuration.certificates.map { $0.flag } == [.authority, .ocsp])
        let count = { (type: String?, flag: String?, subject: String?) in
            configuration.certificateListing(type: type, flag: flag, subject: subject).count
        }
        #expect(count("any", nil, nil) == 2)
        #expect(count("x509ca", nil, nil) == 1)
        #expect(count("x509", "CA", nil) == 1)
        #expect(count("X509", nil, nil) == 2)
        #expect(count("X509", "AA", nil) == 0)
        #expect(count("x509_crl", nil, nil) == 0)
        #expect(count("foo", nil, nil) == 0)
        #expect(count(nil, nil, "CN=root") == 1)
        #expect(throws: LoadRefusal("invalid certificate type 'foo'")) {
            try configuration.flushCertificates(type: "foo")
        }
        try configuration.flushCertificates(type: "X509_CRL")
        try configuration.flushCertificates(type: nil)
        #expect(configuration.certificates.count == 2)
    }

    @Test func publicKeysAndRevocationLists() throws {
        let key = try OpenSSLTool.key("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
        let pem = try OpenSSLTool.run(["pkey", "-in", "INPUT", "-pubout"], input: key)
        let der = try OpenSSLTool.run(["pkey", "-in", "INPUT", "-pubout", "-outform", "DER"], input: key)
        var configuration = LoadedConfiguration()
        try configuration.loadCertificate(message(pem, type: "pubkey"))
        let loaded = try #require(configuration.certificates.first)
        #expect(loaded.encoded == der)
        #expect(loaded.kind == .publicKey)
        let listing = configuration.certificateListing(type: "pubkey", flag: nil, subject: nil)
        #expect(listing.first?.string("type") == "PUBKEY")
        #expect(listing.first?.string("flag") == nil)
        #expect(throws: LoadRefusal("parsing X509_CRL certificate failed")) {
            try configuration.loadCertificate(message(der, type: "x509crl"))
        }
        #expect(throws: LoadRefusal("parsing X509 certificate failed")) {
            try configuration.loadCertificate(message(der, type: "x509"))
        }
    }

    @Test func refusals() throws {
        let key = try OpenSSLTool.key("-algorithm", "ED25519")
        let pem = try OpenSSLTool.certificate(key, subject: subject, isAuthority: false)
        let der = try OpenSSLTool.run(["x509", "-in", "INPUT", "-outform", "DER"], input: pem)
        let cases: [(ViciMessage, String)] = [
            (ViciMessage(), "certificate type missing"),
            (message(der, type: "foo"), "invalid certificate type 'foo'"),
            (message(der, type: "X509", flag: "foo"), "invalid certificate flag 'foo'"),
            (message([], type: "x509"), "certificate data missing"),
            (message(der + [0], type: "x509"), "parsing X509 certificate failed"),
            (message(Array(der.dropLast()), type: "x509"), "parsing X509 certificate failed"),
            (message(der, type: "x509ac"), "load-cert: type = X509_AC: not supported yet"),
        ]
        for (message, expected) in cases {
            var configuration = LoadedConfiguration()
            let refusal = #expect(throws: LoadRefusal.self) { try configuration.loadCertificate(message) }
            #expect(refusal?.description == expected)
        }
    }

    @Test func authoritiesWithTheirURIs() throws {
        let key = try OpenSSLTool.key("-algorithm", "ED25519")
        let root = try OpenSSLTool.certificate(key, subject: "/CN=root", isAuthority: true)
        let entity = try OpenSSLTool.certificate(key, subject: "/CN=moon", isAuthority: false)
        func authority(
            _ name: String,
            _ certificate: [UInt8]?,
            _ fill: (inout ViciMessage) -> Void = { _ in }
        )
            -> ViciMessage
        {
            ViciMessage { message in
                message.section(name) { section in
                    if let certificate { section.set("cacert", octets: certificate) }
                    fill(&section)
                }
            }
        }
        var configuration = LoadedConfiguration()
        try configuration.loadAuthority(
            authority("a", root) {
                $0.list("crl_uris", ["http://crl.example.org/a.crl"])
                $0.list("ocsp_uris", ["http://ocsp.example.org"])
                $0.set("cert_uri_base", "http://example.org/certs/")
            }
        )
        try configuration.loadAuthority(authority("b", root))
        try configuration.loadAuthority(authority("a", root) { $0.list("crl_uris", ["http://b"]) })
        #expect(configuration.authorities.map { $0.name } == ["b", "a"])
        let listing = try #require(configuration.authorities.last?.listing)
        #expect(listing.string("cacert") == "CN=root")
        #expect(listing.strings("crl_uris") == ["http://b"])
        #expect(configuration.certificateListing(type: "x509ca", flag: nil, subject: nil).count == 2)
        try configuration.loadCertificate(message(root, type: "x509ca"))
        #expect(configuration.certificateListing(type: "x509ca", flag: nil, subject: nil).count == 1)
        let cases: [(ViciMessage, String)] = [
            (authority("c", entity), "certificate without CA flag, rejected"),
            (authority("c", [1]), "invalid value for: cacert, authority discarded"),
            (authority("c", nil), "CA certificate missing: c"),
            (authority("c", root) { $0.set("foo", "x") }, "unknown option: foo, authority discarded"),
            (
                authority("c", nil) { $0.set("file", "/etc/ca.pem") },
                "authorities.c.file = a certificate: not supported yet"
            ),
        ]
        for (message, expected) in cases {
            let refusal = #expect(throws: LoadRefusal.self) { try configuration.loadAuthority(message) }
            #expect(refusal?.description == expected)
        }
        try configuration.unloadAuthority("b")
        #expect(throws: LoadRefusal("unload: authority 'b' not found")) {
            try configuration.unloadAuthority("b")
        }
    }
}
