import Primitives
import Testing
import Vici

/// Parses octets as a message.
func parseMessage(_ octets: [UInt8]) throws(WireError) -> ViciMessage {
    var reader = ByteReader(octets.span)
    return try ViciMessage(parsing: &reader)
}

/// A message with each kind of element, an order that matters and a name twice.
let sampleMessage = ViciMessage {
    $0.set("zulu", "last letter first")
    $0.section("section1") {
        $0.section("sub-section") { $0.set("key2", "value2") }
        $0.list("list1", ["item1", "item2"])
        $0.section("empty") { _ in }
    }
    $0.set("alpha", 42)
    $0.set("alpha", octets: [0, 0xff, 0x80])
    $0.list("none", [])
}

@Suite struct ViciMessageTests {
    @Test func writesTheOctetsOfTheFormat() throws {
        let message = ViciMessage {
            $0.set("k", "v1")
            $0.section("s") { $0.list("l", ["a", ""]) }
        }
        let golden: [UInt8] = [
            3, 1, 0x6b, 0, 2, 0x76, 0x31,  // k = v1
            1, 1, 0x73,  // s {
            4, 1, 0x6c,  // l [
            5, 0, 1, 0x61,  // a
            5, 0, 0,  // (empty)
            6,  // ]
            2,  // }
        ]
        #expect(try message.encoded() == golden)
        #expect(try parseMessage(golden) == message)
    }

    @Test func roundTripsKeepOrderAndRepeatedNames() throws {
        let octets = try sampleMessage.encoded()
        let parsed = try parseMessage(octets)
        #expect(parsed == sampleMessage)
        #expect(parsed.elements.map(\.name) == ["zulu", "section1", "alpha", "alpha", "none"])
        #expect(sampleMessage.encodedOctets == octets.count)
    }

    @Test func rejectsEveryTruncation() throws {
        let octets = try sampleMessage.encoded()
        // A message ends with its packet: only a cut between top-level elements leaves a message.
        var whole: Set<Int> = []
        for count in 0...sampleMessage.elements.count {
            whole.insert(ViciMessage(Array(sampleMessage.elements.prefix(count))).encodedOctets)
        }
        for count in 0..<octets.count where !whole.contains(count) {
            #expect(throws: WireError.self, "cut at \(count)") {
                try parseMessage(Array(octets.prefix(count)))
            }
        }
    }

    @Test(
        arguments: [
            [0], [7], [2], [5, 0, 0], [6], [3, 0, 0], [1, 0, 3], [4, 0, 1],
            [3, 1, 0x0a, 0, 0], [3, 1, 0xc3, 0, 0], [4, 1, 0x61, 3, 1, 0x62, 0, 0, 6],
            [4, 1, 0x61, 4, 1, 0x62, 6, 6],
            [1, 1, 0x61, 2, 2], [4, 1, 0x61], [1, 1, 0x61],
        ] as [[UInt8]]
    )
    func rejectsWhatTheFormatForbids(octets: [UInt8]) {
        #expect(throws: WireError.self) { try parseMessage(octets) }
    }

    @Test func acceptsThirtyTwoLevelsAndNoMore() throws {
        func nested(_ depth: Int) -> ViciMessage {
            (0..<depth).reduce(ViciMessage()) { inner, _ in ViciMessage { $0.section("s", inner) } }
        }
        let deepest = try nested(ViciLimits.depth).encoded()
        #expect(try parseMessage(deepest) == nested(ViciLimits.depth))
        #expect(throws: WireError.self) { try nested(ViciLimits.depth + 1).encoded() }
        let opening: [UInt8] = [1, 1, 0x73]
        let tooDeep = Array(repeatElement(opening, count: 100_000).joined())
        let limit = WireError(.limitExceeded("32 nested sections"), at: 96)
        #expect(throws: limit) { try parseMessage(tooDeep) }
    }

    @Test func limitsTheNumberOfElementsOfLists() throws {
        let full = ViciMessage {
            $0.list("l", octets: Array(repeating: [], count: ViciLimits.elements - 1))
        }
        #expect(try parseMessage(full.encoded()) == full)
        let over: [UInt8] =
            [4, 1, 0x6c] + Array(repeatElement([5, 0, 0], count: ViciLimits.elements).joined()) + [6]
        #expect(throws: WireError.self) { try parseMessage(over) }
        #expect(throws: WireError.self) {
            try ViciMessage { $0.list("l", octets: Array(repeating: [], count: ViciLimits.elements)) }
                .encoded()
        }
    }

    @Test func limitsNamesAndValuesWhenWriting() throws {
        let longest = ViciMessage {
            $0.set(String(repeating: "n", count: 255), octets: Array(repeating: 7, count: 65_535))
        }
        #expect(try parseMessage(longest.encoded()) == longest)
        for message in [
            ViciMessage { $0.set(String(repeating: "n", count: 256), "") },
            ViciMessage { $0.set("é", "") },
            ViciMessage { $0.set("n", octets: Array(repeating: 7, count: 65_536)) },
            ViciMessage { $0.list("n", octets: [Array(repeating: 7, count: 65_536)]) },
        ] {
            #expect(throws: WireError.self) { try message.encoded() }
        }
    }

    @Test func aNameMayBeEmpty() throws {
        // strongSwan's `get-counters` names the sum of all connections so.
        let message = ViciMessage { $0.section("counters") { $0.section("") { $0.set("invalid", 1) } } }
        #expect(try parseMessage(message.encoded()) == message)
    }

    @Test func accessorsTellKindsApart() {
        #expect(sampleMessage.string("zulu") == "last letter first")
        #expect(sampleMessage.string("section1") == nil)
        #expect(sampleMessage.section("zulu") == nil)
        #expect(sampleMessage.section("section1")?.strings("list1") == ["item1", "item2"])
        #expect(sampleMessage.strings("absent") == [])
        #expect(sampleMessage.items("absent") == nil)
        #expect(sampleMessage.number("alpha", as: UInt8.self) == 42)
        #expect(sampleMessage.number("zulu", as: Int.self) == nil)
        #expect(ViciMessage { $0.set("b", octets: [0xff]) }.string("b") == nil)
        #expect(ViciMessage.failure("why").flag("success") == false)
        #expect(ViciMessage.failure("why").string("errmsg") == "why")
    }

    @Test func jsonKeepsOrderAndEscapes() {
        #expect(
            sampleMessage.json
                == #"{"zulu":"last letter first","section1":{"sub-section":{"key2":"value2"},"#
                + #""list1":["item1","item2"],"empty":{}},"alpha":"0x00ff80","none":[]}"#
        )
        #expect(ViciJSON.quoted("a\"\\\u{1b}\n") == #""a\"\\\u001b\n""#)
    }
}
