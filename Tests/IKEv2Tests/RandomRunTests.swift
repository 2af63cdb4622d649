import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Seeded runs over a bad network; a failing one prints its seed.
@Suite struct RandomRunTests {
    /// In some runs the two keys differ: nothing may ever come up.
    private static func sharesKey(_ seed: UInt64) -> Bool { seed % 11 != 10 }

    private static func pair(_ seed: UInt64) -> EnginePair {
        let natted: Set<Side> = seed % 5 == 0 ? [.initiator] : seed % 7 == 0 ? [.responder] : []
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        if seed % 3 == 0 {
            // INVALID_KE_PAYLOAD on the way.
            a.ike = ["aes256gcm16-prfsha256-x25519-ecp256"]
            b.ike = ["aes256gcm16-prfsha256-ecp256"]
        }
        if !sharesKey(seed) { b.sharedKey = "another key than that" }
        // COOKIE on the way.
        let limits = HalfOpenLimits(cookieThreshold: seed % 4 == 0 ? 0 : 30)
        return EnginePair(
            seed: seed,
            initiator: a,
            responder: b,
            conditions: .bad,
            natted: natted,
            configuration: EngineConfiguration(halfOpen: limits)
        )
    }

    /// What is wrong with the end of a run, or nil.
    private static func fault(_ pair: EnginePair) -> String? {
        let counts = Side.allCases.map { (pair[$0].established.count, pair[$0].installed.count) }
        for side in Side.allCases {
            if pair[side].engine.snapshots.count != counts[side.rawValue].0 { return "\(side) is in between" }
            if pair[side].engine.snapshots.isEmpty, pair[side].engine.deadline != nil {
                return "\(side) has a deadline for nothing"
            }
            if !pair[side].engine.snapshots.isEmpty, pair[side].engine.deadline == nil {
                return "\(side) is stuck without a deadline"
            }
            if pair[side].engine.halfOpenCount != 0 { return "\(side) has half-open SAs" }
        }
        if pair.mostReplies > 1 { return "\(pair.mostReplies) datagrams for one" }
        for side in Side.allCases {
            for installation in pair[side].installations
            where installation.peer.identity != side.other.identity {
                return "\(side) believes in \(installation.peer.identity)"
            }
        }
        if counts.allSatisfy({ $0 == (0, 0) }) { return nil }
        return pair.mirrorFailure
    }

    @Test func endsEstablishedOnBothSidesOrNowhere() {
        var established = 0
        var messages = 0
        for seed in UInt64(0)..<2000 {
            var pair = Self.pair(seed)
            pair.initiate()
            pair.run(until: Instant(sinceStart: .seconds(160)))
            // The network heals; whoever lost the other notices within the liveness schedule.
            pair.conditions = .perfect
            pair.run(until: Instant(sinceStart: .seconds(400)))
            let fault = Self.fault(pair)
            #expect(fault == nil, "seed \(seed)")
            if !Self.sharesKey(seed) {
                let installed = Side.allCases.flatMap { pair[$0].installations }
                #expect(installed.isEmpty, "seed \(seed) came up with different keys")
            }
            if pair[.initiator].installed.count == 1 { established += 1 }
            messages += pair.sent.count
            if pair[.initiator].installed.isEmpty {
                let reasons = pair[.initiator].failures + pair[.initiator].downs
                #expect(!reasons.isEmpty, "seed \(seed) failed without a reason")
            }
        }
        print("random runs: \(established) of 2000 established, \(messages) messages")
        #expect(established > 1750)
    }

    @Test func equalSeedsGiveEqualRuns() {
        for seed in UInt64(0)..<20 {
            let lengths = (0..<2).map { _ in
                var pair = Self.pair(seed)
                pair.initiate()
                pair.run(for: .seconds(100))
                return pair.sent.map {
                    [Int64($0.datagram.octets.count), $0.at.sinceStart.wholeMilliseconds]
                }
            }
            #expect(lengths[0] == lengths[1], "seed \(seed)")
        }
    }

    @Test func deletesAndRestartsLeaveNoHalves() {
        for seed in UInt64(0)..<300 {
            var pair = Self.pair(seed)
            var entropy = SeededEntropy(seed: seed)
            for round in 0..<4 {
                pair.initiate(
                    seed % 2 == 0 && round % 2 == 1 && pair.natted.isEmpty ? .responder : .initiator
                )
                pair.run(for: .milliseconds(Int64(entropy.fraction() * 8000)))
                let side: Side = entropy.fraction() < 0.5 ? .initiator : .responder
                if let id = pair[side].engine.snapshots.first?.id, entropy.fraction() < 0.6 {
                    pair.handle(.terminateIKE(id: id, cause: .localRequest), at: side)
                }
                pair.run(for: .milliseconds(Int64(entropy.fraction() * 4000)))
            }
            pair.run(for: .seconds(160))
            pair.conditions = .perfect
            pair.run(for: .seconds(300))
            // Every SA that one side has installed is the mirror of one that the other has.
            for side in Side.allCases {
                for mine in pair[side].installed.values {
                    let mirrors = pair[side.other].installed.values.filter {
                        EnginePair.difference(mine, $0) == nil
                    }
                    #expect(mirrors.count == 1, "seed \(seed) \(side)")
                }
                #expect(pair[side].engine.halfOpenCount == 0, "seed \(seed)")
            }
        }
    }
}
