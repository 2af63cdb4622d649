import IPPackets
import IPsecTypes
import Testing

@testable import ESP

struct TrafficClassTests {
    private static func ends(_ isIPv6: Bool) -> (String, String) {
        isIPv6 ? ("fd01::1", "fd02::1") : ("10.1.0.5", "10.2.0.9")
    }

    private static func trafficClass(_ packet: [UInt8]) -> UInt8 {
        packet[0] >> 4 == 6 ? packet[0] << 4 | packet[1] >> 4 : packet[1]
    }

    /// RFC 6040 §4.1, normal mode, and RFC 4301 §5.1.2: both fields are copied outward.
    @Test(arguments: [false, true])
    func outerHeaderHasTheInnerDSCPAndECN(isIPv6: Bool) throws {
        let a = try EngineHost(Fixture.description(isA: true))
        let (source, destination) = Self.ends(isIPv6)
        let classes: [UInt8] = (0...255).map { $0 }
        _ = try a.seal(classes.map { try Fixture.packet(source, destination, trafficClass: $0) })
        #expect(a.lastSealed.map(\.trafficClass) == classes)
        // Pieces of a packet are marked alike.
        _ = try a.seal([Fixture.packet(payload: 2000, trafficClass: 0xb9)])
        #expect(a.lastSealed.map(\.trafficClass) == [0xb9, 0xb9])
    }

    /// RFC 6040 §4.2, figure 4: rows by inner, columns by outer field, in the order Not-ECT, ECT(0), ECT(1), CE.
    private static let table: [[UInt8?]] = [
        [0, 0, 0, nil],
        [2, 2, 1, 3],
        [1, 1, 1, 3],
        [3, 3, 3, 3],
    ]
    private static let codes: [UInt8] = [0, 2, 1, 3]

    @Test(arguments: [false, true])
    func innerECNFollowsTheTable(isIPv6: Bool) throws {
        let (source, destination) = Self.ends(isIPv6)
        for (row, inner) in Self.codes.enumerated() {
            for (column, outer) in Self.codes.enumerated() {
                let a = try EngineHost(Fixture.description(isA: true))
                let b = try EngineHost(Fixture.description(isA: false))
                // DSCP 46 inside, 10 outside: the inner one stays.
                var packet = try Fixture.packet(source, destination, trafficClass: 46 << 2 | inner)
                if !isIPv6 { setChecksum(&packet) }
                let opened = b.open(a.seal([packet]), trafficClass: 10 << 2 | outer)
                guard let expected = Self.table[row][column] else {
                    #expect(opened == [nil] && b.drops(.invalidECN) == 1)
                    continue
                }
                var wanted = try Fixture.packet(source, destination, trafficClass: 46 << 2 | expected)
                if !isIPv6 { setChecksum(&wanted) }
                #expect(opened == [wanted], "inner \(inner), outer \(outer)")
                #expect(b.droppedOnly())
            }
        }
    }

    private func setChecksum(_ packet: inout [UInt8]) {
        var sum = InternetChecksum()
        sum.add(packet.span, 0..<20)
        packet[10] = UInt8(sum.value >> 8)
        packet[11] = UInt8(sum.value & 255)
    }
}
