import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Rekeys that we begin, alone and against those of the peer (RFC 7296 §2.8, §2.25).
@Suite struct RekeyTests {
    private static func child(_ pair: EnginePair, _ side: Side) -> UInt32 {
        pair[side].established.first?.children.first?.id ?? 0
    }

    private static func ike(_ pair: EnginePair, _ side: Side) -> UInt32 {
        pair[side].established.first?.id ?? 0
    }

    private static func rekeyed(_ gateway: SimulatedGateway) -> Int {
        gateway.events.filter { if case .childRekeyed = $0 { true } else { false } }.count
    }

    private static func ikeRekeyed(_ gateway: SimulatedGateway) -> Int {
        gateway.events.filter { if case .ikeRekeyed = $0 { true } else { false } }.count
    }

    /// Both ends send by the two halves of one SA pair.
    private static func sendersFault(_ pair: EnginePair, tunnel: String = "sub") -> String? {
        let sa = Side.allCases.compactMap { side in
            pair[side].senders[tunnel].flatMap { pair[side].installed[$0] }
        }
        guard sa.count == 2 else { return "nobody sends" }
        return EnginePair.difference(sa[0], sa[1])
    }

    /// What each end sends by, the other end has.
    private static func arrives(_ pair: EnginePair, tunnel: String = "sub") -> Bool {
        Side.allCases.allSatisfy { side in
            let sender = pair[side].senders[tunnel].flatMap { pair[side].installed[$0]?.description }
            return pair[side.other].installed.values.contains {
                $0.description.inboundSPI == sender?.outboundSPI
            }
        }
    }

    @Test(arguments: [Side.initiator, .responder], [["aes256gcm16"], ["aes256gcm16-ecp256"]])
    func childRekeyReplacesAndRetires(_ side: Side, _ esp: [String]) {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        (a.esp, b.esp) = (esp, esp)
        var pair = EnginePair.established(initiator: a, responder: b)
        let old = Self.child(pair, side)
        pair.handle(.rekeyChild(id: old), at: side)
        pair.run(for: .seconds(1))
        #expect(Self.child(pair, side) != old)
        #expect(Self.sendersFault(pair) == nil)
        #expect(pair[side].installed.count == 2, "packets under way are still received")
        pair.run(for: .seconds(6))
        #expect(pair.mirrorFailure == nil)
        for end in Side.allCases {
            #expect(Self.rekeyed(pair[end]) == 1)
            #expect(pair[end].childDowns.isEmpty)
            #expect(pair[end].downs.isEmpty)
        }
    }

    @Test(arguments: [Side.initiator, .responder])
    func ikeRekeyKeepsChildren(_ side: Side) {
        var pair = EnginePair.established()
        let (old, child) = (Self.ike(pair, side), Self.child(pair, side))
        pair.handle(.rekeyIKE(id: old), at: side)
        pair.run(for: .seconds(1))
        #expect(Self.ike(pair, side) != old)
        #expect(Self.child(pair, side) == child)
        #expect(pair.mirrorFailure == nil)
        for end in Side.allCases {
            #expect(Self.ikeRekeyed(pair[end]) == 1)
            #expect(pair[end].childDowns.isEmpty && pair[end].downs.isEmpty)
        }
        // The new one works in both directions.
        pair.handle(.rekeyChild(id: child), at: side)
        pair.run(for: .seconds(7))
        pair.handle(.rekeyChild(id: Self.child(pair, side.other)), at: side.other)
        pair.run(for: .seconds(7))
        #expect(pair.mirrorFailure == nil)
    }

