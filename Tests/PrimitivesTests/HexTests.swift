import Primitives
import Testing

@Suite("Hex")
struct HexTests {
    @Test func roundTripsEveryOctet() {
        let all = [UInt8](0...255)
        let text = Hex.encode(all)
        #expect(text.hasPrefix("000102") && text.hasSuffix("fdfeff") && text.utf8.count == 512)
        #expect(Hex.decode(text) == all && Hex.decode(text.uppercased()) == all)
        #expect(Hex.encode([]) == "" && Hex.decode("") == [])
    }

    @Test(arguments: ["0", "abc", "0g", "g0", " 00", "0x00", "00 ", "+1", "é0", "/0", ":0", "@0", "G0", "`0"])
    func rejectsWhatIsNotHex(text: String) {
        #expect(Hex.decode(text) == nil)
    }

    @Test func numbersKeepLeadingZeros() {
        #expect(Hex.encode(UInt32(0xc0ffee)) == "00c0ffee")
        #expect(Hex.encode(UInt64(1)) == "0000000000000001" && Hex.encode(UInt64.max) == "ffffffffffffffff")
        #expect(Hex.encode(UInt16(0x0a0b)) == "0a0b" && Hex.encode(UInt8(7)) == "07")
    }
}
