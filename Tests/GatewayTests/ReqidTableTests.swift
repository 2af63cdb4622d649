import IPPackets
import IPsecTypes
import Testing

@testable import Gateway

@Suite struct ReqidTableTests {
    private static func selectors(_ text: String) throws -> [TrafficSelector] {
        [TrafficSelector(try #require(IPPrefix(text)))]
    }

    @Test func peersOfOneConnectionDifferAndARekeyKeepsTheNumber() throws {
        var table = ReqidTable()
        let local = try Self.selectors("10.1.0.0/16")
        let (carol, dave) = try (Self.selectors("192.168.0.100"), Self.selectors("192.168.0.200"))
        table.assign(1, local: local, remote: carol)
        table.assign(2, local: local, remote: dave)
        #expect(table[1] == 1)
        #expect(table[2] == 2)
        table.assign(3, local: local, remote: carol)
        table.release(1)
        #expect(table[1] == nil)
        #expect(table[3] == 1)
    }

    @Test func aNumberIsUsedAgainWhenNobodyHasIt() throws {
        var table = ReqidTable()
        let local = try Self.selectors("10.1.0.0/16")
        table.assign(1, local: local, remote: try Self.selectors("10.2.0.0/24"))
        table.assign(2, local: local, remote: try Self.selectors("10.3.0.0/24"))
        table.release(1)
        table.release(1)
        table.assign(3, local: local, remote: try Self.selectors("10.4.0.0/24"))
        #expect(table[3] == 1)
        table.assign(3, local: local, remote: try Self.selectors("10.3.0.0/24"))
        #expect(table[3] == 2)
        table.assign(4, local: local, remote: try Self.selectors("10.5.0.0/24"))
        #expect(table[4] == 1)
    }
}
