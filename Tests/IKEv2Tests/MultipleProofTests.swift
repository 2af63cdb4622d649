import Cryptography
import EAP
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import TestSupport
import Testing

@testable import IKEv2

/// Several proofs of identity of a side (RFC 4739).
@Suite struct MultipleProofTests {
    private enum Proof: Sendable {
        case psk, certificate
    }

    /// A side's policy: what it proves itself by, and what the other must.
    private func policy(_ side: Side, _ ours: [Proof], _ theirs: [Proof]) throws -> ConnectionPolicy {
        let authority = CertificateAuthority.shared
        var policy = PolicyFixture(side).policy
        let name = side == .initiator ? "a.test" : "b.test"
        policy = policy.signing(
            try authority.issue(.p256, [.dns(name)]),
            trusting: [authority.root, authority.intermediate]
        )
        let local = ours.map { LocalAuthentication($0 == .psk ? .sharedKey : .signature) }
        let remote = theirs.map { $0 == .psk ? RemoteAuthentication.sharedKey : .signature }
        policy.localAuthentication = local[0]
        policy.remoteAuthentication = remote[0]
        policy.laterLocalRounds = local.dropFirst().map {
            LocalRound(identity: side.identity, authentication: $0)
        }
        policy.laterRemoteRounds = remote.dropFirst().map {
            RemoteRound(identity: side.other.identity, authentication: $0)
        }
        return policy
    }

    private func pair(
        _ initiator: ConnectionPolicy,
        _ responder: ConnectionPolicy,
        seed: UInt64 = 1,
        _ conditions: NetworkConditions = .perfect,
        seconds: Int = 1
    ) -> EnginePair {
        var pair = EnginePair(seed: seed, conditions: conditions)
        pair.handle(.setPolicies([initiator]), at: .initiator)
        pair.handle(.setPolicies([responder]), at: .responder)
        pair.initiate()
        pair.run(for: .seconds(seconds))
        return pair
    }

    private static let cases: [([Proof], [Proof])] = [
        ([.psk, .certificate], [.psk]), ([.certificate, .psk], [.certificate]),
        ([.certificate], [.certificate, .psk]), ([.psk], [.psk, .certificate]),
        ([.psk, .certificate], [.certificate, .psk]), ([.certificate, .psk, .psk], [.psk]),
        ([.psk], [.certificate, .psk, .certificate]), ([.psk, .psk, .psk], [.certificate, .certificate]),
    ]

    @Test(arguments: cases.indices)
    func allProofsAreBrought(_ index: Int) throws {
        let (a, b) = Self.cases[index]
        let pair = pair(try policy(.initiator, a, b), try policy(.responder, b, a))
        #expect(pair.mirrorFailure == nil, "\(pair.mirrorFailure ?? "")")
        #expect(pair[.initiator].established.count == 1 && pair[.responder].established.count == 1)
        let proofs = { (side: Side) in
            pair[side].messages.filter { $0.isOutgoing }.flatMap { $0.payloads }.filter {
                if case .authentication = $0 { true } else { false }
            }.count
        }
        #expect(proofs(.initiator) == a.count && proofs(.responder) == b.count)
        // Packets go through on what came of it, and go on after a rekey.
        #expect(pair[.initiator].installations.count == 1)
    }

    /// Loss, duplication and reordering change nothing about the end.
    @Test(arguments: 0..<40)
    func onABadNetwork(_ seed: Int) throws {
        let (a, b) = Self.cases[seed % Self.cases.count]
        let pair = pair(
            try policy(.initiator, a, b),
            try policy(.responder, b, a),
            seed: UInt64(seed),
            .bad,
            seconds: 60
        )
        let isUp = pair[.initiator].established.count == 1
        if isUp { #expect(pair.mirrorFailure == nil, "\(pair.mirrorFailure ?? "")") }
        #expect(isUp || pair[.initiator].failures.contains { if case .noAnswer = $0 { true } else { false } })
    }

    /// Whoever skips, adds or spoils a proof gets nothing.
    @Test func nothingLessAndNothingElse() throws {
        let whole = try policy(.responder, [.psk], [.psk, .certificate])
        let cases: [(ConnectionPolicy, String)] = [
            (try policy(.initiator, [.psk], [.psk]), "asks for 2"),
            (try policy(.initiator, [.psk, .psk], [.psk]), "accepted is a signature alone"),
            (try policy(.initiator, [.psk, .certificate, .psk], [.psk]), "another number of proofs"),
        ]
        for (initiator, reason) in cases {
            let pair = pair(initiator, whole)
            #expect(pair[.initiator].established.isEmpty && pair[.responder].established.isEmpty)
            #expect(pair[.responder].installations.isEmpty && pair[.initiator].installations.isEmpty)
            let text = pair[.responder].failures.map { "\($0)" }.joined()
            #expect(text.contains(reason), "\(text)")
        }
        var stranger = try policy(.initiator, [.psk, .certificate], [.psk])
        let other = CertificateAuthority.other
        let spoiled = stranger.signing(
            try other.issue(.p256, [.dns("a.test")]),
            trusting: [other.root, other.intermediate]
        )
        stranger.credentials = spoiled.credentials
        let pair = pair(stranger, whole)
        #expect(pair[.responder].established.isEmpty && pair[.responder].installations.isEmpty)
        #expect(pair[.responder].failures.map { "\($0)" }.joined().contains("is not believed"))
    }

    @Test func responderThatOwesAProof() throws {
        let whole = try policy(.initiator, [.psk], [.psk, .certificate])
        let fewer = try policy(.responder, [.psk], [.psk])
        let pair = pair(whole, fewer)
        #expect(pair[.initiator].established.isEmpty && pair[.initiator].installations.isEmpty)
        // It does not know RFC 4739: it is told before anything is proved.
        #expect(pair[.initiator].failures.map { "\($0)" }.joined().contains("takes one proof of identity"))
        let wrong = try policy(.responder, [.psk, .psk], [.psk])
        let other = self.pair(whole, wrong)
        #expect(other[.initiator].established.isEmpty && other[.initiator].installations.isEmpty)
        #expect(other[.initiator].failures.map { "\($0)" }.joined().contains("accepted is a signature"))
        let more = try policy(.responder, [.psk, .certificate, .psk], [.psk])
        let third = self.pair(whole, more)
        #expect(third[.initiator].established.isEmpty && third[.initiator].installations.isEmpty)
    }
}
