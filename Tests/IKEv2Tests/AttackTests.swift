import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// A peer that knows the protocol and breaks it.
@Suite struct AttackTests {
    @Test func forgedIKEAuthLeavesTheHalfOpenSAUsable() throws {
        for suite in ["aes256gcm16-prfsha256-x25519", "aes128-sha256-x25519"] {
            var state = try EngineInState.awaitingAuth(suite: suite)
            var forged = try state.puppet.auth()
            forged[forged.count - 1] ^= 0x80
            for _ in 0..<100 {
                #expect(state.lone.receive(forged, from: state.puppet.endpoint).isEmpty)
            }
            #expect(state.lone.engine.drops[.notAuthentic] == 100)
            #expect(state.lone.engine.halfOpenCount == 1)
            #expect(state.lone.receive(try state.puppet.auth(), from: state.puppet.endpoint).count == 1)
            #expect(state.lone.engine.snapshots.map { $0.state } == [.established])
            #expect(state.lone.installs == 1)
        }
    }

    @Test func nothingButIKEAuthCountsBeforeAuthentication() throws {
        // CVE-2019-12312 and its kin: SK_* are known to whoever took part in IKE_SA_INIT.
        let state = try EngineInState.awaitingAuth()
        let payloads: [[Payload]] = [
            [], [.delete(.ike)], [.notify(NotifyPayload(.authenticationFailed))],
            try state.puppet.authPayloads(),
        ]
        for exchange in [.informational, .createChildSA, .unknown(38), .ikeSAInit] as [ExchangeType] {
            for content in payloads {
                for (id, isResponse) in [(0, false), (1, false), (2, false), (0, true), (1, true)] {
                    var (lone, puppet) = (state.lone, state.puppet)
                    let id = UInt32(id)
                    let message = try puppet.seal(content, exchange, id: id, isResponse: isResponse)
                    #expect(lone.receive(message, from: puppet.endpoint).isEmpty)
                    #expect(lone.installs == 0 && lone.engine.halfOpenCount == 1)
                    #expect(lone.engine.snapshots.map { $0.state } == [.connecting])
                    #expect(lone.receive(try puppet.auth(), from: puppet.endpoint).count == 1)
                    #expect(lone.installs == 1)
                }
            }
        }
    }

    @Test func initiatorBelievesNothingButIKEAuth() throws {
        let states = try EngineInState.initiator()
        let state = states[3]
        for exchange in [.informational, .createChildSA, .ikeSAInit] as [ExchangeType] {
            for isResponse in [false, true] {
                var (lone, puppet) = (state.lone, state.puppet)
                let message = try puppet.seal([.delete(.ike)], exchange, id: 1, isResponse: isResponse)
                #expect(lone.receive(message, from: puppet.endpoint).isEmpty)
                lone.receive(try puppet.auth(), from: puppet.endpoint)
                #expect(lone.installs == 1)
            }
        }
    }

    @Test func anAUTHOfAnotherMethodOrNoneBringsNothingUp() throws {
        let state = try EngineInState.awaitingAuth()
        let good = try state.puppet.authPayloads()
        func replacing(_ replace: (AUTHPayload) -> AUTHPayload?) -> [Payload] {
            good.compactMap { payload in
                guard case .authentication(let auth) = payload else { return payload }
                return replace(auth).map { .authentication($0) }
            }
        }
        let bad: [[Payload]] = [
            replacing { _ in nil }, replacing { AUTHPayload(method: 1, data: $0.data) },
            replacing { AUTHPayload(method: 13, data: $0.data) },
            replacing { AUTHPayload(method: $0.method, data: []) },
            replacing { AUTHPayload(method: 2, data: Array($0.data.dropLast())) },
            replacing { AUTHPayload(method: 2, data: $0.data + [0]) },
            Array(good.dropFirst()), [],
        ]
        for payloads in bad {
            var (lone, puppet) = (state.lone, state.puppet)
            let message = try puppet.seal(payloads, .ikeAuth, id: 1)
            let replies = lone.receive(message, from: puppet.endpoint)
            let answer = try puppet.open(replies.first.unwrapped)
            #expect(answer.count == 1)
            #expect(answer.notification(.authenticationFailed) != nil)
            #expect(lone.installs == 0)
            #expect(lone.engine.snapshots.isEmpty)
            #expect(lone.failures.count == 1)
            // The same request again gets the same answer; the right one comes too late.
            #expect(lone.receive(message, from: puppet.endpoint) == replies)
            #expect(lone.receive(try puppet.auth(), from: puppet.endpoint).isEmpty)
        }
    }

