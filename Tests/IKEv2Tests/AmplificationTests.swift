import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// What a peer gets that has not shown that it receives at its address, and how much of it may wait.
@Suite struct AmplificationTests {
    private static func header(_ version: UInt8 = 2, exchange: ExchangeType = .ikeSAInit) -> IKEHeader {
        var header = IKEHeader(
            initiatorSPI: 0x1234,
            responderSPI: 0,
            exchange: exchange,
            isFromInitiator: true,
            isResponse: false,
            messageID: 0
        )
        header.majorVersion = version
        header.minorVersion = 7
        return header
    }

    private static func requests() throws -> [[UInt8]] {
        var puppet = try Puppet(.initiator)
        let full = try GoldenConversation.clear(puppet.request())
        let shortNonce = full.map { payload -> Payload in
            guard case .nonce = payload else { return payload }
            return .nonce([UInt8](repeating: 1, count: 16))
        }
        let critical = Payload.unknown(type: 200, isCritical: true, body: [])
        let nonce = Payload.nonce([UInt8](repeating: 1, count: 16))
        var chains: [[Payload]] = [
            [], [critical], [nonce], [nonce, critical], full, shortNonce, shortNonce + [critical],
        ]
        chains += full.indices.map { index in
            var part = full
            part.remove(at: index)
            return part
        }
        // No common algorithm, and another group than the one wanted.
        for (ike, group) in [
            ("aes128-sha1-modp2048", UInt16(14)), ("aes256gcm16-prfsha256-ecp256-x25519", 19),
        ] {
            chains.append([
                .securityAssociation(SAPayload(proposals([ike], .ike))),
                .keyExchange(KEPayload(group: group, data: [UInt8](repeating: 9, count: 64))), nonce,
            ])
        }
        var requests = try chains.map { try IKEMessage(header: header(), payloads: $0).encoded() }
        requests.append(try IKEMessage(header: header(3), payloads: []).encoded())
        requests.append(try IKEMessage(header: header(15, exchange: .ikeAuth), payloads: []).encoded())
        return requests
    }

    @Test func repliesAreNeverMuchLargerThanTheirRequests() throws {
        var largest = 0.0
        var replied = 0
        for threshold in [30, 0] {
            let limits = HalfOpenLimits(cookieThreshold: threshold)
            for request in try Self.requests() {
                var lone = LoneEngine(
                    .responder,
                    PolicyFixture(.responder),
                    configuration: EngineConfiguration(halfOpen: limits)
                )
                let replies = lone.receive(request, from: Endpoint(Side.initiator.publicAddress, 500))
                #expect(replies.count <= 1)
                guard let reply = replies.first else { continue }
                replied += 1
                let ratio = Double(reply.count) / Double(request.count)
                largest = max(largest, ratio)
                #expect(ratio <= 1.5, "\(request.count) octets get \(reply.count): \(Hex.encode(request))")
                // RFC 7296 §3.1: our own version, whatever the peer's was.
                #expect(reply[17] == 0x20)
            }
        }
        print("largest reply to an unproved peer: \(largest) of its request, \(replied) replies")
        #expect(replied > 15)
    }

    @Test func fullHandshakesAreBoundedToo() throws {
        // The shortest acceptable request of each kind against its IKE_SA_INIT response.
        for (name, group) in [("x25519", UInt16(31)), ("ecp256", 19), ("ecp384", 20), ("modp2048", 14)] {
            for natIsSupported in [false, true] {
                var fixture = PolicyFixture(.responder)
                fixture.ike = ["aes256gcm16-prfsha256-\(name)"]
                var lone = LoneEngine(.responder, fixture)
                var puppet = try Puppet(.initiator, suite: fixture.ike.first)
                #expect(puppet.keyPair.group.rawValue == group)
                var chain = try GoldenConversation.clear(puppet.request()).map { payload -> Payload in
                    guard case .nonce = payload else { return payload }
                    return .nonce([UInt8](repeating: 1, count: 16))
                }
                if natIsSupported {
                    // Empty notifications are the cheapest way to get two full ones.
                    chain.append(.notify(NotifyPayload(.natDetectionSourceIP)))
                    chain.append(.notify(NotifyPayload(.natDetectionDestinationIP)))
                }
                let request = try IKEMessage(header: Self.header(), payloads: chain).encoded()
                let reply = try lone.receive(request, from: puppet.endpoint).first.unwrapped
                let ratio = Double(reply.count) / Double(request.count)
                print("IKE_SA_INIT \(name) NAT-D \(natIsSupported): \(request.count) -> \(reply.count)")
                #expect(ratio <= 1.5, "\(name)")
            }
        }
    }

