import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@Suite("Narrowing of selectors")
struct SelectorNarrowingTests {
    private func address(_ offset: UInt32) -> IPAddress { .v4(IPv4Address(0x0a00_0000 + offset)) }

    /// Pairs of address and port, from the definition alone.
    private func packets(_ selectors: [TrafficSelector]) -> Set<[UInt32]> {
        var result: Set<[UInt32]> = []
        for selector in selectors {
            for offset in UInt32(0)..<8
            where selector.first <= address(offset) && address(offset) <= selector.last {
                for port in UInt16(0)..<4 where selector.ports.contains(port) {
                    result.insert([offset, UInt32(port)])
                }
            }
        }
        return result
    }

    private func random(_ entropy: inout SeededEntropy) -> [TrafficSelector] {
        (0...entropy.nextUInt32() % 4).compactMap { _ in
            let ends = [entropy.nextUInt32() % 8, entropy.nextUInt32() % 8].sorted()
            let ports = [UInt16(entropy.nextUInt32() % 4), UInt16(entropy.nextUInt32() % 4)].sorted()
            let range = entropy.nextUInt32() % 2 == 0 ? 0...65535 : ports[0]...ports[1]
            return TrafficSelector(address(ends[0]), address(ends[1]), ipProtocol: 6, ports: range)
        }
    }

    @Test func narrowedEqualsTheIntersectionOfBothSets() {
        var entropy = SeededEntropy(seed: 99)
        for _ in 0..<5_000 {
            let offered = random(&entropy)
            let policy = random(&entropy)
            let result = SelectorNarrowing.narrow(offered, to: policy)
            #expect(packets(result) == packets(offered).intersection(packets(policy)))
            if !result.isEmpty {
                #expect(
                    SelectorNarrowing.isSubset(result, of: offered)
                        && SelectorNarrowing.isSubset(result, of: policy)
                )
            }
            for (index, selector) in result.enumerated() {
                let others = result.enumerated().filter { $0.offset != index }.map { $0.element }
                #expect(!others.contains { $0.contains(selector) }, "\(result)")
            }
        }
    }

    @Test func thePeersFirstSelectorStaysFirst() throws {
        let host = TrafficSelector(try #require(IPPrefix("10.1.0.9")), ipProtocol: 6, ports: 80...80)
        let other = TrafficSelector(try #require(IPPrefix("10.2.0.0/16")))
        let policy = [
            TrafficSelector(try #require(IPPrefix("10.2.0.0/15"))),
            TrafficSelector(try #require(IPPrefix("10.1.0.0/16"))),
        ]
        #expect(SelectorNarrowing.narrow([host, other], to: policy) == [host, other])
    }

    @Test func nothingCommonIsEmpty() throws {
        let one = TrafficSelector(try #require(IPPrefix("10.1.0.0/16")))
        let two = TrafficSelector(try #require(IPPrefix("10.2.0.0/16")))
        #expect(
            SelectorNarrowing.narrow([one], to: [two]).isEmpty
                && SelectorNarrowing.narrow([], to: [two]).isEmpty
        )
    }

    @Test func answersMayOnlyNarrow() throws {
        let wide = TrafficSelector(try #require(IPPrefix("10.0.0.0/8")))
        let inside = TrafficSelector(try #require(IPPrefix("10.1.0.0/16")))
        #expect(
            SelectorNarrowing.isSubset([inside], of: [wide]) && SelectorNarrowing.isSubset([wide], of: [wide])
        )
        #expect(
            !SelectorNarrowing.isSubset([wide], of: [inside]) && !SelectorNarrowing.isSubset([], of: [wide])
        )
        #expect(!SelectorNarrowing.isSubset([inside, wide], of: [inside]))
    }
}
