import Primitives
import Testing

@testable import Gateway

/// A path that carries packets up to a size, and loses some for other reasons.
private struct SimulatedPath {
    var mtu: Int
    var loss = 0.0
    var chance = SeededEntropy(seed: 3)
    private(set) var probes: [Int] = []

    init(mtu: Int, loss: Double = 0) {
        self.mtu = mtu
        self.loss = loss
    }

    mutating func carries(_ octets: Int) -> Bool {
        probes.append(octets)
        // Each probe is sent three times.
        return octets <= mtu && (0..<3).contains { _ in chance.fraction() >= loss }
    }
}

@Suite struct PathMTUSearchTests {
    private var entropy = SeededEntropy(seed: 11)

    /// Lets the search run for `duration`; what it found, in order.
    private mutating func run(
        _ search: inout PathMTUSearch,
        _ path: inout SimulatedPath,
        from start: Instant,
        for duration: Duration
    ) -> [Int] {
        let end = start.advanced(by: duration)
        var (now, found) = (start, [Int]())
        while search.deadline <= end {
            now = max(now, search.deadline)
            guard let octets = search.takeProbe(at: now, entropy: &entropy) else { continue }
            let arrived = path.carries(octets)
            // An answer takes a round trip, a loss the retransmission's patience.
            now = now.advanced(by: arrived ? .milliseconds(40) : .seconds(6))
            let result = search.answered(octets, arrived: arrived, at: now, entropy: &entropy)
            if let result { found.append(result) }
        }
        return found
    }

