import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

@Suite struct LivenessTests {
    /// Milliseconds between the sendings of a request and to its end, by strongSwan's formula.
    private static func schedule(_ policy: RetransmissionPolicy) -> [Duration] {
        var wait = Double(policy.initial.wholeMilliseconds)
        return (0...policy.tries).map { _ in
            defer { wait = min(wait * policy.base, Double(policy.limit.wholeMilliseconds)) }
            return .milliseconds(Int64(wait.rounded()))
        }
    }

    static let policies = [
        RetransmissionPolicy(), RetransmissionPolicy(tries: 0),
        RetransmissionPolicy(initial: .seconds(4), base: 1.8, tries: 5, limit: .seconds(1000)),
        RetransmissionPolicy(initial: .milliseconds(500), base: 2, tries: 9, limit: .seconds(8)),
    ]

    @Test(arguments: policies) func retransmitsExactlyByThePolicy(_ policy: RetransmissionPolicy) throws {
        var a = PolicyFixture(.initiator)
        a.retransmission = policy
        var pair = EnginePair(initiator: a)
        pair.intercept = { _ in [] }
        pair.initiate()
        pair.run(for: .seconds(1000))
        let times = pair.sent.map { $0.at }
        let waits = Self.schedule(policy)
        #expect(times.count == policy.tries + 1)
        #expect(zip(times, times.dropFirst()).map { $0.duration(to: $1) } == Array(waits.dropLast()))
        #expect(Set(pair.sent.map { $0.datagram.octets }).count == 1)
        let total = waits.reduce(.zero, +)
        #expect(
            pair[.initiator].failures
                == [.noAnswer(to: "IKE_SA_INIT", attempts: policy.tries, seconds: total.components.seconds)]
        )
        #expect(pair[.initiator].engine.deadline == nil)
    }

    @Test func retransmitsIKEAuthAlike() {
        var pair = EnginePair()
        pair.intercept = { sent in sent.header?.exchange == .ikeAuth ? [] : nil }
        pair.initiate()
        pair.run(for: .seconds(1000))
        let times = pair.sent.filter { $0.header?.exchange == .ikeAuth }.map { $0.at }
        #expect(times.count == RetransmissionPolicy().tries + 1)
        let waits = Self.schedule(RetransmissionPolicy()).dropLast()
        #expect(zip(times, times.dropFirst()).map { $0.duration(to: $1) } == Array(waits))
        #expect(pair[.initiator].engine.snapshots.isEmpty)
        #expect(pair[.responder].failures == [.halfOpenExpired])
        #expect(pair[.responder].engine.halfOpenCount == 0)
        #expect(pair[.responder].engine.deadline == nil)
    }

    @Test func detectsADeadPeerAfterTheSchedule() throws {
        var pair = EnginePair.established()
        let up = try #require(pair[.initiator].established.first?.establishedAt)
        let count = pair.sent.count
        pair.intercept = { _ in [] }
        let waits = Self.schedule(RetransmissionPolicy())
        let end = up.advanced(by: .seconds(30) + waits.reduce(.zero, +))
        pair.run(until: end.advanced(by: .milliseconds(-1)))
        #expect(pair[.initiator].installed.count == 1)
        let checks = pair.sent[count...].filter { $0.side == .initiator }
        #expect(checks.first?.at == up.advanced(by: .seconds(30)))
        #expect(checks.count == RetransmissionPolicy().tries + 1)
        pair.run(until: end)
        #expect(pair[.initiator].installed.isEmpty)
        #expect(
            pair[.initiator].downs
                == [
                    .noAnswer(
                        to: "INFORMATIONAL (liveness)",
                        attempts: RetransmissionPolicy().tries,
                        seconds: waits.reduce(.zero, +).components.seconds
                    )
                ]
        )
        pair.run(for: .seconds(60))
        #expect(pair[.responder].installed.isEmpty)
        #expect(pair[.responder].engine.deadline == nil)
    }

    @Test func staysQuietWhileThePeerAnswers() {
        var pair = EnginePair.established()
        pair.run(for: .seconds(3600))
        #expect(pair.mirrorFailure == nil)
        // One exchange in 30 s, whoever asks: the other's question is a sign of life.
        #expect((236...248).contains(pair.sent.count))
    }

    @Test func activityPostponesTheCheck() throws {
        var pair = EnginePair.established()
        let child = try #require(pair[.initiator].installations.first).description.id
        let count = pair.sent.count
        for second in stride(from: 10, through: 300, by: 10) {
            pair.run(until: Instant(sinceStart: .seconds(second)))
            for side in Side.allCases { pair.handle(.activity([child: pair.now]), at: side) }
        }
        #expect(pair.sent.count == count)
        pair.run(until: Instant(sinceStart: .seconds(329)))
        #expect(pair.sent.count == count)
        pair.run(until: Instant(sinceStart: .seconds(331)))
        #expect(pair.sent.count > count)
    }

    @Test func oldActivityDoesNotBringTheCheckForward() throws {
        var pair = EnginePair.established()
        let child = try #require(pair[.initiator].installations.first).description.id
        let deadline = pair[.initiator].engine.deadline
        pair.handle(.activity([child: .zero]), at: .initiator)
        #expect(pair[.initiator].engine.deadline == deadline)
    }

    @Test func canBeSwitchedOff() {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        a.livenessDelay = nil
        b.livenessDelay = nil
        for life in [\PolicyFixture.childLifetime, \.ikeLifetime] {
            a[keyPath: life] = .unlimited
            b[keyPath: life] = .unlimited
        }
        var pair = EnginePair.established(initiator: a, responder: b)
        #expect(pair[.initiator].engine.deadline == nil)
        pair.run(for: .seconds(3600))
        #expect(pair.sent.count == 4)
    }

    @Test func expiresHalfOpenSAs() throws {
        var state = try EngineInState.awaitingAuth()
        #expect(state.lone.engine.halfOpenCount == 1)
        let deadline = try #require(state.lone.engine.deadline)
        #expect(deadline == Instant(sinceStart: .seconds(30)))
        state.lone.now = deadline
        state.lone.handle(.timeout)
        #expect(state.lone.engine.halfOpenCount == 0)
        #expect(state.lone.engine.snapshots.isEmpty)
        #expect(state.lone.failures == [.halfOpenExpired])
        // Its IKE_AUTH comes too late; the peer is told, in clear and in fewer octets than it sent.
        let late = try state.puppet.auth()
        let replies = state.lone.receive(late, from: state.puppet.endpoint)
        #expect(replies.count == 1 && replies.allSatisfy { $0.count < late.count })
        let reply = try ReceivedMessage(parsing: replies.first.unwrapped)
        guard case .clear(let payloads) = reply.content else {
            Issue.record("the reply is not in clear")
            return
        }
        #expect(payloads.notification(.invalidIKESPI) != nil)
        // Once in a while is enough.
        #expect(state.lone.receive(late, from: state.puppet.endpoint).isEmpty)
        #expect(state.lone.engine.drops[.unknownSPI] == 2)
    }
}
