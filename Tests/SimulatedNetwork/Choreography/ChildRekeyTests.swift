import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// A CHILD_SA is rekeyed by one side (RFC 7296 §1.3.3, §2.8).
///
/// The scenarios bear the names that strongSwan's suite `child_rekey` has for them; those with several key
/// exchanges (RFC 9370) stand in `MultipleKeyExchangeTests`.
@Suite struct ChildRekeyTests {
    /// The exchange names the old SA; each end sends by the new one once the other is known to receive on it; the
    /// initiator deletes the old one.
    @Test(arguments: Side.allCases, ["aes256gcm16", "aes256gcm16-x25519"])
    func regular(_ side: Side, _ esp: String) throws {
        var shape = PolicyShape()
        shape.esp = esp
        var play = try Choreography.established(west: shape)
        let (mine, theirs) = (try play.child(side), try play.child(side.other))
        try play.rekeyChild(side)
        let request = try play.pass(side)
        #expect(request.all.notification(.rekeySA)?.spi == mine.inboundSPI.octets)
        #expect(request.group == (esp == "aes256gcm16" ? nil : 31))
        #expect(play[side.other].dataPlane.count == 2)
        #expect(play.sender(side.other)?.id == theirs.id)
        let response = try play.pass(side.other)
        #expect(response.offersChild && response.error == nil)
        #expect(play[side].dataPlane.count == 2)
        #expect(play.sender(side)?.inboundSPI.octets == request.offeredSPI)
        let delete = try play.pass(side)
        #expect(delete.deletedSPIs == [mine.inboundSPI.octets])
        #expect(play.sender(side.other)?.inboundSPI.octets == response.offeredSPI)
        let answer = try play.pass(side.other)
        #expect(answer.deletedSPIs == [theirs.inboundSPI.octets])
        expectRight(&play)
        #expect(try play.child(side).inboundSPI.octets == request.offeredSPI)
        for side in Side.allCases {
            #expect(play.childRekeys(side) == 1)
            #expect(play.childDowns(side).isEmpty)
        }
    }

    /// §2.8: a packet on the new SA tells the responder as well that the initiator receives on it.
    @Test(arguments: Side.allCases) func regularFirstInbound(_ side: Side) throws {
        var play = try Choreography.established()
        let old = try play.child(side.other)
        try play.rekeyChild(side)
        try play.pass(side)
        play.exchangePackets()
        #expect(play.sender(side.other)?.id == old.id)
        try play.pass(side.other)
        play.exchangePackets()
        #expect(play.sender(side.other)?.id != old.id)
        #expect(play.gaps.isEmpty)
        expectRight(&play)
    }

    /// §1.3: the responder wants another group, and the rekey is done again with it.
    @Test(arguments: Side.allCases) func regularKEInvalid(_ side: Side) throws {
        var (first, second) = (PolicyShape(), PolicyShape())
        first.esp = "aes256gcm16-x25519-ecp256"
        second.esp = "aes256gcm16-ecp256"
        var play = try Choreography.established(
            west: side == .west ? first : second,
            east: side == .west ? second : first
        )
        try play.rekeyChild(side)
        #expect(try play.pass(side).group == 31)
        #expect(try play.pass(side.other).wantedGroup == [0, 19])
        let retry = try play.pass(side)
        #expect(retry.group == 19)
        #expect(retry.has(.rekeySA))
        #expect(try play.pass(side.other).error == nil)
        expectRight(&play)
        #expect(play.childRekeys(side) == 1)
    }

    /// The responder has a successor of the old SA already: its own lifetime is no reason for another.
    @Test(arguments: Side.allCases) func regularResponderIgnoresSoftExpiry(_ side: Side) throws {
        var play = try Choreography.established()
        let old = try play.child(side.other)
        try play.rekeyChild(side)
        try play.pass(side)
        try play.pass(side.other)
        play.tell(.rekeyChild(id: old.id), side.other)
        #expect(!play.flight.contains { $0.from == side.other && $0.reading.isRequest })
        expectRight(&play)
        #expect(play.childRekeys(side.other) == 1)
    }

