import IPPackets
import Primitives
import Testing

@testable import IKEMessages

/// The Configuration payload, which may end behind any attribute.
@Suite struct ConfigurationPayloadTests {
    private static let octets = octets_("02000000 00010004 0a030001 00030000 0019000b 636f72702e6c6f63616c2e")
    private static let payload = ConfigurationPayload(
        .reply,
        [
            ConfigurationPayload.Attribute(type: 1, value: [10, 3, 0, 1]),
            ConfigurationPayload.Attribute(type: 3),
            ConfigurationPayload.Attribute(type: 25, value: Array("corp.local.".utf8)),
        ]
    )

    private static func octets_(_ text: String) -> [UInt8] { IKEMessagesTests.octets(text) }

    @Test func isReadAndWritten() throws {
        #expect(try CodecSample.parse(Self.octets, type: 47) == .configuration(Self.payload))
        #expect(try CodecSample.write(.configuration(Self.payload)) == Self.octets)
        #expect(Self.payload.addresses.map { $0.description } == ["10.3.0.1"])
        #expect(Self.payload.nameServers.isEmpty && Self.payload.domains == ["corp.local."])
    }

    @Test func endsBehindAnAttributeAndNowhereElse() throws {
        let ends: Set = [4, 12, 16, Self.octets.count]
        for count in 0..<Self.octets.count {
            let cut = Array(Self.octets.prefix(count))
            if ends.contains(count) {
                guard case .configuration(let payload) = try CodecSample.parse(cut, type: 47) else { return }
                #expect(Self.payload.attributes.starts(with: payload.attributes))
            } else {
                #expect(throws: WireError.self) { try CodecSample.parse(cut, type: 47) }
            }
        }
    }

    @Test func reservedBitsAreIgnored() throws {
        for (offset, bits) in [(1, 0xff), (2, 0xff), (3, 0xff), (4, 0x80), (12, 0x80), (16, 0x80)]
            as [(Int, UInt8)]
        {
            var changed = Self.octets
            changed[offset] |= bits
            #expect(try CodecSample.parse(changed, type: 47) == .configuration(Self.payload))
        }
    }

    @Test func moreAttributesThanAnybodySendsAreRefused() {
        let many = [UInt8]([1, 0, 0, 0]) + [UInt8](repeating: 0, count: 4 * 257)
        #expect(throws: WireError.self) { try CodecSample.parse(many, type: 47) }
    }

    @Test func attributesOfAnotherLengthSayNothing() {
        let odd = ConfigurationPayload(
            .reply,
            [
                ConfigurationPayload.Attribute(type: 1, value: [10, 3, 0]),
                ConfigurationPayload.Attribute(type: 8, value: [UInt8](repeating: 1, count: 15)),
                ConfigurationPayload.Attribute(type: 3, value: [10]),
                ConfigurationPayload.Attribute(type: 25, value: [0]),
                ConfigurationPayload.Attribute(type: 1, value: [0, 0, 0, 0]),
            ]
        )
        #expect(odd.addresses.isEmpty && odd.nameServers.isEmpty && odd.domains.isEmpty)
    }
}
