import IPPackets
import TestSupport
import Testing

struct PacketHeaderTests {
    @Test func readsIPv4WithPorts() throws {
        let packet = PacketBuilder.v4(17, payload: [0x1f, 0x90, 0, 53, 0, 8, 0, 0], fragment: 0x4000)
        let header = try #require(PacketBuilder.header(packet))
        #expect(header.source.address == IPAddress("10.1.0.1"))
        #expect(header.destination.address == IPAddress("10.2.0.1"))
        #expect(header.ipProtocol == 17 && header.hasPorts)
        #expect(header.sourcePort == 8080 && header.destinationPort == 53)
        #expect(header.dontFragment && !header.isFragment)
        #expect(header.totalLength == 28 && header.transportOffset == 20)
    }

    @Test func skipsIPv4Options() throws {
        let packet = PacketBuilder.v4(
            6,
            payload: PacketBuilder.tcp(flags: 2, options: []),
            options: [1, 1, 1, 0]
        )
        let header = try #require(PacketBuilder.header(packet))
        #expect(header.transportOffset == 24 && header.destinationPort == 80)
    }

    @Test func laterFragmentHasNoPorts() throws {
        let packet = PacketBuilder.v4(17, payload: [UInt8](repeating: 9, count: 16), fragment: 0x2010)
        let header = try #require(PacketBuilder.header(packet))
        #expect(header.isLaterFragment && header.isFragment && !header.hasPorts && header.sourcePort == 0)
        let first = try #require(
            PacketBuilder.header(PacketBuilder.v4(17, payload: [0, 1, 0, 2], fragment: 0x2000))
        )
        #expect(first.isFragment && !first.isLaterFragment && first.hasPorts)
    }

    @Test func typeAndCodeOfICMPStandForPorts() throws {
        let header = try #require(PacketBuilder.header(PacketBuilder.v4(1, payload: [8, 3, 0, 0])))
        #expect(header.sourcePort == 0x0803 && header.destinationPort == 0x0803)
    }

    @Test func walksIPv6ExtensionHeaders() throws {
        let chain: [UInt8] = [60, 0, 0, 0, 0, 0, 0, 0] + [51, 0, 0, 0, 0, 0, 0, 0]
        let authentication: [UInt8] = [17, 1] + [UInt8](repeating: 0, count: 10)
        let packet = PacketBuilder.v6(0, payload: chain + authentication + [0, 7, 0, 9, 0, 8, 0, 0])
        let header = try #require(PacketBuilder.header(packet))
        #expect(header.ipProtocol == 17 && header.sourcePort == 7 && header.destinationPort == 9)
        #expect(header.transportOffset == 40 + 28 && header.dontFragment && header.isIPv6)
        #expect(header.source.address == IPAddress("fd00::1"))
    }

    @Test func laterFragmentOfIPv6HasNoPorts() throws {
        let packet = PacketBuilder.v6(44, payload: [17, 0, 0, 9, 0, 0, 0, 1] + [0, 7, 0, 9])
        let header = try #require(PacketBuilder.header(packet))
        #expect(header.isLaterFragment && !header.hasPorts && header.ipProtocol == 17)
    }

    @Test func endlessExtensionHeadersEnd() throws {
        let packet = PacketBuilder.v6(0, payload: [UInt8](repeating: 0, count: 8 * 100))
        let header = try #require(PacketBuilder.header(packet))
        #expect(!header.hasPorts)
    }

    @Test(arguments: [0, 1, 19, 20, 27])
    func rejectsEveryTruncation(length: Int) {
        let packet = PacketBuilder.v4(17, payload: [UInt8](repeating: 0, count: 8))
        #expect(PacketBuilder.header(packet, at: 0, length: length) == nil)
    }

    @Test func rejectsContradictions() {
        var packet = PacketBuilder.v4(17, payload: [0, 1, 0, 2])
        packet[0] = 0x44
        #expect(PacketBuilder.header(packet) == nil)
        packet[0] = 0x4f
        #expect(PacketBuilder.header(packet) == nil)
        packet[0] = 0x55
        #expect(PacketBuilder.header(packet) == nil)
        packet[0] = 0x45
        packet[3] = 19
        #expect(PacketBuilder.header(packet) == nil)
        packet[3] = 25
        #expect(PacketBuilder.header(packet) == nil)
        packet[3] = 24
        #expect(PacketBuilder.header(packet) != nil)
        #expect(PacketBuilder.header(packet, at: 1, length: 24) == nil)
        #expect(PacketBuilder.header(packet, at: -1, length: 24) == nil)
    }

    @Test func randomOctetsNeverTrap() {
        var random = SplitMix64(state: 1)
        for _ in 0..<200_000 {
            var packet = (0..<Int.random(in: 0...90, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            if packet.count > 6 {
                packet[0] = [0x45, 0x46, 0x60, packet[0]].randomElement(using: &random) ?? 0
                packet[2] = 0
                packet[4] = 0
                packet[6] = [0, 43, 44, 51, 60, packet[6]].randomElement(using: &random) ?? 0
            }
            guard let header = PacketBuilder.header(packet) else { continue }
            #expect(header.totalLength <= packet.count && header.transportOffset <= header.totalLength)
        }
    }
}
