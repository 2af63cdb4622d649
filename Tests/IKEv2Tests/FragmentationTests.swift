import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import TestSupport
import Testing

@testable import IKEv2

/// Messages in fragments (RFC 7383), engine against engine and engine against a puppet.
@Suite struct FragmentationTests {
    /// Fixtures whose IKE_AUTH is far longer than a datagram: many selectors.
    private static func large(
        _ first: FragmentationPolicy = .yes,
        _ second: FragmentationPolicy = .yes
    ) -> (a: PolicyFixture, b: PolicyFixture) {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        a.localSelectors = (0..<100).map { "10.1.\($0).0/24" }
        a.remoteSelectors = (0..<100).map { "10.2.\($0).0/24" }
        (b.localSelectors, b.remoteSelectors) = (a.remoteSelectors, a.localSelectors)
        (a.fragmentation, b.fragmentation) = (first, second)
        return (a, b)
    }

    private static func isFragment(_ sent: EnginePair.Sent) -> Bool { sent.header?.nextPayload == 53 }

    @Test(arguments: [
        "aes256gcm16-prfsha256-x25519", "aes128-sha256-x25519", "chacha20poly1305-prfsha512-ecp256",
    ])
    func longMessagesGoInFragments(_ suite: String) {
        var (a, b) = Self.large()
        (a.ike, b.ike) = ([suite], [suite])
        let pair = EnginePair.established(initiator: a, responder: b)
        #expect(pair.sent.allSatisfy { $0.datagram.octets.count <= 1248 })
        for side in Side.allCases {
            #expect(pair.sent.count { $0.side == side && Self.isFragment($0) } == 3, "\(suite)")
        }
    }

    @Test func goesWholeUnlessBothAgreed() {
        for first in FragmentationPolicy.allCases {
            for second in FragmentationPolicy.allCases {
                let (a, b) = Self.large(first, second)
                let pair = EnginePair.established(initiator: a, responder: b)
                let agreed = first != .no && second != .no
                let cut = Side.allCases.map { side in
                    pair.sent.contains { $0.side == side && Self.isFragment($0) }
                }
                #expect(cut == [agreed && first == .yes, agreed && second == .yes], "\(first) \(second)")
            }
        }
    }

    @Test func establishesOverABadNetwork() {
        for seed in UInt64(0)..<200 {
            let (a, b) = Self.large()
            var pair = EnginePair(seed: seed, initiator: a, responder: b, conditions: .bad)
            pair.initiate()
            pair.run(for: .seconds(30))
            if pair[.initiator].failures.isEmpty {
                #expect(pair.mirrorFailure == nil, "seed \(seed)")
            }
            for side in Side.allCases {
                #expect(pair[side].engine.drops[.notAuthentic] == nil, "seed \(seed)")
            }
        }
    }

