import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Ends that move (RFC 4555): engine against engine.
@Suite struct MobilityTests {
    private let second: [Side: IPAddress] = [
        .initiator: fixed("192.0.2.77"), .responder: fixed("198.51.100.77"),
    ]

    private func pair(
        _ mobile: Set<Side> = [.initiator, .responder],
        known: Set<Side> = [],
        natted: Set<Side> = []
    ) -> EnginePair {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        (a.mobike, b.mobike) = (mobile.contains(.initiator), mobile.contains(.responder))
        var pair = EnginePair(initiator: a, responder: b, natted: natted)
        for side in known {
            pair.handle(.localAddresses([side.publicAddress, second[side] ?? side.publicAddress]), at: side)
        }
        pair.initiate()
        pair.run(for: .seconds(2))
        #expect(pair.mirrorFailure == nil)
        return pair
    }

    private func id(_ pair: EnginePair, _ side: Side) -> UInt32 { pair[side].established.first?.id ?? 0 }

    private func move(_ pair: inout EnginePair, _ side: Side) throws {
        let address = try second[side].unwrapped
        pair.moved[side] = [address]
        pair.handle(.localAddresses([address]), at: side)
        pair.handle(.roam(ikeID: id(pair, side), local: address), at: side)
    }

    /// Both ends go by `side`'s second address.
    private func expectMoved(_ pair: EnginePair, _ side: Side) {
        let address = second[side]
        #expect(pair[side].established.first?.local.address == address)
        #expect(pair[side.other].established.first?.remote.address == address)
        #expect(
            pair[side].paths.values.allSatisfy { $0.local.address == address } && !pair[side].paths.isEmpty
        )
        let others = pair[side.other].paths
        #expect(others.values.allSatisfy { $0.remote.address == address } && !others.isEmpty)
        #expect(pair.mirrorFailure == nil)
    }

    @Test func agreesOnlyWhenBothWant() {
        for first in [false, true] {
            for second in [false, true] {
                var mobile: Set<Side> = first ? [.initiator] : []
                if second { mobile.insert(.responder) }
                let pair = pair(mobile)
                for side in Side.allCases {
                    #expect(pair[side].established.first?.isMobile == (first && second))
                }
                let port: UInt16 = first ? 4500 : 500
                #expect(pair[.initiator].established.first?.local.port == port)
            }
        }
    }

    @Test(arguments: Side.allCases) func eitherEndMoves(_ side: Side) throws {
        var pair = pair(known: [.initiator, .responder])
        try move(&pair, side)
        pair.run(for: .seconds(3))
        expectMoved(pair, side)
        for end in Side.allCases { #expect(pair[end].downs.isEmpty) }
        // It works on, rekeys included, and can move again.
        pair.handle(.rekeyIKE(id: id(pair, side.other)), at: side.other)
        pair.run(for: .seconds(10))
        let before = pair[side].paths
        pair.moved = [:]
        pair.handle(.roam(ikeID: id(pair, side), local: side.publicAddress), at: side)
        pair.run(for: .seconds(10))
        #expect(pair[side.other].established.first?.remote.address == side.publicAddress)
        #expect(pair[side].paths != before && pair.mirrorFailure == nil)
    }

    @Test(arguments: Side.allCases) func movesWhileARequestIsOut(_ side: Side) throws {
        for asker in Side.allCases {
            var pair = pair(known: [.initiator, .responder])
            pair.run(for: .seconds(3))
            let child = pair[asker].installed.keys.first ?? 0
            pair.handle(.rekeyChild(id: child), at: asker)
            try move(&pair, side)
            pair.run(for: .seconds(20))
            expectMoved(pair, side)
        }
    }

    /// The IKE_SA that a rekey replaced is still being deleted when its successor moves: its DELETE, or the answer to it,
    /// was lost with the old address.
    @Test(arguments: Side.allCases, Side.allCases) func whatIsBeingDeletedMovesToo(
        _ mover: Side,
        _ rekeyer: Side
    )
        throws
    {
        for wait in stride(from: 10, through: 80, by: 5) {
            var pair = pair()
            pair.handle(.rekeyIKE(id: id(pair, rekeyer)), at: rekeyer)
            pair.run(for: .milliseconds(Int64(wait)))
            try move(&pair, mover)
            for ike in pair[mover].engine.snapshots where ike.state == .deleting {
                pair.handle(.roam(ikeID: ike.id, local: try second[mover].unwrapped), at: mover)
            }
            pair.run(for: .seconds(8))
            expectMoved(pair, mover)
            for end in Side.allCases { #expect(pair[end].engine.snapshots.count == 1, "after \(wait) ms") }
        }
    }

    private func moveAll(_ pair: inout EnginePair, _ mover: Side) throws {
        try move(&pair, mover)
        for ike in pair[mover].engine.snapshots where ike.state == .deleting {
            pair.handle(.roam(ikeID: ike.id, local: try second[mover].unwrapped), at: mover)
        }
    }

    /// Rekeys follow each other, or cross, so closely that the first one's deletion is under way when an end moves: whoever
    /// does not know the newest IKE_SA yet hears of the move all the same.
    @Test(
        arguments: Side.allCases,
        [[Side.initiator, .initiator], [.initiator, .responder], [.responder, .initiator]]
    )
    func whatTwoRekeysLeaveMovesToo(_ mover: Side, _ rekeyers: [Side]) throws {
        for gap in [0, 12, 25] {
            for wait in stride(from: 0, through: 60, by: 6) {
                var pair = pair()
                for rekeyer in rekeyers {
                    let newest = pair[rekeyer].engine.snapshots.last { $0.state == .established }
                    pair.handle(.rekeyIKE(id: newest?.id ?? 0), at: rekeyer)
                    pair.run(for: .milliseconds(Int64(gap)))
                }
                pair.run(for: .milliseconds(Int64(wait)))
                try moveAll(&pair, mover)
                pair.run(for: .seconds(20))
                expectMoved(pair, mover)
                for end in Side.allCases {
                    #expect(pair[end].engine.snapshots.count == 1, "gap \(gap) ms, move after \(wait) ms")
                }
            }
        }
    }

    /// An IKE_SA is replaced before its peer has answered from where it moved to: the CHILD_SAs go there all the same.
    @Test(arguments: Side.allCases, Side.allCases) func theCheckOfAPathOutlivesARekey(
        _ mover: Side,
        _ rekeyer: Side
    ) throws {
        for wait in stride(from: 0, through: 40, by: 4) {
            var pair = pair()
            try moveAll(&pair, mover)
            pair.run(for: .milliseconds(Int64(wait)))
            pair.handle(.rekeyIKE(id: id(pair, rekeyer)), at: rekeyer)
            pair.run(for: .seconds(15))
            expectMoved(pair, mover)
            for end in Side.allCases { #expect(pair[end].engine.snapshots.count == 1, "after \(wait) ms") }
        }
    }

    /// A request came to an address that is gone when its answer is ready: the answer goes from the new one.
    @Test func answersGoFromWhereWeAre() throws {
        var pair = pair()
        pair.conditions.computeDelay = 20...20
        pair.handle(.rekeyIKE(id: id(pair, .responder)), at: .responder)
        pair.run(for: .milliseconds(32))
        try moveAll(&pair, .initiator)
        let moved = pair.now
        pair.run(for: .seconds(2))
        let answers = pair.sent.filter { sent in
            sent.side == .initiator && sent.at > moved && sent.header?.isResponse == true
        }
        #expect(!answers.isEmpty)
        #expect(answers.allSatisfy { $0.datagram.local.address == second[.initiator] })
    }

    @Test func movesOverABadNetwork() throws {
        for seed in UInt64(0)..<60 {
            let side: Side = seed % 2 == 0 ? .initiator : .responder
            var pair = pair(known: [.initiator, .responder])
            pair.conditions = NetworkConditions(loss: 0.2, duplication: 0.1, delay: 5...100)
            for _ in 0..<Int(seed % 7) { pair.run(for: .milliseconds(10)) }
            try move(&pair, side)
            pair.run(for: .seconds(25))
            pair.conditions = .perfect
            pair.run(for: .seconds(15))
            if pair[.initiator].downs.isEmpty, pair[.responder].downs.isEmpty { expectMoved(pair, side) }
        }
    }

    /// The responder's address goes away and nobody there says so: the initiator tries the one that it was told of.
    @Test func findsAnotherPath() throws {
        var pair = pair(known: [.responder])
        let address = try second[.responder].unwrapped
        pair.moved[.responder] = [address]
        pair.run(for: .seconds(120))
        #expect(pair[.initiator].downs.isEmpty && pair[.responder].downs.isEmpty)
        #expect(pair[.initiator].established.first?.remote.address == address)
        #expect(pair[.responder].established.first?.local.address == address)
        #expect(pair.mirrorFailure == nil)
    }

    /// The answers to a probe were lost with the old address: the peer has seen it, and takes no other message in its place.
    @Test func movesWhileAProbeIsOut() throws {
        var pair = pair(known: [.initiator])
        pair.intercept = { sent in sent.side == .responder ? [] : nil }
        pair.handle(.probePath(ikeID: id(pair, .initiator), octets: 1_280), at: .initiator)
        // Long enough for the probe to be given up.
        pair.run(for: .seconds(7))
        pair.intercept = nil
        try move(&pair, .initiator)
        pair.run(for: .seconds(5))
        expectMoved(pair, .initiator)
        #expect(pair[.initiator].downs.isEmpty)
    }

    /// §3.8: our NAT maps us anew; a liveness check shows it.
    @Test func noticesANewMapping() {
        var pair = pair(natted: [.initiator])
        let before = pair[.responder].established.first?.remote
        pair.portShift += 11
        pair.run(for: .seconds(45))
        let after = pair[.responder].established.first?.remote
        #expect(before != after && after?.port == 4500 &+ 20_011)
        #expect(
            pair[.responder].paths.values.allSatisfy { $0.remote == after } && !pair[.responder].paths.isEmpty
        )
        #expect(pair.mirrorFailure == nil && pair[.initiator].downs.isEmpty)
    }

    /// §3.7: the peer's CHILD_SAs do not move before it has answered from there.
    @Test func whatIsClaimedIsVerified() throws {
        var pair = pair()
        let address = try second[.initiator].unwrapped
        // The update gets through, but whatever is sent to the new address is lost.
        pair.moved[.initiator] = [address]
        var updates = 0
        pair.intercept = { sent in
            guard sent.side == .responder, sent.datagram.remote.address == address else { return nil }
            updates += 1
            return updates == 1 ? nil : []
        }
        pair.handle(.roam(ikeID: id(pair, .initiator), local: address), at: .initiator)
        pair.run(for: .seconds(3))
        #expect(pair[.responder].paths.isEmpty)
        pair.intercept = nil
        pair.run(for: .seconds(20))
        #expect(pair[.responder].paths.values.map { $0.remote.address } == [address])
    }

    @Test func aMovedPeerKeepsUnrelatedPeersApart() throws {
        // Without MOBIKE an authentic message from elsewhere moves nothing.
        var pair = pair([.initiator])
        try move(&pair, .initiator)
        pair.run(for: .seconds(5))
        #expect(pair[.responder].established.first?.remote.address == Side.initiator.publicAddress)
    }

    @Test func listsOfAddressesAreBoundedAndChecked() {
        let many = (0..<40).map { number in
            Payload.notify(NotifyPayload(.additionalIP4Address, data: [192, 0, 2, UInt8(number)]))
        }
        #expect(Mobility.addresses(in: many)?.count == Mobility.maximumAddresses)
        let bad: [[UInt8]] = [[127, 0, 0, 1], [224, 0, 0, 1], [0, 0, 0, 0], [1, 2, 3], []]
        let refused = bad.map { Payload.notify(NotifyPayload(.additionalIP4Address, data: $0)) }
        #expect(Mobility.addresses(in: refused) == [])
        #expect(Mobility.addresses(in: []) == nil)
        #expect(Mobility.addresses(in: [.notify(NotifyPayload(.noAdditionalAddresses))]) == [])
    }
}
