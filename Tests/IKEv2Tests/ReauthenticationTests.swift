import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// A new IKE_SA, with a new proof of identity, in place of an old one.
@Suite struct ReauthenticationTests {
    private func pair(_ further: [String] = [], by side: Side = .initiator, peerAnywhere: Bool = false)
        -> EnginePair
    {
        var pair = EnginePair()
        for end in Side.allCases {
            var fixture = PolicyFixture(end)
            fixture.furtherTunnels = further
            if peerAnywhere, end == .responder { fixture.remoteAddress = .any }
            var policy = fixture.policy
            policy.origin = ConfigurationOrigin(source: ConfigurationOrigin.vici)
            policy.lifetime.jitter = .zero
            if end == side { policy.reauthentication = .seconds(600) }
            pair.handle(.setPolicies([policy]), at: end)
        }
        pair.initiate()
        for tunnel in further { pair.initiate(tunnel: tunnel) }
        pair.run(for: .seconds(10))
        return pair
    }

    private func expectReplaced(_ pair: EnginePair, _ old: IKESASnapshot?, tunnels: Int) {
        for side in Side.allCases {
            #expect(pair[side].established.count == 1)
            #expect(pair[side].established.first?.children.count == tunnels)
            #expect(pair[side].senders.count == tunnels)
        }
        #expect(pair[.initiator].established.first?.initiatorSPI != old?.initiatorSPI)
    }

    @Test(arguments: [[], ["one", "two"]]) func makesTheNewOneFirst(further: [String]) {
        var pair = pair(further)
        let old = pair[.initiator].established.first
        #expect(old?.reauthAt != nil && old?.children.count == 1 + further.count)
        pair.run(for: .seconds(580))
        #expect(pair[.initiator].established.map { $0.id } == old.map { [$0.id] })
        pair.run(for: .seconds(60))
        expectReplaced(pair, old, tunnels: 1 + further.count)
        // Never was a tunnel without a CHILD_SA.
        let installs = pair[.initiator].installations
        #expect(installs.count == 2 * (1 + further.count))
        #expect(pair[.initiator].failures.isEmpty && pair[.initiator].childFailures.isEmpty)
    }

    /// On request, by either end, with or without a time of its own.
    @Test(arguments: Side.allCases) func beginsWhenItIsAskedFor(side: Side) throws {
        var pair = pair(["one"], by: side)
        let old = try #require(pair[side].established.first)
        pair.handle(.reauthenticate(ikeID: old.id), at: side)
        // Twice is once.
        pair.handle(.reauthenticate(ikeID: old.id), at: side)
        pair.run(for: .seconds(20))
        expectReplaced(pair, pair[.initiator].established.first.map { _ in old }, tunnels: 2)
        #expect(pair[side].established.first?.id != old.id)
        #expect(pair[side].installations.count == 4)
    }

    /// Where the peer does not heed it, the responder begins itself.
    @Test(arguments: [false, true]) func theResponderMayBegin(peerAnywhere: Bool) {
        var pair = pair(by: .responder, peerAnywhere: peerAnywhere)
        let old = pair[.initiator].established.first
        pair.intercept = { sent in
            guard sent.side == .initiator, let header = sent.header else { return nil }
            return header.exchange == .ikeSAInit && !header.isResponse ? [] : nil
        }
        pair.run(for: .seconds(640))
        expectReplaced(pair, old, tunnels: 1)
        #expect(pair[.responder].established.first?.isInitiator == true)
    }

