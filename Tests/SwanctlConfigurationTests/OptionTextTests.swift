import Testing

@testable import SwanctlConfiguration

struct OptionTextTests {
    @Test(
        arguments: [
            ("0", 0), ("10", 10), ("30s", 30), ("5m", 300), ("4h", 14_400), ("4H", 14_400), ("1d", 86_400),
            ("10 m", 600), ("0x10", 16), ("010", 8), ("4294967295", 4_294_967_295),
        ] as [(String, UInt64)]
    )
    func readsTimes(_ text: String, _ seconds: UInt64) {
        #expect(OptionText.seconds(Array(text.utf8)) == seconds)
    }

    @Test(arguments: [
        "", "h", "-1", "+1", "1.5h", "1w", "1hh", "1h m", " 1", "4294967296", "99999999999999999999", "08",
        "0x", "1\u{0}", "١",
    ])
    func refusesOtherTimes(_ text: String) {
        #expect(OptionText.seconds(Array(text.utf8)) == nil)
    }

    @Test(
        arguments: [
            ("0", 0), ("500000000", 500_000_000), ("1k", 1_024), ("2M", 2_097_152), ("3g", 3_221_225_472),
            ("18446744073709551615", .max), ("18446744073709551615k", .max),
        ] as [(String, UInt64)]
    )
    func readsVolumes(_ text: String, _ octets: UInt64) {
        #expect(OptionText.volume(Array(text.utf8)) == octets)
    }

    @Test(arguments: ["", "k", "1t", "1kb", "1 k b", "-5"])
    func refusesOtherVolumes(_ text: String) {
        #expect(OptionText.volume(Array(text.utf8)) == nil)
    }

    @Test func readsFlagsNumbersAndBits() {
        for word in ["yes", "TRUE", "enabled", "1"] { #expect(OptionText.flag(Array(word.utf8)) == true) }
        for word in ["no", "False", "disabled", "0"] { #expect(OptionText.flag(Array(word.utf8)) == false) }
        for word in ["", "y", "on", "2"] { #expect(OptionText.flag(Array(word.utf8)) == nil) }
        #expect(OptionText.number(Array("0x20".utf8), as: UInt32.self) == 32)
        #expect(OptionText.number(Array("4294967296".utf8), as: UInt32.self) == nil)
        #expect(OptionText.number(Array("1 ".utf8), as: UInt32.self) == nil)
        #expect(OptionText.bits(Array("101110".utf8)) == 0b101110)
        #expect(OptionText.bits(Array("000000".utf8)) == 0)
        for word in ["", "2", "1b", String(repeating: "1", count: 33)] {
            #expect(OptionText.bits(Array(word.utf8)) == nil)
        }
    }

    @Test func printableTextOnly() {
        #expect(OptionText.printable(Array("a b".utf8)) == "a b")
        #expect(OptionText.printable([0x61, 0x0a]) == nil)
        #expect(OptionText.printable([0xff]) == nil)
        #expect(OptionText.printable([]) == "")
        #expect(OptionText.word([]) == nil)
    }
}
