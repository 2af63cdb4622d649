import Cryptography
import Primitives
import Testing
import Vici

@testable import SwanctlConfiguration

@Suite(.enabled(if: OpenSSLTool.isAvailable))
struct KeyTests {
    private func message(_ data: [UInt8], type: String = "any") -> ViciMessage {
        ViciMessage {
            $0.set("type", type)
            $0.set("data", octets: data)
        }
    }

    /// SHA-1 of subjectPublicKey as the program computes it, by another way: the bits of the SPKI.
    private func keyID(_ key: [UInt8], headerOctets: Int) throws -> String {
        let info = try OpenSSLTool.run(["pkey", "-in", "INPUT", "-pubout", "-outform", "DER"], input: key)
        return Hex.encode(try Digest.sha1([Array(info.dropFirst(headerOctets))]))
    }

    @Test func allEncodingsOfOneKeyAreOneKey() throws {
        let key = try OpenSSLTool.key("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
        let pkcs8 = try OpenSSLTool.pkcs8(key)
        let pkcs1 = try OpenSSLTool.run(
            ["pkey", "-in", "INPUT", "-outform", "DER", "-traditional"],
            input: key
        )
        let pkcs1PEM = try OpenSSLTool.run(["pkey", "-in", "INPUT", "-traditional"], input: key)
        var configuration = LoadedConfiguration()
        let expected = try keyID(key, headerOctets: 24)
        for data in [key, pkcs8, pkcs1, pkcs1PEM] {
            #expect(try configuration.loadKey(message(data)) == expected)
            #expect(try configuration.loadKey(message(data, type: "rsa")) == expected)
        }
        #expect(configuration.keyIdentifiers == [expected])
        #expect(configuration.privateKey(expected)?.key.bits == 2048)
        #expect(configuration.privateKey(expected)?.key.encoded.exposedForTesting() == pkcs8)
        #expect(throws: LoadRefusal("parsing ECDSA private key failed")) {
            try configuration.loadKey(message(key, type: "ecdsa"))
        }
        try configuration.unloadKey(expected.uppercased())
        #expect(throws: LoadRefusal("key not found")) { try configuration.unloadKey(expected) }
    }

    @Test(
        arguments: [
            (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "ecdsa", 23, 384),
            (["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "ECDSA", 26, 256),
            (["-algorithm", "ED25519"], "ed25519", 12, 256), (["-algorithm", "ED448"], "ED448", 12, 456),
        ] as [([String], String, Int, Int)]
    )
    func otherAlgorithms(_ arguments: [String], _ type: String, _ header: Int, _ bits: Int) throws {
        let key = try OpenSSLTool.run(["genpkey", "-quiet"] + arguments)
        let der = try OpenSSLTool.pkcs8(key)
        var configuration = LoadedConfiguration()
        let id = try configuration.loadKey(message(der, type: type))
        #expect(try id == keyID(key, headerOctets: header))
        #expect(try configuration.loadKey(message(key)) == id)
        #expect(configuration.privateKey(id)?.key.bits == bits)
        if type.lowercased() == "ecdsa" {
            let sec1 = try OpenSSLTool.run(
                ["pkey", "-in", "INPUT", "-outform", "DER", "-traditional"],
                input: key
            )
            #expect(try configuration.loadKey(message(sec1, type: type)) == id)
        }
        #expect(configuration.keyIdentifiers == [id])
    }

    @Test func whatIsNoPrivateKey() throws {
        let key = try OpenSSLTool.key("-algorithm", "ED25519")
        let encrypted = try OpenSSLTool.run(
            ["pkcs8", "-topk8", "-in", "INPUT", "-passout", "pass:x"],
            input: key
        )
        let encryptedDER = try OpenSSLTool.run(
            ["pkcs8", "-topk8", "-in", "INPUT", "-outform", "DER", "-passout", "pass:x"],
            input: key
        )
        let publicKey = try OpenSSLTool.run(["pkey", "-in", "INPUT", "-pubout"], input: key)
        let der = try OpenSSLTool.pkcs8(key)
        let exchange = try OpenSSLTool.key("-algorithm", "X25519")
        var configuration = LoadedConfiguration()
        let bad = [
            encrypted, encryptedDER, publicKey, exchange, Array(der.dropLast()), [0x30], Array("x".utf8),
            [UInt8](repeating: 0x30, count: 16_384),
        ]
        for data in bad {
            #expect(throws: LoadRefusal("parsing ANY private key failed")) {
                try configuration.loadKey(message(data))
            }
        }
        #expect(throws: LoadRefusal("limit of 16384 octets of a private key reached")) {
            try configuration.loadKey(message([UInt8](repeating: 0x30, count: 16_385)))
        }
        #expect(throws: LoadRefusal("key data missing")) { try configuration.loadKey(message([])) }
        #expect(throws: LoadRefusal("invalid key type: bliss")) {
            try configuration.loadKey(message(der, type: "bliss"))
        }
        #expect(throws: LoadRefusal("key type missing")) { try configuration.loadKey(ViciMessage()) }
        #expect(configuration.keyIdentifiers.isEmpty)
    }

    /// The message that brought a secret does not hold it any longer.
    @Test func theMessageIsWiped() throws {
        var configuration = LoadedConfiguration()
        var message = message(try OpenSSLTool.key("-algorithm", "ED25519"))
        _ = try configuration.loadKey(wiping: &message)
        #expect(message.octets("data") == [])
        message = self.message([1, 2, 3], type: "ike")
        try configuration.loadShared(wiping: &message)
        #expect(message.octets("data") == [])
    }

    /// The octets that were given are gone afterwards, whether a key was in them or not.
    @Test func theInputIsWiped() throws {
        var data = try OpenSSLTool.key("-algorithm", "ED25519")
        _ = try PrivateKeyInfo(wiping: &data)
        #expect(data.allSatisfy { $0 == 0 })
        var rubbish: [UInt8] = [1, 2, 3]
        #expect(throws: CryptoError.self) { try PrivateKeyInfo(wiping: &rubbish) }
        #expect(rubbish == [0, 0, 0])
    }
}