    /// RFC 4478: what the responder wants, the initiator does.
    @Test func theInitiatorBeginsWhenTheResponderSaysSo() throws {
        for (seconds, due) in [(600, 540.0), (100, 90), (20, 10), (5, 2.5), (1, 1)] {
            var state = try EngineInState.initiator().first { $0.name == "initiatorAwaitingAuth" }.unwrapped
            let data: [UInt8] = [0, 0, UInt8(seconds >> 8), UInt8(seconds & 255)]
            let lifetime: Payload = .notify(NotifyPayload(.authLifetime, data: data))
            state.lone.receive(try state.puppet.auth(extra: [lifetime]), from: state.puppet.endpoint)
            let reauthAt = try state.lone.engine.snapshots.first.unwrapped.reauthAt
            #expect(reauthAt == state.lone.now.advanced(by: .seconds(due)))
            // A later INFORMATIONAL may make it earlier, not later.
            for (again, expected) in [(3600, due), (20, min(due, 10))] as [(Int, Double)] {
                let data: [UInt8] = [0, 0, UInt8(again >> 8), UInt8(again & 255)]
                let notify: Payload = .notify(NotifyPayload(.authLifetime, data: data))
                let id: UInt32 = again == 3600 ? 0 : 1
                state.lone.receive(
                    try state.puppet.seal([notify], .informational, id: id),
                    from: state.puppet.endpoint
                )
                let found = try state.lone.engine.snapshots.first.unwrapped.reauthAt
                #expect(found == state.lone.now.advanced(by: .seconds(expected)))
            }
        }
    }

    /// The peer is told, and comes anew in time; nothing is done twice.
    @Test func theResponderTellsThePeer() {
        var pair = pair(by: .responder)
        let old = pair[.initiator].established.first
        #expect(old?.reauthAt.map { pair.now.duration(to: $0) < .seconds(541) } == true)
        pair.run(for: .seconds(575))
        expectReplaced(pair, old, tunnels: 1)
        #expect(pair[.initiator].established.first?.isInitiator == true)
    }

    @Test func aRekeyDoesNotPutItOff() throws {
        var pair = pair()
        pair.run(for: .seconds(300))
        pair.handle(.rekeyIKE(id: try #require(pair[.initiator].established.first?.id)), at: .initiator)
        pair.run(for: .seconds(20))
        let rekeyed = pair[.initiator].established.first
        #expect(rekeyed?.reauthAt.map { pair.now.duration(to: $0) < .seconds(300) } == true)
        pair.run(for: .seconds(320))
        expectReplaced(pair, rekeyed, tunnels: 1)
    }

    @Test func whatFailsIsTriedAgain() {
        var pair = pair()
        let old = pair[.initiator].established.first
        pair.run(for: .seconds(585))
        pair.intercept = { sent in sent.header?.exchange == .ikeSAInit ? [] : nil }
        pair.run(for: .seconds(60))
        #expect(pair[.initiator].established.map { $0.id } == old.map { [$0.id] })
        pair.intercept = nil
        pair.run(for: .seconds(80))
        expectReplaced(pair, old, tunnels: 1)
    }
}

/// What sends while a new IKE_SA takes over (found by the simulator: packets of the responder that came before its response).
@Suite struct TakeoverTests {
    /// The response that makes the new CHILD_SA is lost for a while: the responder goes on by the old one.
    @Test func theResponderWaitsForASign() throws {
        var pair = EnginePair.established()
        let old = try #require(pair[.responder].senders["sub"])
        let ike = try #require(pair[.initiator].established.first?.id)
        pair.intercept = { sent in
            guard sent.side == .responder, let header = sent.header, header.exchange == .ikeAuth else {
                return nil
            }
            return []
        }
        pair.handle(.reauthenticate(ikeID: ike), at: .initiator)
        pair.run(for: .seconds(3))
        #expect(pair[.responder].established.count == 2)
        #expect(pair[.responder].senders["sub"] == old)
        pair.intercept = nil
        pair.run(for: .seconds(20))
        #expect(pair[.responder].senders["sub"] != old)
        #expect(pair.mirrorFailure == nil && pair[.responder].established.count == 1)
    }

    /// Without a packet of the peer's, its answer to a question is the sign: the old IKE_SA may be the responder's alone.
    @Test func anAnswerIsASign() throws {
        var pair = EnginePair()
        for side in Side.allCases {
            var policy = PolicyFixture(side).policy
            policy.uniqueness = .never
            pair.handle(.setPolicies([policy]), at: side)
        }
        pair.initiate()
        pair.run(for: .seconds(1))
        let old = try #require(pair[.responder].senders["sub"])
        pair.restart(.initiator)
        pair.initiate()
        pair.run(for: .milliseconds(500))
        #expect(pair[.responder].established.count == 2)
        #expect(pair[.responder].senders["sub"] == old)
        pair.run(for: .seconds(2))
        #expect(pair[.responder].senders["sub"] != old)
    }
}