    @Test(arguments: 0..<24)
    func crossingChildRekeysSettleToOne(_ seed: Int) {
        var pair = EnginePair.established(seed: UInt64(seed))
        for side in Side.allCases { pair.handle(.rekeyChild(id: Self.child(pair, side)), at: side) }
        pair.run(for: .seconds(1))
        #expect(Self.sendersFault(pair) == nil, "seed \(seed)")
        pair.run(for: .seconds(6))
        #expect(pair.mirrorFailure == nil, "seed \(seed)")
        for side in Side.allCases { #expect(pair[side].childDowns.isEmpty, "seed \(seed)") }
    }

    @Test(arguments: 0..<24)
    func crossingIKERekeysSettleToOne(_ seed: Int) {
        var pair = EnginePair.established(seed: UInt64(seed))
        for side in Side.allCases { pair.handle(.rekeyIKE(id: Self.ike(pair, side)), at: side) }
        pair.run(for: .seconds(2))
        #expect(pair.mirrorFailure == nil, "seed \(seed)")
        for side in Side.allCases {
            #expect(pair[side].childDowns.isEmpty && pair[side].downs.isEmpty, "seed \(seed)")
            #expect(Self.ikeRekeyed(pair[side]) == 1, "seed \(seed)")
            #expect(pair[side].engine.snapshots.count == 1, "seed \(seed)")
        }
        pair.run(for: .seconds(100))
        #expect(pair.mirrorFailure == nil, "seed \(seed)")
    }

    @Test func simultaneousInitiationsSettleToOne() {
        for seed in UInt64(0)..<24 {
            var pair = EnginePair(seed: seed)
            pair.initiate(.initiator)
            pair.initiate(.responder)
            pair.run(for: .seconds(2))
            #expect(!pair[.initiator].installed.isEmpty)
            pair.run(for: .seconds(60))
            #expect(pair.mirrorFailure == nil, "seed \(seed)")
        }
    }

    @Test func furtherTunnelsShareTheIKESA() {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        (a.furtherTunnels, b.furtherTunnels) = (["one", "two"], ["one", "two"])
        var pair = EnginePair(initiator: a, responder: b)
        // Asked for at once, as the supervisor does at start; and one later.
        pair.initiate(tunnel: "sub")
        pair.initiate(tunnel: "one")
        pair.run(for: .seconds(1))
        pair.initiate(tunnel: "two")
        pair.run(for: .seconds(1))
        for side in Side.allCases {
            #expect(pair[side].established.count == 1)
            #expect(
                pair[side].established.first?.children.map { $0.tunnel }.sorted() == ["one", "sub", "two"]
            )
        }
        pair.handle(.rekeyIKE(id: Self.ike(pair, .responder)), at: .responder)
        pair.run(for: .seconds(2))
        #expect(pair[.initiator].established.first?.children.count == 3)
        #expect(pair[.responder].established.first?.children.count == 3)
    }

    /// Whoever asked for a tunnel waits for an answer: also when the IKE_SA ends, or is replaced, while the key pair for
    /// its request is being made.
    @Test func aTunnelInPreparationIsNotForgotten() {
        for closes in [true, false] {
            var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
            (a.furtherTunnels, b.furtherTunnels) = (["one"], ["one"])
            (a.esp, b.esp) = (["aes256gcm16-x25519"], ["aes256gcm16-x25519"])
            var pair = EnginePair.established(initiator: a, responder: b)
            pair.conditions.computeDelay = 400...400
            pair.handle(.rekeyIKE(id: Self.ike(pair, .responder)), at: .responder)
            pair.run(for: .milliseconds(700))
            pair.initiate(tunnel: "one")
            if closes {
                pair.handle(
                    .terminateIKE(id: Self.ike(pair, .initiator), cause: .localRequest),
                    at: .initiator
                )
            }
            pair.run(for: .seconds(10))
            if closes {
                #expect(pair[.initiator].childFailures.count + pair[.initiator].failures.count == 1)
            } else {
                let tunnels = pair[.initiator].established.first?.children.map { $0.tunnel }.sorted()
                #expect(tunnels == ["one", "sub"])
            }
        }
    }

