import Cryptography
import IKECore
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Authentication by signatures and certificates (RFC 7296 §2.15 and §3.6, RFC 7427), both ends ours.
@Suite struct CertificateTests {
    static let kinds: [SignatureKeyKind] = [
        .rsa(bits: 2048), .rsa(bits: 3072), .p256, .p384, .p521, .ed25519, .ed448,
    ]

    private let authority = CertificateAuthority.shared

    private func policies(_ kind: SignatureKeyKind = .p256) throws -> (
        a: ConnectionPolicy, b: ConnectionPolicy
    ) {
        let chain = [authority.root, authority.intermediate]
        return (
            PolicyFixture(.initiator).policy.signing(
                try authority.issue(kind, [.dns("a.test")], commonName: "a"),
                trusting: chain
            ),
            PolicyFixture(.responder).policy.signing(
                try authority.issue(kind, [.dns("b.test")], commonName: "b"),
                trusting: chain
            )
        )
    }

    private func run(
        _ initiator: ConnectionPolicy,
        _ responder: [ConnectionPolicy],
        conditions: NetworkConditions = .perfect,
        seed: UInt64 = 1,
        seconds: Int64 = 2
    ) -> EnginePair {
        var pair = EnginePair(seed: seed, conditions: conditions)
        pair.handle(.setPolicies([initiator]), at: .initiator)
        pair.handle(.setPolicies(responder), at: .responder)
        pair.initiate(connection: initiator.name)
        pair.run(for: .seconds(seconds))
        return pair
    }

    /// RFC 3779: whoever's certificate names addresses stands for these alone.
    @Test func addressBlocksBoundWhatAPeerStandsFor() throws {
        func holder(_ name: String, _ blocks: String?) throws -> CredentialStore.Own {
            let key = try PrivateKeyInfo.generate(.p256)
            var content = CertificateContent(
                subject: [("O", "Test"), ("CN", name)],
                alternativeNames: [.dns(name)],
                notBefore: CertificateAuthority.now - 1000,
                notAfter: CertificateAuthority.now + 1000
            )
            if let blocks { content.extensions = [("sbgp-ipAddrBlock", "critical," + blocks)] }
            let certificate = try blockKey.issue(content, for: try key.publicKey(), issuer: blockRoot)
            return CredentialStore.Own(certificate: certificate, key: key)
        }
        let blockKey = try PrivateKeyInfo.generate(.p256)
        var rootContent = CertificateContent(
            subject: [("O", "Test"), ("CN", "block root")],
            authority: .unlimited,
            notBefore: CertificateAuthority.now - 1000,
            notAfter: CertificateAuthority.now + 1000
        )
        rootContent.extensions = [("sbgp-ipAddrBlock", "critical,IPv4:10.0.0.0/8,IPv6:fec0::/10")]
        let blockRoot = try blockKey.issue(rootContent, for: try blockKey.publicKey(), issuer: nil)
        func both(_ theirs: String?) throws -> EnginePair {
            let a = PolicyFixture(.initiator).policy.signing(
                try holder("a.test", "IPv4:10.1.0.0/16"),
                trusting: [blockRoot]
            )
            let b = PolicyFixture(.responder).policy.signing(
                try holder("b.test", theirs),
                trusting: [blockRoot]
            )
            return run(a, [b])
        }
        // Half of what the tunnel is for.
        let narrowed = try both("IPv4:10.2.0.0/17")
        #expect(narrowed[.initiator].established.count == 1)
        let remote = narrowed[.initiator].installations.first?.description.remoteSelectors
        #expect(remote?.map { $0.description } == ["10.2.0.0/17"])
        // Nothing of it: the IKE_SA stands and carries nothing.
        let none = try both("IPv4:10.3.0.0/16")
        #expect(none[.initiator].installations.isEmpty)
        #expect(none[.initiator].childFailures.contains { "\($0)".contains("RFC 3779") })
        // More than its issuer has: not believed at all.
        let outside = try both("IPv4:192.0.2.0/24")
        #expect(outside[.initiator].established.isEmpty)
    }

    private func texts(_ causes: [DownCause]) -> String { causes.map { "\($0)" }.joined(separator: "\n") }

    @Test(arguments: kinds)
    func comesUpWithEveryKindOfKey(kind: SignatureKeyKind) throws {
        let (a, b) = try policies(kind)
        let pair = run(a, [b])
        #expect(pair.mirrorFailure == nil, "\(texts(pair[.initiator].failures + pair[.responder].failures))")
        for (side, name) in [(Side.initiator, "b"), (.responder, "a")] {
            let peer = try #require(pair[side].installations.first?.peer)
            #expect(peer.identity == side.other.identity)
            guard case .certificate(let subject, _) = peer.method else {
                Issue.record("\(peer.method)")
                return
            }
            #expect(subject == "O=Test, CN=\(name)")
        }
    }

