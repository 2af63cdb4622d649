import Primitives
import TestSupport
import Testing

@testable import IKEMessages

/// The IKE messages of recorded datagrams; ESP, keepalives and IKEv1 left out.
private func messages(_ file: String) -> [[UInt8]] {
    Vectors.load(file)["cases"].elements.flatMap { vector in
        vector["packets"].elements.compactMap { packet -> [UInt8]? in
            var octets = packet["udp_payload"].octets
            if packet["src"].text.hasSuffix(":4500") || packet["dst"].text.hasSuffix(":4500") {
                guard octets.starts(with: [0, 0, 0, 0]) else { return nil }
                octets.removeFirst(4)
            }
            return octets.count >= 28 && octets[17] >> 4 == 2 ? octets : nil
        }
    }
}

@Suite(.enabled(if: Vectors.areAvailable)) struct GoldenMessageVectorTests {
    private func rewrite(_ octets: [UInt8]) throws -> [UInt8]? {
        let message = try ReceivedMessage(parsing: octets)
        guard case .clear(let payloads) = message.content else { return nil }
        return try IKEMessage(header: message.header, payloads: payloads).encoded()
    }

    @Test func parsesAndWritesRecordedMessages() throws {
        var clear = 0
        for octets in messages("golden/strongswan_handshakes") {
            // Fragments (SKF) are not for this parser.
            guard octets[16] != 53, let written = try rewrite(octets) else { continue }
            #expect(written == octets)
            clear += 1
        }
        #expect(clear == 12)
    }

    @Test func parsesCapturesOfOtherImplementations() throws {
        var clear = 0
        var equal = 0
        for file in ["captures/wireshark_ikev2_decrypt", "captures/scapy_captures"] {
            for octets in messages(file) {
                guard let written = try rewrite(octets) else { continue }
                clear += 1
                if written == octets { equal += 1 }
            }
        }
        print("captures: \(clear) messages in clear, \(equal) written back alike")
        #expect(clear > 10)
    }
}
