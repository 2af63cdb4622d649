import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@Suite struct IKECoreTests {
    private static func instant(_ seconds: Int64) -> Instant { Instant(sinceStart: .seconds(seconds)) }

    @Test func deadlineHeapAgreesWithADictionary() throws {
        var entropy: any EntropySource = SeededEntropy(seed: 5)
        var heap = DeadlineHeap()
        var reference: [IKESPI: Instant] = [:]
        for _ in 0..<20_000 {
            let spi = try IKESPI(UInt64(entropy.nextUInt32() % 50) + 1).unwrapped
            switch entropy.nextUInt32() % 4 {
            case 0:
                heap.set(nil, for: spi)
                reference[spi] = nil
            case 1:
                let now = Self.instant(Int64(entropy.nextUInt32() % 100))
                let due = reference.filter { $0.value <= now }.min { ($0.value, $0.key) < ($1.value, $1.key) }
                #expect(heap.popDue(at: now) == due?.key)
                if let due { reference[due.key] = nil }
            default:
                let at = Self.instant(Int64(entropy.nextUInt32() % 100))
                heap.set(at, for: spi)
                reference[spi] = at
            }
            #expect(heap.earliest == reference.values.min())
        }
    }

    @Test func cookiesOutliveOneChangeOfTheSecretOnly() throws {
        var entropy: any EntropySource = SeededEntropy(seed: 6)
        var jar = CookieJar(entropy: &entropy, at: .zero)
        let remote = Endpoint(fixed("192.0.2.1"), 500)
        let nonce = [UInt8](repeating: 1, count: 16)
        let cookie = try jar.cookie(nonce: nonce, remote: remote, initiatorSPI: 1)
        func accepts(_ jar: CookieJar) -> Bool {
            jar.accepts(cookie, nonce: nonce, remote: remote, initiatorSPI: 1)
        }
        #expect(accepts(jar))
        jar.rotateIfDue(entropy: &entropy, at: Self.instant(59))
        #expect(try jar.cookie(nonce: nonce, remote: remote, initiatorSPI: 1) == cookie)
        jar.rotateIfDue(entropy: &entropy, at: Self.instant(60))
        #expect(try jar.cookie(nonce: nonce, remote: remote, initiatorSPI: 1) != cookie)
        #expect(accepts(jar))
        jar.rotateIfDue(entropy: &entropy, at: Self.instant(120))
        #expect(!accepts(jar))
        for length in 0..<cookie.count {
            let part = Array(cookie.prefix(length))
            #expect(!jar.accepts(part, nonce: nonce, remote: remote, initiatorSPI: 1))
        }
    }

    @Test func natDetectionComparesHashesOfBothEnds() throws {
        let (local, remote) = (Endpoint(fixed("192.0.2.1"), 500), Endpoint(fixed("2001:db8::1"), 500))
        let header = IKEHeader(
            initiatorSPI: 1,
            responderSPI: 2,
            exchange: .ikeSAInit,
            isFromInitiator: true,
            isResponse: true,
            messageID: 0
        )
        // What the peer at `remote` sends to us.
        let sent = try NATDetection.notifications(
            initiatorSPI: 1,
            responderSPI: 2,
            local: remote,
            remote: local,
            hidingSource: nil
        )
        func found(_ payloads: [Payload], _ local: Endpoint, _ remote: Endpoint) throws -> NATDetection {
            try NATDetection(of: payloads, header: header, local: local, remote: remote)
        }
        #expect(try found(sent, local, remote) == NATDetection(isSupported: true))
        let shifted = Endpoint(remote.address, 501)
        #expect(try found(sent, local, shifted) == NATDetection(isRemoteBehindNAT: true, isSupported: true))
        let moved = Endpoint(fixed("10.0.0.1"), 500)
        #expect(try found(sent, moved, remote) == NATDetection(isLocalBehindNAT: true, isSupported: true))
        #expect(try found([], local, remote) == NATDetection())
        #expect(try found(Array(sent.prefix(1)), local, remote) == NATDetection())
        // RFC 7296 §2.23: of several source hashes one is enough.
        let other = Payload.notify(NotifyPayload(.natDetectionSourceIP, data: [1]))
        #expect(try found([other] + sent, local, remote) == NATDetection(isSupported: true))
        #expect(try found([other, sent[1]], local, remote).isRemoteBehindNAT)
    }

    @Test func anIPv6SiteCountsAsOneAddress() throws {
        var table = HalfOpenTable(limits: HalfOpenLimits(perAddress: 2))
        for number in UInt64(1)...2 {
            let remote = Endpoint(.v6(IPv6Address(high: 7, low: number)), 500)
            table.insert(try IKESPI(number).unwrapped, initiatorSPI: number, remote: remote)
        }
        let same = IPAddress.v6(IPv6Address(high: 7, low: 99))
        let other = IPAddress.v6(IPv6Address(high: 8, low: 1))
        #expect(table.admission(for: same, hasCookie: false) == .requireCookie)
        #expect(table.admission(for: other, hasCookie: false) == .admit)
        table.remove(try IKESPI(1).unwrapped)
        #expect(table.admission(for: same, hasCookie: false) == .admit)
    }

    @Test func halfOpenTableAgreesWithAList() throws {
        var entropy: any EntropySource = SeededEntropy(seed: 8)
        let limits = HalfOpenLimits(perAddress: 3, perAddressWithCookie: 6, cookieThreshold: 10, total: 20)
        var table = HalfOpenTable(limits: limits)
        var list = [(spi: IKESPI, number: UInt64, remote: Endpoint)]()
        for step in UInt64(1)...20_000 {
            let address = IPAddress.v4(IPv4Address(entropy.nextUInt32() % 6))
            let remote = Endpoint(address, 500)
            if entropy.fraction() < 0.45, !list.isEmpty {
                let gone = list.remove(at: Int(entropy.nextUInt32() % UInt32(list.count)))
                table.remove(gone.spi)
                table.remove(gone.spi)
                #expect(table.existing(initiatorSPI: gone.number, remote: gone.remote) == nil)
                continue
            }
            let hasCookie = entropy.fraction() < 0.5
            let own = list.filter { $0.remote.address == address }
            let expected: HalfOpenTable.Admission
            if !hasCookie, own.count >= 3 || list.count >= 10 {
                expected = .requireCookie
            } else if own.count >= 6 {
                expected = .admitReplacing(own[0].spi)
            } else if list.count >= 20 {
                expected = .admitReplacing(list[0].spi)
            } else {
                expected = .admit
            }
            #expect(table.admission(for: address, hasCookie: hasCookie) == expected, "step \(step)")
            switch expected {
            case .requireCookie: continue
            case .admitReplacing(let oldest):
                table.remove(oldest)
                list.removeAll { $0.spi == oldest }
            case .admit: break
            }
            let spi = try IKESPI(step).unwrapped
            table.insert(spi, initiatorSPI: step, remote: remote)
            list.append((spi, step, remote))
            #expect(table.count == list.count)
            #expect(table.existing(initiatorSPI: step, remote: remote) == spi)
        }
    }

    @Test func outstandingRequestsGiveUpAfterTheirTries() {
        let policy = RetransmissionPolicy(initial: .seconds(1), base: 2, tries: 2, limit: .seconds(3))
        let header = IKEHeader(
            initiatorSPI: 1,
            responderSPI: 2,
            exchange: .informational,
            isFromInitiator: true,
            isResponse: false,
            messageID: 1
        )
        var request = OutstandingRequest(
            messageID: 1,
            message: OutgoingMessage([], source: IKEMessage(header: header, payloads: [])),
            policy: policy,
            at: .zero
        )
        #expect(request.nextAt == Self.instant(1))
        #expect(request.check(at: .zero) == .wait)
        #expect(request.check(at: Self.instant(1)) == .retransmit)
        #expect(request.nextAt == Self.instant(3))
        #expect(request.check(at: Self.instant(2)) == .wait)
        #expect(request.check(at: Self.instant(3)) == .retransmit)
        #expect(request.nextAt == Self.instant(6))
        #expect(request.check(at: Self.instant(6)) == .giveUp)
        #expect(request.attempts == 2)
    }
}
