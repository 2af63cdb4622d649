import TestSupport
import Testing

@testable import IPPackets

/// A batch in an arena, through the coalescer, and cut again by the definition.
private struct Batch {
    private static let room = 2048
    private static let headroom = 16
    private var octets: [UInt8]
    private let packets: [[UInt8]]
    private(set) var plan: Coalescer

    init(_ packets: [[UInt8]], mergesUDP: Bool = true) {
        self.packets = packets
        octets = [UInt8](repeating: 0xee, count: packets.count * Self.room)
        plan = Coalescer(capacity: packets.count, mergesUDP: mergesUDP)
        for (index, packet) in packets.enumerated() {
            octets.replaceSubrange(Self.offset(index)..<Self.offset(index) + packet.count, with: packet)
        }
        plan.clear()
        for (index, packet) in packets.enumerated() {
            let octets = octets
            plan.add(octets.span, at: Self.offset(index), length: packet.count) {
                PacketBuilder.slowSum(Array(octets[$0]))
            }
        }
    }

    private static func offset(_ index: Int) -> Int { index * room + headroom }

    /// What the device gets: the header and the packet of each group.
    mutating func written() -> [(offload: OffloadHeader, packet: [UInt8])] {
        var result = [(OffloadHeader, [UInt8])]()
        let plan = plan
        for group in plan.groups {
            var span = octets.mutableSpan
            plan.finish(group, in: &span)
            let first = Int(group.first)
            var packet = Array(octets[group.offset..<group.offset + packets[first].count])
            var next = plan.packet(after: group.first)
            while let index = next {
                packet += packets[Int(index)].dropFirst(group.headerLength)
                next = plan.packet(after: index)
            }
            if let offload = OffloadHeader(octets.span, before: group.offset) {
                result.append((offload, packet))
            }
        }
        return result
    }

    /// What the end hosts get of it.
    mutating func delivered() -> [[UInt8]] {
        written().flatMap { offload, packet in
            guard offload.kind != .whole else { return [packet] }
            return ReferenceSegments.cut(
                packet,
                headerLength: offload.headerLength,
                transport: offload.checksumStart,
                segmentSize: offload.segmentSize
            )
        }
    }
}

@Suite struct CoalescingTests {
    /// The number of a packet that cannot be fragmented means nothing (RFC 6864 §4.1), nor does its checksum then.
    private func withoutIdentification(_ packet: [UInt8]) -> [UInt8] {
        guard packet[0] >> 4 == 4, packet[6] & 0x40 != 0 else { return packet }
        var packet = packet
        ReferenceSegments.put(&packet, 4, 0)
        ReferenceSegments.put(&packet, 10, 0)
        return packet
    }

    @Test func endHostsGetWhatWasSent() {
        var source = PacketSource(random: SplitMix64(state: 21))
        var merged = 0
        for round in 0..<1500 {
            let packets = traffic(&source)
            var batch = Batch(packets, mergesUDP: round % 4 != 0)
            merged += packets.count - batch.plan.groups.count
            let delivered = batch.delivered()
            #expect(delivered.count == packets.count)
            // Between two hosts nothing is lost, changed or overtaken.
            for pair in Set(packets.map { addresses($0) }) {
                let before = packets.filter { addresses($0) == pair }
                let after = delivered.filter { addresses($0) == pair }
                let flows = Set(before.map { flow($0) })
                for key in flows {
                    let sent = before.filter { flow($0) == key || flow($0).isEmpty || key.isEmpty }
                    let got = after.filter { flow($0) == key || flow($0).isEmpty || key.isEmpty }
                    guard !key.isEmpty else { continue }
                    #expect(got.map { withoutIdentification($0) } == sent.map { withoutIdentification($0) })
                }
            }
        }
        #expect(merged > 10_000)
    }

    private func addresses(_ packet: [UInt8]) -> [UInt8] {
        Array(packet[0] >> 4 == 6 ? packet[8..<40] : packet[12..<20])
    }

    /// Ports and protocol, or nothing for what may belong to any flow.
    private func flow(_ packet: [UInt8]) -> [UInt8] {
        if packet[0] >> 4 == 6 {
            return packet[6] == 6 || packet[6] == 17 ? [packet[6]] + packet[40..<44] : []
        }
        let isPlain = packet[0] == 0x45 && packet[6] & 0x3f == 0 && packet[7] == 0
        return isPlain && (packet[9] == 6 || packet[9] == 17) ? [packet[9]] + packet[20..<24] : []
    }

