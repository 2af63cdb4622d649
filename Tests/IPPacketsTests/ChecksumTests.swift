import IPPackets
import TestSupport
import Testing

struct ChecksumTests {
    @Test func matchesTheDefinition() {
        var random = SplitMix64(state: 2)
        for count in 0..<200 {
            let octets = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            var sum = InternetChecksum()
            sum.add(octets.span, 0..<count)
            #expect(sum.value == PacketBuilder.slowChecksum(octets))
        }
    }

    @Test func updateEqualsAnew() {
        var random = SplitMix64(state: 3)
        for _ in 0..<1000 {
            var octets = (0..<20).map { _ in UInt8.random(in: 0...255, using: &random) }
            let before = PacketBuilder.slowChecksum(octets)
            let old = UInt16(octets[4]) << 8 | UInt16(octets[5])
            let new = UInt16.random(in: 0...65_535, using: &random)
            octets[4] = UInt8(new >> 8)
            octets[5] = UInt8(new & 255)
            let updated = InternetChecksum.updating(before, from: old, to: new)
            #expect(updated == PacketBuilder.slowChecksum(octets))
        }
    }

    @Test func finishesAnOffloadedChecksum() throws {
        let udp: [UInt8] = [0x1f, 0x90, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]
        var packet = PacketBuilder.v4(17, payload: udp)
        let header = try #require(PacketBuilder.header(packet))
        var pseudo = InternetChecksum()
        pseudo.addPseudoHeader(header, length: udp.count)
        packet[26] = UInt8(pseudo.folded >> 8)
        packet[27] = UInt8(pseudo.folded & 255)
        let isDone = PacketBuilder.finish(&packet, start: 20, field: 26)
        #expect(isDone)
        let check = [10, 1, 0, 1, 10, 2, 0, 1, 0, 17, 0, 12] + packet[20...]
        #expect(PacketBuilder.slowChecksum(check) == 0)
    }

    @Test(arguments: [(20, 31), (33, 33), (20, 19), (-1, 4)])
    func refusesChecksumFieldsOutsideOfThePacket(start: Int, field: Int) {
        var packet = PacketBuilder.v4(17, payload: [UInt8](repeating: 0, count: 12))
        let isDone = PacketBuilder.finish(&packet, start: start, field: field)
        #expect(!isDone)
    }
}

struct SegmentSizeClampTests {
    private func clamped(_ options: [UInt8], flags: UInt8 = 2, to maximum: Int) throws -> ([UInt8], Bool) {
        var packet = PacketBuilder.v4(
            6,
            payload: PacketBuilder.tcp(flags: flags, options: options, data: [7])
        )
        let sum = PacketBuilder.slowChecksum([10, 1, 0, 1, 10, 2, 0, 1, 0, 6, 0, 0] + packet[20...])
        packet[36] = UInt8(sum >> 8)
        packet[37] = UInt8(sum & 255)
        let header = try #require(PacketBuilder.header(packet))
        var span = packet.mutableSpan
        let isChanged = SegmentSizeClamp.apply(&span, at: 0, header: header, maximum: maximum)
        #expect(PacketBuilder.slowChecksum([10, 1, 0, 1, 10, 2, 0, 1, 0, 6, 0, 0] + packet[20...]) == 0)
        return (Array(packet[40..<40 + options.count]), isChanged)
    }

    @Test func lowersTheOptionAndKeepsTheChecksum() throws {
        #expect(try clamped([2, 4, 5, 0xb4], to: 1398) == ([2, 4, 5, 0x76], true))
        // At an odd offset.
        #expect(try clamped([1, 2, 4, 5, 0xb4, 1, 1, 0], to: 1398) == ([1, 2, 4, 5, 0x76, 1, 1, 0], true))
        #expect(try clamped([2, 4, 5, 0xb4], flags: 0x12, to: 536) == ([2, 4, 2, 0x18], true))
    }

    @Test func leavesOtherPacketsAlone() throws {
        #expect(try clamped([2, 4, 5, 0xb4], to: 1460) == ([2, 4, 5, 0xb4], false))
        #expect(try clamped([2, 4, 5, 0xb4], flags: 0x10, to: 536) == ([2, 4, 5, 0xb4], false))
        #expect(try clamped([0, 0, 0, 0], to: 536) == ([0, 0, 0, 0], false))
        #expect(try clamped([3, 0, 2, 4], to: 536) == ([3, 0, 2, 4], false))
        #expect(try clamped([3, 9, 2, 4], to: 536) == ([3, 9, 2, 4], false))
    }
}

struct ICMPErrorTests {
    @Test func answersIPv4WithTheNextHopMTU() throws {
        let packet = PacketBuilder.v4(17, payload: [UInt8](repeating: 5, count: 1400), fragment: 0x4000)
        let reply = try #require(PacketBuilder.tooBig(packet, mtu: 1338))
        #expect(reply.count == 576)
        #expect(PacketBuilder.slowChecksum(Array(reply[..<20])) == 0)
        #expect(PacketBuilder.slowChecksum(Array(reply[20...])) == 0)
        #expect(Array(reply[12..<20]) == [10, 2, 0, 1, 10, 1, 0, 1])
        #expect(Array(reply[20..<22]) == [3, 4] && Array(reply[24..<28]) == [0, 0, 0x05, 0x3a])
        #expect(Array(reply[28...]) == Array(packet[..<548]))
    }

    @Test func answersIPv6() throws {
        let packet = PacketBuilder.v6(17, payload: [UInt8](repeating: 5, count: 1400))
        let reply = try #require(PacketBuilder.tooBig(packet, mtu: 1400))
        #expect(reply.count == 1280)
        let body = Array(reply[40...])
        let pseudo =
            Array(reply[8..<40]) + [0, 0, UInt8(body.count >> 8), UInt8(body.count & 255), 0, 0, 0, 58]
        #expect(PacketBuilder.slowChecksum(pseudo + body) == 0)
        #expect(Array(body[..<2]) == [2, 0] && Array(body[4..<8]) == [0, 0, 0x05, 0x78])
    }

    @Test func neverAnswersErrorsFragmentsOrGroups() {
        let data = [UInt8](repeating: 3, count: 40)
        let silent = [
            PacketBuilder.v4(1, payload: data),
            PacketBuilder.v4(17, payload: data, fragment: 0x4001),
            PacketBuilder.v4(17, payload: data, destination: [224, 0, 0, 1]),
            PacketBuilder.v4(17, payload: data, source: [0, 0, 0, 0]),
        ]
        for packet in silent {
            #expect(PacketBuilder.header(packet) != nil)
            #expect(PacketBuilder.tooBig(packet, mtu: 1300) == nil)
        }
        let echo = PacketBuilder.v4(1, payload: [8, 0] + data)
        #expect(PacketBuilder.tooBig(echo, mtu: 1300) != nil)
    }
}
