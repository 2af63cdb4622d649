import Cryptography
import Primitives
import Testing

@testable import IKEMessages

@Suite struct EncryptedPayloadTests {
    static let transforms: [CipherTransform] = [
        .aesGCM16(keyBits: 128), .aesGCM16(keyBits: 192), .aesGCM16(keyBits: 256), .chacha20Poly1305,
        .aesCBC(keyBits: 128, .hmacSHA1_96), .aesCBC(keyBits: 256, .hmacSHA256_128),
        .aesCBC(keyBits: 192, .hmacSHA384_192), .aesCBC(keyBits: 256, .hmacSHA512_256),
    ]

    private let payloads: [Payload] = [
        .notify(NotifyPayload(.initialContact)), .nonce([UInt8](repeating: 7, count: 33)),
    ]

    private let header = IKEHeader(
        initiatorSPI: 1,
        responderSPI: 2,
        exchange: .informational,
        isFromInitiator: true,
        isResponse: false,
        messageID: 3
    )

    private func cipher(_ transform: CipherTransform, fill: UInt8 = 0x42) throws -> MessageCipher {
        let integrity = [UInt8](repeating: fill &+ 1, count: transform.integrityKeyLength)
        return try MessageCipher(
            transform,
            encryptionKey: SecretKey(copying: [UInt8](repeating: fill, count: transform.encryptionKeyLength)),
            integrityKey: integrity.isEmpty ? nil : SecretKey(copying: integrity)
        )
    }

    private func sealed(_ transform: CipherTransform, _ payloads: [Payload]) throws -> [UInt8] {
        let iv = [UInt8](repeating: 9, count: transform.ivLength)
        return try IKEMessage(header: header, payloads: payloads)
            .sealed(with: cipher(transform), transform: transform, iv: iv)
    }

    /// A message around any plaintext, padding and Pad Length included.
    private func sealed(
        plain: [UInt8],
        first: UInt8,
        _ transform: CipherTransform,
        genericBits: UInt8 = 0
    ) throws -> [UInt8] {
        var header = header
        header.nextPayload = 46
        var writer = ByteWriter()
        header.write(into: &writer)
        writer.u8(first)
        writer.u8(genericBits)
        let body = 4 + transform.ivLength + plain.count + transform.icvLength
        writer.u16(UInt16(body))
        try writer.patch32(28 + body, at: 24, field: "length")
        let iv = [UInt8](repeating: 9, count: transform.ivLength)
        let text = try cipher(transform).seal(aad: writer.bytes, iv: iv, plaintext: plain)
        return writer.bytes + iv + text
    }

    private func open(
        _ octets: [UInt8],
        _ transform: CipherTransform,
        fill: UInt8 = 0x42
    ) throws(OpenOutcome) -> [Payload] {
        do {
            let message = try ReceivedMessage(parsing: octets)
            guard case .encrypted(let content) = message.content else { throw OpenOutcome.unreadable }
            return try content.open(with: cipher(transform, fill: fill), transform: transform)
        } catch EncryptedContent.OpenError.notAuthentic {
            throw .notAuthentic
        } catch EncryptedContent.OpenError.malformed {
            throw .malformed
        } catch {
            throw .unreadable
        }
    }

    private enum OpenOutcome: Error { case unreadable, notAuthentic, malformed }

    /// Cuts a message and repairs both length fields, so that only the integrity check is left to object.
    private func cut(_ octets: [UInt8], to count: Int) -> [UInt8] {
        var part = Array(octets.prefix(count))
        part[26] = UInt8(count >> 8)
        part[27] = UInt8(count & 0xff)
        part[30] = UInt8((count - 28) >> 8)
        part[31] = UInt8((count - 28) & 0xff)
        return part
    }

    @Test(arguments: transforms) func roundTrips(_ transform: CipherTransform) throws {
        var random = PayloadGenerator(seed: 46)
        #expect(try open(sealed(transform, []), transform).isEmpty)
        for _ in 0..<100 {
            let payloads = (0..<random.number(below: 6)).map { _ in random.payload() }
            #expect(try open(sealed(transform, payloads), transform) == payloads)
        }
    }

    @Test(arguments: transforms) func rejectsEveryTruncation(_ transform: CipherTransform) throws {
        let octets = try sealed(transform, payloads)
        for count in 0..<octets.count {
            #expect(throws: OpenOutcome.unreadable) { try open(Array(octets.prefix(count)), transform) }
            guard count >= 32 else { continue }
            #expect(throws: OpenOutcome.notAuthentic) { try open(cut(octets, to: count), transform) }
        }
    }

    @Test(arguments: transforms) func rejectsTrailingOctets(_ transform: CipherTransform) throws {
        let octets = try sealed(transform, payloads)
        #expect(throws: OpenOutcome.unreadable) { try open(octets + [0], transform) }
        #expect(throws: OpenOutcome.notAuthentic) {
            try open(cut(octets + [0], to: octets.count + 1), transform)
        }
    }

    @Test(arguments: transforms) func rejectsEveryFlippedBit(_ transform: CipherTransform) throws {
        let octets = try sealed(transform, payloads)
        for index in octets.indices {
            var changed = octets
            changed[index] ^= 1 << UInt8(index % 8)
            #expect(throws: OpenOutcome.self, "octet \(index)") { try open(changed, transform) }
        }
    }

    @Test(arguments: transforms) func rejectsAnotherKey(_ transform: CipherTransform) throws {
        let octets = try sealed(transform, payloads)
        #expect(throws: OpenOutcome.notAuthentic) { try open(octets, transform, fill: 0x43) }
    }

    @Test(arguments: transforms) func ignoresReservedBits(_ transform: CipherTransform) throws {
        // Reserved bits of the SK header and of a payload inside, and padding of any content and length.
        let inner = octets("00ff0005 cc") + [UInt8](repeating: 0xa5, count: 26) + [26]
        let message = try sealed(plain: inner, first: 43, transform, genericBits: 0xff)
        #expect(try open(message, transform) == [.vendorID([0xcc])])
    }

    @Test(arguments: transforms) func reportsAuthenticNonsenseAsMalformed(_ transform: CipherTransform) throws
    {
        let block = [UInt8](repeating: 0, count: 15)
        // Pad Length beyond the text; a chain that runs over the text; octets behind the chain.
        let cases: [([UInt8], UInt8)] = [
            (block + [16], 0), (block + [255], 0), ([0, 0, 0, 99] + [UInt8](repeating: 0, count: 12), 43),
            (block + [0], 0), (block + [14], 43),
        ]
        for (plain, first) in cases {
            let message = try sealed(plain: plain, first: first, transform)
            #expect(throws: OpenOutcome.malformed) { try open(message, transform) }
        }
        #expect(try open(sealed(plain: block + [15], first: 0, transform), transform).isEmpty)
    }

    @Test func rejectsAnEncryptedPayloadThatDoesNotEndTheMessage() throws {
        var octets = try sealed(.chacha20Poly1305, payloads)
        let length = octets.count - 28 - 1
        octets[30] = UInt8(length >> 8)
        octets[31] = UInt8(length & 0xff)
        #expect(throws: OpenOutcome.unreadable) { try open(octets, .chacha20Poly1305) }
    }
}
