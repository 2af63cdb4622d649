import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Redirects in all three places (RFC 5685), as the one who goes and as the one who sends.
@Suite struct RedirectTests {
    private let elsewhere = RedirectGateway.address(fixed("203.0.113.9"))

    private func redirections(_ lone: LoneEngine) -> [Redirection] {
        lone.outputs.compactMap { if case .redirect(let redirection) = $0 { redirection } else { nil } }
    }

    private func initiator() throws -> (lone: LoneEngine, request: [UInt8], puppet: Puppet) {
        var lone = LoneEngine(.initiator, PolicyFixture(.initiator))
        let puppet = try Puppet(.responder)
        lone.holdsJobs = true
        lone.handle(.initiate(connection: "net", tunnel: "sub", local: lone.local, remote: puppet.endpoint))
        let request = try lone.release().first.unwrapped
        lone.holdsJobs = false
        return (lone, request, puppet)
    }

    private func nonce(_ request: [UInt8]) throws -> [UInt8] {
        try GoldenConversation.clear(request).nonce.unwrapped
    }

    private func response(_ request: [UInt8], _ payloads: [Payload]) throws -> [UInt8] {
        var header = try ReceivedMessage.header(of: request)
        header.isResponse = true
        header.isFromInitiator = false
        return try IKEMessage(header: header, payloads: payloads).encoded()
    }

