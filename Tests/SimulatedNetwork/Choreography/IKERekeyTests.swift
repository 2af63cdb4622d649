import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// An IKE_SA is rekeyed (RFC 7296 §1.3.2, §2.8, §2.8.2, §2.18, §2.25.2).
///
/// The scenarios bear the names that strongSwan's suite `ike_rekey` has for them; those with several key
/// exchanges (RFC 9370) stand in `MultipleKeyExchangeTests`.
@Suite struct IKERekeyTests {
    /// The SPIs of the IKE_SA that a rekey request began.
    private func expectSurvivor(_ play: Choreography, of request: Reading, by side: Side) throws {
        let spi = request.offeredSPI.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        for each in Side.allCases {
            let sa = try play.ike(each)
            #expect(sa.initiatorSPI == spi)
            #expect(sa.isInitiator == (each == side))
        }
    }

    @Test(arguments: Side.allCases) func regular(_ side: Side) throws {
        var play = try Choreography.established()
        let children = Side.allCases.map { Set(play[$0].dataPlane.sas.keys) }
        try play.rekeyIKE(side)
        let request = try play.pass(side)
        #expect(request.offersIKE && request.group == 31 && request.offeredSPI.count == 8)
        let response = try play.pass(side.other)
        #expect(response.offersIKE && response.group == 31 && response.offeredSPI.count == 8)
        let delete = try play.pass(side)
        // The last request over the old IKE_SA.
        #expect(delete.deletesIKE && delete.header.initiatorSPI == request.header.initiatorSPI)
        let answer = try play.pass(side.other)
        #expect(answer.all.isEmpty)
        #expect(play.flight.isEmpty)
        try expectSurvivor(play, of: request, by: side)
        // Message IDs begin anew.
        try play.wait(.seconds(2))
        play.tell(.checkLiveness(ikeID: try play.ike(side.other).id), side.other)
        #expect(try play.pass(side.other).header.messageID == 0)
        expectRight(&play)
        #expect(Side.allCases.map { Set(play[$0].dataPlane.sas.keys) } == children)
        for side in Side.allCases {
            #expect(play.ikeRekeys(side) == 1)
            #expect(play.downs(side).isEmpty && play.childDowns(side).isEmpty)
        }
    }

    @Test(arguments: Side.allCases) func regularKEInvalid(_ side: Side) throws {
        var (first, second) = (PolicyShape(), PolicyShape())
        first.ike = "aes256gcm16-prfsha256-x25519-ecp256"
        second.ike = "aes256gcm16-prfsha256-ecp256"
        var play = try Choreography.established(
            west: side == .west ? first : second,
            east: side == .west ? second : first
        )
        try play.rekeyIKE(side)
        var request = try play.pass(side)
        if request.group == 31 {
            #expect(try play.pass(side.other).wantedGroup == [0, 19])
            request = try play.pass(side)
        }
        #expect(request.group == 19)
        #expect(try play.pass(side.other).error == nil)
        try play.passAll()
        try expectSurvivor(play, of: request, by: side)
        expectRight(&play)
    }

    // MARK: - Both at once

    private func both(_ seed: UInt64, _ west: PolicyShape = PolicyShape(), _ east: PolicyShape? = nil) throws
        -> Choreography
    {
        var play = try Choreography.established(seed: seed, west: west, east: east)
        try play.rekeyIKE(.west)
        try play.rekeyIKE(.east)
        return play
    }

    private func finish(_ play: inout Choreography, _ contest: Contest) throws {
        let winner = contest.winner
        let old = contest.requests[0].header.initiatorSPI
        let first = try play.pass(winner, where: { $0.isRequest })
        #expect(first.deletesIKE && first.header.initiatorSPI == old)
        let second = try play.pass(winner.other, where: { $0.isRequest })
        let redundant = contest.requests[winner.other.rawValue].offeredSPI.reduce(UInt64(0)) {
            $0 << 8 | UInt64($1)
        }
        #expect(second.deletesIKE && second.header.initiatorSPI == redundant)
        try play.passAll()
        try expectSurvivor(play, of: contest.requests[winner.rawValue], by: winner)
        expectRight(&play)
        for side in Side.allCases {
            #expect(play.ikeRekeys(side) == 1)
            #expect(play.downs(side).isEmpty && play.childDowns(side).isEmpty)
        }
    }

