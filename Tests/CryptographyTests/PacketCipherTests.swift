import Primitives
import Testing

@testable import Cryptography

/// A cleartext packet with room for IV and ICV: SPI, sequence, IV, payload, ICV.
func packetOctets(_ transform: CipherTransform, sequence: UInt64, payload: [UInt8]) -> [UInt8] {
    let low = UInt32(truncatingIfNeeded: sequence)
    return [0xca, 0xfe, 0, 1] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: low >> UInt32($0)) }
        + [UInt8](repeating: 0, count: transform.ivLength) + payload
        + [UInt8](repeating: 0, count: transform.icvLength)
}

private struct Setting: CustomTestStringConvertible, Sendable {
    let transform: CipherTransform
    let esn: Bool
    var testDescription: String { "\(transform) ESN \(esn)" }

    static let all = packetTransforms.flatMap {
        [Setting(transform: $0, esn: false), Setting(transform: $0, esn: true)]
    }
}

@Suite struct PacketCipherTests {
    private func payload(_ number: Int) -> [UInt8] {
        (0..<(16 * (1 + number % 90))).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ number) }
    }

    private func range(_ job: PacketJob, _ transform: CipherTransform) -> Range<Int> {
        let start = Int(job.offset) + 8 + transform.ivLength
        return start..<(Int(job.offset) + Int(job.length) - transform.icvLength)
    }

    @Test(arguments: Setting.all)
    private func opensABatchThatWasSealed(setting: Setting) throws {
        let transform = setting.transform
        let (encryption, integrity) = try makeKeys(transform)
        var sealer = try PacketCipher(
            transform,
            encryptionKey: encryption,
            integrityKey: integrity,
            esn: setting.esn,
            direction: .seal
        )
        var opener = try PacketCipher(
            transform,
            encryptionKey: encryption,
            integrityKey: integrity,
            esn: setting.esn,
            direction: .open
        )
        var arena = PacketArena(capacity: 262_144)
        var jobs = [PacketJob]()
        var offset = 3
        let first: UInt64 = setting.esn ? 0xffff_ffe0 : 1
        for number in 0..<64 {
            let sequence = first + UInt64(number)
            let octets = packetOctets(transform, sequence: sequence, payload: payload(number))
            arena.write(octets, at: offset)
            jobs.append(PacketJob(offset: Int32(offset), length: Int32(octets.count), sequence: sequence))
            offset += octets.count
        }
        sealer.seal(&jobs, range: 0..<64, in: &arena)
        #expect(jobs.allSatisfy { $0.status == .done })
        var ivs = Set<[UInt8]>()
        for (number, job) in jobs.enumerated() {
            let start = Int(job.offset) + 8
            ivs.insert(arena.octets(start..<(start + transform.ivLength)))
            let isHidden = arena.octets(range(job, transform)) != payload(number)
            #expect(isHidden == (transform.mode != .null && transform.mode != .gmac))
        }
        #expect(ivs.count == (transform.ivLength == 0 ? 1 : 64))
        for index in jobs.indices { jobs[index].status = .pending }
        opener.open(&jobs, range: 0..<64, in: &arena)
        for (number, job) in jobs.enumerated() {
            #expect(job.status == .done)
            #expect(arena.octets(range(job, transform)) == payload(number))
        }
    }

    @Test(arguments: Setting.all)
    private func refusesEveryChangedOctetAndZeroesThePayload(setting: Setting) throws {
        let transform = setting.transform
        let (encryption, integrity) = try makeKeys(transform)
        var sealer = try PacketCipher(
            transform,
            encryptionKey: encryption,
            integrityKey: integrity,
            esn: setting.esn,
            direction: .seal
        )
        var opener = try PacketCipher(
            transform,
            encryptionKey: encryption,
            integrityKey: integrity,
            esn: setting.esn,
            direction: .open
        )
        var arena = PacketArena(capacity: 1_024)
        let sequence: UInt64 = setting.esn ? 0x7_0000_0005 : 5
        let octets = packetOctets(transform, sequence: sequence, payload: payload(3))
        arena.write(octets, at: 0)
        var jobs = [PacketJob(offset: 0, length: Int32(octets.count), sequence: sequence)]
        sealer.seal(&jobs, range: 0..<1, in: &arena)
        let sealed = arena.octets(0..<octets.count)
        for index in sealed.indices {
            var forged = sealed
            forged[index] ^= 0x01
            arena.write(forged, at: 0)
            opener.open(&jobs, range: 0..<1, in: &arena)
            #expect(jobs[0].status == .authenticationFailed, "octet \(index)")
            #expect(arena.octets(range(jobs[0], transform)).allSatisfy { $0 == 0 })
        }
        guard setting.esn else { return }
        arena.write(sealed, at: 0)
        jobs[0].sequence = 0x8_0000_0005
        opener.open(&jobs, range: 0..<1, in: &arena)
        #expect(jobs[0].status == .authenticationFailed)
    }

    @Test(arguments: packetTransforms)
    func refusesLengthsThatDoNotFit(transform: CipherTransform) throws {
        let (encryption, integrity) = try makeKeys(transform)
        var opener = try PacketCipher(
            transform,
            encryptionKey: encryption,
            integrityKey: integrity,
            esn: false,
            direction: .open
        )
        var arena = PacketArena(capacity: 256)
        let shortest = Int32(8 + transform.ivLength + 2 + transform.icvLength)
        var jobs = (0..<shortest).map { PacketJob(offset: 0, length: $0, sequence: 1) }
        jobs.append(PacketJob(offset: 200, length: 100, sequence: 1))
        jobs.append(PacketJob(offset: -4, length: 100, sequence: 1))
        jobs.append(PacketJob(offset: .max, length: .max, sequence: 1))
        jobs.append(PacketJob(offset: 0, length: -1, sequence: 1))
        opener.open(&jobs, range: jobs.indices, in: &arena)
        #expect(jobs.allSatisfy { $0.status == .invalidLength })
    }

    @Test(arguments: packetTransforms)
    func neverSealsASequenceNumberTwice(transform: CipherTransform) throws {
        let (encryption, integrity) = try makeKeys(transform)
        var sealer = try PacketCipher(
            transform,
            encryptionKey: encryption,
            integrityKey: integrity,
            esn: false,
            direction: .seal
        )
        var arena = PacketArena(capacity: 1_024)
        let octets = packetOctets(transform, sequence: 7, payload: payload(1))
        let outcomes: [(UInt64, PacketJob.Status)] = [
            (0, .authenticationFailed), (7, .done), (7, .authenticationFailed), (6, .authenticationFailed),
            (8, .done), (0x1_0000_0000, .authenticationFailed), (9, .done),
        ]
        for (sequence, status) in outcomes {
            arena.write(octets, at: 0)
            var jobs = [PacketJob(offset: 0, length: Int32(octets.count), sequence: sequence)]
            sealer.seal(&jobs, range: 0..<1, in: &arena)
            #expect(jobs[0].status == status, "\(sequence)")
        }
    }

    @Test func touchesOnlyTheGivenRangeOfJobs() throws {
        let (encryption, _) = try makeKeys(.chacha20Poly1305)
        var sealer = try PacketCipher(
            .chacha20Poly1305,
            encryptionKey: encryption,
            integrityKey: nil,
            esn: true,
            direction: .seal
        )
        var arena = PacketArena(capacity: 512)
        var jobs = (0..<3).map { PacketJob(offset: Int32($0 * 128), length: 64, sequence: UInt64($0 + 1)) }
        sealer.seal(&jobs, range: 1..<2, in: &arena)
        #expect(jobs.map(\.status) == [.pending, .done, .pending])
        #expect(arena.octets(0..<128).allSatisfy { $0 == 0 })
        #expect(arena.octets(192..<512).allSatisfy { $0 == 0 })
    }
}