    @Test func comesUpWhereMostPacketsAreLostOrLate() throws {
        let (a, b) = try policies()
        for seed in UInt64(1)...40 {
            let pair = run(a, [b], conditions: .bad, seed: seed, seconds: 120)
            #expect(pair.mirrorFailure == nil, "seed \(seed): \(texts(pair[.initiator].failures))")
        }
    }

    /// The peer sends its intermediate authority along: the root alone must be known.
    @Test func anIntermediateAuthorityComesFromThePeer() throws {
        var (a, b) = try policies()
        let trust = { (policy: ConnectionPolicy, own: CredentialStore.Own?) in
            policy.credentials.choose(named: [], identity: nil, requested: []).map { _ in
                policy.signing(own, trusting: [self.authority.root])
            } ?? policy
        }
        b = trust(b, b.credentials.own.first)
        let pair = run(a, [b])
        #expect(pair.mirrorFailure == nil)
        // The other way round it does not send what it does not have.
        (a, b) = try policies()
        a = trust(a, a.credentials.own.first)
        let other = PolicyFixture(.responder).policy.signing(
            b.credentials.own.first,
            trusting: [authority.root]
        )
        let refused = run(a, [other])
        #expect(refused[.responder].established.isEmpty)
        #expect(texts(refused[.responder].failures).contains("unable to get local issuer certificate"))
        #expect(texts(refused[.responder].failures).contains("b.yaml:16"))
    }

    @Test func eachEndMayProveItselfInItsOwnWay() throws {
        let chain = [authority.root, authority.intermediate]
        let own = try authority.issue(.p256, [.dns("a.test")])
        // The initiator by a certificate, the responder by a key.
        var a = PolicyFixture(.initiator).policy.signing(own, trusting: chain)
        a.remoteAuthentication = .sharedKey
        let b = PolicyFixture(.responder).policy.signing(nil, trusting: chain)
        #expect(run(a, [b]).mirrorFailure == nil)
        // The other way round.
        let left = PolicyFixture(.initiator).policy.signing(nil, trusting: chain)
        var right = PolicyFixture(.responder).policy.signing(
            try authority.issue(.ed25519, [.dns("b.test")]),
            trusting: chain
        )
        right.remoteAuthentication = .either
        #expect(run(left, [right]).mirrorFailure == nil)
    }

    @Test func bareKeysAreEnough() throws {
        var (a, b) = (PolicyFixture(.initiator).policy, PolicyFixture(.responder).policy)
        let keys = [try PrivateKeyInfo.generate(.ed25519), try PrivateKeyInfo.generate(.p384)]
        for (own, other, change) in [(0, 1, true), (1, 0, false)] {
            var policy = change ? a : b
            policy.credentials = CredentialStore(certificates: [], keys: [keys[own]])
            policy.localAuthentication = LocalAuthentication(.signature, sending: change ? .always : .ifAsked)
            policy.remoteAuthentication = .signature
            policy.remoteAuthentication.publicKeys = [try keys[other].publicKey()]
            if change { a = policy } else { b = policy }
        }
        let pair = run(a, [b])
        #expect(pair.mirrorFailure == nil && pair[.responder].installations.first?.peer.method == .publicKey)
        // Another key is another peer, also with a certificate that would be believed.
        b.remoteAuthentication.publicKeys = [try PrivateKeyInfo.generate(.ed25519).publicKey()]
        #expect(run(a, [b])[.responder].established.isEmpty)
        let chain = [authority.root, authority.intermediate]
        let certified = PolicyFixture(.initiator).policy.signing(
            try authority.issue(.p256, [.dns("a.test")]),
            trusting: chain
        )
        var keyed = PolicyFixture(.responder).policy.signing(
            try authority.issue(.p256, [.dns("b.test")]),
            trusting: chain
        )
        #expect(run(certified, [keyed]).mirrorFailure == nil)
        keyed.remoteAuthentication.publicKeys = b.remoteAuthentication.publicKeys
        expectRefusal(certified, keyed, "its key is not the one that")
    }