    /// Some flows side by side, with all that can happen to them.
    private func traffic(_ source: inout PacketSource) -> [[UInt8]] {
        var packets = [[UInt8]]()
        var sequences = [UInt32](repeating: 0, count: 64)
        for index in sequences.indices {
            sequences[index] = UInt32.random(in: 0...UInt32.max, using: &source.random)
        }
        var identification = Int.random(in: 0...65_535, using: &source.random)
        let numbersPackets = Bool.random(using: &source.random)
        let flows = (0..<Int.random(in: 1...20, using: &source.random)).map { _ in
            Int.random(in: 0..<64, using: &source.random)
        }
        let size = Int.random(in: 1...1300, using: &source.random)
        let dontFragment = Bool.random(using: &source.random)
        while packets.count < 60 {
            guard let flow = flows.randomElement(using: &source.random) else { break }
            for _ in 0..<Int.random(in: 1...12, using: &source.random) {
                let chance = Int.random(in: 0..<100, using: &source.random)
                let payload = chance < 6 ? Int.random(in: 0...1300, using: &source.random) : size
                let made = source.make(
                    flow: flow,
                    payload: payload,
                    sequence: sequences[flow],
                    identification: identification,
                    flags: chance < 15 ? UInt8.random(in: 0...255, using: &source.random) : 0x10,
                    dontFragment: dontFragment,
                    ipOptions: chance == 16 && flow & 2 == 0 ? 4 : 0,
                    tcpOptions: flow & 1 == 0
                        ? [1, 1, 8, 10, 0, 0, 0, chance == 17 ? 2 : 1, 0, 0, 0, 9] : [],
                    extensionHeader: chance == 18,
                    trafficClass: chance == 19 ? 3 : 0
                )
                var packet = made.packet
                if numbersPackets { identification = (identification + 1) & 0xffff }
                // Lost, or come too early.
                sequences[flow] &+= UInt32(payload) &+ (chance == 20 ? 1 : 0)
                if chance == 21, flow & 2 == 0 { ReferenceSegments.put(&packet, 6, 0x2000) }
                if chance > 21, chance < 26 {
                    packet[Int.random(in: 20..<packet.count, using: &source.random)] ^= 1
                }
                if chance == 26, flow & 2 == 0 { packet[11] ^= 1 }
                if chance == 27, flow & 3 == 1 { ReferenceSegments.put(&packet, made.transport + 6, 0) }
                packets.append(packet)
            }
        }
        return packets
    }

    @Test(arguments: [0, 1, 2, 3])
    func aStreamBecomesOnePacket(_ flow: Int) throws {
        var source = PacketSource(random: SplitMix64(state: 22))
        let packets = (0..<45).map { index in
            source.make(
                flow: flow,
                payload: index == 44 ? 700 : 1300,
                sequence: UInt32.max - 5000 &+ UInt32(index * 1300),
                identification: 65_530 + index,
                flags: index == 44 ? 0x18 : 0x10,
                dontFragment: false
            ).packet
        }
        var batch = Batch(packets)
        #expect(batch.plan.groups.count == 1)
        let written = try #require(batch.written().first)
        #expect(written.offload.segmentSize == 1300 && written.offload.needsChecksum)
        #expect(batch.delivered() == packets)
        var alone = Batch(packets, mergesUDP: false)
        #expect(alone.plan.groups.count == (flow & 1 == 0 ? 1 : 45))
        #expect(alone.delivered() == packets)
    }

    @Test func aGroupIsNoLargerThanAPacketCanBe() {
        var source = PacketSource(random: SplitMix64(state: 23))
        let packets = (0..<60).map {
            source.make(flow: 0, payload: 1300, sequence: UInt32($0 * 1300), identification: $0).packet
        }
        var batch = Batch(packets)
        #expect(batch.plan.groups.map(\.count) == [50, 10])
        #expect(batch.written().allSatisfy { $0.packet.count <= 65_535 })
        #expect(batch.delivered() == packets)
        let small = (0..<200).map { source.make(flow: 1, payload: 64, identification: $0).packet }
        #expect(Batch(small).plan.groups.map(\.count) == [128, 72])
    }

    @Test func whatIsInTheWayOfAFlowEndsItsGroup() {
        var source = PacketSource(random: SplitMix64(state: 24))
        func segment(_ index: Int, flags: UInt8 = 0x10, payload: Int = 100) -> [UInt8] {
            source.make(
                flow: 0,
                payload: payload,
                sequence: UInt32(index * 100),
                identification: index,
                flags: flags
            ).packet
        }
        // A FIN, a bare acknowledgement, an urgent one, a congestion echo, a fragment of anything.
        for flags: UInt8 in [0x11, 0x12, 0x14, 0x30, 0x50, 0x90] {
            let packets = [segment(0), segment(1), segment(2, flags: flags), segment(3), segment(4)]
            var batch = Batch(packets)
            #expect(batch.plan.groups.map(\.count) == [2, 1, 2])
            #expect(batch.delivered() == packets)
        }
        let bare = [segment(0), segment(1), segment(2, payload: 0), segment(2), segment(3)]
        #expect(Batch(bare).plan.groups.map(\.count) == [2, 1, 2])
        let other = PacketBuilder.v4(1, payload: [8, 0, 0, 0, 0, 0, 0, 0])
        #expect(
            Batch([segment(0), segment(1), other, segment(2), segment(3)]).plan.groups.map(\.count) == [
                2, 1, 2,
            ]
        )
        // Another flow is not in the way.
        let udp = source.make(flow: 1, payload: 100, identification: 9).packet
        #expect(Batch([segment(0), udp, segment(1), segment(2)]).plan.groups.map(\.count) == [3, 1])
    }
}
