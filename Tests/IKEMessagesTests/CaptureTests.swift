import Cryptography
import TestSupport
import Testing

@testable import IKEMessages

/// Conversations that others recorded, with their keys: every protected message opens, and says what is known of it.
@Suite(.enabled(if: Vectors.areAvailable)) struct CaptureTests {
    private struct Keys {
        let transform: CipherTransform
        let initiator: MessageCipher
        let responder: MessageCipher
    }

    private func keys(_ keys: JSON) throws -> Keys? {
        var (ei, er) = (keys["sk_ei"].octets, keys["sk_er"].octets)
        let transform: CipherTransform
        switch (keys["encr"].text, keys["integ"].text) {
        case ("3DES [RFC2451]", "HMAC_SHA1_160 [RFC4595]"): transform = .tripleDESCBC(.hmacSHA1_160)
        case ("AES-CTR-128 [RFC5930]", _) where ei.count == 20 && ei[16] == 3:
            // What negotiated AES-CCM, described as the counter mode inside of it: 3 is the first octet of its counter.
            transform = .aesCCM(keyBits: 128, icvLength: 12)
            ei.remove(at: 16)
            er.remove(at: 16)
        case ("AES-CCM-128 with 12 octet ICV [RFC5282]", _):
            transform = .aesCCM(keyBits: 128, icvLength: 12)
        case ("AES-CTR-192 [RFC5930]", "HMAC_SHA2_512_256 [RFC4868]"):
            transform = .aesCTR(keyBits: 192, .hmacSHA512_256)
        case ("AES-CBC-256 [RFC3602]", "HMAC_SHA2_256_128 [RFC4868]"):
            transform = .aesCBC(keyBits: 256, .hmacSHA256_128)
        default: return nil
        }
        let cipher = { (encryption: [UInt8], integrity: [UInt8]) throws(CryptoError) in
            try MessageCipher(
                transform,
                encryptionKey: SecretKey(copying: encryption),
                integrityKey: integrity.isEmpty ? nil : SecretKey(copying: integrity)
            )
        }
        return Keys(
            transform: transform,
            initiator: try cipher(ei, keys["sk_ai"].octets),
            responder: try cipher(er, keys["sk_ar"].octets)
        )
    }

    @Test func recordedConversationsOpen() throws {
        var opened = 0
        let cases = Vectors.load("captures/wireshark_ikev2_decrypt")["cases"].elements
        #expect(cases.count == 5)
        for vector in cases {
            let keys = try #require(try keys(vector["keys"]), "\(vector["id"].text)")
            var proofs: [[UInt8]] = []
            for packet in vector["packets"].elements {
                let message = try ReceivedMessage(parsing: packet["udp_payload"].octets)
                guard case .encrypted(let content) = message.content else { continue }
                let cipher = message.header.isFromInitiator ? keys.initiator : keys.responder
                let payloads = try content.open(with: cipher, transform: keys.transform)
                opened += 1
                for case .authentication(let auth) in payloads { proofs.append(auth.data) }
                // A changed octet is noticed.
                var damaged = packet["udp_payload"].octets
                damaged[damaged.count - 20] ^= 1
                let other = try ReceivedMessage(parsing: damaged)
                guard case .encrypted(let content) = other.content else { continue }
                #expect(throws: EncryptedContent.OpenError.notAuthentic) {
                    try content.open(with: cipher, transform: keys.transform)
                }
            }
            let known = vector["expected_auth_data_sha_or_sig"].octets
            #expect(proofs.contains(known), "\(vector["id"].text): \(proofs.count) proofs")
        }
        #expect(opened == 18)
    }
}
