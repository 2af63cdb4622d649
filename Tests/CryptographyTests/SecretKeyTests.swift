import Primitives
import Testing

@testable import Cryptography

@Suite struct SecretKeyTests {
    @Test(arguments: [0, 1, 31, 32, 33, 64, 500, 8_192])
    func holdsWhatWasCopied(count: Int) throws {
        let octets = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let key = try SecretKey(copying: octets)
        #expect(key.count == count)
        #expect(key.exposedForTesting() == octets)
    }

    @Test func refusesMoreThanTheLargestSlot() {
        #expect(throws: CryptoError.invalidLength) {
            try SecretKey(copying: [UInt8](repeating: 1, count: 8_193))
        }
    }

    @Test func wipesTheSourceArray() throws {
        var octets: [UInt8] = [1, 2, 3]
        let key = try SecretKey(wiping: &octets)
        #expect(octets == [0, 0, 0])
        #expect(key.exposedForTesting() == [1, 2, 3])
    }

    @Test func slicesAndConcatenates() throws {
        let key = try SecretKey(copying: Array(0..<40))
        let first = try key.slice(0..<8)
        let last = try key.slice(8..<40)
        #expect(first.exposedForTesting() == Array(0..<8))
        #expect(last.exposedForTesting() == Array(8..<40))
        #expect(try SecretKey.concatenating([first, last]) == key)
        #expect(try SecretKey.concatenating([last, first]) != key)
        #expect(try SecretKey.concatenating([]).count == 0)
        #expect(throws: CryptoError.invalidLength) { try key.slice(39..<41) }
        #expect(throws: CryptoError.invalidLength) { try key.slice(-1..<4) }
    }

    @Test func neverPrintsAnOctet() throws {
        // Long enough that no address or number in the dump holds it by chance.
        let octets = (0..<16).map { UInt8(0xa0 + $0) }
        let key = try SecretKey(copying: octets)
        #expect("\(key)" == "SecretKey(16 octets)")
        #expect(String(reflecting: key) == "SecretKey(16 octets)")
        var dumped = ""
        dump(key, to: &dumped)
        let forms = [octets.map { String($0) }, octets.map { String($0, radix: 16) }]
        for form in forms {
            for separator in ["", " ", ",", ", ", "\n"] {
                let run = form[4..<8].joined(separator: separator)
                #expect(!dumped.contains(run))
            }
        }
    }

    @Test func comparesInConstantTimeByContent() throws {
        let key = try SecretKey(copying: [1, 2, 3])
        #expect(ConstantTime.equal(key, [1, 2, 3]))
        #expect(!ConstantTime.equal(key, [1, 2, 4]))
        #expect(!ConstantTime.equal(key, [1, 2]))
        #expect(ConstantTime.equal([UInt8](), []))
        #expect(!ConstantTime.equal([1], [2]))
    }

    @Test func randomKeysDiffer() throws {
        #expect(try SecretKey.random(count: 32) != SecretKey.random(count: 32))
        var entropy = SystemEntropy()
        #expect(entropy.bytes(32) != entropy.bytes(32))
        #expect(entropy.bytes(0).isEmpty)
    }

    /// The class of 4,096 octets is used by this test alone, so the freed slot stays free while it looks.
    @Test func wipesTheSlotAfterRelease() throws {
        var key: SecretKey? = try SecretKey(copying: [UInt8](repeating: 0xa5, count: 3_000))
        let slot = try #require(key?.slot)
        let memory = unsafe UnsafeBufferPointer(
            start: UnsafePointer<UInt8>(bitPattern: slot.address),
            count: 3_000
        )
        #expect(unsafe memory.allSatisfy { $0 == 0xa5 })
        key = nil
        #expect(unsafe memory.allSatisfy { $0 == 0 })
    }

    /// Four keys for each of 30,000 SA pairs: as single mappings they would end at the kernel's limit.
    @Test func holds120000LiveKeysInFewMappings() throws {
        let keys = try (0..<120_000).map { number in
            try SecretKey(copying: (0..<4).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) })
        }
        #expect(Set(keys.map(\.slot)).count == 120_000)
        for number in stride(from: 0, to: 120_000, by: 997) {
            let expected = (0..<4).map { UInt8(truncatingIfNeeded: number >> ($0 * 8)) }
            #expect(keys[number].exposedForTesting() == expected)
        }
        // 2,048 slots of 32 octets a slab: 59 slabs for these, and a few for all other tests.
        #expect(KeyArena.shared.slabs < 120)
    }

    @Test func isSafeUnderConcurrentUse() async throws {
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for seed in UInt8(0)..<8 {
                group.addTask {
                    for round in 0..<2_000 {
                        let key = try SecretKey(copying: [UInt8](repeating: seed, count: 33 + round % 60))
                        guard key.exposedForTesting().allSatisfy({ $0 == seed }) else { return false }
                    }
                    return true
                }
            }
            for try await intact in group { #expect(intact) }
        }
    }

    @Test func aSlotIsReusedAfterRelease() throws {
        let arena = KeyArena()
        let first = try arena.acquire(100)
        #expect(first.capacity == 128)
        arena.release(first)
        #expect(try arena.acquire(65) == first)
        #expect(arena.slabs == 1)
        #expect(arena.liveSlots == 1)
    }
}

@Suite struct SelfTestTests {
    private static let subjects: [SelfTest.Subject] =
        allTransforms.map { .cipher($0) } + [.cipher(.aesGMAC(keyBits: 128))]
        + [192, 256].map { .cipher(.aesGMAC(keyBits: $0)) }
        + IntegrityAlgorithm.allCases.map { .integrity($0) }
        + PRFAlgorithm.allCases.map { .prf($0) } + KeyExchangeGroup.allCases.map { .group($0) }

    @Test(arguments: subjects) func everyAlgorithmAnswersAsKnown(subject: SelfTest.Subject) {
        #expect(SelfTest.passes(subject), "\(subject.name)")
    }

    @Test func anAlgorithmThatOpenSSLDoesNotHaveIsNotOffered() {
        #expect(!SelfTest.passes(.cipher(.aesGCM(keyBits: 64, icvLength: 16))))
        #expect(!SelfTest.passes(.cipher(.aesCCM(keyBits: 128, icvLength: 10))))
        #expect(throws: CryptoError.backend("AES_CCM_10-128")) {
            try SelfTest.run([.group(.x25519), .cipher(.aesCCM(keyBits: 128, icvLength: 10))])
        }
    }
}
