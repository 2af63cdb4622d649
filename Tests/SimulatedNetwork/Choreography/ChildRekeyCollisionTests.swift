import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// A CHILD_SA is rekeyed while the other side does something about it (RFC 7296 §2.8.1, §2.25.1).
@Suite struct ChildRekeyCollisionTests {
    private func both(_ seed: UInt64, _ west: PolicyShape = PolicyShape(), _ east: PolicyShape? = nil) throws
        -> Choreography
    {
        var play = try Choreography.established(seed: seed, west: west, east: east)
        try play.rekeyChild(.west)
        try play.rekeyChild(.east)
        return play
    }

    /// The winner deletes the old SA, the other one its redundant new one.
    private func finish(_ play: inout Choreography, _ contest: Contest, old: [ModelSA]) throws {
        let winner = contest.winner
        let first = try play.pass(winner, where: { $0.isRequest })
        #expect(first.deletedSPIs == [old[winner.rawValue].inboundSPI.octets])
        let second = try play.pass(winner.other, where: { $0.isRequest })
        #expect(second.deletedSPIs == [contest.requests[winner.other.rawValue].offeredSPI])
        expectRight(&play)
        let survivor = try play.child(winner)
        #expect(survivor.inboundSPI.octets == contest.requests[winner.rawValue].offeredSPI)
    }

    private func old(_ play: Choreography) throws -> [ModelSA] {
        [try play.child(.west), try play.child(.east)]
    }

