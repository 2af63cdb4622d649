/// Which backend protects the packets of which transform: the faster one of those that agree.
///
/// Found out once for the process: IPsec-MB must give the same octets as OpenSSL for every form of packet, with and
/// without extended sequence numbers, and refuse what was tampered with; then both are timed.
public enum PacketBackends {
    /// What was found for one transform.
    public struct Choice: Hashable, Sendable, CustomStringConvertible {
        /// The transform.
        public let transform: CipherTransform
        /// What protects its packets.
        public let backend: PacketBackend
        /// Nanoseconds to seal and open a packet of 1,400 octets by OpenSSL.
        public let openSSL: Int
        /// The same by IPsec-MB; nil when it may not be used.
        public let multiBuffer: Int?

        /// What was chosen, and the times that it was chosen by.
        public var description: String {
            guard let multiBuffer else { return "OpenSSL: IPsec-MB gives other octets" }
            return "\(backend.name): OpenSSL \(openSSL) ns, IPsec-MB \(multiBuffer) ns for 1400 octets"
        }
    }

    /// All transforms that IPsec-MB may protect.
    static let transforms: [CipherTransform] =
        [128, 256, 192].map { .aesGCM16(keyBits: $0) } + [.chacha20Poly1305]
        + IntegrityAlgorithm.allCases.filter { $0.hasMultiBuffer }.flatMap { integrity in
            [128, 192, 256].map { CipherTransform.aesCBC(keyBits: $0, integrity) } + [.null(integrity)]
        }

    /// The choices, made at the first use; empty without IPsec-MB, for then there is nothing to choose.
    public static let choices: [Choice] = MultiBuffer.isLoaded ? transforms.map { choose($0) } : []

    /// The backend for a transform.
    public static func backend(for transform: CipherTransform, allowsMultiBuffer: Bool = true)
        -> PacketBackend
    {
        guard allowsMultiBuffer else { return .openSSL }
        return choices.first { $0.transform == transform }?.backend ?? .openSSL
    }

    private static func choose(_ transform: CipherTransform) -> Choice {
        do throws(CryptoError) {
            let openSSL = try time(transform, .openSSL)
            guard try agree(transform) else {
                return Choice(transform: transform, backend: .openSSL, openSSL: openSSL, multiBuffer: nil)
            }
            let multiBuffer = try time(transform, .multiBuffer)
            return Choice(
                transform: transform,
                backend: multiBuffer < openSSL ? .multiBuffer : .openSSL,
                openSSL: openSSL,
                multiBuffer: multiBuffer
            )
        } catch {
            return Choice(transform: transform, backend: .openSSL, openSSL: 0, multiBuffer: nil)
        }
    }

    /// Both directions of an SA by one backend.
    private struct Pair: ~Copyable {
        var sealing: PacketCipher
        var opening: PacketCipher
        var arena = PacketArena(capacity: 64 << 10)

        init(_ transform: CipherTransform, esn: Bool, _ backend: PacketBackend) throws(CryptoError) {
            func key(_ count: Int) throws(CryptoError) -> SecretKey {
                try SecretKey(copying: (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 29 &+ 3) })
            }
            let encryption = try key(transform.encryptionKeyLength)
            let integrity = transform.isAEAD ? nil : try key(transform.integrityKeyLength)
            func cipher(_ direction: PacketCipher.Direction) throws(CryptoError) -> PacketCipher {
                try PacketCipher(
                    transform,
                    encryptionKey: encryption,
                    integrityKey: integrity,
                    esn: esn,
                    direction: direction,
                    backend: backend
                )
            }
            let sealing = try cipher(.seal)
            let opening = try cipher(.open)
            guard sealing.backend == backend, opening.backend == backend else { throw .exhausted }
            self.sealing = sealing
            self.opening = opening
        }