    /// §2.8: an SA is not used beyond its lifetime, even if its DELETE does not come; the new one stays.
    @Test(arguments: Side.allCases) func regularResponderHandlesHardExpiry(_ side: Side) throws {
        var shape = PolicyShape()
        shape.livenessDelay = nil
        shape.retransmission = RetransmissionPolicy(
            initial: .seconds(2),
            base: 1,
            tries: 30,
            limit: .seconds(2)
        )
        var other = shape
        other.childLifetime = SALifetime(rekey: nil, jitter: .zero, hard: .seconds(60))
        var play = try Choreography.established(
            west: side == .west ? shape : other,
            east: side == .west ? other : shape
        )
        let old = try play.child(side.other)
        try play.wait(.seconds(40))
        try play.rekeyChild(side)
        try play.pass(side)
        try play.pass(side.other)
        try play.lose(side, where: { !$0.deletedSPIs.isEmpty })
        while play.now < Instant(sinceStart: .seconds(62)) {
            let due = Side.allCases.filter { play[$0].engine.deadline != nil }.min {
                (play[$0].engine.deadline ?? .zero) < (play[$1].engine.deadline ?? .zero)
            }
            try play.waitForDeadline(of: try #require(due))
            // Nothing of the initiator arrives while this goes on.
            while play.flight.contains(where: { $0.from == side && $0.reading.isRequest }) {
                try play.lose(side, where: { $0.isRequest })
            }
        }
        #expect(play[side.other].dataPlane.sas[old.id] == nil)
        expectRight(&play)
    }

    /// The new SA is deleted by the responder before the rekey is over: nothing stays on one side only.
    @Test(arguments: Side.allCases) func regularResponderDelete(_ side: Side) throws {
        var play = try Choreography.established()
        try play.rekeyChild(side)
        try play.pass(side)
        try play.pass(side.other)
        try play.deleteChild(side.other, isNewest: true)
        try play.pass(side.other)
        expectRight(&play, children: 0...1)
    }

    /// §2.25: CHILD_SA_NOT_FOUND; the initiator forgets the old SA silently and makes a new one.
    @Test(arguments: Side.allCases) func regularResponderLostSA(_ side: Side) throws {
        var play = try Choreography.established()
        let old = try play.child(side)
        try play.deleteChild(side.other)
        try play.pass(side.other, saying: [])
        try play.pass(side)
        #expect(play[side.other].dataPlane.count == 0 && play[side].dataPlane.count == 1)
        try play.rekeyChild(side)
        try play.pass(side)
        let response = try play.pass(side.other)
        #expect(response.all.notification(.childSANotFound)?.spi == old.inboundSPI.octets)
        #expect(play.flight.isEmpty)
        #expect(play[side].dataPlane.count == 0)
        #expect(play.childDowns(side) == [old.id])
        // Whoever supervises the tunnel asks for it again.
        play.initiate(side)
        #expect(try play.pass(side).has(.rekeySA) == false)
        expectRight(&play)
    }

    /// A responder that deletes the old SA itself, faster than its answer: the new one stays all the same.
    @Test(arguments: Side.allCases) func regularResponderIncorrectDelete(_ side: Side) throws {
        var play = try Choreography.established()
        try play.rekeyChild(side)
        let request = try play.pass(side)
        try play.deleteChild(side.other)
        try play.pass(side.other, where: { $0.isRequest })
        try play.pass(side, where: { $0.isResponse })
        try play.pass(side.other, where: { $0.isResponse })
        expectRight(&play)
        #expect(try play.child(side).inboundSPI.octets == request.offeredSPI)
    }

    /// The DELETE of the old SA is never answered: the peer is dead, and the old SA is not reported a second time.
    @Test(arguments: Side.allCases) func regularDeleteTimeout(_ side: Side) throws {
        var play = try Choreography.established()
        let old = try play.child(side)
        try play.rekeyChild(side)
        try play.pass(side)
        try play.pass(side.other)
        let new = try #require(play.sender(side))
        for _ in 0..<40 where play.downs(side).isEmpty {
            while !play.flight.isEmpty { play.drop(0) }
            try play.waitForDeadline(of: side)
        }
        #expect(play.downs(side).count == 1)
        #expect(play.childDowns(side).filter { $0 == old.id }.isEmpty)
        #expect(play.childDowns(side) == [new.id])
        #expect(play[side].dataPlane.count == 0)
    }
}
