import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Shapes whose SAs take more than one key exchange (RFC 9370).
private enum Shapes {
    static var child: PolicyShape {
        var shape = PolicyShape()
        shape.esp = "aes256gcm16-x25519-ke1_ecp256"
        return shape
    }

    static var ike: PolicyShape {
        var shape = PolicyShape()
        shape.ike = "aes256gcm16-prfsha256-x25519-ke1_ecp256"
        return shape
    }

    /// The two sides like different groups first; ecp384 is common.
    static func unequal(_ write: (inout PolicyShape, String) -> Void) -> [PolicyShape] {
        ["x25519-ecp384-ke1_modp2048", "ecp256-ecp384-ke1_modp2048"].map { groups in
            var shape = PolicyShape()
            write(&shape, groups)
            return shape
        }
    }
}

extension Reading {
    fileprivate var link: [UInt8]? { all.notification(.additionalKeyExchange)?.data }
    fileprivate var isFollowUp: Bool { header.exchange == .ikeFollowUpKE }
}

/// An IKE_SA comes up with further key exchanges (RFC 9242, RFC 9370 §2.2.2).
@Suite struct IntermediateExchangeTests {
    @Test(arguments: Side.allCases, [1, 2, 3]) func furtherKeyExchangesPrecedeAUTH(_ side: Side, _ count: Int)
        throws
    {
        var shape = PolicyShape()
        let groups = ["ecp256", "modp2048", "ecp384"].prefix(count).enumerated()
        shape.ike =
            "aes256gcm16-prfsha256-x25519-" + groups.map { "ke\($0 + 1)_\($1)" }.joined(separator: "-")
        var play = Choreography(west: shape)
        play.initiate(side)
        let request = try play.pass(side)
        #expect(request.has(.intermediateExchangeSupported) && request.group == 31)
        #expect(try play.pass(side.other).has(.intermediateExchangeSupported))
        for number in 1...count {
            let offered = try play.pass(side)
            #expect(offered.header.exchange == .ikeIntermediate && offered.header.messageID == UInt32(number))
            #expect(offered.group == [19, 14, 20][number - 1])
            #expect(try play.pass(side.other).group == offered.group)
        }
        let auth = try play.pass(side)
        #expect(auth.header.exchange == .ikeAuth && auth.header.messageID == UInt32(count + 1))
        expectRight(&play)
    }

    @Test func lostMessagesAreSentAgain() throws {
        var play = Choreography(west: Shapes.ike)
        play.initiate(.west)
        try play.pass(.west)
        try play.pass(.east)
        try play.lose(.west)
        try play.waitForDeadline(of: .west)
        try play.pass(.west)
        try play.lose(.east)
        try play.waitForDeadline(of: .west)
        try play.pass(.west)
        #expect(try play.pass(.east).header.exchange == .ikeIntermediate)
        expectRight(&play)
    }

    @Test func onlyOneSideWantsMore() throws {
        for side in Side.allCases {
            var play = Choreography(
                west: side == .west ? Shapes.ike : PolicyShape(),
                east: side == .west ? PolicyShape() : Shapes.ike
            )
            play.initiate(.west)
            try play.pass(.west)
            #expect(try play.pass(.east).error == .noProposalChosen)
        }
        var optional = PolicyShape()
        optional.ike = "aes256gcm16-prfsha256-x25519-ke1_ecp256-ke1_none"
        for shapes in [[optional, PolicyShape()], [PolicyShape(), optional]] {
            var play = Choreography(west: shapes[0], east: shapes[1])
            play.initiate(.west)
            try play.passAll()
            expectRight(&play)
        }
    }
}

/// CHILD_SAs are rekeyed with several key exchanges, under the names that strongSwan's suite `child_rekey` has.
@Suite struct ChildRekeyMultiKETests {
    private func both(_ seed: UInt64) throws -> Choreography {
        var play = try Choreography.established(seed: seed, west: Shapes.child)
        try play.rekeyChild(.west)
        try play.rekeyChild(.east)
        return play
    }