    /// What each end says of a peer that it does not believe, and that nothing is left of it.
    private func expectRefusal(
        _ initiator: ConnectionPolicy,
        _ responder: ConnectionPolicy,
        at side: Side = .responder,
        _ words: String...,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let pair = run(initiator, [responder])
        let text = texts(pair[side].failures)
        for word in words {
            #expect(text.contains(word), "\(text)", sourceLocation: sourceLocation)
        }
        for side in Side.allCases {
            #expect(pair[side].established.isEmpty, sourceLocation: sourceLocation)
            #expect(pair[side].installed.isEmpty, sourceLocation: sourceLocation)
        }
        #expect(
            texts(pair[side.other].failures + pair[side.other].downs).contains("AUTHENTICATION_FAILED"),
            sourceLocation: sourceLocation
        )
    }

    @Test func whoIsNotBelievedIsToldAndTheReasonNamesTheLine() throws {
        let (a, b) = try policies()
        let chain = [authority.root, authority.intermediate]
        // Another authority.
        let foreign = CertificateAuthority.other
        let stranger = try foreign.issue(.p256, [.dns("a.test")], commonName: "stranger")
        expectRefusal(
            a.signing(stranger, trusting: chain + [foreign.intermediate]),
            b,
            "issuer",
            "unable to get",
            "b.yaml:16"
        )
        // Another name.
        let named = try authority.issue(.p256, [.dns("c.test")], commonName: "c")
        var liar = a.signing(named, trusting: chain)
        liar.localAuthentication.certificates = [named.certificate.encoded]
        liar.credentials = CredentialStore(certificates: [named.certificate] + chain, keys: [named.key])
        expectOwnRefusal(liar, b, "no certificate with a private key is for 'a.test'", "a.yaml:17")
        // Too old.
        let old = try authority.issue(
            .p256,
            [.dns("a.test")],
            commonName: "old",
            notAfter: CertificateAuthority.now - 60
        )
        expectRefusal(
            a.signing(old, trusting: chain),
            b,
            "certificate 'O=Test, CN=old'",
            "expired",
            "b.yaml:16"
        )
        // A key that is not good enough.
        var demanding = b
        demanding.remoteAuthentication.constraint.algorithms = [.rsa]
        expectRefusal(a, demanding, "its key is ECDSA, RSA is asked for")
        demanding.remoteAuthentication.constraint = SignatureConstraint()
        demanding.remoteAuthentication.constraint.leastCurveBits = 384
        expectRefusal(a, demanding, "its key has 256 bits, 384 are asked for")
        demanding.remoteAuthentication.constraint = SignatureConstraint()
        demanding.remoteAuthentication.constraint.hashes = [.sha512]
        expectRefusal(a, demanding, "it signs with sha256, sha512 is asked for")
        // One certificate and no other.
        var pinned = b
        pinned.remoteAuthentication.certificates = [named.certificate.encoded]
        expectRefusal(a, pinned, "its certificate is not the one that")
        // One authority and no other.
        var fixed = b
        fixed.remoteAuthentication.authorities = [foreign.root.encoded]
        fixed.credentials = CredentialStore(
            certificates: chain + [foreign.root] + b.credentials.own.map { $0.certificate },
            keys: b.credentials.own.map { $0.key }
        )
        expectRefusal(a, fixed, "is of another authority than", "b.yaml:16")
        // The responder is the one who is not believed.
        expectRefusal(
            a,
            b.signing(try foreign.issue(.p256, [.dns("b.test")]), trusting: chain),
            at: .initiator,
            "a.yaml:16"
        )
    }

    /// A failure before anything about it goes out.
    private func expectOwnRefusal(
        _ initiator: ConnectionPolicy,
        _ responder: ConnectionPolicy,
        _ words: String...
    ) {
        let pair = run(initiator, [responder])
        let text = texts(pair[.initiator].failures)
        for word in words { #expect(text.contains(word), "\(text)") }
        #expect(pair[.responder].established.isEmpty)
    }

    @Test func aKeyIsNoSignatureAndASignatureNoKey() throws {
        let (a, b) = try policies()
        expectRefusal(
            PolicyFixture(.initiator).policy,
            b,
            "authenticates by PSK, accepted is a signature alone (b.yaml:16)"
        )
        expectRefusal(
            a,
            PolicyFixture(.responder).policy,
            "authenticates by ECDSA-256, accepted is a pre-shared key alone (b.yaml:15)"
        )
    }

    /// Two connections for one address: the authority decides which it is.
    @Test func theAuthorityDecidesBetweenConnections() throws {
        let chain = [authority.root, authority.intermediate]
        let foreign = CertificateAuthority.other
        let (a, b) = try policies()
        var (first, second) = (b, b)
        first.name = "first"
        first.remoteAuthentication.authorities = [foreign.root.encoded]
        first.credentials = CredentialStore(
            certificates: chain + [foreign.root] + b.credentials.own.map { $0.certificate },
            keys: b.credentials.own.map { $0.key }
        )
        second.name = "second"
        let pair = run(a, [first, second])
        #expect(pair[.responder].established.map { $0.connection } == ["second"])
    }

    /// An identity that is not configured is the one that the peer asks for, if a certificate is for it.
    @Test func takesTheIdentityThatIsAskedFor() throws {
        let chain = [authority.root, authority.intermediate]
        let (a, b) = try policies()
        var open = b
        let subject = try #require(b.credentials.own.first?.certificate.subjectIdentity)
        open.localIdentity = subject
        open.localAuthentication.takesWantedIdentity = true
        let pair = run(a, [open])
        #expect(
            pair.mirrorFailure == nil
                && pair[.initiator].installations.first?.peer.identity == .fqdn("b.test")
        )
        var closed = open
        closed.localAuthentication.takesWantedIdentity = false
        expectRefusal(a, closed, "the peer wants to speak to 'b.test', we are 'O=Test, CN=b'")
        _ = chain
    }
}
