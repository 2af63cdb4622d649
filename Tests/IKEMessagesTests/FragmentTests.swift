import Cryptography
import Primitives
import Testing

@testable import IKEMessages

@Suite struct FragmentTests {
    private let header = IKEHeader(
        initiatorSPI: 1,
        responderSPI: 2,
        exchange: .ikeAuth,
        isFromInitiator: true,
        isResponse: false,
        messageID: 1
    )

    private func cipher(_ transform: CipherTransform) throws -> MessageCipher {
        let integrity = [UInt8](repeating: 0x43, count: transform.integrityKeyLength)
        return try MessageCipher(
            transform,
            encryptionKey: SecretKey(copying: [UInt8](repeating: 0x42, count: transform.encryptionKeyLength)),
            integrityKey: integrity.isEmpty ? nil : SecretKey(copying: integrity)
        )
    }

    private func cut(
        _ payloads: [Payload],
        _ transform: CipherTransform,
        limit: Int
    ) throws -> [[UInt8]]? {
        let message = IKEMessage(header: header, payloads: payloads)
        guard let cut = try FragmentedMessage(message, transform: transform, limit: limit) else { return nil }
        return try (1...cut.total).map { number in
            let iv = [UInt8](repeating: UInt8(number & 0xff), count: transform.ivLength)
            return try cut.sealed(number, with: cipher(transform), iv: iv)
        }
    }

    private func fragment(_ octets: [UInt8]) throws -> (EncryptedFragment, IKEHeader) {
        let message = try ReceivedMessage(parsing: octets)
        guard case .fragment(let fragment) = message.content else {
            throw WireError(.invalidValue("content"), at: 0)
        }
        return (fragment, message.header)
    }

    @Test(arguments: EncryptedPayloadTests.transforms)
    func whatIsCutIsMergedAgain(_ transform: CipherTransform) throws {
        var random = PayloadGenerator(seed: 53)
        for limit in [100, 123, 544, 1248] {
            for _ in 0..<20 {
                let payloads =
                    (0..<4).map { _ in random.payload() }
                    + [.nonce([UInt8](repeating: 1, count: 200 + limit))]
                let parts = try #require(try cut(payloads, transform, limit: limit))
                #expect(parts.allSatisfy { $0.count <= limit })
                let fragments = try parts.map { try fragment($0) }
                #expect(fragments.map { $0.0.number } == Array(1...parts.count))
                #expect(fragments.allSatisfy { $0.0.total == parts.count })
                let plain = try fragments.map {
                    try $0.0.open(with: cipher(transform), transform: transform)
                }
                let merged = ReceivedMessage(merging: plain, first: fragments[0].0, header: fragments[0].1)
                guard case .encrypted(let content) = merged.content else {
                    Issue.record("not merged")
                    return
                }
                #expect(merged.header.nextPayload == 46)
                let opened = try content.openIntermediate(with: cipher(transform), transform: transform)
                #expect(opened.payloads == payloads)
                // RFC 9242 §3.3.1: as if it had not been cut.
                let message = IKEMessage(header: header, payloads: payloads)
                #expect(try opened.authenticated == message.intermediateOctets())
            }
        }
    }

    @Test(arguments: EncryptedPayloadTests.transforms)
    func whatFitsIsNotCut(_ transform: CipherTransform) throws {
        for size in 0...80 {
            let payloads: [Payload] = [.nonce([UInt8](repeating: 1, count: size))]
            let message = IKEMessage(header: header, payloads: payloads)
            let iv = [UInt8](repeating: 9, count: transform.ivLength)
            let whole = try message.sealed(with: cipher(transform), transform: transform, iv: iv).count
            #expect(try cut(payloads, transform, limit: whole) == nil)
            // With one octet less there are two, unless not even an octet fits into each.
            if let parts = try cut(payloads, transform, limit: whole - 1) { #expect(parts.count >= 2) }
        }
        #expect(try cut([.nonce([1, 2, 3])], transform, limit: 40) == nil)
    }

    @Test func refusesNumbersAndTypesThatCannotBe() throws {
        let transform = CipherTransform.aesGCM16(keyBits: 256)
        let parts = try #require(
            try cut([.nonce([UInt8](repeating: 1, count: 300))], transform, limit: 160)
        )
        func changed(_ octets: [UInt8], _ at: Int, _ value: [UInt8]) -> [UInt8] {
            var octets = octets
            octets.replaceSubrange(at..<at + value.count, with: value)
            return octets
        }
        for octets in [
            changed(parts[0], 32, [0, 0]),  // number 0
            changed(parts[0], 34, [0, 0]),  // total 0
            changed(parts[2], 34, [0, 2]),  // number above total
            changed(parts[0], 28, [0]),  // the first without a payload type
            changed(parts[1], 28, [40]),  // another one with one
            changed(parts[0], 30, [0, 8]),  // a length that does not end the message
        ] {
            #expect(throws: WireError.self) { try ReceivedMessage(parsing: octets) }
        }
        for (index, part) in parts.enumerated() {
            for length in 0..<part.count {
                var short = Array(part.prefix(length))
                if length >= 28 {
                    short = changed(short, 24, [0, 0, UInt8(length >> 8), UInt8(length & 255)])
                }
                if length >= 32 { short = changed(short, 30, [0, UInt8((length - 28) & 255)]) }
                guard let (cutShort, _) = try? fragment(short) else { continue }
                #expect(throws: EncryptedContent.OpenError.notAuthentic) {
                    try cutShort.open(with: cipher(transform), transform: transform)
                }
            }
            for bit in 0..<part.count * 8 {
                var other = part
                other[bit / 8] ^= 1 << UInt8(bit % 8)
                guard let (forged, _) = try? fragment(other) else { continue }
                #expect(throws: EncryptedContent.OpenError.self, "fragment \(index) bit \(bit)") {
                    try forged.open(with: cipher(transform), transform: transform)
                }
            }
        }
    }
}