    @Test(arguments: Side.allCases) func regularMultiKE(_ side: Side) throws {
        var shape = Shapes.child
        shape.esp += "-ke2_modp2048"
        var play = try Choreography.established(west: shape)
        let old = try play.child(side)
        try play.rekeyChild(side)
        let request = try play.pass(side)
        var answer = try play.pass(side.other)
        for group in [UInt16(19), 14] {
            // Nothing is made before the last exchange.
            for each in Side.allCases { #expect(play[each].dataPlane.sas.count == 1) }
            let next = try play.pass(side)
            #expect(next.isFollowUp && next.group == group && next.link == answer.link && next.link != nil)
            answer = try play.pass(side.other)
            #expect(answer.isFollowUp && answer.group == group)
        }
        #expect(answer.link == nil)
        #expect(try play.pass(side).deletedSPIs == [old.inboundSPI.octets])
        play.exchangePackets()
        #expect(play.gaps.isEmpty)
        expectRight(&play)
        #expect(try play.child(side).inboundSPI.octets == request.offeredSPI)
        for each in Side.allCases { #expect(play.childRekeys(each) == 1 && play.childDowns(each).isEmpty) }
    }

    @Test(arguments: Side.allCases) func regularKEInvalidMultiKE(_ side: Side) throws {
        let shapes = Shapes.unequal { $0.esp = "aes256gcm16-\($1)" }
        var play = try Choreography.established(
            west: shapes[side.rawValue],
            east: shapes[side.other.rawValue]
        )
        try play.rekeyChild(side)
        var request = try play.pass(side)
        if request.group != 20 {
            #expect(try play.pass(side.other).wantedGroup == [0, 20])
            request = try play.pass(side)
        }
        #expect(try play.pass(side.other).error == nil)
        #expect(try play.pass(side).group == 14)
        expectRight(&play)
        #expect(try play.child(side).inboundSPI.octets == request.offeredSPI)
    }

    /// The side whose SA would be redundant goes no further: there is nothing to delete but the old SA.
    @Test(arguments: seedsOfNonces) func collisionMultiKE(_ seed: UInt64) throws {
        var play = try both(seed)
        let old = [try play.child(.west), try play.child(.east)]
        var contest = try play.collide()
        try play.answer(.west, &contest)
        try play.answer(.east, &contest)
        let winner = contest.winner
        #expect(!play.flight.contains { $0.from == winner.other })
        #expect(try play.pass(winner).isFollowUp)
        #expect(try play.pass(winner.other).isFollowUp)
        #expect(try play.pass(winner).deletedSPIs == [old[winner.rawValue].inboundSPI.octets])
        play.exchangePackets()
        #expect(play.gaps.isEmpty)
        expectRight(&play)
        #expect(try play.child(winner).inboundSPI.octets == contest.requests[winner.rawValue].offeredSPI)
        for side in Side.allCases { #expect(play.childRekeys(side) == 1 && play.childDowns(side).isEmpty) }
    }

    /// B has won and goes on before A has the answer to its own request, which comes at different times.
    @Test(arguments: Side.allCases, [0, 1, 2]) func collisionDelayedResponseMultiKE(_ a: Side, _ when: Int)
        throws
    {
        let b = a.other
        for seed in seedsOfNonces {
            var play = try both(seed)
            var contest = try play.collide()
            try play.peek(a, &contest)
            try play.answer(b, &contest)
            guard contest.winner == b else { continue }
            #expect(try play.pass(b, where: { $0.isRequest }).isFollowUp)
            if when == 0 { try play.answer(a, &contest) }
            try play.pass(a, where: { $0.isResponse })
            if when == 1 { try play.answer(a, &contest) }
            #expect(try !play.pass(b, where: { $0.isRequest }).deletedSPIs.isEmpty)
            try play.pass(a, where: { $0.isResponse })
            if when == 2 { try play.answer(a, &contest) }
            expectRight(&play)
            #expect(try play.child(b).inboundSPI.octets == contest.requests[b.rawValue].offeredSPI)
        }
    }

    /// A's request comes when B's was answered: TEMPORARY_FAILURE, before or after the old SA is deleted.
    @Test(arguments: Side.allCases, [false, true])
    func collisionDelayedRequestMultiKE(_ a: Side, _ isDeleteFirst: Bool) throws {
        let b = a.other
        for seed in seedsOfNonces {
            var play = try both(seed)
            let request = try play.pass(b, where: { $0.isRequest })
            try play.pass(a, where: { $0.isResponse })
            try play.pass(a, where: { $0.isRequest && !$0.isFollowUp })
            let isFailure = { (reading: Reading) in reading.error == .temporaryFailure }
            #expect(try play.pass(b, where: { $0.isRequest }).isFollowUp)
            if !isDeleteFirst { try play.pass(b, where: isFailure) }
            try play.pass(a, where: { $0.isResponse })
            if isDeleteFirst {
                #expect(try !play.pass(b, where: { $0.isRequest }).deletedSPIs.isEmpty)
                try play.pass(a, where: { $0.isResponse })
                try play.pass(b, where: isFailure)
            }
            expectRight(&play)
            #expect(try play.child(b).inboundSPI.octets == request.offeredSPI)
        }
    }

    /// B deletes the SA while A rekeys it: the further key exchange gets TEMPORARY_FAILURE.
    @Test(arguments: Side.allCases, [false, true]) func collisionDeleteMultiKE(
        _ a: Side,
        _ isDeleteFirst: Bool
    ) throws {
        let b = a.other
        var play = try Choreography.established(west: Shapes.child)
        try play.rekeyChild(a)
        try play.pass(a)
        try play.pass(b)
        try play.deleteChild(b)
        #expect(try play.pass(a, where: { $0.isRequest }).isFollowUp)
        if isDeleteFirst { #expect(try !play.pass(b, where: { $0.isRequest }).deletedSPIs.isEmpty) }
        #expect(try play.pass(b, where: { $0.isResponse }).error == .temporaryFailure)
        expectRight(&play, children: 0...0)
    }

    /// A request that names no exchange the responder knows gets STATE_NOT_FOUND, and the working SA stays.
    @Test(arguments: Side.allCases) func unknownStateIsNotFound(_ side: Side) throws {
        var play = try Choreography.established(west: Shapes.child)
        let old = try play.child(side)
        try play.rekeyChild(side)
        try play.pass(side)
        try play.pass(side.other)
        let next = try #require(play.flight.first { $0.from == side }).reading
        let strange = next.all.map { payload in
            guard case .notify = payload else { return payload }
            return .notify(NotifyPayload(.additionalKeyExchange, data: [1, 2, 3]))
        }
        try play.pass(side, saying: strange)
        #expect(try play.pass(side.other).error == .stateNotFound)
        for each in Side.allCases { #expect(play[each].dataPlane.sas.count == 1) }
        #expect(try play.child(side).inboundSPI == old.inboundSPI && play.childDowns(side).isEmpty)
        // It rekeys again, successfully.
        try play.wait(.seconds(60))
        #expect(play.childRekeys(side) == 1)
        expectRight(&play)
    }

    /// The responder forgets an exchange that is not continued, and then rekeys by itself.
    @Test(arguments: Side.allCases) func abandonedStateIsForgotten(_ side: Side) throws {
        var shape = Shapes.child
        shape.livenessDelay = nil
        var play = try Choreography.established(west: shape)
        let reserved = try play.child(side.other).inboundSPI
        try play.rekeyChild(side)
        try play.pass(side)
        // The exchange stays where it is: nothing of the initiator arrives any more.
        try play.lose(side.other)
        try play.rekeyChild(side.other)
        #expect(!play.flight.contains { $0.from == side.other })
        try play.waitForDeadline(of: side.other)
        #expect(play.now >= Instant.zero.advanced(by: .seconds(60)))
        let request = try play.pass(side.other)
        #expect(request.offersChild && request.all.notification(.rekeySA)?.spi == reserved.octets)
        expectRight(&play)
    }
}

/// The IKE_SA is rekeyed with several key exchanges, under the names that strongSwan's suite `ike_rekey` has.
@Suite struct IKERekeyMultiKETests {
    private func both(_ seed: UInt64, _ west: PolicyShape = Shapes.ike, _ east: PolicyShape? = nil) throws
        -> Choreography
    {
        var play = try Choreography.established(seed: seed, west: west, east: east)
        try play.rekeyIKE(.west)
        try play.rekeyIKE(.east)
        return play
    }

    private func expectSurvivor(_ play: Choreography, of request: Reading, by side: Side) throws {
        let spi = request.offeredSPI.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        for each in Side.allCases {
            let sa = try play.ike(each)
            #expect(sa.initiatorSPI == spi && sa.isInitiator == (each == side))
        }
    }

    private func expectQuiet(_ play: Choreography) {
        for side in Side.allCases {
            #expect(play.ikeRekeys(side) == 1 && play.downs(side).isEmpty && play.childDowns(side).isEmpty)
        }
    }

    @Test(arguments: Side.allCases) func regularMultiKE(_ side: Side) throws {
        var shape = Shapes.ike
        shape.ike += "-ke2_modp2048"
        var play = try Choreography.established(west: shape)
        try play.rekeyIKE(side)
        let request = try play.pass(side)
        var answer = try play.pass(side.other)
        for group in [UInt16(19), 14] {
            let next = try play.pass(side)
            #expect(next.isFollowUp && next.group == group && next.link == answer.link && next.link != nil)
            answer = try play.pass(side.other)
            #expect(answer.isFollowUp && answer.group == group)
        }
        #expect(answer.link == nil)
        #expect(try play.pass(side).deletesIKE)
        expectRight(&play)
        try expectSurvivor(play, of: request, by: side)
        expectQuiet(play)
    }

    @Test(arguments: Side.allCases) func regularKEInvalidMultiKE(_ side: Side) throws {
        let shapes = Shapes.unequal { $0.ike = "aes256gcm16-prfsha256-\($1)" }
        var play = try Choreography.established(
            west: shapes[side.rawValue],
            east: shapes[side.other.rawValue]
        )
        try play.rekeyIKE(side)
        var request = try play.pass(side)
        if request.group != 20 {
            #expect(try play.pass(side.other).wantedGroup == [0, 20])
            request = try play.pass(side)
        }
        #expect(try play.pass(side.other).error == nil)
        #expect(try play.pass(side).group == 14)
        expectRight(&play)
        try expectSurvivor(play, of: request, by: side)
    }

    @Test(arguments: seedsOfNonces) func collisionMultiKE(_ seed: UInt64) throws {
        var play = try both(seed)
        var contest = try play.collide()
        try play.answer(.west, &contest)
        try play.answer(.east, &contest)
        let winner = contest.winner
        #expect(!play.flight.contains { $0.from == winner.other })
        #expect(try play.pass(winner).isFollowUp)
        #expect(try play.pass(winner.other).isFollowUp)
        #expect(try play.pass(winner).deletesIKE)
        expectRight(&play)
        try expectSurvivor(play, of: contest.requests[winner.rawValue], by: winner)
        expectQuiet(play)
    }

    /// West's rekey takes two key exchanges, east's only one: a redundant IKE_SA of east is deleted, one of west was
    /// never made.
    @Test(arguments: seedsOfNonces) func collisionMixed(_ seed: UInt64) throws {
        var (west, east) = (PolicyShape(), PolicyShape())
        west.ike = "aes256gcm16-prfsha256-x25519-ke1_ecp256 aes256gcm16-prfsha256-x25519"
        east.ike = "aes256gcm16-prfsha256-x25519 aes256gcm16-prfsha256-x25519-ke1_ecp256"
        // What the responder likes first decides.
        var play = try both(seed, east, west)
        var contest = try play.collide()
        try play.answer(.east, &contest)
        try play.answer(.west, &contest)
        let multi: Side = contest.answers[.west]?.link == nil ? .east : .west
        #expect(contest.answers[multi]?.link != nil && contest.answers[multi.other]?.link == nil)
        let winner = contest.winner
        if winner == multi {
            #expect(try play.pass(multi, where: { $0.isRequest }).isFollowUp)
        } else {
            #expect(!play.flight.contains { $0.from == multi && $0.reading.isFollowUp })
        }
        expectRight(&play)
        try expectSurvivor(play, of: contest.requests[winner.rawValue], by: winner)
        expectQuiet(play)
    }

    @Test(arguments: Side.allCases, [0, 1, 2]) func collisionDelayedResponseMultiKE(_ a: Side, _ when: Int)
        throws
    {
        let b = a.other
        for seed in seedsOfNonces {
            var play = try both(seed)
            var contest = try play.collide()
            try play.peek(a, &contest)
            try play.answer(b, &contest)
            guard contest.winner == b else { continue }
            #expect(try play.pass(b, where: { $0.isRequest }).isFollowUp)
            if when == 0 { try play.answer(a, &contest) }
            try play.pass(a, where: { $0.isResponse })
            if when == 1 { try play.answer(a, &contest) }
            #expect(try play.pass(b, where: { $0.isRequest }).deletesIKE)
            try play.pass(a, where: { $0.isResponse })
            if when == 2 { try play.answer(a, &contest) }
            expectRight(&play)
            try expectSurvivor(play, of: contest.requests[b.rawValue], by: b)
            expectQuiet(play)
        }
    }

    @Test(arguments: Side.allCases) func collisionDelayedRequestMultiKE(_ a: Side) throws {
        let b = a.other
        for seed in seedsOfNonces {
            var play = try both(seed)
            let request = try play.pass(b, where: { $0.isRequest })
            try play.pass(a, where: { $0.isResponse })
            try play.pass(a, where: { $0.isRequest && !$0.isFollowUp })
            #expect(try play.pass(b, where: { $0.isRequest }).isFollowUp)
            #expect(try play.pass(b, where: { $0.isResponse }).error == .temporaryFailure)
            try play.pass(a, where: { $0.isResponse })
            expectRight(&play)
            try expectSurvivor(play, of: request, by: b)
            expectQuiet(play)
        }
    }

    /// B's rekey is answered, A's request reaches B then, and B's DELETE comes before that answer.
    @Test(arguments: Side.allCases) func collisionDelayedRequestAndDelete(_ a: Side) throws {
        let b = a.other
        for seed in seedsOfNonces {
            var play = try both(seed, PolicyShape())
            let request = try play.pass(b, where: { $0.isRequest })
            try play.pass(a, where: { $0.isResponse })
            try play.pass(a, where: { $0.isRequest })
            let delete = try #require(play.flight.firstIndex { $0.from == b && $0.reading.deletesIKE })
            let refusal = try #require(
                play.flight.firstIndex { $0.from == b && $0.reading.error == .temporaryFailure }
            )
            // The refusal first, the DELETE late.
            play.deliver(refusal)
            #expect(!play.flight.contains { $0.from == a })
            play.deliver(refusal < delete ? delete - 1 : delete)
            expectRight(&play)
            try expectSurvivor(play, of: request, by: b)
            expectQuiet(play)
        }
    }

    @Test(arguments: Side.allCases, [false, true]) func collisionDeleteMultiKE(
        _ a: Side,
        _ isDeleteFirst: Bool
    ) throws {
        let b = a.other
        var play = try Choreography.established(west: Shapes.ike)
        try play.rekeyIKE(a)
        try play.pass(a)
        try play.pass(b)
        try play.deleteIKE(b)
        #expect(try play.pass(a, where: { $0.isRequest }).isFollowUp)
        if isDeleteFirst { #expect(try play.pass(b, where: { $0.isRequest }).deletesIKE) }
        #expect(try play.pass(b, where: { $0.isResponse }).error == .temporaryFailure)
        expectRight(&play, children: 0...0, ikes: 0...0)
    }
}
