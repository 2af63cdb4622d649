import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Every failure names the difference and the line of the configuration that decides.
@Suite struct FailureTests {
    private func run(_ a: PolicyFixture, _ b: PolicyFixture) -> EnginePair {
        var pair = EnginePair(initiator: a, responder: b)
        pair.initiate()
        pair.run(for: .seconds(200))
        for side in Side.allCases {
            #expect(pair[side].engine.snapshots.isEmpty)
            #expect(pair[side].installed.isEmpty)
            #expect(pair[side].engine.deadline == nil)
        }
        return pair
    }

    private func expect(_ causes: [DownCause], say parts: [String]) {
        #expect(causes.count == 1)
        let text = causes.first?.description ?? ""
        for part in parts { #expect(text.contains(part), "'\(part)' is missing in: \(text)") }
    }

    @Test func differentKeys() {
        var b = PolicyFixture(.responder)
        b.sharedKey = "another key than that"
        let pair = run(PolicyFixture(.initiator), b)
        expect(
            pair[.responder].failures,
            say: ["AUTHENTICATION_FAILED", "'a.test'", "pre-shared key", "b.yaml:15"]
        )
        expect(pair[.initiator].failures, say: ["AUTHENTICATION_FAILED", "a.yaml:15", "a.yaml:13"])
        #expect(pair.sent.count == 4)
    }

    @Test func responderWithAnotherKey() throws {
        let states = try EngineInState.initiator()
        var state = try states[3...].first.unwrapped
        state.puppet.sharedKey = "another key than that"
        let replies = state.lone.receive(try state.puppet.auth(), from: state.puppet.endpoint)
        expect(
            state.lone.failures,
            say: ["AUTHENTICATION_FAILED", "'b.test'", "pre-shared key", "a.yaml:15"]
        )
        #expect(state.lone.engine.snapshots.isEmpty)
        #expect(state.lone.installs == 0)
        // RFC 7296 §2.21.2: the responder is told.
        let told = try state.puppet.open(replies.first.unwrapped)
        #expect(told.notification(.authenticationFailed) != nil)
    }

    @Test func initiatorWithAnotherIdentity() {
        var b = PolicyFixture(.responder)
        b.remoteIdentity = .fqdn("c.test")
        let pair = run(PolicyFixture(.initiator), b)
        expect(pair[.responder].failures, say: ["'a.test'", "expected 'c.test'", "b.yaml:14"])
        expect(pair[.initiator].failures, say: ["AUTHENTICATION_FAILED", "a.yaml:13"])
    }

    @Test func initiatorThatWantsAnotherIdentity() {
        var a = PolicyFixture(.initiator)
        a.remoteIdentity = .fqdn("c.test")
        let pair = run(a, PolicyFixture(.responder))
        expect(
            pair[.responder].failures,
            say: ["wants to speak to 'c.test'", "we are 'b.test'", "b.yaml:13"]
        )
        expect(pair[.initiator].failures, say: ["AUTHENTICATION_FAILED"])
    }

    @Test func responderWithAnotherIdentity() {
        // Without remote-id no IDr is sent, and the configured address must be proved.
        var a = PolicyFixture(.initiator)
        a.remoteIdentity = nil
        let pair = run(a, PolicyFixture(.responder))
        expect(pair[.initiator].failures, say: ["'b.test'", "a.yaml:14", "expects '198.51.100.2'"])
        expect(pair[.responder].downs, say: ["AUTHENTICATION_FAILED", "'b.test'", "b.yaml:15"])
        #expect(pair[.initiator].installations.isEmpty)
    }

    @Test func noCommonIKEProposal() {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        a.ike = ["aes256-sha256-ecp256"]
        b.ike = ["aes256-sha512-ecp384"]
        let pair = run(a, b)
        expect(
            pair[.responder].failures,
            say: [
                "NO_PROPOSAL_CHOSEN", "no common PRF", "no common integrity", "no common key exchange group",
                "HMAC_SHA2_256_128", "HMAC_SHA2_512_256", "b.yaml:11",
            ]
        )
        expect(pair[.initiator].failures, say: ["NO_PROPOSAL_CHOSEN", "HMAC_SHA2_256_128", "a.yaml:11"])
        #expect(pair.sent.count == 2)
    }

    @Test func noCommonESPProposal() {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        a.esp = ["aes256gcm16"]
        b.esp = ["aes128-sha256"]
        let pair = run(a, b)
        expect(
            pair[.responder].childFailures,
            say: ["NO_PROPOSAL_CHOSEN", "no common encryption", "ESP:AES_GCM_16_256", "b.yaml:12"]
        )
        expect(
            pair[.initiator].childFailures,
            say: ["NO_PROPOSAL_CHOSEN", "ESP:AES_GCM_16_256", "a.yaml:12"]
        )
        #expect(pair[.responder].downs == [.peerDeleted])
    }

    @Test func noCommonSelectors() {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        a.remoteSelectors = ["10.9.0.0/16"]
        b.remoteSelectors = ["10.8.0.0/16"]
        let pair = run(a, b)
        expect(
            pair[.responder].childFailures,
            say: [
                "TS_UNACCEPTABLE", "10.9.0.0/16 === 10.1.0.0/16", "b.yaml:20", "10.2.0.0/16 === 10.8.0.0/16",
            ]
        )
        expect(
            pair[.initiator].childFailures,
            say: ["TS_UNACCEPTABLE", "10.1.0.0/16 === 10.9.0.0/16", "a.yaml:20"]
        )
    }

    @Test func narrowsSelectors() {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        a.localSelectors = ["10.1.0.0/16", "10.3.0.0/16"]
        a.remoteSelectors = ["10.0.0.0/8"]
        b.localSelectors = ["10.2.0.0/16", "10.4.4.0/24"]
        b.remoteSelectors = ["10.1.5.0/24", "192.168.0.0/16"]
        let pair = EnginePair.established(initiator: a, responder: b)
        let installed = pair[.initiator].installations.first?.description
        #expect(installed?.localSelectors == [selector("10.1.5.0/24")])
        #expect(installed?.remoteSelectors == [selector("10.2.0.0/16"), selector("10.4.4.0/24")])
    }

    @Test func noConnectionForTheAddress() {
        var b = PolicyFixture(.responder)
        b.remoteAddress = .address(fixed("203.0.113.9"))
        let pair = run(PolicyFixture(.initiator), b)
        expect(pair[.responder].failures, say: ["192.0.2.1"])
        expect(pair[.initiator].failures, say: ["NO_PROPOSAL_CHOSEN"])
    }

    @Test func noCommonGroupAfterAll() throws {
        // A responder that asks for a group that was not offered gets no second request.
        let states = try EngineInState.initiator()
        var state = states[1]
        var header = state.puppet.header(.ikeSAInit, id: 0, isResponse: true)
        header.responderSPI = 0
        for group in [14, 0, 0xffff] as [UInt16] {
            var copy = state
            let data = [UInt8(group >> 8), UInt8(group & 255)]
            let answer = IKEMessage(
                header: header,
                payloads: [.notify(NotifyPayload(.invalidKEPayload, data: data))]
            )
            #expect(try copy.lone.receive(answer.encoded(), from: state.puppet.endpoint).isEmpty)
            expect(copy.lone.failures, say: ["INVALID_KE_PAYLOAD", "a.yaml:11"])
        }
        state.lone.forgetOutputs()
    }
}
