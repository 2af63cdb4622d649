import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Post-quantum pre-shared keys (RFC 8784).
@Suite struct PostquantumTests {
    /// One side's keys.
    private struct Keys {
        var identity: String
        var isRequired = false
        /// Names and octets.
        var keys: [(String, UInt8)] = [("ppk-a", 1)]

        func policy() throws -> PostquantumPolicy {
            PostquantumPolicy(
                identity: try Identity(configured: identity).unwrapped,
                isRequired: isRequired,
                keys: SharedKeyring(
                    try keys.map { name, octet in
                        SharedKeyring.Entry(
                            id: name,
                            owners: [try Identity(configured: name).unwrapped],
                            key: try SecretKey(copying: [UInt8](repeating: octet, count: 32))
                        )
                    }
                )
            )
        }
    }

    private func run(_ a: Keys?, _ b: Keys?, certified: Bool = false) throws -> EnginePair {
        var pair = EnginePair()
        for (side, keys) in [(Side.initiator, a), (.responder, b)] {
            var policy = PolicyFixture(side).policy
            if certified {
                let authority = CertificateAuthority.shared
                policy = policy.signing(
                    try authority.issue(.p256, [.dns(side == .initiator ? "a.test" : "b.test")]),
                    trusting: [authority.root, authority.intermediate]
                )
            }
            policy.postquantum = try keys?.policy()
            pair.handle(.setPolicies([policy]), at: side)
        }
        pair.initiate()
        pair.run(for: .seconds(1))
        return pair
    }

    /// What the initiator's IKE_AUTH and the response to it say.
    private func notifications(_ pair: EnginePair, _ side: Side) -> Set<NotifyType> {
        let payloads = pair[side].messages.filter { $0.isOutgoing && $0.header.exchange == .ikeAuth }
            .flatMap { $0.payloads }
        return Set(
            payloads.compactMap { payload -> NotifyType? in
                if case .notify(let notify) = payload { notify.type } else { nil }
            }
        )
    }

    @Test(arguments: [false, true]) func bothEndsMixTheKeyIn(certified: Bool) throws {
        let pair = try run(Keys(identity: "ppk-a"), Keys(identity: "ppk-a"), certified: certified)
        #expect(pair.mirrorFailure == nil && pair[.initiator].established.count == 1)
        #expect(notifications(pair, .initiator).isSuperset(of: [.ppkIdentity, .noPPKAuth]))
        #expect(notifications(pair, .responder).contains(.ppkIdentity))
    }

    @Test func aRequiredKeyBringsNoProofWithout() throws {
        let pair = try run(
            Keys(identity: "ppk-a", isRequired: true),
            Keys(identity: "ppk-a", isRequired: true)
        )
        #expect(pair.mirrorFailure == nil && pair[.responder].established.count == 1)
        #expect(!notifications(pair, .initiator).contains(.noPPKAuth))
    }

    @Test(arguments: [false, true]) func aPeerWithoutTheKeyDoesWithout(certified: Bool) throws {
        let pair = try run(
            Keys(identity: "ppk-a"),
            Keys(identity: "ppk-b", keys: [("ppk-b", 2)]),
            certified: certified
        )
        #expect(pair.mirrorFailure == nil && pair[.initiator].established.count == 1)
        #expect(!notifications(pair, .responder).contains(.ppkIdentity))
        for other in [(Keys(identity: "ppk-a"), nil), (nil, Keys(identity: "ppk-a"))] as [(Keys?, Keys?)] {
            let pair = try run(other.0, other.1, certified: certified)
            #expect(pair.mirrorFailure == nil && pair[.initiator].established.count == 1)
            #expect(!notifications(pair, .initiator).contains(.ppkIdentity))
        }
    }

    @Test func aPatternTakesTheKeyThatThePeerNames() throws {
        let pair = try run(
            Keys(identity: "ppk-a@example.org", keys: [("ppk-a@example.org", 7)]),
            Keys(
                identity: "*@example.org",
                isRequired: true,
                keys: [("x@example.org", 9), ("ppk-a@example.org", 7)]
            )
        )
        #expect(pair.mirrorFailure == nil && pair[.responder].established.count == 1)
    }

    @Test func whoRequiresItAndMissesItSaysSo() throws {
        let cases: [(Keys?, Keys?, Side, String)] = [
            (Keys(identity: "ppk-a", isRequired: true), nil, .initiator, "the peer does not take one"),
            (
                Keys(identity: "ppk-z", isRequired: true), Keys(identity: "ppk-a"), .initiator,
                "no key is named 'ppk-z' here"
            ),
            (nil, Keys(identity: "ppk-a", isRequired: true), .responder, "the peer does not use one"),
            (
                Keys(identity: "ppk-a", isRequired: true), Keys(identity: "ppk-b", keys: [("ppk-b", 2)]),
                .responder, "no key is named 'ppk-a' here, and the peer does not do without"
            ),
            (
                Keys(identity: "ppk-a"),
                Keys(identity: "ppk-b", isRequired: true, keys: [("ppk-b", 2)]), .responder,
                "no key is named 'ppk-a' here, and it is required"
            ),
        ]
        for (a, b, side, words) in cases {
            let pair = try run(a, b)
            #expect(pair[.initiator].established.isEmpty && pair[.responder].established.isEmpty)
            let texts = pair[side].failures.map { "\($0)" }
            #expect(texts.contains { $0.contains(words) }, "\(words): \(texts)")
        }
    }

    @Test func anotherKeyUnderTheSameNameProvesNothing() throws {
        let pair = try run(
            Keys(identity: "ppk-a"),
            Keys(identity: "ppk-a", keys: [("ppk-a", 2)])
        )
        #expect(pair[.initiator].established.isEmpty && pair[.responder].established.isEmpty)
        guard case .authenticationFailed = pair[.responder].failures.first else {
            Issue.record("\(pair[.responder].failures)")
            return
        }
    }
}
