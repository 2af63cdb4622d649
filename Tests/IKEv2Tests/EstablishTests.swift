import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

@Suite struct EstablishTests {
    static let suites: [(ike: String, esp: String)] = {
        let groups = ["modp2048", "ecp256", "ecp384", "x25519"]
        let aead = ["aes128gcm16", "aes192gcm16", "aes256gcm16", "chacha20poly1305"]
        let cbc = ["aes128-sha1", "aes192-sha384", "aes256-sha256", "aes256-sha512"]
        let prfs = ["prfsha1", "prfsha256", "prfsha384", "prfsha512"]
        return groups.flatMap { group in
            prfs.flatMap { prf in
                aead.map { ("\($0)-\(prf)-\(group)", $0) } + cbc.map { ("\($0)-\(prf)-\(group)", $0) }
            }
        }
    }()

    @Test func establishesWithEverySuite() {
        for (index, (ike, esp)) in Self.suites.enumerated() {
            var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
            a.ike = [ike]
            b.ike = [ike]
            a.esp = [esp]
            b.esp = [esp]
            var pair = EnginePair(seed: UInt64(index), initiator: a, responder: b)
            pair.initiate()
            pair.run(for: .seconds(1))
            #expect(pair.mirrorFailure == nil, "\(ike)")
            #expect(pair.sent.count == 4, "\(ike)")
            #expect(pair[.initiator].installations.first?.peer.identity == .fqdn("b.test"), "\(ike)")
            #expect(pair[.responder].installations.first?.peer.identity == .fqdn("a.test"), "\(ike)")
        }
        print("established with \(Self.suites.count) suites")
    }

    @Test(arguments: ["aes256gcm16-esn", "aes256gcm16-noesn", "aes128-sha256-esn"])
    func agreesOnSequenceNumbers(_ esp: String) {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        a.esp = [esp]
        b.esp = [esp]
        let pair = EnginePair.established(initiator: a, responder: b)
        #expect(pair[.initiator].installations.first?.description.usesESN == esp.hasSuffix("-esn"))
    }

    @Test func retriesWithTheGroupThatTheResponderWants() {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        a.ike = ["aes256gcm16-prfsha256-x25519-ecp384"]
        b.ike = ["aes256gcm16-prfsha256-ecp384"]
        let pair = EnginePair.established(initiator: a, responder: b)
        #expect(pair.sent.count == 6)
        let answer = pair.sent.first { $0.side == .responder }
        #expect(answer?.datagram.octets.count == 38)
        #expect(answer?.header?.responderSPI == 0)
        #expect(pair[.responder].engine.halfOpenCount == 0)
        let group = pair[.initiator].established.first?.proposal?.transform(of: .keyExchange)
        #expect(group == Transform(.keyExchange, 20))
    }

    @Test func outlivesRepeatedInvalidKEAndCookieAnswers() {
        // The network doubles each answer: the second one must not end the attempt.
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        a.ike = ["aes256gcm16-prfsha256-x25519-ecp384"]
        b.ike = ["aes256gcm16-prfsha256-ecp384"]
        for threshold in [0, 30] {
            for delay in [5...5, 5...100] {
                let limits = HalfOpenLimits(cookieThreshold: threshold)
                var pair = EnginePair(
                    seed: 3,
                    initiator: a,
                    responder: b,
                    conditions: NetworkConditions(duplication: 1, delay: delay),
                    configuration: EngineConfiguration(halfOpen: limits)
                )
                pair.initiate()
                pair.run(for: .seconds(1))
                #expect(pair.mirrorFailure == nil, "threshold \(threshold) delay \(delay)")
            }
        }
    }

    @Test func returnsCookiesAndIsStatelessBefore() throws {
        let limits = HalfOpenLimits(cookieThreshold: 0)
        var pair = EnginePair(configuration: EngineConfiguration(halfOpen: limits))
        pair.intercept = { sent in sent.side == .responder ? [] : nil }
        pair.initiate()
        pair.run(for: .seconds(1))
        // The answer was lost: a COOKIE, and no state.
        #expect(pair.sent.count == 2)
        #expect(pair[.responder].engine.halfOpenCount == 0)
        #expect(pair[.responder].engine.snapshots.isEmpty)
        #expect(pair[.responder].engine.deadline == nil)
        #expect(pair[.responder].engine.drops[.cookie] == 1)
        let answer = try ReceivedMessage(parsing: try #require(pair.sent.last).datagram.octets)
        #expect(answer.header.responderSPI == 0 && answer.header.isResponse)
        guard case .clear(let payloads) = answer.content else {
            Issue.record("not in clear")
            return
        }
        #expect(payloads.count == 1)
        #expect((1...64).contains(payloads.notification(.cookie)?.data.count ?? 0))
        pair.intercept = nil
        pair.run(for: .seconds(3))
        #expect(pair.mirrorFailure == nil)
        let returned = try ReceivedMessage(parsing: pair.sent[4].datagram.octets)
        guard case .clear(let again) = returned.content, case .notify(let first) = again.first else {
            Issue.record("the cookie is not the first payload")
            return
        }
        #expect(first.type == .cookie)
        #expect(first.data == payloads.notification(.cookie)?.data)
    }

    @Test func leavesNothingPendingWhenEstablished() {
        let pair = EnginePair.established()
        for side in Side.allCases {
            #expect(pair[side].engine.halfOpenCount == 0)
            #expect(pair[side].engine.drops.isEmpty)
            // Liveness is the only deadline left.
            let at = pair[side].established.first?.establishedAt
            #expect(pair[side].engine.deadline == at?.advanced(by: .seconds(30)))
        }
        #expect(pair.mostReplies == 1)
    }

    @Test func keepsKeysOutOfEverySnapshotAndEvent() {
        let pair = EnginePair.established()
        let text = "\(pair[.initiator].events) \(pair[.responder].events) \(pair[.initiator].installations)"
        #expect(!text.contains("correct horse"))
        for installation in pair[.initiator].installations {
            let octets = installation.description.inboundKeys.encryption.exposedForTesting()
            #expect(!text.contains(Hex.encode(octets)))
            #expect(!text.contains(octets.map { String($0) }.joined(separator: ", ")))
        }
    }
}
