import Cryptography
import IPPackets
import IPsecTypes
import Primitives
import Testing

@testable import ESP

struct ESPEngineTests {
    @Test(arguments: Fixture.transforms, [false, true])
    func whatOneSealsTheOtherOpens(transform: CipherTransform, esn: Bool) throws {
        let a = try EngineHost(Fixture.description(isA: true, transform, esn: esn))
        let b = try EngineHost(Fixture.description(isA: false, transform, esn: esn))
        let packets =
            try (0..<70).map { try Fixture.packet(payload: $0) }
            + [1000, 1300].map { try Fixture.packet(payload: $0) }
            + [try Fixture.packet("fd01::1", "fd02::1", payload: 100)]
        let sealed = a.seal(packets)
        #expect(sealed.count == packets.count)
        for (packet, inner) in zip(sealed, packets) {
            #expect(
                (packet.count - 8 - transform.ivLength - transform.icvLength) % transform.blockLength == 0
            )
            let growth = packet.count - inner.count - 8 - transform.ivLength - transform.icvLength
            #expect((2..<2 + transform.blockLength).contains(growth))
        }
        #expect(b.open(sealed) == packets.map { Optional($0) })
        let back = try [Fixture.packet("10.2.0.9", "10.1.0.5", payload: 99)]
        #expect(a.open(b.seal(back)) == back.map { Optional($0) })
        let counters = b.engine.counters()[1]
        #expect(counters?.packetsIn == UInt64(packets.count) && counters?.packetsOut == 1)
        #expect(counters?.octetsIn == UInt64(packets.map(\.count).reduce(0, +)))
        #expect(a.droppedOnly() && b.droppedOnly())
    }

    /// RFC 4303 §2.7: all packets up to a length look alike outside, and arrive as they were.
    @Test(arguments: [TrafficFlowPadding.octets(1000), .octets(9000), .mtu])
    func paddingHidesLengths(padding: TrafficFlowPadding) throws {
        for transform in [CipherTransform.aesGCM16(keyBits: 128), .aesCBC(keyBits: 256, .hmacSHA256_128)] {
            let a = try EngineHost(Fixture.description(isA: true, transform, padding: padding))
            let b = try EngineHost(Fixture.description(isA: false, transform))
            a.room = 1_700
            let sizes = [0, 1, 20, 500, 900, 1_300]
            let packets = try sizes.map { try Fixture.packet(payload: $0) }
            let sealed = a.seal(packets)
            #expect(b.open(sealed) == packets.map { Optional($0) })
            let hidden = padding == .octets(1000) ? sealed.dropLast() : sealed[...]
            #expect(Set(hidden.map { $0.count }).count == 1)
            // Never more than the path carries: 20 octets of IP and 8 of UDP go before it.
            #expect(sealed.allSatisfy { $0.count <= ESPEngine.defaultPathMTU - 28 })
            #expect(a.engine.counters()[1]?.octetsOut == UInt64(packets.map(\.count).reduce(0, +)))
            a.engine.setPathMTU(saID: 1, octets: 1_300)
            let narrow = a.seal([packets[0]])
            #expect(narrow[0].count <= 1_300 - 28 && b.open(narrow) == [packets[0]])
        }
    }

    @Test func replaysAreDroppedAlsoWithinOneBatch() throws {
        let a = try EngineHost(Fixture.description(isA: true))
        let b = try EngineHost(Fixture.description(isA: false))
        let sealed = try a.seal([Fixture.packet(), Fixture.packet(), Fixture.packet()])
        let first = b.open([sealed[2], sealed[0], sealed[2]])
        #expect(first.map { $0 != nil } == [true, true, false])
        let second = b.open([sealed[0], sealed[1], sealed[2]])
        #expect(second.map { $0 != nil } == [false, true, false])
        #expect(b.drops(.replayed) == 3 && b.engine.counters()[1]?.replays == 3)
        #expect(b.engine.takeEvents() == [.firstInbound(saID: 1)])
    }

    @Test func everyChangedBitIsNoticedAndMovesNoWindow() throws {
        let a = try EngineHost(Fixture.description(isA: true))
        let b = try EngineHost(Fixture.description(isA: false))
        let sealed = try a.seal([Fixture.packet(payload: 3)])[0]
        for index in sealed.indices {
            var forged = sealed
            forged[index] ^= 1 << UInt8(index % 8)
            #expect(b.open([forged]) == [nil])
        }
        #expect(b.drops(.integrityFailed) == UInt64(sealed.count - 4) && b.drops(.unknownSPI) == 4)
        b.engine.tick(at: .zero)
        #expect(b.engine.takeEvents() == [.integrityFailures(saID: 1, count: UInt64(sealed.count - 4))])
        b.engine.tick(at: .zero)
        #expect(!b.hasEvents)
        #expect(try b.open([sealed]) == [Fixture.packet(payload: 3)])
    }

    @Test(arguments: Fixture.transforms)
    func hostilePacketsOfEveryLengthAreDropped(transform: CipherTransform) throws {
        var random = SplitMix64(state: 21)
        let b = try EngineHost(Fixture.description(isA: false, transform, esn: true))
        for length in 0...200 {
            for _ in 0..<3 {
                var packet = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
                for (index, octet) in [UInt8(0), 0, 0xb0, 1].enumerated() where index < length {
                    packet[index] = octet
                }
                #expect(b.open([packet]) == [nil])
            }
        }
        let reasons: [DropReason] = [.tooShort, .integrityFailed, .invalidLength, .replayed]
        #expect(reasons.map { b.drops($0) }.reduce(0, +) == 603)
    }

    /// Seals a payload of our own making, trailer included, for side B.
    private func craft(_ payload: [UInt8], sequence: UInt32 = 1) throws -> [UInt8] {
        let transform = CipherTransform.null(.hmacSHA256_128)
        let keys = try Fixture.keys(transform, 0x80)
        var cipher = try PacketCipher(
            transform,
            encryptionKey: keys.encryption,
            integrityKey: keys.integrity,
            esn: false,
            direction: .seal
        )
        var writer = ByteWriter()
        writer.u32(0xb001)
        writer.u32(sequence)
        writer.append(payload)
        writer.zeros(16)
        var arena = PacketArena(capacity: writer.count)
        arena.write(writer.bytes, at: 0)
        var jobs = [PacketJob(offset: 0, length: Int32(writer.count), sequence: UInt64(sequence))]
        cipher.seal(&jobs, range: 0..<1, in: &arena)
        #expect(jobs[0].status == .done)
        return arena.octets(0..<writer.count)
    }

    @Test func trailerIsVerifiedAndPaddingForTrafficFlowIsCut() throws {
        let transform = CipherTransform.null(.hmacSHA256_128)
        let inner = try Fixture.packet(payload: 20)
        let cases: [(payload: [UInt8], dropped: DropReason?)] = [
            (inner + [0, 4], nil),
            (inner + [1, 2, 3, 3, 4], nil),
            (inner + [1, 2, 2, 3, 4], .badPadding),
            (inner + [0, 0, 2, 4], .badPadding),
            (inner + [255, 4], .badPadding),
            ([4, 4], .badPadding),
            // TFC padding between packet and trailer, RFC 4303 §2.7.
            (inner + [UInt8](repeating: 0xee, count: 300) + [1, 1, 4], nil),
            (inner + [0, 59], .dummy),
            ([0, 59], .dummy),
            (inner + [0, 41], .badNextHeader),
            (inner + [0, 6], .badNextHeader),
            (Array(inner.dropLast()) + [0, 4], .malformedDecrypted),
            ([0, 4], .malformedDecrypted),
        ]
        for (payload, dropped) in cases {
            let b = try EngineHost(Fixture.description(isA: false, transform))
            let result = b.open([try craft(payload)])
            #expect(result == [dropped == nil ? inner : nil])
            if let dropped { #expect(b.drops(dropped) == 1) }
            // It was authentic, so its number is used up.
            #expect(b.open([try craft(payload)]) == [nil])
            #expect(b.drops(.replayed) == 1)
        }
    }

    @Test func innerAddressesMustBeTheSAs() throws {
        let transform = CipherTransform.null(.hmacSHA256_128)
        let foreign = [
            try Fixture.packet("10.3.0.5", "10.2.0.9"), try Fixture.packet("10.1.0.5", "10.3.0.9"),
            try Fixture.packet("fd02::1", "fd02::2"),
        ]
        for (index, packet) in foreign.enumerated() {
            let b = try EngineHost(Fixture.description(isA: false, transform))
            let isIPv6 = index == 2
            let result = b.open([try craft(packet + [0, isIPv6 ? 41 : 4])])
            #expect(result == [nil])
            #expect(b.drops(.selectorMismatch) == 1)
        }
    }

    @Test func portsAndProtocolOfTheSelectorCount() throws {
        let transform = CipherTransform.null(.hmacSHA256_128)
        let local = [try Fixture.selector("10.2.0.0/16", ipProtocol: 17, ports: 0x2222...0x2222)]
        let remote = [try Fixture.selector("10.1.0.0/16", ipProtocol: 17)]
        let cases: [(packet: [UInt8], isIn: Bool)] = [
            (try Fixture.packet(), true),
            (try Fixture.packet(ports: 0x1111_2223), false),
            (try Fixture.packet(ipProtocol: 6), false),
        ]
        for (packet, isIn) in cases {
            let b = try EngineHost(Fixture.description(isA: false, transform, local: local, remote: remote))
            let result = b.open([try craft(packet + [0, 4])])
            #expect(result == [isIn ? packet : nil])
        }
    }

    @Test func newestSASendsAndOldOnesStillReceive() throws {
        let a = try EngineHost(Fixture.description(isA: true, id: 1), Fixture.description(isA: true, id: 2))
        let b = try EngineHost(Fixture.description(isA: false, id: 1), Fixture.description(isA: false, id: 2))
        let old = try EngineHost(Fixture.description(isA: true, id: 1))
        let inner = try Fixture.packet()
        let new = a.seal([inner])
        #expect(new.map { $0[3] } == [2])
        #expect(b.open(old.seal([inner]) + new) == [inner, inner])
        a.engine.remove(saID: 2)
        #expect(a.seal([inner]).map { $0[3] } == [1])
        a.engine.remove(saID: 1)
        a.engine.remove(saID: 1)
        #expect(a.seal([inner]).isEmpty && a.drops(.noPolicy) == 1)
        b.engine.remove(saID: 1)
        #expect(b.open(old.seal([inner])) == [nil])
        #expect(b.drops(.unknownSPI) == 1)
    }

    @Test func numbersAndSPIsAreInstalledOnce() throws {
        let a = try EngineHost(Fixture.description(isA: true, id: 1))
        let same = try Fixture.description(isA: true, id: 1)
        let sameSPI = try Fixture.description(isA: true, id: 9, inboundSPI: 0xa001)
        let spi = try #require(SPI(0xa001))
        var errors = [ESPError]()
        for description in [same, sameSPI] {
            do throws(ESPError) {
                try a.engine.install(description)
            } catch {
                errors.append(error)
            }
        }
        #expect(errors == [.duplicateID(1), .duplicateSPI(spi)])
    }

    @Test func sequenceNumbersGoOnWithESN() throws {
        let a = try EngineHost(Fixture.description(isA: true, esn: true))
        let b = try EngineHost(Fixture.description(isA: false, esn: true))
        a.engine.outbound[0].sequence = UInt64(UInt32.max) - 1
        b.engine.inbound[0].window = ReplayWindow(size: 1024, usesESN: true, top: UInt64(UInt32.max) - 1)
        let inner = try Fixture.packet()
        let sealed = a.seal([inner, inner, inner])
        #expect(sealed.map { Array($0[4..<8]) } == [[255, 255, 255, 255], [0, 0, 0, 0], [0, 0, 0, 1]])
        #expect(b.open(sealed) == [inner, inner, inner])
        #expect(!a.hasEvents)
    }

    /// RFC 4303 appendix A: windows of each size, with and without the high half, around its first change.
    @Test(arguments: [32, 64, 100, 1024, 4096, 8192], [false, true])
    func windowsOfEachSizeTakeWhatIsLateButNotTooLate(size: Int, esn: Bool) throws {
        let transform = CipherTransform.null(.hmacSHA256_128)
        let a = try EngineHost(Fixture.description(isA: true, transform, esn: esn))
        let b = try EngineHost(Fixture.description(isA: false, transform, esn: esn, replayWindow: size))
        let start = esn ? UInt64(UInt32.max) - UInt64(size) / 2 : 100_000
        a.engine.outbound[0].sequence = start
        b.engine.inbound[0].window = ReplayWindow(size: size, usesESN: esn, top: start)
        let inner = try Fixture.packet()
        // Of a row of packets the first two and the newest; the others are lost.
        var row = [[UInt8]]()
        for _ in 0..<size + 1 {
            row.append(contentsOf: a.seal([inner]))
            if row.count > 3 { row.remove(at: 2) }
        }
        #expect(b.open([row[2]]) == [inner])
        #expect(b.open([row[0]]) == [nil])
        #expect(b.open([row[1]]) == [inner])
        #expect(b.open(row) == [nil, nil, nil])
    }
}
