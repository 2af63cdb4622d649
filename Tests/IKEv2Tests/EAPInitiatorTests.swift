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

/// EAP as initiator (RFC 7296 §2.16), against a responder made by hand.
@Suite struct EAPInitiatorTests {
    /// A connection that proves itself by EAP to a responder with a pre-shared key.
    private func policy(_ methods: [EAPMethod], _ password: String = "Ar3etTnp") throws -> ConnectionPolicy {
        var policy = PolicyFixture(.initiator).policy
        policy.localAuthentication = LocalAuthentication(
            .eap(EAPOptions(methods: methods, identity: .keyID(Array("carol".utf8))))
        )
        policy.eapSecrets = EAPSecrets(
            passwords: SharedKeyring(key(password)),
            hashes: SharedKeyring([])
        )
        return policy
    }

    /// The conversation up to the end of EAP; what the engine said last is still to be answered.
    private struct Conversation {
        var lone: LoneEngine
        var puppet: Puppet
        var server: EAPServer
        var last: [UInt8]
        var id: UInt32 = 1

        init(_ policy: ConnectionPolicy, _ server: EAPServer, announces: Bool = false) throws {
            lone = LoneEngine(.initiator, PolicyFixture(.initiator))
            puppet = try Puppet(.responder)
            self.server = server
            lone.handle(.setPolicies([policy]))
            let start = EngineInput.initiate(
                connection: "net",
                tunnel: "sub",
                local: lone.local,
                remote: puppet.endpoint
            )
            let request = try lone.handle(start).first.unwrapped
            let more: [Payload] = announces ? [.notify(NotifyPayload(.multipleAuthSupported))] : []
            last = lone.receive(try puppet.answer(request, saying: more), from: puppet.endpoint).first ?? []
        }

        /// Answers the last request.
        mutating func answer(_ payloads: [Payload]) throws {
            let octets = try puppet.seal(payloads, .ikeAuth, id: id, isResponse: true)
            id += 1
            last = lone.receive(octets, from: puppet.endpoint).first ?? []
        }

        /// IDr and AUTH of the responder, without a CHILD_SA.
        func proof() throws -> [Payload] { Array(try puppet.authPayloads().prefix(2)) }

        /// Runs EAP; true when the engine then proves itself by AUTH.
        mutating func converse(first: [Payload]) throws -> Bool {
            try answer(first + [.eap(server.first)])
            while !last.isEmpty {
                let payloads = try puppet.open(last)
                if payloads.authentication != nil { return true }
                guard let octets = payloads.eap, let next = try server.answer(octets) else { return false }
                try answer([.eap(next)])
            }
            return false
        }

        /// What either end proves by the key of EAP.
        func proves(_ side: Side, _ identity: Identity) throws -> [UInt8] {
            let keys = try puppet.keys.unwrapped
            let isInitiator = side == .initiator
            let macKey = isInitiator ? keys.skPi : keys.skPr
            let octets = SignedOctets(
                prf: puppet.suite.prf,
                message: isInitiator ? puppet.initRequest : puppet.initResponse,
                nonce: isInitiator ? puppet.nonce : puppet.peerNonce,
                identity: IDPayload(type: identity.type, data: identity.data),
                macKey: macKey
            )
            return try octets.sharedKeyAUTH(server.key ?? macKey)
        }

        var isUp: Bool { lone.engine.snapshots.first?.state == .established }
    }

    @Test(arguments: [EAPMethod.md5, .gtc, .mschapv2])
    func methods(_ method: EAPMethod) throws {
        var run = try Conversation(try policy(EAPMethod.allCases), EAPServer(method))
        let first = try run.puppet.open(run.last)
        #expect(first.authentication == nil && first.securityAssociation != nil)
        #expect(first.initiatorID == IDPayload(type: 2, data: Array("a.test".utf8)))
        #expect(try run.converse(first: try run.proof()))
        #expect(run.server.identity == Array("carol".utf8))
        let auth = try run.puppet.open(run.last).authentication
        #expect(auth?.method == 2)
        #expect(try auth?.data == run.proves(.initiator, .fqdn("a.test")))
        #expect(!run.isUp)
        let child = Array(try run.puppet.authPayloads().dropFirst(2))
        let ours = AUTHPayload(method: 2, data: try run.proves(.responder, .fqdn("b.test")))
        try run.answer([.authentication(ours)] + child)
        #expect(run.isUp && run.lone.installs == 1)
    }

    /// Without the right AUTH at the end the responder is nobody, whoever it was before (RFC 7296 §2.16).
    @Test func theEndMustBeProved() throws {
        for isMissing in [false, true] {
            var run = try Conversation(try policy([.mschapv2]), EAPServer(.mschapv2))
            #expect(try run.converse(first: try run.proof()))
            let child = Array(try run.puppet.authPayloads().dropFirst(2))
            // The responder's own AUTH again: not made with EAP's key.
            let stale = try run.puppet.authPayloads()[1]
            try run.answer((isMissing ? [] : [stale]) + child)
            #expect(!run.isUp && run.lone.installs == 0)
            #expect(run.lone.failures.count == 1)
        }
    }

