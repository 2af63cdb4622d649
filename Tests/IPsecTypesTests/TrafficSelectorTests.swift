import IPPackets
import IPsecTypes
import Primitives
import Testing

@Suite("TrafficSelector against a set of packets")
struct TrafficSelectorTests {
    /// A packet of a small world: 6 addresses, 3 protocols, 5 ports, and ports that cannot be seen.
    private struct Packet: Hashable {
        let address: UInt32
        let number: UInt8
        /// nil is a packet without visible ports.
        let port: UInt16?
    }

    private static let base: UInt32 = 0x0a00_0000
    private static let ports: [UInt16?] = [0, 1, 2, 3, 65535, nil]

    private func address(_ offset: UInt32) -> IPAddress { .v4(IPv4Address(Self.base + offset)) }

    /// The packets that match, from the definition alone (RFC 4301 §4.4.1.1: ANY includes OPAQUE).
    private func packets(_ selector: TrafficSelector?) -> Set<Packet> {
        guard let selector else { return [] }
        var result: Set<Packet> = []
        for offset in UInt32(0)..<6
        where selector.first <= address(offset) && address(offset) <= selector.last {
            for number in UInt8(1)...3 where selector.ipProtocol == 0 || selector.ipProtocol == number {
                for port in Self.ports {
                    let matches: Bool
                    if let port {
                        matches = !selector.isOpaque && selector.ports.contains(port)
                    } else {
                        matches = selector.isOpaque || selector.ports == 0...65535
                    }
                    if matches { result.insert(Packet(address: offset, number: number, port: port)) }
                }
            }
        }
        return result
    }

    private func random(_ entropy: inout SeededEntropy) -> TrafficSelector? {
        let ends = [entropy.nextUInt32() % 6, entropy.nextUInt32() % 6].sorted()
        let ranges: [ClosedRange<UInt16>] = [0...65535, 0...65535, 0...1, 1...2, 2...2, 3...65535, 0...3]
        let isOpaque = entropy.nextUInt32() % 6 == 0
        return TrafficSelector(
            address(ends[0]),
            address(ends[1]),
            ipProtocol: UInt8(entropy.nextUInt32() % 4),
            ports: isOpaque ? 0...65535 : ranges[Int(entropy.nextUInt32() % 7)],
            isOpaque: isOpaque
        )
    }

    @Test func narrowingIsTheIntersection() throws {
        var entropy = SeededEntropy(seed: 42)
        var empty = 0
        for _ in 0..<5_000 {
            let one = try #require(random(&entropy))
            let other = try #require(random(&entropy))
            let common = one.narrowed(to: other)
            #expect(
                packets(common) == packets(one).intersection(packets(other)),
                "\(one) with \(other): \(String(describing: common))"
            )
            #expect(packets(other.narrowed(to: one)) == packets(common))
            if common == nil { empty += 1 }
        }
        #expect((500..<4_500).contains(empty))
    }

    @Test func containmentIsTheSubset() throws {
        var entropy = SeededEntropy(seed: 43)
        var contained = 0
        for _ in 0..<5_000 {
            let one = try #require(random(&entropy))
            let other = try #require(random(&entropy))
            if one.contains(other) {
                contained += 1
                #expect(packets(other).isSubset(of: packets(one)), "\(one) contains \(other)")
            } else {
                #expect(!packets(other).isSubset(of: packets(one)), "\(one) does not contain \(other)")
            }
        }
        #expect(contained > 100)
    }

    @Test func impossibleSelectorsCannotBeMade() throws {
        let v6 = try #require(IPAddress("2001:db8::1"))
        #expect(TrafficSelector(address(2), address(1)) == nil && TrafficSelector(address(1), v6) == nil)
        #expect(TrafficSelector(address(1), address(1)) != nil)
    }

    @Test func familiesDoNotMix() throws {
        let v4 = TrafficSelector(try #require(IPPrefix("0.0.0.0/0")))
        let v6 = TrafficSelector(try #require(IPPrefix("::/0")))
        #expect(v4.narrowed(to: v6) == nil && !v4.contains(v6) && !v6.contains(v4))
    }

    @Test func printsAsStrongSwanDoes() throws {
        let prefix = try #require(IPPrefix("10.1.0.0/16"))
        #expect(TrafficSelector(prefix).description == "10.1.0.0/16")
        #expect(TrafficSelector(prefix, ipProtocol: 6, ports: 22...22).description == "10.1.0.0/16[tcp/22]")
        #expect(TrafficSelector(prefix, ipProtocol: 17, ports: 1...9).description == "10.1.0.0/16[udp/1-9]")
        #expect(TrafficSelector(prefix, ipProtocol: 47).description == "10.1.0.0/16[47]")
        #expect(TrafficSelector(address(1), address(9))?.description == "10.0.0.1..10.0.0.9")
        let opaque = TrafficSelector(address(1), address(1), ipProtocol: 6, isOpaque: true)
        #expect(opaque?.description == "10.0.0.1/32[tcp/OPAQUE]")
    }

    @Test func prefixesCoverTheRange() throws {
        let selector = try #require(TrafficSelector(address(1), address(6)))
        #expect(
            selector.prefixes.map { $0.description } == [
                "10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32",
            ]
        )
    }
}

@Suite("SPI")
struct SPITests {
    @Test func reservedNumbersCannotExist() {
        #expect(
            SPI(0) == nil && SPI(255) == nil && SPI(256)?.value == 256 && SPI(.max)?.description == "ffffffff"
        )
        #expect(IKESPI(0) == nil && IKESPI(1)?.octets == [0, 0, 0, 0, 0, 0, 0, 1])
        #expect(IKESPI(0x0102_0304_0506_0708)?.description == "0102030405060708")
    }
}