        /// Lays out packets of these payload lengths with ever higher numbers.
        mutating func lay(_ payloads: [Int], from sequence: UInt64) -> [PacketJob] {
            var offset = 0
            var jobs = [PacketJob]()
            let transform = sealing.transform
            for (index, payload) in payloads.enumerated() {
                let length = 8 + transform.ivLength + payload + transform.icvLength
                let number = sequence + UInt64(index)
                arena.store32(0x1234_5678, at: offset)
                arena.store32(UInt32(truncatingIfNeeded: number), at: offset + 4)
                for octet in 8..<length {
                    arena.store8(UInt8(truncatingIfNeeded: octet &* 7 &+ index), at: offset + octet)
                }
                jobs.append(PacketJob(offset: Int32(offset), length: Int32(length), sequence: number))
                offset += length
            }
            return jobs
        }
    }

    /// True when both seal to the same octets, open what the other sealed, and refuse what was changed.
    private static func agree(_ transform: CipherTransform) throws(CryptoError) -> Bool {
        let block = transform.blockLength
        let payloads =
            [1, 2, 4, 7, 16, 31, 64, 88].map { max(4, $0 * 16 / block * block) } + [16, 32, 1376, 1408]
        for esn in [false, true] {
            var one = try Pair(transform, esn: esn, .openSSL)
            var other = try Pair(transform, esn: esn, .multiBuffer)
            let first: UInt64 = esn ? 0x5_ffff_fff0 : 1
            var (jobs, others) = (one.lay(payloads, from: first), other.lay(payloads, from: first))
            one.sealing.seal(&jobs, range: jobs.indices, in: &one.arena)
            other.sealing.seal(&others, range: others.indices, in: &other.arena)
            let whole = 0..<jobs.reduce(0) { max($0, Int($1.offset + $1.length)) }
            let sealed = one.arena.octets(whole)
            guard jobs == others, jobs.allSatisfy({ $0.status == .done }), sealed == other.arena.octets(whole)
            else {
                return false
            }
            one.opening.open(&jobs, range: jobs.indices, in: &one.arena)
            other.opening.open(&others, range: others.indices, in: &other.arena)
            guard jobs == others, jobs.allSatisfy({ $0.status == .done }),
                payloadsAgree(one.arena, other.arena, jobs, transform)
            else { return false }
            guard refuses(&other, sealed, jobs) else { return false }
        }
        return true
    }

    private static func payloadsAgree(
        _ one: borrowing PacketArena,
        _ other: borrowing PacketArena,
        _ jobs: [PacketJob],
        _ transform: CipherTransform
    ) -> Bool {
        for job in jobs {
            let start = Int(job.offset) + 8 + transform.ivLength
            let range = start..<Int(job.offset + job.length) - transform.icvLength
            guard one.octets(range) == other.octets(range) else { return false }
        }
        return true
    }

    /// One changed octet a packet, somewhere else in each: nothing opens, and no payload is left.
    private static func refuses(_ pair: inout Pair, _ sealed: [UInt8], _ opened: [PacketJob]) -> Bool {
        pair.arena.write(sealed, at: 0)
        var jobs = opened
        for index in jobs.indices {
            let length = Int(jobs[index].length)
            let offset = Int(jobs[index].offset) + (index % 2 == 0 ? index * 5 % length : length - 1)
            pair.arena.store8(pair.arena.load8(at: offset) ^ 0x10, at: offset)
        }
        pair.opening.open(&jobs, range: jobs.indices, in: &pair.arena)
        let transform = pair.opening.transform
        for job in jobs {
            let start = Int(job.offset) + 8 + transform.ivLength
            let payload = pair.arena.octets(start..<Int(job.offset + job.length) - transform.icvLength)
            guard job.status == .authenticationFailed, payload.allSatisfy({ $0 == 0 }) else { return false }
        }
        return true
    }

    /// Nanoseconds to seal and open one packet of a batch: the least of some rounds, for others use the machine too.
    private static func time(_ transform: CipherTransform, _ backend: PacketBackend) throws(CryptoError)
        -> Int
    {
        var pair = try Pair(transform, esn: true, backend)
        let clock = ContinuousClock()
        var least = Duration.seconds(1)
        let count = 24
        for round in 0..<6 {
            var jobs = pair.lay([Int](repeating: 1408, count: count), from: UInt64(1 + round * count))
            let elapsed = clock.measure {
                pair.sealing.seal(&jobs, range: jobs.indices, in: &pair.arena)
                pair.opening.open(&jobs, range: jobs.indices, in: &pair.arena)
            }
            least = min(least, elapsed)
        }
        return Int(least.components.attoseconds / 1_000_000_000) / count
    }
}
