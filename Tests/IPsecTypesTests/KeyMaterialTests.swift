import Cryptography
import IPsecTypes
import Testing

@Suite("KEYMAT")
struct KeyMaterialTests {
    @Test(arguments: [
        (CipherTransform.aesGCM16(keyBits: 256), 36, 0), (.chacha20Poly1305, 36, 0),
        (.aesCBC(keyBits: 128, .hmacSHA256_128), 16, 32), (.aesCBC(keyBits: 256, .hmacSHA1_96), 32, 20),
    ])
    func cutsInTheOrderOfTheRFC(transform: CipherTransform, encryption: Int, integrity: Int) throws {
        let length = KEYMAT.length(for: transform)
        #expect(length == 2 * (encryption + integrity))
        let octets = (0..<length).map { UInt8(truncatingIfNeeded: $0) }
        let keys = KEYMATOctets(try KEYMAT(cutting: SecretKey(copying: octets), for: transform))
        // RFC 7296 §2.17: encryption before integrity, the initiator's keys before the responder's.
        #expect(keys.all == octets)
        #expect(
            keys.parts.map { $0.count } == [encryption, integrity, encryption, integrity].filter { $0 > 0 }
        )
    }

    @Test func otherLengthsAreRefused() throws {
        let transform = CipherTransform.aesGCM16(keyBits: 128)
        for count in [1, KEYMAT.length(for: transform) - 1, KEYMAT.length(for: transform) + 1] {
            let material = try SecretKey(copying: [UInt8](repeating: 1, count: count))
            #expect(throws: CryptoError.invalidKeyLength) { try KEYMAT(cutting: material, for: transform) }
        }
    }

    private struct KEYMATOctets {
        let parts: [[UInt8]]
        var all: [UInt8] { parts.flatMap { $0 } }

        init(_ keys: KEYMAT) {
            parts = [keys.initiator, keys.responder].flatMap { side in
                [side.encryption.exposedForTesting()]
                    + (side.integrity.map { [$0.exposedForTesting()] } ?? [])
            }
        }
    }
}
