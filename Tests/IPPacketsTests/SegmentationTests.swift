import TestSupport
import Testing

@testable import IPPackets

@Suite struct SegmentationTests {
    /// The pieces as the data plane makes them.
    private func cut(_ packet: [UInt8], _ offload: OffloadHeader) -> [[UInt8]]? {
        guard let header = PacketBuilder.header(packet),
            let whole = SuperPacket(header, offload, in: packet.span, at: 0)
        else { return nil }
        return (0..<whole.count).map { index in
            let payload = Array(packet[whole.payload(of: index)])
            var piece = Array(packet[..<whole.headerLength]) + payload
            var span = piece.mutableSpan
            whole.finish(index, payloadSum: PacketBuilder.slowSum(payload), in: &span, at: 0)
            return piece
        }
    }

    @Test func piecesAreWhatTheDefinitionSays() throws {
        var source = PacketSource(random: SplitMix64(state: 11))
        for round in 0..<3000 {
            let flow = Int.random(in: 0..<16, using: &source.random)
            let (isTCP, isIPv6) = (flow & 1 == 0, flow & 2 != 0)
            let optionWords = Int.random(in: 0...3, using: &source.random)
            let made = source.make(
                flow: flow,
                payload: Int.random(in: 1...(round % 50 == 0 ? 65_000 : 6000), using: &source.random),
                sequence: UInt32.random(in: 0...UInt32.max, using: &source.random),
                identification: Int.random(in: 0...65_535, using: &source.random),
                flags: UInt8.random(in: 0...255, using: &source.random),
                ipOptions: isIPv6 ? 0 : 4 * Int.random(in: 0...2, using: &source.random),
                tcpOptions: isTCP
                    ? (0..<4 * optionWords).map { _ in UInt8.random(in: 0...255, using: &source.random) }
                    : [],
                extensionHeader: round % 3 == 0,
                trafficClass: UInt8.random(in: 0...255, using: &source.random)
            )
            var offload = OffloadHeader()
            offload.kind = isTCP ? (isIPv6 ? .tcp6 : .tcp4) : .udp
            offload.segmentSize = Int.random(in: 1...2000, using: &source.random)
            offload.needsChecksum = round % 2 == 0
            var packet = made.packet
            if offload.needsChecksum {
                // What the kernel leaves in the field.
                let length = packet.count - made.transport
                let pseudo = ReferenceSegments.pseudoHeader(packet, isTCP: isTCP, length: length)
                ReferenceSegments.put(
                    &packet,
                    made.transport + (isTCP ? 16 : 6),
                    Int(PacketBuilder.slowSum(pseudo))
                )
            }
            let expected = ReferenceSegments.cut(
                made.packet,
                headerLength: made.headerLength,
                transport: made.transport,
                segmentSize: offload.segmentSize
            )
            let pieces = try #require(cut(packet, offload))
            #expect(pieces == expected, "round \(round)")
        }
    }

    @Test func refusesWhatIsNotWhatTheHeaderSays() {
        var source = PacketSource(random: SplitMix64(state: 12))
        let tcp = source.make(flow: 0, payload: 100).packet
        let udp6 = source.make(flow: 3, payload: 100).packet
        func offload(_ kind: OffloadHeader.Kind?, _ size: Int = 40) -> OffloadHeader {
            var offload = OffloadHeader()
            offload.kind = kind
            offload.segmentSize = size
            return offload
        }
        #expect(cut(tcp, offload(.tcp4))?.count == 3)
        #expect(cut(udp6, offload(.udp))?.count == 3)
        for kind in [OffloadHeader.Kind.tcp6, .udp, .whole, nil] { #expect(cut(tcp, offload(kind)) == nil) }
        for kind in [OffloadHeader.Kind.tcp4, .tcp6, .whole, nil] { #expect(cut(udp6, offload(kind)) == nil) }
        #expect(cut(tcp, offload(.tcp4, 0)) == nil)
        for words: UInt8 in [0, 4, 15] {
            var wrong = Array(tcp.prefix(60))
            ReferenceSegments.put(&wrong, 2, 60)
            wrong[32] = words << 4
            #expect(cut(wrong, offload(.tcp4)) == nil)
        }
        var fragment = tcp
        fragment[6] = 0x20
        #expect(cut(fragment, offload(.tcp4)) == nil)
        #expect(cut(source.make(flow: 0, payload: 0).packet, offload(.tcp4)) == nil)
        #expect(cut(source.make(flow: 1, payload: 0).packet, offload(.udp)) == nil)
    }

    @Test func offloadHeaderIsReadAsItWasWritten() {
        var octets = [UInt8](repeating: 0, count: 12)
        var offload = OffloadHeader()
        offload.kind = .tcp6
        offload.needsChecksum = true
        (offload.headerLength, offload.segmentSize) = (60, 0x1234)
        (offload.checksumStart, offload.checksumOffset) = (40, 16)
        var span = octets.mutableSpan
        offload.write(to: &span, before: 10)
        #expect(octets == [1, 4, 60, 0, 0x34, 0x12, 40, 0, 16, 0, 0, 0])
        #expect(OffloadHeader(octets.span, before: 10) == offload)
        octets[1] = 0x84
        #expect(OffloadHeader(octets.span, before: 10) == offload)
        octets[1] = 3
        #expect(OffloadHeader(octets.span, before: 10)?.kind == nil)
        #expect(OffloadHeader(octets.span, before: 9) == nil)
        #expect(OffloadHeader(octets.span, before: 13) == nil)
    }
}