    /// A request that costs the test nothing: its key exchange is never carried out.
    private static func request(_ number: UInt64, cookie: [UInt8]? = nil) throws -> [UInt8] {
        var header = header()
        header.initiatorSPI = number
        let nonce = (0..<16).map { UInt8(truncatingIfNeeded: number >> UInt64($0 % 8 * 8)) }
        var payloads: [Payload] = [
            .securityAssociation(SAPayload(proposals(["aes256gcm16-prfsha256-x25519"], .ike))),
            .keyExchange(KEPayload(group: 31, data: [UInt8](repeating: 9, count: 32))), .nonce(nonce),
        ]
        if let cookie { payloads.insert(.notify(NotifyPayload(.cookie, data: cookie)), at: 0) }
        return try IKEMessage(header: header, payloads: payloads).encoded()
    }

    private static func cookie(in replies: [[UInt8]]) -> [UInt8]? {
        replies.first.flatMap { try? GoldenConversation.clear($0).notification(.cookie)?.data }
    }

    private static func lone(_ limits: HalfOpenLimits) -> LoneEngine {
        var fixture = PolicyFixture(.responder)
        fixture.remoteAddress = .any
        var lone = LoneEngine(
            .responder,
            fixture,
            configuration: EngineConfiguration(halfOpen: limits)
        )
        lone.holdsJobs = true
        return lone
    }

    private static func address(_ number: Int) -> Endpoint {
        Endpoint(.v4(IPv4Address(0x0b00_0000 + UInt32(number))), 500)
    }

    @Test func oneAddressGetsFiveThenCookiesUpToItsBound() throws {
        var lone = Self.lone(HalfOpenLimits(cookieThreshold: 100_000))
        let remote = Self.address(1)
        for number in 1...5 { #expect(lone.receive(try Self.request(UInt64(number)), from: remote).isEmpty) }
        #expect(lone.engine.halfOpenCount == 5)
        for number in 6...1005 {
            let cookie = Self.cookie(in: lone.receive(try Self.request(UInt64(number)), from: remote))
            #expect(cookie != nil)
            lone.receive(try Self.request(UInt64(number), cookie: cookie), from: remote)
        }
        // Another address is not concerned.
        lone.receive(try Self.request(1), from: Self.address(2))
        #expect(lone.engine.halfOpenCount == 1001)
        #expect(lone.engine.drops[.cookie] == 1000)
        #expect(lone.engine.drops[.halfOpenEvicted] == 5)
    }

    @Test func everybodyNeedsACookieFromTheThresholdOn() throws {
        var lone = Self.lone(HalfOpenLimits(cookieThreshold: 30))
        for number in 1...30 { lone.receive(try Self.request(1), from: Self.address(number)) }
        #expect(lone.engine.halfOpenCount == 30)
        let replies = lone.receive(try Self.request(1), from: Self.address(31))
        #expect(lone.engine.halfOpenCount == 30)
        let cookie = try Self.cookie(in: replies).unwrapped
        // A cookie is for its nonce, SPI and address alone.
        let strangers: [(UInt64, Endpoint)] = [
            (2, Self.address(31)), (1, Self.address(32)), (1, Endpoint(Self.address(31).address, 501)),
        ]
        for (number, remote) in strangers {
            let reply = lone.receive(try Self.request(number, cookie: cookie), from: remote)
            #expect(Self.cookie(in: reply) != nil)
        }
        var wrong = cookie
        wrong[5] ^= 1
        #expect(
            Self.cookie(in: lone.receive(try Self.request(1, cookie: wrong), from: Self.address(31))) != nil
        )
        #expect(lone.engine.halfOpenCount == 30)
        lone.receive(try Self.request(1, cookie: cookie), from: Self.address(31))
        #expect(lone.engine.halfOpenCount == 31)
    }

    @Test func theOldestGivesWayAtTheTotalBound() throws {
        var lone = Self.lone(HalfOpenLimits(cookieThreshold: 0, total: 50))
        for number in 1...80 {
            let remote = Self.address(number)
            let cookie = Self.cookie(in: lone.receive(try Self.request(UInt64(number)), from: remote))
            lone.receive(try Self.request(UInt64(number), cookie: cookie), from: remote)
            #expect(lone.engine.halfOpenCount == min(number, 50))
        }
        #expect(lone.engine.drops[.halfOpenEvicted] == 30)
        let left = Set(lone.engine.snapshots.map { $0.initiatorSPI })
        #expect(left == Set(31...80))
        // Results for SAs that gave way are taken without effect.
        lone.release()
        #expect(lone.engine.halfOpenCount <= 50)
    }

    @Test func repeatedRequestsMakeNoMoreState() throws {
        var lone = Self.lone(HalfOpenLimits())
        for _ in 0..<100 { lone.receive(try Self.request(1), from: Self.address(1)) }
        #expect(lone.engine.halfOpenCount == 1)
        #expect(lone.heldJobs.count == 1)
        let reply = lone.release()
        #expect(reply.count == 1)
        for _ in 0..<100 { #expect(lone.receive(try Self.request(1), from: Self.address(1)) == reply) }
        #expect(lone.engine.halfOpenCount == 1)
    }
}