    @Test(arguments: seedsOfNonces) func collision(_ seed: UInt64) throws {
        var play = try both(seed)
        var contest = try play.collide()
        try play.answer(.west, &contest)
        try play.answer(.east, &contest)
        for side in Side.allCases { #expect(contest.answers[side]?.error == nil) }
        try finish(&play, contest)
    }

    private func unequalGroups() -> [PolicyShape] {
        ["x25519-ecp384", "ecp256-ecp384"].map { groups in
            var shape = PolicyShape()
            shape.ike = "aes256gcm16-prfsha256-" + groups
            return shape
        }
    }

    /// Both requests have a group that the other refuses; then both come again.
    @Test(arguments: seedsOfNonces) func collisionKEInvalid(_ seed: UInt64) throws {
        let shapes = unequalGroups()
        var play = try both(seed, shapes[0], shapes[1])
        var contest = try play.collide()
        if contest.requests[0].group == 31 {
            for side in Side.allCases {
                #expect(try play.pass(side, where: { $0.isResponse }).wantedGroup == [0, 20])
            }
            contest = try play.collide()
        }
        try play.answer(.west, &contest)
        try play.answer(.east, &contest)
        try finish(&play, contest)
    }

    /// … and one of them comes again late.
    @Test(arguments: Side.allCases, seedsOfNonces)
    func collisionKEInvalidDelayedRetry(_ a: Side, _ seed: UInt64) throws {
        let b = a.other
        let shapes = unequalGroups()
        var play = try both(seed, shapes[0], shapes[1])
        if play.flight.first?.reading.group == 31 {
            _ = try play.collide()
            for side in Side.allCases { try play.pass(side, where: { $0.isResponse }) }
        }
        let request = try play.pass(b, where: { $0.isRequest })
        #expect(try play.pass(a, where: { $0.isResponse }).error == nil)
        #expect(try play.pass(b, where: { $0.isRequest }).deletesIKE)
        try play.pass(a, where: { $0.isRequest })
        expectRight(&play)
        try expectSurvivor(play, of: request, by: b)
    }

    /// B has both answers and deletes what is to go before A has the answer to its request.
    @Test(arguments: Side.allCases, seedsOfNonces) func collisionDelayedResponse(_ a: Side, _ seed: UInt64)
        throws
    {
        let b = a.other
        var play = try both(seed)
        var contest = try play.collide()
        try play.answer(b, &contest)
        try play.peek(a, &contest)
        let winner = contest.winner
        #expect(try play.pass(b, where: { $0.isRequest }).deletesIKE)
        if winner == b { try play.pass(a, where: { $0.isResponse }) }
        try play.answer(a, &contest)
        expectRight(&play)
        try expectSurvivor(play, of: contest.requests[winner.rawValue], by: winner)
    }

    /// §2.8.2: A's request is lost; B's rekey is done, and A forgets its own when the old IKE_SA is deleted.
    @Test(arguments: Side.allCases, seedsOfNonces) func collisionDroppedRequest(_ a: Side, _ seed: UInt64)
        throws
    {
        let b = a.other
        var play = try both(seed)
        try play.lose(a)
        let request = try play.pass(b)
        #expect(try play.pass(a, where: { $0.isResponse }).error == nil)
        #expect(try play.pass(b, where: { $0.isRequest }).deletesIKE)
        try play.pass(a, where: { $0.isResponse })
        #expect(play.flight.isEmpty)
        expectRight(&play)
        try expectSurvivor(play, of: request, by: b)
        #expect(play.ikeRekeys(a) == 1 && play.downs(a).isEmpty)
    }

    /// §2.8.2: A's request reaches B while B deletes the old IKE_SA: TEMPORARY_FAILURE, after the DELETE or before.
    @Test(arguments: Side.allCases, [false, true])
    func collisionDelayedRequest(_ a: Side, _ isDeleteFirst: Bool) throws {
        let b = a.other
        for seed in seedsOfNonces {
            var play = try both(seed)
            let request = try play.pass(b)
            try play.pass(a, where: { $0.isResponse })
            try play.pass(a, where: { $0.isRequest })
            let isFailure = { (reading: Reading) in reading.isResponse && reading.error == .temporaryFailure }
            if isDeleteFirst {
                #expect(try play.pass(b, where: { $0.isRequest }).deletesIKE)
                try play.pass(a, where: { $0.isResponse })
                try play.pass(b, where: isFailure)
            } else {
                try play.pass(b, where: isFailure)
                // §2.25: no retry at once, nor after the DELETE.
                #expect(!play.flight.contains { $0.from == a })
                #expect(try play.pass(b, where: { $0.isRequest }).deletesIKE)
            }
            expectRight(&play)
            try expectSurvivor(play, of: request, by: b)
            try play.wait(.seconds(120))
            #expect(play.ikeRekeys(a) == 1)
        }
    }

    // MARK: - DELETE

    /// §2.25.2: a rekey of an IKE_SA that is being closed gets TEMPORARY_FAILURE; a DELETE of one that is being
    /// rekeyed is answered, and the rekey forgotten.
    @Test(arguments: Side.allCases, [false, true]) func collisionDelete(_ a: Side, _ isDeleteFirst: Bool)
        throws
    {
        let b = a.other
        var play = try Choreography.established()
        try play.rekeyIKE(a)
        try play.deleteIKE(b)
        try play.pass(a)
        if isDeleteFirst { #expect(try play.pass(b, where: { $0.isRequest }).deletesIKE) }
        #expect(try play.pass(b, where: { $0.isResponse }).error == .temporaryFailure)
        expectRight(&play, children: 0...0, ikes: 0...0)
    }

    @Test(arguments: Side.allCases) func collisionDeleteDropDelete(_ a: Side) throws {
        let b = a.other
        var play = try Choreography.established()
        try play.rekeyIKE(a)
        try play.deleteIKE(b)
        try play.lose(b)
        try play.pass(a)
        #expect(try play.pass(b, where: { $0.isResponse }).error == .temporaryFailure)
        #expect(!play.flight.contains { $0.from == a })
        expectRight(&play, children: 0...0, ikes: 0...0)
    }
}
