import Cryptography
import Primitives
import Testing

@testable import EAP

/// The examples of RFC 2759 §9.2 and RFC 3079 §3.5.3, which share their input.
@Suite struct MSCHAPv2Tests {
    private func octets(_ text: String) -> [UInt8] { Hex.decode(text) ?? [] }

    private func exchange(_ name: String = "User") throws -> MSCHAPv2 {
        try MSCHAPv2(
            hash: MSCHAPv2.hash(ofPassword: SecretKey(copying: Array("clientPass".utf8))),
            userName: Array(name.utf8),
            peerChallenge: octets("21402324255E262A28295F2B3A337C7E"),
            authenticatorChallenge: octets("5B5D7C7D7B3F2F3E3C2C602132262628")
        )
    }

    @Test func hashOfThePassword() throws {
        let hash = try MSCHAPv2.hash(ofPassword: SecretKey(copying: Array("clientPass".utf8)))
        #expect(hash.exposedForTesting() == octets("44EBBA8D5312B8D611474411F56989AE"))
    }

    @Test func passwordsOutsideOfASCII() throws {
        // MD4 of E4 00 AC 20 3D D8 00 DE.
        let hash = try MSCHAPv2.hash(ofPassword: SecretKey(copying: Array("ä€😀".utf8)))
        #expect(hash.exposedForTesting() == octets("4cd26bea0e9c02c16bcbc65c7a89bd1a"))
        #expect(throws: CryptoError.invalidLength) {
            try MSCHAPv2.hash(ofPassword: SecretKey(copying: [0xff, 0xfe]))
        }
        #expect(throws: CryptoError.invalidLength) {
            try MSCHAPv2.hash(ofPassword: SecretKey(copying: [UInt8](repeating: 0x61, count: 257)))
        }
    }

    @Test func responses() throws {
        let expected = octets("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")
        #expect(try exchange().response == expected)
        // RFC 2759 §4: a domain is no part of the name.
        #expect(try exchange("DOMAIN\\User").response == expected)
        #expect(try exchange("user").response != expected)
        let text = "S=407A5589115FD0D6209F510FE9C04566932CDA56"
        #expect(try exchange().authenticatorResponse() == Array(text.utf8))
    }

    @Test func masterSessionKey() throws {
        let key = try exchange().masterSessionKey().exposedForTesting()
        #expect(key.count == 64)
        // RFC 3079 §3.5.3: what the server receives by is what the client sends by.
        #expect(Array(key[16..<32]) == octets("8B7CDC149B993A1BA118CB153F56DCCB"))
        #expect(Array(key[32...]) == [UInt8](repeating: 0, count: 32))
    }
}