    @Test func initialContactOfAStrangerRemovesNothing() throws {
        var state = try EngineInState.establishedResponder()
        let before = state.lone.standing
        var stranger = try Puppet(.initiator, number: 9)
        stranger.sharedKey = "not the key"
        let endpoint = stranger.endpoint
        try stranger.take(response: state.lone.receive(stranger.request(), from: endpoint).first.unwrapped)
        let contact = Payload.notify(NotifyPayload(.initialContact))
        #expect(state.lone.receive(try stranger.auth(extra: [contact]), from: endpoint).count == 1)
        #expect(state.lone.standing == before)
        #expect(state.lone.removals == 0)
        // From the peer itself it replaces the old one.
        var again = try Puppet(.initiator, number: 10)
        try again.take(response: state.lone.receive(again.request(), from: endpoint).first.unwrapped)
        state.lone.receive(try again.auth(extra: [contact]), from: endpoint)
        #expect(state.lone.removals == 1)
        #expect(state.lone.downs == [.replacedByInitialContact])
        #expect(state.lone.engine.snapshots.map { $0.initiatorSPI } == [again.spi.value])
    }

    @Test func hintsOfADeadPeerOnlyAskIt() throws {
        // An INVALID_IKE_SPI in clear proves nothing (RFC 7296 §2.4): one question a second at most.
        var state = try EngineInState.establishedResponder()
        let header = state.puppet.header(.informational, id: 0, isResponse: true)
        let hint = try IKEMessage(header: header, payloads: [.notify(NotifyPayload(.invalidIKESPI))])
            .encoded()
        #expect(state.lone.receive(hint, from: state.puppet.endpoint).isEmpty)
        state.lone.now = Instant(sinceStart: .seconds(2))
        let question = state.lone.receive(hint, from: state.puppet.endpoint)
        #expect(question.count == 1)
        for _ in 0..<10 { #expect(state.lone.receive(hint, from: state.puppet.endpoint).isEmpty) }
        #expect(state.lone.engine.snapshots.map { $0.state } == [.established])
        #expect(try state.puppet.open(question.first.unwrapped).isEmpty)
        let answer = try state.puppet.seal([], .informational, id: 0, isResponse: true)
        state.lone.receive(answer, from: state.puppet.endpoint)
        #expect(state.lone.receive(hint, from: state.puppet.endpoint).isEmpty)
    }

    @Test func answersADeleteWithTheSPIOfTheOtherDirection() throws {
        let state = try EngineInState.establishedResponder()
        let child = try state.lone.engine.snapshots.first.unwrapped.children.first.unwrapped
        let theirs = child.outboundSPI
        let unknown = try SPI(0x0bad_0bad).unwrapped
        let cases: [(DeletePayload, [Payload])] = [
            (.esp([theirs]), [.delete(.esp([child.inboundSPI]))]),
            (.esp([unknown, theirs, theirs]), [.delete(.esp([child.inboundSPI]))]),
            // Ours is not theirs to name, and of others nothing is said.
            (.esp([child.inboundSPI]), []), (.esp([unknown]), []), (.esp([]), []),
        ]
        for (delete, expected) in cases {
            var (lone, puppet) = (state.lone, state.puppet)
            let request = try puppet.seal([.delete(delete)], .informational, id: 2)
            let reply = lone.receive(request, from: puppet.endpoint)
            #expect(try puppet.open(reply.first.unwrapped) == expected)
            #expect(lone.removals == expected.count)
            #expect(lone.engine.snapshots.map { $0.state } == [.established])
            #expect(lone.engine.snapshots.first?.children.count == 1 - expected.count)
        }
    }

    @Test func answersARepeatedRequestAlikeAndAChangedOneNot() throws {
        var state = try EngineInState.establishedResponder()
        let endpoint = state.puppet.endpoint
        let request = try state.puppet.seal([], .informational, id: 2)
        let changed = try state.puppet.seal([.delete(.ike)], .informational, id: 2)
        let reply = state.lone.receive(request, from: endpoint)
        #expect(reply.count == 1)
        #expect(state.lone.receive(request, from: endpoint) == reply)
        #expect(state.lone.receive(changed, from: endpoint).isEmpty)
        #expect(state.lone.engine.drops[.messageID] == 1)
        #expect(state.lone.engine.snapshots.count == 1)
        #expect(try state.puppet.open(reply.first.unwrapped).isEmpty)
    }

    @Test func ignoresMessageIDsOutsideOfTheWindow() throws {
        let state = try EngineInState.establishedResponder()
        for id in [0, 1, 3, 4, 100, 0x7fff_ffff, 0xffff_ffff] as [UInt32] {
            for isResponse in [false, true] {
                var (lone, puppet) = (state.lone, state.puppet)
                let message = try puppet.seal([.delete(.ike)], .informational, id: id, isResponse: isResponse)
                #expect(lone.receive(message, from: puppet.endpoint).isEmpty)
                #expect(lone.engine.drops[.messageID] == 1)
                #expect(lone.standing == state.lone.standing)
            }
        }
        var (lone, puppet) = (state.lone, state.puppet)
        let unasked = try puppet.seal([], .informational, id: 2, isResponse: true)
        #expect(lone.receive(unasked, from: puppet.endpoint).isEmpty)
        #expect(lone.receive(try puppet.seal([], .informational, id: 2), from: puppet.endpoint).count == 1)
        #expect(lone.receive(try puppet.seal([], .informational, id: 3), from: puppet.endpoint).count == 1)
    }

    @Test func answersUnknownCriticalPayloads() throws {
        let unknown = Payload.unknown(type: 200, isCritical: true, body: [1, 2, 3])
        let expected = NotifyPayload(.unsupportedCriticalPayload, data: [200])
        // In IKE_SA_INIT, without state.
        var lone = LoneEngine(.responder, PolicyFixture(.responder))
        var puppet = try Puppet(.initiator)
        let reply = lone.receive(try puppet.request(last: [unknown]), from: puppet.endpoint)
        #expect(try GoldenConversation.clear(reply.first.unwrapped) == [.notify(expected)])
        #expect(lone.engine.snapshots.isEmpty)
        // In IKE_AUTH.
        var half = try EngineInState.awaitingAuth()
        let auth = half.lone.receive(try half.puppet.auth(extra: [unknown]), from: puppet.endpoint)
        #expect(try half.puppet.open(auth.first.unwrapped) == [.notify(expected)])
        #expect(half.lone.installs == 0 && half.lone.engine.snapshots.isEmpty)
        // In INFORMATIONAL; the IKE_SA stays.
        var up = try EngineInState.establishedResponder()
        let info = up.lone.receive(
            try up.puppet.seal([unknown], .informational, id: 2),
            from: puppet.endpoint
        )
        #expect(try up.puppet.open(info.first.unwrapped) == [.notify(expected)])
        #expect(up.lone.engine.snapshots.count == 1)
        // One that is not critical is skipped.
        let skipped = Payload.unknown(type: 200, isCritical: false, body: [1])
        var other = try EngineInState.awaitingAuth()
        other.lone.receive(try other.puppet.auth(extra: [skipped]), from: puppet.endpoint)
        #expect(other.lone.installs == 1)
    }

    @Test func malformedAuthenticMessageClosesOnlyItsOwnSA() throws {
        for isDuringAuth in [false, true] {
            var state = try isDuringAuth ? EngineInState.awaitingAuth() : EngineInState.establishedResponder()
            var other = try Puppet(.initiator, number: 2)
            let endpoint = other.endpoint
            let answer = state.lone.receive(try other.request(), from: endpoint)
            try other.take(response: answer.first.unwrapped)
            state.lone.receive(try other.auth(), from: endpoint)
            let before = state.lone.engine.snapshots.count
            let broken = try state.puppet.seal(
                chain: [0, 0, 0, 99],
                first: 41,
                isDuringAuth ? .ikeAuth : .informational,
                id: isDuringAuth ? 1 : 2
            )
            let reply = state.lone.receive(broken, from: endpoint)
            #expect(try state.puppet.open(reply.first.unwrapped).notification(.invalidSyntax) != nil)
            #expect(state.lone.engine.snapshots.count == before - 1)
            #expect(state.lone.engine.snapshots.map { $0.state } == [.established])
            #expect(state.lone.engine.snapshots.first?.initiatorSPI == other.spi.value)
            // The other one works on.
            #expect(state.lone.receive(try other.seal([], .informational, id: 2), from: endpoint).count == 1)
        }
    }

    @Test func refusesWhatItDoesNotCarryOut() throws {
        var state = try EngineInState.establishedResponder()
        let endpoint = state.puppet.endpoint
        let rekey = state.lone.receive(
            try state.puppet.seal(state.puppet.authPayloads(), .createChildSA, id: 2),
            from: endpoint
        )
        // A CREATE_CHILD_SA request without a nonce.
        #expect(try state.puppet.open(rekey.first.unwrapped).notification(.invalidSyntax) != nil)
        let auth = state.lone.receive(try state.puppet.seal([], .ikeAuth, id: 3), from: endpoint)
        #expect(try state.puppet.open(auth.first.unwrapped).notification(.invalidSyntax) != nil)
        #expect(state.lone.engine.snapshots.count == 1)
        #expect(state.lone.installs == 0)
    }

    @Test func refusesWeakPublicValues() throws {
        var lone = LoneEngine(.responder, PolicyFixture(.responder))
        var puppet = try Puppet(.initiator)
        let request = try puppet.request()
        // The all-zero value of Curve25519 (RFC 8031 §3.2).
        let header = try ReceivedMessage.header(of: request)
        let payloads = try GoldenConversation.clear(request).map { payload -> Payload in
            guard case .keyExchange(let exchange) = payload else { return payload }
            return .keyExchange(KEPayload(group: exchange.group, data: [UInt8](repeating: 0, count: 32)))
        }
        let weak = try IKEMessage(header: header, payloads: payloads).encoded()
        #expect(lone.receive(weak, from: puppet.endpoint).isEmpty)
        #expect(lone.engine.halfOpenCount == 0)
        #expect(lone.engine.snapshots.isEmpty)
        #expect(lone.failures.count == 1)
    }

    @Test func initiatorRefusesWhatItDidNotOffer() throws {
        // Wider selectors, and an ESP proposal of its own making.
        let states = try EngineInState.initiator()
        for wide in ["0.0.0.0/0", "10.0.0.0/8"] {
            var (lone, puppet) = (states[3].lone, states[3].puppet)
            let payloads = try puppet.authPayloads().map { payload -> Payload in
                guard case .responderSelectors = payload else { return payload }
                return .responderSelectors(TSPayload([selector(wide)]))
            }
            lone.receive(try puppet.seal(payloads, .ikeAuth, id: 1, isResponse: true), from: puppet.endpoint)
            #expect(lone.installs == 0)
            #expect(lone.engine.snapshots.map { $0.state } == [.deleting])
        }
        var (lone, puppet) = (states[3].lone, states[3].puppet)
        let payloads = try puppet.authPayloads().map { payload -> Payload in
            guard case .securityAssociation = payload else { return payload }
            let mine = proposals(["aes128gcm16"], .esp).map { proposal in
                var proposal = proposal
                proposal.spi = [1, 2, 3, 4]
                return proposal
            }
            return .securityAssociation(SAPayload(mine))
        }
        lone.receive(try puppet.seal(payloads, .ikeAuth, id: 1, isResponse: true), from: puppet.endpoint)
        #expect(lone.installs == 0)
    }
}