    @Test func codecTakesWhatItWrites() {
        for gateway in [elsewhere, .address(fixed("2001:db8::9")), .name("vpn2.example.com")] {
            let data = gateway.encoded ?? []
            let parsed = RedirectGateway.parse(data + [1, 2, 3])
            #expect(parsed?.gateway == gateway && parsed?.nonce == [1, 2, 3])
            for length in 0..<data.count { #expect(RedirectGateway.parse(Array(data.prefix(length))) == nil) }
        }
        let bad: [[UInt8]] = [
            [1, 5, 1, 2, 3, 4, 5], [2, 4, 1, 2, 3, 4], [3, 2, 0, 65], [3, 1, 10], [4, 1, 1], [3, 0],
        ]
        for data in bad { #expect(RedirectGateway.parse(data) == nil, "\(data)") }
    }

    @Test func goesWhereTheInitResponseSays() throws {
        var (lone, request, puppet) = try initiator()
        #expect(try GoldenConversation.clear(request).notification(.redirectSupported) != nil)
        let data = try elsewhere.encoded.unwrapped
        // Whoever does not know our nonce sends us nowhere.
        for nonce in [[], [UInt8](repeating: 0, count: 32)] {
            let forged = try response(request, [.notify(NotifyPayload(.redirect, data: data + nonce))])
            #expect(lone.receive(forged, from: puppet.endpoint).isEmpty)
        }
        #expect(redirections(lone).isEmpty && lone.engine.count == 1)
        let real = try response(request, [.notify(NotifyPayload(.redirect, data: data + nonce(request)))])
        #expect(lone.receive(real, from: puppet.endpoint).isEmpty)
        let redirection = try redirections(lone).first.unwrapped
        #expect(redirection.gateway == elsewhere && redirection.tunnels == ["sub"])
        #expect(redirection.from == puppet.endpoint.address)
        #expect(lone.engine.count == 0 && lone.failures.isEmpty)
        let remote = Endpoint(fixed("203.0.113.9"), 500)
        lone.holdsJobs = true
        lone.handle(.follow(redirection, local: lone.local, remote: remote))
        let next = try GoldenConversation.clear(lone.release().first.unwrapped)
        #expect(next.notification(.redirectSupported) == nil)
        let from = try RedirectGateway.address(puppet.endpoint.address).encoded.unwrapped
        #expect(next.notification(.redirectedFrom)?.data == from)
    }

    /// §7: five within five minutes.
    @Test func loopsEnd() throws {
        var (lone, request, puppet) = try initiator()
        let data = try elsewhere.encoded.unwrapped
        for round in 1...6 {
            let answer = try response(
                request,
                [.notify(NotifyPayload(.redirect, data: data + nonce(request)))]
            )
            lone.receive(answer, from: puppet.endpoint)
            #expect(redirections(lone).count == min(round, 5))
            guard round < 6, let redirection = redirections(lone).last else { break }
            lone.holdsJobs = true
            lone.handle(.follow(redirection, local: lone.local, remote: puppet.endpoint))
            request = try lone.release().first.unwrapped
            lone.holdsJobs = false
        }
        #expect(lone.failures.count == 1 && lone.engine.count == 0)
        // Later it may happen again.
        lone.now = .zero.advanced(by: .seconds(301))
        lone.holdsJobs = true
        lone.handle(.initiate(connection: "net", tunnel: "sub", local: lone.local, remote: puppet.endpoint))
        request = try lone.release().first.unwrapped
        lone.holdsJobs = false
        let answer = try response(request, [.notify(NotifyPayload(.redirect, data: data + nonce(request)))])
        lone.receive(answer, from: puppet.endpoint)
        #expect(redirections(lone).count == 6)
    }

    @Test func goesWhereTheAuthenticatedResponseSays() throws {
        var state = try EngineInState.initiator().first { $0.name == "initiatorAwaitingAuth" }.unwrapped
        state.lone.forgetOutputs()
        let data = try elsewhere.encoded.unwrapped
        let payloads =
            try state.puppet.authPayloads().prefix(2)
            + [.notify(NotifyPayload(.redirect, data: data))]
        let answer = try state.puppet.seal(Array(payloads), .ikeAuth, id: 1, isResponse: true)
        let replies = state.lone.receive(answer, from: state.puppet.endpoint)
        // The IKE_SA, which is good, is deleted.
        #expect(try state.puppet.open(replies.first.unwrapped) == [.delete(.ike)])
        #expect(redirections(state.lone).first?.gateway == elsewhere)
        #expect(state.lone.installs == 0 && state.lone.failures.isEmpty)
        // Without a proof of the gateway nobody goes anywhere.
        var forged = try EngineInState.initiator().first { $0.name == "initiatorAwaitingAuth" }.unwrapped
        forged.puppet.sharedKey = "another"
        let lie = try forged.puppet.authPayloads().prefix(2) + [.notify(NotifyPayload(.redirect, data: data))]
        forged.lone.forgetOutputs()
        forged.lone.receive(
            try forged.puppet.seal(Array(lie), .ikeAuth, id: 1, isResponse: true),
            from: forged.puppet.endpoint
        )
        #expect(redirections(forged.lone).isEmpty && forged.lone.failures.count == 1)
    }

    @Test func anEstablishedPeerIsSentAndTheNewOneComesFirst() throws {
        var pair = EnginePair.established()
        let old = try pair[.responder].established.first.unwrapped
        let gateway = RedirectGateway.address(Side.responder.publicAddress)
        pair.handle(.redirect(ikeID: old.id, to: gateway), at: .responder)
        pair.run(for: .seconds(1))
        let redirection = try pair[.initiator].redirections.first.unwrapped
        #expect(redirection.gateway == gateway && redirection.tunnels == ["sub"])
        #expect(pair[.initiator].established.count == 1)
        let local = Endpoint(pair[.initiator].address, 500)
        pair.handle(
            .follow(redirection, local: local, remote: Endpoint(Side.responder.publicAddress, 500)),
            at: .initiator
        )
        pair.run(for: .seconds(20))
        #expect(pair.mirrorFailure == nil)
        #expect(pair[.initiator].established.first?.initiatorSPI != old.initiatorSPI)
        #expect(pair[.initiator].childDowns == [.duplicate])
    }

    /// One that does not go is deleted after half a minute; who did not say that it goes is not asked.
    @Test func whoDoesNotGoIsDeleted() throws {
        var pair = EnginePair.established()
        let id = try pair[.responder].established.first.unwrapped.id
        let initiator = try pair[.initiator].established.first.unwrapped.id
        pair.handle(.redirect(ikeID: initiator, to: elsewhere), at: .initiator)
        pair.run(for: .seconds(1))
        #expect(pair[.responder].redirections.isEmpty)
        pair.handle(.redirect(ikeID: id, to: elsewhere), at: .responder)
        pair.run(for: .seconds(25))
        #expect(pair[.initiator].redirections.count == 1 && pair[.responder].established.count == 1)
        pair.run(for: .seconds(10))
        #expect(pair[.responder].established.isEmpty && pair[.initiator].established.isEmpty)
    }

    private func redirecting(_ policies: [ConnectionPolicy]) -> EnginePair {
        var pair = EnginePair()
        pair.handle(.setPolicies(policies), at: .responder)
        pair.initiate()
        pair.run(for: .seconds(1))
        return pair
    }

    /// Where every connection says the same, IKE_SA_INIT says so before anything is computed.
    @Test func sendsAwayInInit() {
        var policy = PolicyFixture(.responder).policy
        policy.redirect = .address(fixed("203.0.113.9"))
        let pair = redirecting([policy])
        #expect(pair[.initiator].redirections.map { $0.gateway } == [elsewhere])
        #expect(pair[.responder].engine.count == 0 && pair[.initiator].engine.count == 0)
        #expect(pair[.responder].installations.isEmpty)
    }

    /// Else the peer must prove who it is, and makes no CHILD_SA.
    @Test func sendsAwayInAuth() {
        var policy = PolicyFixture(.responder).policy
        policy.redirect = .fqdn("vpn2.example.com")
        var other = PolicyFixture(.responder).policy
        other.name = "other"
        other.remoteIdentity = .fqdn("c.test")
        var pair = redirecting([other, policy])
        #expect(pair[.initiator].redirections.map { $0.gateway } == [.name("vpn2.example.com")])
        #expect(pair[.responder].installations.isEmpty && pair[.initiator].installations.isEmpty)
        pair.run(for: .seconds(5))
        #expect(pair[.responder].established.isEmpty && pair[.initiator].established.isEmpty)
    }

    /// Who does not say that it goes is taken.
    @Test func takesThoseWhoDoNotGo() throws {
        var policy = PolicyFixture(.responder).policy
        policy.redirect = .address(fixed("203.0.113.9"))
        var lone = LoneEngine(.responder, PolicyFixture(.responder))
        lone.handle(.setPolicies([policy]))
        var puppet = try Puppet(.initiator)
        let response = try lone.receive(puppet.request(), from: puppet.endpoint).first.unwrapped
        try puppet.take(response: response)
        lone.receive(try puppet.auth(), from: puppet.endpoint)
        #expect(lone.engine.snapshots.first?.state == .established && lone.installs == 1)
    }
}
