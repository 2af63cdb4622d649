import IPPackets
import IPsecTypes
import Primitives
import Testing

@testable import ESP

/// What inner and outer headers take from each other, by policy (RFC 4301 §5.1.2 and §8.1, RFC 6040).
@Suite struct HeaderCopyingTests {
    private let marked = (0...255).map { UInt8($0) }

    private func pair(_ copying: HeaderCopying) throws -> (a: EngineHost, b: EngineHost) {
        (
            try EngineHost(Fixture.description(isA: true, copying: copying)),
            try EngineHost(Fixture.description(isA: false, copying: copying))
        )
    }

    private func packet(_ trafficClass: UInt8, _ isIPv6: Bool) throws -> [UInt8] {
        var packet =
            isIPv6
            ? try Fixture.packet("fd01::5", "fd02::9", trafficClass: trafficClass)
            : try Fixture.packet(trafficClass: trafficClass)
        if !isIPv6 {
            var sum = InternetChecksum()
            sum.add(packet.span, 0..<20)
            (packet[10], packet[11]) = (UInt8(sum.value >> 8), UInt8(sum.value & 0xff))
        }
        return packet
    }

    @Test(arguments: HeaderCopying.DSCP.allCases, [true, false])
    func outerHeadersShowWhatThePolicySays(dscp: HeaderCopying.DSCP, ecn: Bool) throws {
        let a = try pair(HeaderCopying(dscp: dscp, ecn: ecn)).a
        for isIPv6 in [false, true] {
            for value in marked {
                _ = a.seal([try packet(value, isIPv6)])
                let shown = a.lastSealed.map { $0.trafficClass }
                let dscpPart = dscp == .out || dscp == .yes ? value & 0xfc : 0
                #expect(shown == [dscpPart | (ecn ? value & 3 : 0)])
            }
        }
    }

    @Test(arguments: HeaderCopying.DSCP.allCases, [true, false])
    func innerHeadersTakeWhatThePolicySays(dscp: HeaderCopying.DSCP, ecn: Bool) throws {
        let (a, b) = try pair(HeaderCopying(dscp: dscp, ecn: ecn))
        for isIPv6 in [false, true] {
            // ECT(0) inside, so that nothing is dropped.
            let sent = try packet(0x2a << 2 | 2, isIPv6)
            for outer in marked {
                let congestion: UInt8 = ecn ? [2, 1, 2, 3][Int(outer & 3)] : 2
                let expected = (dscp == .in || dscp == .yes ? outer & 0xfc : 0x2a << 2) | congestion
                let opened = try #require(b.open(a.seal([sent]), trafficClass: outer)[0])
                #expect(try opened == packet(expected, isIPv6), "\(outer)")
            }
        }
        #expect(b.droppedOnly())
    }

    /// Not-ECT inside and CE outside is a loss that must not be hidden (RFC 6040 §4.2), unless nobody looks.
    @Test func congestionOfPacketsThatKnowNoMarksIsALoss() throws {
        for (ecn, arrives) in [(true, false), (false, true)] {
            let (a, b) = try pair(HeaderCopying(ecn: ecn))
            #expect((b.open(a.seal([try packet(0, false)]), trafficClass: 3)[0] != nil) == arrives)
        }
    }

    @Test func withoutDFWhatIsTooLargeIsCutBehindEncryption() throws {
        let (a, b) = try pair(HeaderCopying(df: false))
        a.room = 1_700
        b.room = 9_000
        let packets = [
            try Fixture.packet(payload: 3_000, dontFragment: true), try Fixture.packet(payload: 3_000),
            try Fixture.packet("fd01::5", "fd02::9", payload: 3_000), try Fixture.packet(payload: 30),
        ]
        let sealed = a.seal(packets)
        #expect(a.lastVerdicts == Array(repeating: .queued, count: 4))
        #expect(a.lastSealed.map { $0.mayBeCut } == [true, true, true, false])
        #expect(b.open(sealed) == packets.map { Optional($0) })
        // What no datagram can be is refused all the same.
        _ = a.seal([try Fixture.packet(payload: 65_500 - 24, dontFragment: true)])
        guard case .tooBig = a.lastVerdicts.first else {
            Issue.record("\(a.lastVerdicts)")
            return
        }
        #expect(a.droppedOnly(.tooBig))
    }
}
