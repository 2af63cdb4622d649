import Primitives
import Testing

@Suite("Instant and durations")
struct InstantTests {
    @Test func advancesAndMeasures() {
        let start = Instant(sinceStart: .seconds(5))
        let later = start.advanced(by: .milliseconds(1500))
        #expect(
            start.duration(to: later) == .milliseconds(1500)
                && later.duration(to: start) == .milliseconds(-1500)
        )
        #expect(
            start < later && !(later < start) && Instant.zero < start
                && start == Instant(sinceStart: .seconds(5))
        )
    }

    @Test func convertsUnits() {
        let duration = Duration.milliseconds(2750)
        #expect(
            duration.wholeSeconds == 2 && duration.wholeMilliseconds == 2750
                && duration.fractionalSeconds == 2.75
        )
        #expect(Duration.microseconds(1999).wholeMilliseconds == 1 && Duration.zero.wholeMilliseconds == 0)
        #expect(Duration.milliseconds(-1).wholeMilliseconds == -1)
    }

    @Test func millisecondsSaturate() {
        #expect(Duration.seconds(Int64.max).wholeMilliseconds == .max)
        #expect(Duration.seconds(Int64.min).wholeMilliseconds == .min)
    }
}

@Suite("SeededEntropy")
struct SeededEntropyTests {
    @Test func equalSeedsGiveEqualSequences() {
        var first = SeededEntropy(seed: 7)
        var second = SeededEntropy(seed: 7)
        var other = SeededEntropy(seed: 8)
        let octets = first.bytes(100)
        #expect(
            octets == second.bytes(100) && octets != other.bytes(100) && first.bytes(8) == second.bytes(8)
        )
        #expect(first.bytes(0).isEmpty && first.bytes(3).count == 3)
    }

    @Test func fractionsLieBetweenZeroAndOne() {
        var entropy = SeededEntropy(seed: 1)
        let values = (0..<10_000).map { _ in entropy.fraction() }
        #expect(values.allSatisfy { (0..<1).contains($0) })
        let mean = values.reduce(0, +) / 10_000
        #expect((0.48...0.52).contains(mean))
    }
}

@Suite("WireError")
struct WireErrorTests {
    @Test func saysWhatAndWhere() {
        let cases: [(WireError.Reason, String)] = [
            (.truncated(needed: 4, available: 1), "needs 4 octets, has 1 at octet 9"),
            (.trailingOctets(2), "2 trailing octets at octet 9"),
            (.invalidLength(-1), "invalid length -1 at octet 9"),
            (.invalidValue("version"), "invalid version at octet 9"),
            (.overflow("length"), "length does not fit at octet 9"),
            (.limitExceeded("16 proposals"), "more than 16 proposals at octet 9"),
        ]
        for (reason, text) in cases { #expect(WireError(reason, at: 9).description == text) }
    }
}
