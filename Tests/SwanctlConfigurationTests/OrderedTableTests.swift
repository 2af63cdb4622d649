import Testing

@testable import SwanctlConfiguration

struct OrderedTableTests {
    @Test func keepsTheOrderOfTheFirstComing() {
        var table = OrderedTable<Int>()
        for number in 0..<100 { table.set("n\(number)", number) }
        table.set("n7", 700)
        for number in 0..<100 where number % 3 == 0 { #expect(table.remove("n\(number)") == number) }
        #expect(table.remove("n0") == nil)
        #expect(table["n7"] == 700)
        #expect(table.count == 66)
        #expect(table.names == (0..<100).filter { $0 % 3 != 0 }.map { "n\($0)" })
        for number in 0..<90 { table.remove("n\(number)") }
        #expect(table.values == [91, 92, 94, 95, 97, 98])
        table.set("n0", 0)
        #expect(table.names.last == "n0")
    }
}
