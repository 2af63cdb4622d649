import Primitives
import Testing

@testable import Cryptography

/// IPsec-MB against OpenSSL, which the other tests hold against the standards' vectors.
@Suite(.enabled(if: MultiBuffer.isLoaded, "needs libipsec-mb"))
struct PacketBackendTests {
    @Test func everyTransformAgreesAndTheFasterIsTaken() {
        #expect(PacketBackends.choices.count == PacketBackends.transforms.count)
        for choice in PacketBackends.choices {
            guard let multiBuffer = choice.multiBuffer else {
                Issue.record("IPsec-MB disagrees about \(choice.transform)")
                continue
            }
            #expect(choice.backend == (multiBuffer < choice.openSSL ? .multiBuffer : .openSSL))
            #expect(PacketBackends.backend(for: choice.transform) == choice.backend)
            #expect(PacketBackends.backend(for: choice.transform, allowsMultiBuffer: false) == .openSSL)
            print("\(choice.transform): OpenSSL \(choice.openSSL) ns, IPsec-MB \(multiBuffer) ns")
        }
    }

    @Test(arguments: PacketBackends.transforms, [false, true])
    func batchesOfAnySizeAreTheSame(_ transform: CipherTransform, _ esn: Bool) throws {
        var random = Seeded(state: 77)
        func key(_ count: Int) throws -> SecretKey {
            try SecretKey(copying: (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
        let encryption = try key(transform.encryptionKeyLength)
        let integrity = transform.isAEAD ? nil : try key(transform.integrityKeyLength)
        func cipher(_ direction: PacketCipher.Direction, _ backend: PacketBackend) throws -> PacketCipher {
            try PacketCipher(
                transform,
                encryptionKey: encryption,
                integrityKey: integrity,
                esn: esn,
                direction: direction,
                backend: backend
            )
        }
        var one = try cipher(.seal, .openSSL)
        var other = try cipher(.seal, .multiBuffer)
        var opening = try cipher(.open, .multiBuffer)
        var number: UInt64 = esn ? 1 << 33 : 0
        for count in [1, 3, 8, 17, 64, 65, 150] {
            var left = PacketArena(capacity: 1 << 20)
            var right = PacketArena(capacity: 1 << 20)
            var jobs = [PacketJob]()
            var offset = 0
            for _ in 0..<count {
                let blocks = Int.random(in: 1...90, using: &random)
                let length =
                    8 + transform.ivLength + max(4, blocks * transform.blockLength) + transform.icvLength
                number += UInt64.random(in: 1...9, using: &random)
                let octets = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
                left.write(octets, at: offset)
                right.write(octets, at: offset)
                jobs.append(PacketJob(offset: Int32(offset), length: Int32(length), sequence: number))
                offset += length + Int.random(in: 0...3, using: &random)
            }
            let plain = left.octets(0..<offset)
            var others = jobs
            one.seal(&jobs, range: jobs.indices, in: &left)
            other.seal(&others, range: others.indices, in: &right)
            #expect(jobs == others && jobs.allSatisfy { $0.status == .done })
            #expect(left.octets(0..<offset) == right.octets(0..<offset))
            // One of them is forged.
            let forged = Int.random(in: 0..<count, using: &random)
            let last = Int(jobs[forged].offset + jobs[forged].length) - 1
            right.store8(right.load8(at: last) ^ 1, at: last)
            opening.open(&others, range: others.indices, in: &right)
            for index in others.indices {
                let start = Int(others[index].offset) + 8 + transform.ivLength
                let end = Int(others[index].offset + others[index].length) - transform.icvLength
                #expect(others[index].status == (index == forged ? .authenticationFailed : .done))
                let expected =
                    index == forged ? [UInt8](repeating: 0, count: end - start) : Array(plain[start..<end])
                #expect(right.octets(start..<end) == expected)
            }
        }
    }

    @Test func numbersMustGrowAndLengthsFit() throws {
        let transform = CipherTransform.aesCBC(keyBits: 128, .hmacSHA256_128)
        var cipher = try PacketCipher(
            transform,
            encryptionKey: SecretKey(copying: [UInt8](repeating: 1, count: 16)),
            integrityKey: SecretKey(copying: [UInt8](repeating: 2, count: 32)),
            esn: false,
            direction: .seal,
            backend: .multiBuffer
        )
        var arena = PacketArena(capacity: 4096)
        arena.write([UInt8](repeating: 9, count: 4096), at: 0)
        var jobs = [
            PacketJob(offset: 0, length: 56, sequence: 5), PacketJob(offset: 100, length: 56, sequence: 5),
            PacketJob(offset: 200, length: 57, sequence: 6), PacketJob(offset: 4090, length: 56, sequence: 7),
            PacketJob(offset: 400, length: 56, sequence: 1 << 32),
            PacketJob(offset: 500, length: 56, sequence: 8),
        ]
        cipher.seal(&jobs, range: jobs.indices, in: &arena)
        #expect(
            jobs.map(\.status) == [
                .done, .authenticationFailed, .invalidLength, .invalidLength, .authenticationFailed, .done,
            ]
        )
        #expect(arena.octets(124..<140) == [UInt8](repeating: 0, count: 16))
    }
}

private struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 29
    }
}