    @Test(arguments: [1280, 1300, 1358, 1400, 1428, 1454, 1480, 1492, 1500])
    mutating func findsWhatThePathCarries(_ mtu: Int) {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: mtu)
        let found = run(&search, &path, from: .zero, for: .seconds(120))
        #expect(search.phase == .complete)
        #expect(found.last.map { $0 <= mtu && mtu - $0 <= PathMTUSearch.grain } == true, "\(found)")
        #expect(found == found.sorted(), "packets do not shrink and grow while it searches")
        #expect(path.probes.count <= 30, "\(path.probes)")
        #expect(search.estimate == found.last)
    }

    @Test mutating func aPathLikeTheInterfaceTakesTwoProbes() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: 1500)
        let found = run(&search, &path, from: .zero, for: .seconds(60))
        #expect(found == [1500], "the base is no news")
        #expect(path.probes == [1280, 1500])
    }

    @Test mutating func confirmsBetweenFiveAndTenMinutes() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: 1500)
        _ = run(&search, &path, from: .zero, for: .seconds(3600))
        let confirmations = path.probes.dropFirst(2)
        #expect((6...12).contains(confirmations.count))
        #expect(confirmations.allSatisfy { $0 == 1500 })
    }

    @Test mutating func aBlackHoleLeadsToTheBaseAndUpToWhatFits() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: 1500)
        _ = run(&search, &path, from: .zero, for: .seconds(60))
        path.mtu = 1400
        let found = run(&search, &path, from: .zero.advanced(by: .seconds(60)), for: .seconds(700))
        #expect(found.first == 1280)
        #expect(found.last == 1400)
    }

    @Test mutating func aWiderPathIsNoticed() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: 1400)
        _ = run(&search, &path, from: .zero, for: .seconds(120))
        #expect(search.estimate == 1400)
        path.mtu = 1500
        let found = run(&search, &path, from: .zero.advanced(by: .seconds(120)), for: .seconds(700))
        #expect(found.last == 1500)
    }

    @Test mutating func oneLostProbeIsNoLimit() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: 1492, loss: 0.2)
        _ = run(&search, &path, from: .zero, for: .seconds(3600))
        #expect(search.estimate.map { $0 >= 1480 } == true)
    }

    @Test mutating func aPathBelowTheBaseIsFoundToo() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: 1000)
        let found = run(&search, &path, from: .zero, for: .seconds(300))
        #expect(found.last.map { (990...1000).contains($0) } == true, "\(found)")
    }

    @Test mutating func aDeadPathIsAskedSeldom() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: 0)
        let found = run(&search, &path, from: .zero, for: .seconds(3600))
        #expect(found.isEmpty)
        #expect(path.probes.count < 600)
        #expect(search.estimate == nil)
    }

    @Test mutating func aHintIsConfirmedNotBelieved() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: 1500)
        _ = run(&search, &path, from: .zero, for: .seconds(10))
        let later = Instant.zero.advanced(by: .seconds(20))
        search.hint(600, at: later)
        #expect(search.estimate == 1500)
        let outcome1 = search.takeProbe(at: later, entropy: &entropy)
        #expect(outcome1 == 1500)
        // Whoever believed the hint is told better.
        let outcome2 = search.answered(1500, arrived: true, at: later, entropy: &entropy)
        #expect(outcome2 == 1500)
        #expect(search.estimate == 1500)
        search.hint(1500, at: later)
        #expect(search.deadline > later, "what is no news asks nobody")
    }

    @Test mutating func aTrueHintSparesTheSearch() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: 1500)
        _ = run(&search, &path, from: .zero, for: .seconds(10))
        path.mtu = 1446
        let later = Instant.zero.advanced(by: .seconds(20))
        search.hint(1446, at: later)
        let found = run(&search, &path, from: later, for: .seconds(120))
        #expect(found.first == 1446)
        #expect(search.estimate.map { (1442...1446).contains($0) } == true, "\(found)")
    }

    @Test mutating func aSuspicionIsLookedIntoAtOnceButSeldom() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: 1500)
        _ = run(&search, &path, from: .zero, for: .seconds(10))
        let soon = Instant.zero.advanced(by: .seconds(20))
        search.confirm(unlessWithin: .seconds(30), at: soon)
        #expect(search.deadline > soon)
        let later = Instant.zero.advanced(by: .seconds(60))
        search.confirm(unlessWithin: .seconds(30), at: later)
        #expect(search.deadline == later)
        path.mtu = 1400
        let found = run(&search, &path, from: later, for: .seconds(60))
        #expect(found.first == 1280 && found.last == 1400, "\(found)")
        // A path that carries only the base has nothing to lose.
        var narrow = PathMTUSearch(ceiling: 1280, at: .zero)
        var base = SimulatedPath(mtu: 1280)
        _ = run(&narrow, &base, from: .zero, for: .seconds(10))
        narrow.confirm(unlessWithin: .zero, at: later)
        #expect(narrow.deadline > later)
    }

    @Test mutating func anotherPathIsSearchedAnew() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        var path = SimulatedPath(mtu: 1500)
        _ = run(&search, &path, from: .zero, for: .seconds(10))
        path.mtu = 1360
        let later = Instant.zero.advanced(by: .seconds(20))
        search.restart(at: later)
        #expect(search.estimate == 1500 && search.deadline == later)
        _ = run(&search, &path, from: later, for: .seconds(120))
        #expect(search.estimate == 1360)
    }

    @Test mutating func anAnswerToNoQuestionChangesNothing() {
        var search = PathMTUSearch(ceiling: 1500, at: .zero)
        let outcome3 = search.answered(1500, arrived: true, at: .zero, entropy: &entropy)
        #expect(outcome3 == nil)
        let outcome4 = search.takeProbe(at: .zero, entropy: &entropy)
        #expect(outcome4 == 1280)
        let outcome5 = search.answered(1400, arrived: true, at: .zero, entropy: &entropy)
        #expect(outcome5 == nil)
        #expect(search.estimate == nil)
        // One that never comes does not hold the search for ever.
        let outcome6 = search.takeProbe(at: .zero.advanced(by: .seconds(60)), entropy: &entropy)
        #expect(outcome6 == nil)
        let outcome7 = search.takeProbe(at: .zero.advanced(by: .seconds(121)), entropy: &entropy)
        #expect(outcome7 == 1280)
    }
}