    @Test(arguments: seedsOfNonces, ["aes256gcm16", "aes256gcm16-x25519"])
    func collision(_ seed: UInt64, _ esp: String) throws {
        var shape = PolicyShape()
        shape.esp = esp
        var play = try both(seed, shape)
        let old = try old(play)
        var contest = try play.collide()
        for side in Side.allCases { #expect(play.sender(side)?.id == old[side.rawValue].id) }
        try play.answer(.west, &contest)
        try play.answer(.east, &contest)
        for side in Side.allCases {
            #expect(contest.answers[side]?.error == nil)
            play.exchangePackets()
        }
        #expect(play.gaps.isEmpty)
        try finish(&play, contest, old: old)
        // The winner has seen the other's SA come and go.
        for side in Side.allCases { #expect(play.childRekeys(side) >= 1 && play.childDowns(side).isEmpty) }
    }

    /// One side proposes a key exchange, the other none.
    @Test(arguments: seedsOfNonces) func collisionMixed(_ seed: UInt64) throws {
        var west = PolicyShape()
        west.esp = "aes256gcm16-x25519"
        var east = PolicyShape()
        east.esp = "aes256gcm16 aes256gcm16-x25519"
        west.esp += " aes256gcm16"
        var play = try both(seed, west, east)
        let old = try old(play)
        var contest = try play.collide()
        #expect(contest.requests[0].group == 31)
        try play.answer(.west, &contest)
        try play.answer(.east, &contest)
        try finish(&play, contest, old: old)
    }

    /// B has both answers and deletes what is to go before A has the answer to its request.
    @Test(arguments: Side.allCases, seedsOfNonces) func collisionDelayedResponse(_ a: Side, _ seed: UInt64)
        throws
    {
        let b = a.other
        var play = try both(seed)
        let old = try old(play)
        var contest = try play.collide()
        try play.answer(b, &contest)
        try play.peek(a, &contest)
        let delete = try play.pass(b, where: { $0.isRequest })
        let winner = contest.winner
        let expected =
            winner == b ? old[b.rawValue].inboundSPI.octets : contest.requests[b.rawValue].offeredSPI
        #expect(delete.deletedSPIs == [expected])
        try play.pass(a, where: { $0.isResponse })
        try play.answer(a, &contest)
        expectRight(&play)
        let survivor = try play.child(winner)
        #expect(survivor.inboundSPI.octets == contest.requests[winner.rawValue].offeredSPI)
    }

    /// … and then it deletes the surviving SA as well, before A has the answer.
    @Test(arguments: Side.allCases, seedsOfNonces)
    func collisionDelayedResponseDelete(_ a: Side, _ seed: UInt64) throws {
        let b = a.other
        var play = try both(seed)
        var contest = try play.collide()
        try play.answer(b, &contest)
        try play.peek(a, &contest)
        try play.pass(b, where: { $0.isRequest })
        try play.pass(a, where: { $0.isResponse })
        let spi =
            contest.winner == b
            ? contest.requests[b.rawValue].offeredSPI : contest.requests[a.rawValue].offeredSPI
        let survivor = play[b].dataPlane.sas.values.first {
            (contest.winner == b ? $0.inboundSPI : $0.outboundSPI).octets == spi
        }
        play.tell(.terminateChild(id: try #require(survivor).id, cause: .localRequest), b)
        try play.pass(b, where: { $0.isRequest })
        try play.pass(a, where: { $0.isResponse })
        try play.answer(a, &contest)
        expectRight(&play, children: 0...0)
    }

    /// B's rekey is over but for the DELETE when A's request comes: TEMPORARY_FAILURE, in either order.
    @Test(arguments: Side.allCases, [false, true])
    func collisionDelayedRequest(_ a: Side, _ isDeleteFirst: Bool) throws {
        let b = a.other
        for seed in seedsOfNonces {
            var play = try both(seed)
            let request = try play.pass(b, where: { $0.isRequest })
            try play.pass(a, where: { $0.isResponse })
            try play.pass(a, where: { $0.isRequest })
            if isDeleteFirst {
                #expect(try !play.pass(b, where: { $0.isRequest }).deletedSPIs.isEmpty)
                try play.pass(a, where: { $0.isResponse })
            }
            #expect(try play.pass(b, where: { $0.isResponse }).error == .temporaryFailure)
            // §2.25: no retry at once.
            #expect(!play.flight.contains { $0.from == a && $0.reading.isRequest })
            expectRight(&play)
            #expect(try play.child(b).inboundSPI.octets == request.offeredSPI)
        }
    }

    /// B's rekey is over when A's request comes: CHILD_SA_NOT_FOUND, which A ignores.
    @Test(arguments: Side.allCases, seedsOfNonces)
    func collisionDelayedRequestMore(_ a: Side, _ seed: UInt64) throws {
        let b = a.other
        var play = try both(seed)
        let request = try play.pass(b, where: { $0.isRequest })
        try play.pass(a, where: { $0.isResponse })
        #expect(try !play.pass(b, where: { $0.isRequest }).deletedSPIs.isEmpty)
        try play.pass(a, where: { $0.isResponse })
        try play.pass(a, where: { $0.isRequest })
        #expect(try play.pass(b, where: { $0.isResponse }).error == .childSANotFound)
        #expect(play.flight.isEmpty)
        expectRight(&play)
        #expect(try play.child(b).inboundSPI.octets == request.offeredSPI)
    }

    /// … and B has deleted the new SA as well: A does not bring it back.
    @Test(arguments: Side.allCases, seedsOfNonces)
    func collisionDelayedRequestMoreDelete(_ a: Side, _ seed: UInt64) throws {
        let b = a.other
        var play = try both(seed)
        try play.pass(b, where: { $0.isRequest })
        try play.pass(a, where: { $0.isResponse })
        try play.pass(b, where: { $0.isRequest })
        try play.pass(a, where: { $0.isResponse })
        try play.deleteChild(b, isNewest: true)
        try play.pass(b, where: { $0.isRequest })
        try play.pass(a, where: { $0.isResponse })
        try play.pass(a, where: { $0.isRequest })
        #expect(try play.pass(b, where: { $0.isResponse }).error == .childSANotFound)
        expectRight(&play, children: 0...0)
    }

    private func unequalGroups() -> [PolicyShape] {
        ["aes256gcm16-x25519-ecp384", "aes256gcm16-ecp256-ecp384"].map { esp in
            var shape = PolicyShape()
            shape.esp = esp
            return shape
        }
    }

    /// Both requests have a group that the other refuses; then both come again.
    @Test(arguments: seedsOfNonces) func collisionKEInvalid(_ seed: UInt64) throws {
        let shapes = unequalGroups()
        var play = try both(seed, shapes[0], shapes[1])
        let old = try old(play)
        _ = try play.collide()
        for side in Side.allCases {
            #expect(try play.pass(side, where: { $0.isResponse }).wantedGroup == [0, 20])
        }
        var contest = try play.collide()
        try play.answer(.west, &contest)
        try play.answer(.east, &contest)
        try finish(&play, contest, old: old)
    }

    /// … and one of them comes again late.
    @Test(arguments: Side.allCases, seedsOfNonces)
    func collisionKEInvalidDelayedRetry(_ a: Side, _ seed: UInt64) throws {
        let b = a.other
        let shapes = unequalGroups()
        var play = try both(seed, shapes[0], shapes[1])
        _ = try play.collide()
        for side in Side.allCases {
            #expect(try play.pass(side, where: { $0.isResponse }).wantedGroup == [0, 20])
        }
        let request = try play.pass(b, where: { $0.isRequest })
        #expect(try play.pass(a, where: { $0.isResponse }).error == nil)
        #expect(try !play.pass(b, where: { $0.isRequest }).deletedSPIs.isEmpty)
        try play.pass(a, where: { $0.isRequest })
        try play.pass(a, where: { $0.isResponse })
        let error = try play.pass(b, where: { $0.isResponse }).error
        #expect(error == .temporaryFailure || error == .childSANotFound)
        expectRight(&play)
        #expect(try play.child(b).inboundSPI.octets == request.offeredSPI)
    }

    /// A side that lost deletes the old SA although that is the winner's.
    @Test(arguments: seedsOfNonces) func collisionResponderIncorrectDelete(_ seed: UInt64) throws {
        var play = try both(seed)
        let old = try old(play)
        var contest = try play.collide()
        for side in Side.allCases { try play.peek(side, &contest) }
        let winner = contest.winner
        play.tell(.terminateChild(id: old[winner.other.rawValue].id, cause: .localRequest), winner.other)
        try play.pass(winner.other, where: { $0.isResponse })
        expectRight(&play)
    }

    // MARK: - DELETE

    private func rekeyAndDelete(_ a: Side) throws -> Choreography {
        var play = try Choreography.established()
        try play.rekeyChild(a)
        try play.deleteChild(a.other)
        return play
    }

    /// §2.25.1: a rekey of an SA that is being closed gets TEMPORARY_FAILURE, a DELETE of one that is being rekeyed
    /// is answered as usual.
    @Test(arguments: Side.allCases) func collisionDelete(_ a: Side) throws {
        let b = a.other
        var play = try rekeyAndDelete(a)
        let old = try play.child(a)
        try play.pass(a)
        #expect(try !play.pass(b, where: { $0.isRequest }).deletedSPIs.isEmpty)
        #expect(try play.pass(a, where: { $0.isResponse }).deletedSPIs == [old.inboundSPI.octets])
        #expect(try play.pass(b, where: { $0.isResponse }).error == .temporaryFailure)
        expectRight(&play, children: 0...0)
    }

    @Test(arguments: Side.allCases) func collisionDeleteDropDelete(_ a: Side) throws {
        let b = a.other
        var play = try rekeyAndDelete(a)
        try play.lose(b)
        try play.pass(a)
        #expect(try play.pass(b, where: { $0.isResponse }).error == .temporaryFailure)
        #expect(!play.flight.contains { $0.from == a })
        expectRight(&play, children: 0...0)
    }

    @Test(arguments: Side.allCases) func collisionDeleteDropRekey(_ a: Side) throws {
        let b = a.other
        var play = try rekeyAndDelete(a)
        try play.pass(b)
        try play.pass(a, where: { $0.isResponse })
        try play.pass(a, where: { $0.isRequest })
        #expect(try play.pass(b, where: { $0.isResponse }).error == .childSANotFound)
        expectRight(&play, children: 0...0)
    }

    /// The answer to a rekey comes after a DELETE of the SA that it makes.
    @Test(arguments: Side.allCases) func collisionDeleteDelayedResponse(_ a: Side) throws {
        let b = a.other
        var play = try Choreography.established()
        try play.rekeyChild(a)
        try play.pass(a)
        try play.deleteChild(b, isNewest: true)
        #expect(try !play.pass(b, where: { $0.isRequest }).deletedSPIs.isEmpty)
        #expect(try play.pass(a, where: { $0.isResponse }).deletedSPIs.isEmpty)
        try play.pass(b, where: { $0.isResponse })
        expectRight(&play, children: 0...1)
    }

    // MARK: - The IKE_SA

    /// §2.25.1, §2.25.2: each gets TEMPORARY_FAILURE, and neither comes again at once.
    @Test(arguments: Side.allCases) func collisionIKERekey(_ a: Side) throws {
        let b = a.other
        var play = try Choreography.established()
        try play.rekeyChild(a)
        try play.rekeyIKE(b)
        try play.pass(a, where: { $0.isRequest })
        try play.pass(b, where: { $0.isRequest })
        #expect(try play.pass(b, where: { $0.isResponse }).error == .temporaryFailure)
        #expect(try play.pass(a, where: { $0.isResponse }).error == .temporaryFailure)
        #expect(play.flight.isEmpty)
        expectRight(&play)
        try play.wait(.seconds(300))
        #expect(play.childRekeys(a) == 1 && play.ikeRekeys(b) == 1)
        expectRight(&play)
    }

    @Test(arguments: Side.allCases) func collisionIKEDelete(_ a: Side) throws {
        let b = a.other
        var play = try Choreography.established()
        try play.rekeyChild(a)
        try play.deleteIKE(b)
        try play.pass(a)
        #expect(try play.pass(b, where: { $0.isRequest }).deletesIKE)
        #expect(try play.pass(b, where: { $0.isResponse }).error == .temporaryFailure)
        expectRight(&play, children: 0...0, ikes: 0...0)
    }
}
