import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// What becomes of the other IKE_SAs of a peer: strongSwan's `unique`.
@Suite struct UniquenessTests {
    private func policy(_ side: Side, _ name: String, _ uniqueness: Uniqueness) -> ConnectionPolicy {
        var fixture = PolicyFixture(side)
        fixture.name = name
        if side == .responder { fixture.remoteAddress = .any }
        var policy = fixture.policy
        policy.origin = ConfigurationOrigin(source: ConfigurationOrigin.vici)
        policy.uniqueness = uniqueness
        return policy
    }

    /// A peer that begins twice by two connections, so that neither of its IKE_SAs carries the other's tunnel; from
    /// another port the second time if it `moves`.
    private func twice(_ uniqueness: Uniqueness, moves: Bool) -> EnginePair {
        var pair = EnginePair(natted: [.initiator])
        let own = ["one", "two"].map { policy(.initiator, $0, .never) }
        pair.handle(.setPolicies(own), at: .initiator)
        pair.handle(.setPolicies([policy(.responder, "net", uniqueness)]), at: .responder)
        pair.initiate(connection: "one")
        pair.run(for: .seconds(2))
        if moves { pair.portShift = 30_000 }
        pair.initiate(connection: "two")
        pair.run(for: .seconds(2))
        return pair
    }

    @Test(arguments: [Uniqueness.no, .never]) func severalMayStay(_ uniqueness: Uniqueness) {
        var pair = twice(uniqueness, moves: true)
        pair.run(for: .seconds(100))
        #expect(pair[.responder].established.count == 2)
    }

    @Test func keepRefusesTheSecond() {
        let pair = twice(.keep, moves: true)
        #expect(pair[.responder].established.count == 1 && pair[.initiator].established.count == 1)
        #expect(pair[.responder].failures.first?.description.contains("is kept") == true)
        #expect(pair[.initiator].failures.first?.description.contains("AUTHENTICATION_FAILED") == true)
    }

    @Test func replaceEndsTheFirst() {
        var pair = twice(.replace, moves: true)
        #expect(pair[.responder].established.count == 1)
        // Its DELETE leads to where the peer was.
        pair.run(for: .seconds(100))
        #expect(pair[.responder].downs == [.duplicate])
    }

    @Test func replaceWaitsWhereAReauthenticationIsLikely() {
        var pair = twice(.replace, moves: false)
        #expect(pair[.responder].established.count == 2)
        pair.run(for: .seconds(15))
        #expect(pair[.responder].established.count == 1 && pair[.initiator].established.count == 1)
        #expect(pair[.initiator].established.first?.connection == "two")
    }

    /// INITIAL_CONTACT of a peer that started anew.
    @Test(arguments: [Uniqueness.no, .never, .keep, .replace]) func initialContact(_ uniqueness: Uniqueness) {
        var pair = EnginePair()
        let own = policy(.initiator, "one", .replace)
        pair.handle(.setPolicies([own]), at: .initiator)
        pair.handle(.setPolicies([policy(.responder, "net", uniqueness)]), at: .responder)
        pair.initiate(connection: "one")
        pair.run(for: .seconds(2))
        pair.restart(.initiator)
        pair.handle(.setPolicies([own]), at: .initiator)
        pair.initiate(connection: "one")
        pair.run(for: .seconds(2))
        let count = pair[.responder].established.count
        #expect(count == (uniqueness == .never ? 2 : 1))
        if uniqueness != .never { #expect(pair[.responder].downs == [.replacedByInitialContact]) }
    }

    @Test func aSecondConnectionToThePeerIsNoInitialContact() {
        var pair = EnginePair()
        let own = ["one", "two"].map { policy(.initiator, $0, .replace) }
        pair.handle(.setPolicies(own), at: .initiator)
        pair.handle(.setPolicies([policy(.responder, "net", .no)]), at: .responder)
        for name in ["one", "two"] {
            pair.initiate(connection: name)
            pair.run(for: .seconds(2))
        }
        #expect(pair[.responder].established.count == 2 && pair[.responder].downs.isEmpty)
    }
}