    /// A responder that proves nothing but by EAP, where that is not allowed, or by a method that proves nothing.
    @Test(arguments: [EAPMethod.mschapv2, .gtc, .md5]) func aServerProvesItself(_ method: EAPMethod) throws {
        var run = try Conversation(try policy([method]), EAPServer(method))
        #expect(try !run.converse(first: [try run.proof()[0]]))
        #expect(run.server.identity == nil, "it was told who we are")
        #expect(run.lone.failures.map { "\($0)" }.joined().contains("by EAP alone"))
        var allowing = try policy([method, .tls])
        allowing.remoteAuthentication = .eap
        var other = try Conversation(allowing, EAPServer(method))
        #expect(try other.puppet.open(other.last).notification(.eapOnlyAuthentication) != nil)
        #expect(try !other.converse(first: [try other.proof()[0]]))
        #expect(!other.isUp && other.lone.installs == 0)
        // Who is not proved gets neither the password nor anything made with it.
        #expect(other.server.naks == [0])
        #expect(other.lone.failures.map { "\($0)" }.joined().contains("allowed here is tls"))
    }

    /// CVE-2018-16151 and its like: EAP that ends well before it began.
    @Test func successOutOfNowhere() throws {
        for fault in [EAPServer.Fault.earlySuccess, .noProof, .wrongProof] {
            var server = EAPServer(.mschapv2)
            server.fault = fault
            var run = try Conversation(try policy([.mschapv2]), server)
            #expect(try !run.converse(first: try run.proof()))
            #expect(!run.isUp && run.lone.installs == 0)
            guard case .eap = run.lone.failures.first else {
                Issue.record("\(fault): \(run.lone.failures)")
                continue
            }
        }
    }

    @Test func refusals() throws {
        var run = try Conversation(try policy([.mschapv2], "wrong"), EAPServer(.mschapv2))
        #expect(try !run.converse(first: try run.proof()))
        #expect(run.lone.failures.map { "\($0)" }.joined().contains("wrong user name or password"))
        var other = try Conversation(try policy([.tls]), EAPServer(.mschapv2))
        #expect(try !other.converse(first: try other.proof()))
        #expect(other.lone.failures.map { "\($0)" }.joined().contains("tls"), "\(other.lone.failures)")
    }

    /// EAP where nobody asked for it.
    @Test func unaskedEAP() throws {
        var run = try Conversation(PolicyFixture(.initiator).policy, EAPServer(.md5))
        #expect(try !run.converse(first: try run.proof()))
        #expect(!run.isUp && run.lone.installs == 0)
    }

    /// A signature first, EAP then (RFC 4739 §2.3).
    @Test func certificateThenEAP() throws {
        let authority = CertificateAuthority.shared
        var both = try policy([.mschapv2])
        let eap = both.localAuthentication
        both = both.signing(
            try authority.issue(.p256, [.dns("a.test")]),
            trusting: [authority.root, authority.intermediate]
        )
        both.remoteAuthentication = .sharedKey
        both.laterLocalRounds = [LocalRound(identity: .fqdn("carol.test"), authentication: eap)]
        var run = try Conversation(both, EAPServer(.mschapv2))
        // The puppet does not say that it knows RFC 4739.
        #expect(run.last.isEmpty)
        #expect(run.lone.failures.map { "\($0)" }.joined().contains("one proof of identity"))
        run = try Conversation(both, EAPServer(.mschapv2), announces: true)
        let first = try run.puppet.open(run.last)
        #expect(first.authentication?.method == 14 || first.authentication?.method == 9)
        #expect(first.notification(.anotherAuthFollows) != nil)
        #expect(first.notification(.multipleAuthSupported) != nil)
        try run.answer(try run.proof())
        let second = try run.puppet.open(run.last)
        #expect(second.initiatorID?.data == Array("carol.test".utf8) && second.authentication == nil)
        #expect(second.securityAssociation == nil)
        #expect(try run.converse(first: []))
        let auth = try run.puppet.open(run.last)
        #expect(try auth.authentication?.data == run.proves(.initiator, .fqdn("carol.test")))
        #expect(auth.notification(.anotherAuthFollows) == nil)
        let child = Array(try run.puppet.authPayloads().dropFirst(2))
        let ours = AUTHPayload(method: 2, data: try run.proves(.responder, .fqdn("b.test")))
        try run.answer([.authentication(ours)] + child)
        #expect(run.isUp && run.lone.installs == 1)
    }
}
