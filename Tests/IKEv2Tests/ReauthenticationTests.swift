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

    @Test(arguments: [false, true]) func theResponderMayBegin(peerAnywhere: Bool) {
        var pair = pair(by: .responder, peerAnywhere: peerAnywhere)
        let old = pair[.initiator].established.first
        pair.run(for: .seconds(640))
        expectReplaced(pair, old, tunnels: 1)
        #expect(pair[.responder].established.first?.isInitiator == true)
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