    @Test func aRefusedRekeyLeavesTheTunnelAndANewIKESAFollows() {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        // The tunnel comes up, because IKE_AUTH has no key exchange of its own; its rekey cannot.
        (a.esp, b.esp) = (["aes256gcm16-ecp256"], ["aes256gcm16-ecp384"])
        a.childLifetime = SALifetime(rekey: .seconds(60), jitter: .seconds(6), hard: .seconds(120))
        b.childLifetime = .unlimited
        var pair = EnginePair.established(initiator: a, responder: b)
        let first = Self.ike(pair, .initiator)
        pair.run(for: .seconds(100))
        let failed = pair[.initiator].events.filter { if case .rekeyFailed = $0 { true } else { false } }
        #expect(failed.count >= 2)
        #expect(pair.mirrorFailure == nil)
        #expect(pair[.initiator].childDowns.isEmpty)
        for _ in 0..<50 {
            pair.run(for: .seconds(1))
            #expect(Self.arrives(pair), "a new IKE_SA takes over before the old one ends")
        }
        #expect(pair.mirrorFailure == nil)
        #expect(Self.ike(pair, .initiator) != first)
        #expect(pair[.initiator].downs == [.duplicate])
    }

    @Test func aPeerThatWantsPFSIsObliged() {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        (a.esp, b.esp) = (["aes256gcm16"], ["aes256gcm16-x25519"])
        var pair = EnginePair.established(initiator: a, responder: b)
        pair.handle(.rekeyChild(id: Self.child(pair, .initiator)), at: .initiator)
        pair.run(for: .seconds(7))
        #expect(Self.rekeyed(pair[.initiator]) == 1)
        #expect(pair.mirrorFailure == nil)
    }

    @Test func aProbeThatIsLostDoesNotEndTheIKESA() {
        var pair = EnginePair.established()
        pair.intercept = { sent in
            sent.datagram.octets.count > 1_300 ? [] : nil
        }
        pair.handle(.probePath(ikeID: Self.ike(pair, .initiator), octets: 1_500), at: .initiator)
        pair.run(for: .seconds(20))
        let probes = pair.sent.filter { $0.datagram.forbidsFragmentation }
        #expect(probes.count == 3)
        #expect(
            probes.allSatisfy {
                $0.datagram.octets.count + 28 == 1_500 || $0.datagram.octets.count + 32 == 1_500
            }
        )
        pair.handle(.probePath(ikeID: Self.ike(pair, .initiator), octets: 1_280), at: .initiator)
        pair.run(for: .seconds(2))
        let results = pair[.initiator].events.compactMap { event -> String? in
            if case .pathProbed(_, let octets, let arrived) = event { "\(octets) \(arrived)" } else { nil }
        }
        #expect(results == ["1500 false", "1280 true"])
        #expect(pair.mirrorFailure == nil)
    }

    /// Short lives over a bad network: always one IKE_SA and one CHILD_SA pair at the end.
    @Test func shortLivesOverABadNetwork() {
        for seed in UInt64(0)..<300 {
            var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
            if seed % 2 == 0 { (a.esp, b.esp) = (["aes256gcm16-x25519"], ["aes256gcm16-x25519"]) }
            a.childLifetime = SALifetime(rekey: .seconds(20), jitter: .seconds(4), hard: .seconds(400))
            b.childLifetime = a.childLifetime
            a.ikeLifetime = SALifetime(rekey: .seconds(45), jitter: .seconds(10), hard: .seconds(900))
            b.ikeLifetime = a.ikeLifetime
            a.retransmission = RetransmissionPolicy(tries: 12)
            b.retransmission = a.retransmission
            var pair = EnginePair(seed: seed, initiator: a, responder: b, conditions: .bad)
            pair.conditions = .perfect
            pair.initiate()
            pair.run(for: .seconds(1))
            pair.conditions = .bad
            pair.run(for: .seconds(300))
            pair.conditions = .perfect
            // A rekey can be under way at any moment: the state between two of them counts.
            var fault = pair.mirrorFailure
            for _ in 0..<400 where fault != nil {
                pair.run(for: .milliseconds(500))
                fault = pair.mirrorFailure
            }
            #expect(fault == nil, "seed \(seed)")
            #expect(Self.sendersFault(pair) == nil, "seed \(seed)")
            for side in Side.allCases {
                // With 20 % loss six sendings in a row can be lost; that is not the rekeys' fault.
                let downs = pair[side].downs.filter { if case .noAnswer = $0 { false } else { true } }
                #expect(downs.isEmpty, "seed \(seed): \(downs)")
            }
        }
    }
}