@Suite struct PacketArenaTests {
    @Test func loadsWhatWasStoredBigEndian() {
        var arena = PacketArena(capacity: 32)
        arena.store8(0x11, at: 0)
        arena.store16(0x2233, at: 1)
        arena.store32(0x4455_6677, at: 3)
        arena.store64(0x8899_aabb_ccdd_eeff, at: 7)
        #expect(Hex.encode(arena.octets(0..<15)) == "112233445566778899aabbccddeeff")
        #expect(arena.load8(at: 0) == 0x11)
        #expect(arena.load16(at: 1) == 0x2233)
        #expect(arena.load32(at: 3) == 0x4455_6677)
        #expect(arena.load64(at: 7) == 0x8899_aabb_ccdd_eeff)
    }

    @Test func copiesOverlappingRangesAndZeroes() {
        var arena = PacketArena(capacity: 8)
        arena.write([1, 2, 3, 4, 5], at: 0)
        arena.copy(from: 0, to: 2, count: 5)
        #expect(arena.octets(0..<8) == [1, 2, 1, 2, 3, 4, 5, 0])
        arena.zero(1..<3)
        #expect(arena.octets(0..<4) == [1, 0, 0, 2])
    }

    @Test func lendsSpansOfTheWhole() {
        var arena = PacketArena(capacity: 4_096)
        #expect(arena.span.count == 4_096)
        var writable = arena.mutableSpan
        writable[4_095] = 9
        #expect(arena.load8(at: 4_095) == 9)
        let isAligned = unsafe arena.withUnsafeBase { UInt(bitPattern: $0) % 4_096 == 0 }
        #expect(isAligned)
    }

    @Test func stopsAtALoadBeyondTheEnd() async {
        await #expect(processExitsWith: .failure) {
            let arena = PacketArena(capacity: 4)
            _ = arena.load32(at: 1)
        }
    }
}