    /// Fragments of IKE_INTERMEDIATE, and AUTH over the messages as they were before (RFC 9242 §3.3.1).
    @Test func furtherKeyExchangesGoInFragments() {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        (a.ike, b.ike) = (
            ["aes256gcm16-prfsha256-x25519-ke1_modp2048-ke2_modp4096"],
            ["aes256gcm16-prfsha256-x25519-ke1_modp2048-ke2_modp4096"]
        )
        for seed in UInt64(0)..<40 {
            var pair = EnginePair(
                seed: seed,
                initiator: a,
                responder: b,
                conditions: seed == 0 ? .perfect : .bad,
                configuration: EngineConfiguration(fragmentSize: 300)
            )
            pair.initiate()
            pair.run(for: .seconds(60))
            if pair[.initiator].failures.isEmpty { #expect(pair.mirrorFailure == nil, "seed \(seed)") }
            #expect(pair.sent.contains { Self.isFragment($0) && $0.header?.exchange == .ikeIntermediate })
            if seed == 0 { #expect(pair[.initiator].failures.isEmpty) }
        }
    }

    /// §2.5.2: a path that drops what is longer than 576 octets.
    @Test func comesDownToTheLeastThatAPathCarries() {
        let (a, b) = Self.large()
        var pair = EnginePair(initiator: a, responder: b)
        pair.intercept = { sent in sent.datagram.octets.count + 32 > 576 ? [] : nil }
        pair.initiate()
        pair.run(for: .seconds(12))
        #expect(pair.mirrorFailure == nil)
        let long = pair.sent.filter { $0.datagram.octets.count + 32 > 576 }
        // IKE_AUTH in three fragments, sent three times; the responder never tried.
        #expect(long.count == 9 && long.allSatisfy { $0.side == .initiator })
        // What follows begins with what works.
        let before = pair.sent.count
        pair.handle(.rekeyChild(id: pair[.initiator].installed.keys.first ?? 0), at: .initiator)
        pair.run(for: .seconds(3))
        #expect(pair.sent[before...].allSatisfy { $0.datagram.octets.count + 32 <= 576 })
        #expect(pair.sent[before...].contains { Self.isFragment($0) })
        pair.run(for: .seconds(6))
        #expect(pair.mirrorFailure == nil)
    }

    /// A request that fits into a datagram, but not through the path, is cut after all.
    @Test func cutsWhatWasSentWholeWhenThePathIsNarrow() {
        var (a, b) = Self.large()
        let few = (a.localSelectors.prefix(20), a.remoteSelectors.prefix(20))
        (a.localSelectors, a.remoteSelectors) = (Array(few.0), Array(few.1))
        (b.localSelectors, b.remoteSelectors) = (a.remoteSelectors, a.localSelectors)
        var pair = EnginePair(initiator: a, responder: b)
        pair.intercept = { sent in sent.datagram.octets.count + 32 > 576 ? [] : nil }
        pair.initiate()
        pair.run(for: .seconds(12))
        #expect(pair.mirrorFailure == nil)
    }

    @Test func rekeyedIKESAsInheritTheAgreement() {
        let (a, b) = Self.large()
        var pair = EnginePair.established(initiator: a, responder: b)
        pair.handle(.rekeyIKE(id: pair[.initiator].established[0].id), at: .initiator)
        pair.run(for: .seconds(3))
        let before = pair.sent.count
        pair.handle(.rekeyChild(id: pair[.responder].installed.keys.first ?? 0), at: .responder)
        pair.run(for: .seconds(3))
        #expect(pair.sent[before...].count { Self.isFragment($0) } == 6)
        pair.run(for: .seconds(6))
        #expect(pair.mirrorFailure == nil)
    }

    /// §2.6.1: of a request that was answered, a repeated first fragment brings the response again, any other nothing.
    @Test func onlyTheFirstFragmentAsksAgain() throws {
        let (a, b) = Self.large()
        var pair = EnginePair.established(initiator: a, responder: b)
        let request = pair.sent.filter { $0.side == .initiator && Self.isFragment($0) }
        let response = pair.sent.filter { $0.side == .responder && Self.isFragment($0) }
        for (index, fragment) in request.enumerated() {
            let before = pair.sent.count
            pair.inject(fragment.datagram.octets, to: .responder, port: fragment.datagram.local.port)
            let answer = pair.sent[before...].map { $0.datagram.octets }
            #expect(answer == (index == 0 ? response.map { $0.datagram.octets } : []))
        }
        #expect(pair.mirrorFailure == nil)
    }

    // MARK: - Hostile input

    /// A responder that agreed on fragments, and the puppet's IKE_AUTH in four of them.
    private func halfOpen(
        agreed: Bool = true
    ) throws -> (lone: LoneEngine, puppet: Puppet, parts: [[UInt8]]) {
        var lone = LoneEngine(.responder, PolicyFixture(.responder))
        var puppet = try Puppet(.initiator)
        let offer: [Payload] = agreed ? [.notify(NotifyPayload(.fragmentationSupported))] : []
        let replies = try lone.receive(puppet.request(last: offer), from: puppet.endpoint)
        try puppet.take(response: replies.first.unwrapped)
        let parts = try puppet.fragments(puppet.authPayloads(), .ikeAuth, id: 1, of: 4)
        return (lone, puppet, parts)
    }

    private func isUp(_ lone: LoneEngine) -> Bool {
        lone.engine.snapshots.first?.state == .established && lone.installs == 1
    }

    /// V2F-001.
    @Test func fragmentsThatWereNotAgreedOnAreDropped() throws {
        var (lone, puppet, parts) = try halfOpen(agreed: false)
        for part in parts { #expect(lone.receive(part, from: puppet.endpoint).isEmpty) }
        #expect(lone.engine.snapshots.first?.state == .connecting && lone.installs == 0)
        #expect(lone.engine.drops[.unexpected] == 4)
        #expect(try lone.receive(puppet.auth(), from: puppet.endpoint).count == 1)
        #expect(isUp(lone))
    }

    /// V2F-003: of two with one number the first one counts.
    @Test func aSecondFragmentOfANumberIsDropped() throws {
        var (lone, puppet, parts) = try halfOpen()
        let others = try puppet.fragments([.notify(NotifyPayload(.initialContact))], .ikeAuth, id: 1, of: 4)
        for (part, other) in zip(parts, others).dropLast() {
            #expect(lone.receive(part, from: puppet.endpoint).isEmpty)
            #expect(lone.receive(part, from: puppet.endpoint).isEmpty)
            #expect(lone.receive(other, from: puppet.endpoint).isEmpty)
        }
        #expect(!lone.receive(parts[3], from: puppet.endpoint).isEmpty)
        #expect(isUp(lone))
    }

    /// V2F-004.
    @Test func aLargerTotalBeginsAnewAndASmallerOneIsOld() throws {
        var (lone, puppet, parts) = try halfOpen()
        let newer = try puppet.fragments(puppet.authPayloads(), .ikeAuth, id: 1, of: 5)
        for part in parts.dropLast() { #expect(lone.receive(part, from: puppet.endpoint).isEmpty) }
        #expect(lone.receive(newer[4], from: puppet.endpoint).isEmpty)
        #expect(lone.receive(parts[3], from: puppet.endpoint).isEmpty)
        #expect(lone.installs == 0)
        for part in newer.dropLast(2) { #expect(lone.receive(part, from: puppet.endpoint).isEmpty) }
        #expect(!lone.receive(newer[3], from: puppet.endpoint).isEmpty)
        #expect(isUp(lone))
    }

    /// What is not authentic is not kept, and does not keep the real ones out.
    @Test func forgedFragmentsLeaveNoTrace() throws {
        var (lone, puppet, parts) = try halfOpen()
        for part in parts {
            for bit in stride(from: 28 * 8, to: part.count * 8, by: 7) {
                var forged = part
                forged[bit / 8] ^= 1 << UInt8(bit % 8)
                #expect(lone.receive(forged, from: puppet.endpoint).isEmpty)
            }
        }
        // A larger total that was forged would have begun anew.
        for part in parts.dropLast() { #expect(lone.receive(part, from: puppet.endpoint).isEmpty) }
        var larger = parts[0]
        larger[35] = 9
        #expect(lone.receive(larger, from: puppet.endpoint).isEmpty)
        #expect(!lone.receive(parts[3], from: puppet.endpoint).isEmpty)
        #expect(isUp(lone))
    }

    /// V2F-008: a hundred payloads in front of each SKF.
    @Test func payloadsInFrontOfFragmentsAreRefused() throws {
        var (lone, puppet, parts) = try halfOpen()
        for part in parts {
            var octets = Array(part.prefix(28))
            octets[16] = 200
            for index in 0..<100 { octets += [index == 99 ? 53 : 200, 0, 0, 4] }
            octets += part.dropFirst(28)
            octets.replaceSubrange(26..<28, with: [UInt8(octets.count >> 8), UInt8(octets.count & 255)])
            #expect(lone.receive(octets, from: puppet.endpoint).isEmpty)
        }
        #expect(lone.engine.drops[.malformed] == 4 && lone.installs == 0)
        for part in parts { lone.receive(part, from: puppet.endpoint) }
        #expect(isUp(lone))
    }

    /// V2F-009.
    @Test func fragmentsOfIKESAInitMakeNothing() throws {
        var (lone, puppet, _) = try halfOpen()
        let count = lone.engine.count
        var octets = try puppet.fragments(puppet.authPayloads(), .ikeSAInit, id: 0, of: 2)[0]
        for responder in [false, true] {
            if !responder { octets.replaceSubrange(8..<16, with: [UInt8](repeating: 0, count: 8)) }
            #expect(lone.receive(octets, from: puppet.endpoint).isEmpty)
        }
        #expect(lone.engine.count == count && lone.engine.halfOpenCount == 1)
    }

    /// V2F-010: the message whole, between its fragments.
    @Test func theFirstCompleteMessageWins() throws {
        var (lone, puppet, parts) = try halfOpen()
        for part in parts.dropLast() { #expect(lone.receive(part, from: puppet.endpoint).isEmpty) }
        #expect(try lone.receive(puppet.auth(), from: puppet.endpoint).count == 1)
        #expect(isUp(lone))
        #expect(lone.receive(parts[3], from: puppet.endpoint).isEmpty)
        #expect(isUp(lone))
        #expect(try lone.receive(puppet.seal([], .informational, id: 2), from: puppet.endpoint).count == 1)
    }

    @Test func whatIsNotCompleteIsForgottenInTime() throws {
        var (lone, puppet, parts) = try halfOpen()
        for part in parts.dropLast() { lone.receive(part, from: puppet.endpoint) }
        #expect(lone.engine.context.fragments.count == 1)
        while let deadline = lone.engine.deadline, deadline < .zero.advanced(by: .seconds(200)) {
            lone.now = deadline
            lone.handle(.timeout)
        }
        #expect(lone.engine.context.fragments.count == 0 && lone.engine.count == 0)
    }

    @Test func anEstablishedResponderTakesRequestsInFragments() throws {
        var (lone, puppet, parts) = try halfOpen()
        for part in parts { lone.receive(part, from: puppet.endpoint) }
        #expect(isUp(lone))
        let content: [Payload] = [.delete(.ike), .notify(NotifyPayload(.initialContact))]
        let request = try puppet.fragments(content, .informational, id: 2, of: 2)
        // A number that is not awaited is dropped before any work.
        let early = try puppet.fragments(content, .informational, id: 3, of: 2)
        for part in early + [request[1]] { #expect(lone.receive(part, from: puppet.endpoint).isEmpty) }
        let answer = lone.receive(request[0], from: puppet.endpoint)
        #expect(answer.count == 1 && lone.engine.snapshots.isEmpty)
        // Over, and still answering.
        #expect(lone.receive(request[0], from: puppet.endpoint) == answer)
        #expect(lone.receive(request[1], from: puppet.endpoint).isEmpty)
    }
}

extension Puppet {
    /// A protected message of ours in so many fragments.
    mutating func fragments(
        _ payloads: [Payload],
        _ exchange: ExchangeType,
        id: UInt32,
        of count: Int
    ) throws -> [[UInt8]] {
        let header = header(exchange, id: id, isResponse: !isInitiator)
        let message = IKEMessage(header: header, payloads: payloads)
        for limit in stride(from: 1500, to: 60, by: -1) {
            guard let cut = try FragmentedMessage(message, transform: suite.cipher, limit: limit),
                cut.total >= count
            else { continue }
            guard cut.total == count else { break }
            let keys = try keys.unwrapped
            let cipher = isInitiator ? keys.initiatorCipher : keys.responderCipher
            return try (1...count).map { try cut.sealed($0, with: cipher, iv: nextIV()) }
        }
        throw PuppetError.unexpected
    }
}

@Suite(.enabled(if: Vectors.areAvailable)) struct GoldenFragmentTests {
    /// The recorded fragments of two strongSwans open, merge, parse, and are written again octet by octet.
    @Test func replaysRecordedFragments() throws {
        let recorded = GoldenConversation.all.filter { $0["id"].text == "ikev2-cert-rsa-ecdsa-fragments" }
        let conversation = try GoldenConversation(recorded.first.unwrapped)
        let keys = try GoldenReplay(conversation).keys
        var parts: [[UInt8]] = []
        var first: (EncryptedFragment, IKEHeader)?
        var merged = 0
        for message in conversation.messages where message.header.nextPayload == 53 {
            let pair = [message.header.initiatorSPI, message.header.responderSPI]
            let current = try keys[pair].unwrapped
            guard case .fragment(let fragment) = try ReceivedMessage(parsing: message.octets).content else {
                Issue.record("no fragment")
                continue
            }
            if fragment.number == 1 { (first, parts) = ((fragment, message.header), []) }
            parts.append(
                try fragment.open(with: current.cipher(message.header), transform: current.suite.cipher)
            )
            guard parts.count == fragment.total, let (head, header) = first else { continue }
            let whole = ReceivedMessage(merging: parts, first: head, header: header)
            guard case .encrypted(let content) = whole.content else { continue }
            let payloads = try content.open(
                with: current.cipher(header),
                transform: current.suite.cipher
            )
            #expect(payloads.authentication != nil)
            merged += 1
            try rewrite(payloads, header, parts.count, conversation, current)
        }
        #expect(merged == 1)
    }

    private func rewrite(
        _ payloads: [Payload],
        _ header: IKEHeader,
        _ total: Int,
        _ conversation: GoldenConversation,
        _ keys: GoldenConversation.Keys
    ) throws {
        let datagrams = conversation.messages.filter { $0.header.nextPayload == 53 }.map { $0.octets }
        let message = IKEMessage(header: header, payloads: payloads)
        let cut = try FragmentedMessage(
            message,
            transform: keys.suite.cipher,
            limit: datagrams[0].count
        ).unwrapped
        #expect(cut.total == total)
        for (index, datagram) in datagrams.enumerated() {
            let (cipher, ivEnd) = (keys.cipher(header), 36 + keys.suite.cipher.ivLength)
            let iv = Array(datagram[36..<ivEnd])
            let mine = try cut.sealed(index + 1, with: cipher, iv: iv)
            #expect(mine.count == datagram.count && mine.prefix(ivEnd) == datagram.prefix(ivEnd))
            // Padding is the sender's choice: with strongSwan's it is the same message.
            var plains = try [mine, datagram].map { octets in
                try cipher.open(aad: Array(octets[..<36]), iv: iv, sealed: Array(octets[ivEnd...]))
            }
            let padding = Int(try plains[1].last.unwrapped) + 1
            #expect(plains[0].last == plains[1].last)
            plains[0].replaceSubrange((plains[0].count - padding)..., with: plains[1].suffix(padding))
            let sealed = try cipher.seal(aad: Array(mine[..<36]), iv: iv, plaintext: plains[0])
            #expect(mine.prefix(ivEnd) + sealed == datagram[...])
        }
    }
}
