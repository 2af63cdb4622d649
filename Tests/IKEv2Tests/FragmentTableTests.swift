import IKECore
import IPsecTypes
import Primitives
import Testing

@testable import IKEv2

@Suite struct FragmentTableTests {
    private func key(_ spi: UInt64 = 1, response: Bool = false, id: UInt32 = 1) throws -> FragmentTable.Key {
        try FragmentTable.Key(spi: IKESPI(spi).unwrapped, isResponse: response, messageID: id)
    }

    private static func instant(_ seconds: Int) -> Instant { Instant.zero.advanced(by: .seconds(seconds)) }

    private func insert(
        _ table: inout FragmentTable,
        _ number: Int,
        of total: Int,
        _ key: FragmentTable.Key,
        octets: Int = 2,
        at seconds: Int = 0
    ) -> FragmentTable.Complete? {
        let part = [UInt8](repeating: UInt8(number & 0xff), count: octets)
        let datagram = [UInt8(number & 0xff)] + part
        return table.insert(part, number, of: total, for: key, datagram: datagram, at: Self.instant(seconds))
    }

    @Test func mergesInEveryOrder() throws {
        for total in 1...5 {
            for order in Self.permutations(Array(1...total)) {
                var table = FragmentTable(limits: FragmentLimits())
                for number in order.dropLast() {
                    #expect(insert(&table, number, of: total, try key()) == nil)
                    #expect(table.verdict(on: number, of: total, for: try key()) == .replayed)
                    #expect(insert(&table, number, of: total, try key(), octets: 9) == nil)
                }
                let last = try #require(order.last)
                let complete = try #require(insert(&table, last, of: total, try key()))
                #expect(complete.parts == (1...total).map { [UInt8($0), UInt8($0)] })
                #expect(complete.firstDatagram == [1, 1, 1] && complete.longest == 3)
                #expect(table.count == 0 && table.cost == 0 && table.deadline == nil)
            }
        }
    }

    private static func permutations(_ items: [Int]) -> [[Int]] {
        guard items.count > 1 else { return [items] }
        return items.flatMap { first in
            permutations(items.filter { $0 != first }).map { [first] + $0 }
        }
    }

    /// RFC 7383 §2.6: a larger total begins anew, a smaller one is old.
    @Test func aLargerTotalBeginsAnew() throws {
        var table = FragmentTable(limits: FragmentLimits())
        #expect(insert(&table, 1, of: 2, try key()) == nil)
        #expect(insert(&table, 2, of: 3, try key(), at: 20) == nil)
        #expect(table.verdict(on: 2, of: 2, for: try key()) == .replayed)
        #expect(insert(&table, 2, of: 2, try key()) == nil)
        #expect(insert(&table, 1, of: 3, try key()) == nil)
        // Its time runs from the first fragment of all.
        #expect(table.deadline == Self.instant(30))
        #expect(insert(&table, 3, of: 3, try key())?.parts.count == 3)
        #expect(table.cost == 0)
    }

    @Test func keepsRequestsAndResponsesApartAndForgetsOldMessages() throws {
        var table = FragmentTable(limits: FragmentLimits())
        #expect(insert(&table, 1, of: 2, try key()) == nil)
        #expect(insert(&table, 2, of: 2, try key(response: true)) == nil)
        #expect(table.count == 2)
        #expect(insert(&table, 2, of: 2, try key(id: 2)) == nil)
        #expect(table.count == 2)
        #expect(insert(&table, 1, of: 2, try key(id: 2)) != nil)
        table.remove(try key(response: true, id: 7))
        #expect(table.count == 1)
        table.remove(try IKESPI(1).unwrapped)
        #expect(table.count == 0 && table.cost == 0 && table.deadline == nil)
    }

    @Test func isBoundedByCountOctetsAndTime() throws {
        let limits = FragmentLimits(fragments: 4, octets: 1000, totalOctets: 4000, lifetime: .seconds(30))
        var table = FragmentTable(limits: limits)
        #expect(table.verdict(on: 1, of: 5, for: try key()) == .tooMany)
        #expect(insert(&table, 1, of: 5, try key()) == nil)
        #expect(table.count == 0)
        #expect(insert(&table, 2, of: 4, try key(), octets: 600) == nil)
        #expect(insert(&table, 3, of: 4, try key(), octets: 600) == nil)
        // More than an IKE_SA may have: all of it goes.
        #expect(table.count == 0 && table.cost == 0)
        for spi in 1...20 {
            #expect(insert(&table, 2, of: 2, try key(UInt64(spi)), octets: 600, at: spi) == nil)
            #expect(table.cost <= 4000)
        }
        #expect(table.count == 6)
        // The oldest gave way.
        #expect(table.deadline == Self.instant(15 + 30))
        table.expire(at: Self.instant(46))
        #expect(table.count == 4)
        table.expire(at: Self.instant(100))
        #expect(table.count == 0 && table.cost == 0)
    }

    /// As many IKE_SAs as there may be, each with as much as it may have: the sum stays what the table says.
    @Test func theSumIsBounded() throws {
        var table = FragmentTable(limits: FragmentLimits())
        for spi in UInt64(1)...1000 {
            for number in 2...111 {
                #expect(insert(&table, number, of: 111, try key(spi), octets: 500) == nil)
            }
            #expect(table.cost <= 8 << 20)
        }
        #expect(table.count < 160)
    }
}
