import Cryptography
import IKECore
import IPPackets
import Logging
import Synchronization
import Testing

@testable import Gateway

@Suite struct ComputePoolTests {
    private final class Answers: Sendable {
        let results = Mutex<[ComputeResult]>([])

        func waitFor(_ count: Int) async throws -> [ComputeResult] {
            for _ in 0..<3000 {
                let results = results.withLock { $0 }
                if results.count >= count { return results }
                try await Task.sleep(for: .milliseconds(10))
            }
            return results.withLock { $0 }
        }
    }

    private static func pool(width: Int, _ answers: Answers) -> ComputePool {
        let cache = RevocationCache { 0 }
        return ComputePool(
            width: width,
            cache: cache,
            fetcher: RevocationFetcher(cache: cache, mark: 0, logger: Logger(label: "test"))
        ) { result in answers.results.withLock { $0.append(result) } }
    }

    private func peer(_ number: UInt32) -> IPAddress { .v4(IPv4Address(number)) }

    @Test func answersEveryJobAlsoThoseItHasNoRoomFor() async throws {
        let answers = Answers()
        let pool = Self.pool(width: 1, answers)
        let count = ComputePool.maximumWaiting + 500
        for id in 0..<count {
            pool.submit(ComputeJob(id: UInt64(id), peer: peer(1), work: .generateKeyPair(.ecp384)))
        }
        let results = try await answers.waitFor(count)
        #expect(Set(results.map { $0.id }).count == count)
        let failures = results.filter { if case .failure(.exhausted) = $0.outcome { true } else { false } }
        #expect(UInt64(failures.count) == pool.refused)
        #expect(!failures.isEmpty)
    }

    @Test func aPeerThatFloodsDoesNotDelayAnother() async throws {
        let answers = Answers()
        let pool = Self.pool(width: 2, answers)
        for id in 0..<200 {
            pool.submit(ComputeJob(id: UInt64(id), peer: peer(1), work: .generateKeyPair(.modp4096)))
        }
        pool.submit(ComputeJob(id: 1000, peer: peer(2), work: .generateKeyPair(.x25519)))
        let results = try await answers.waitFor(201)
        let place = results.firstIndex { $0.id == 1000 } ?? .max
        #expect(place < 100)
    }
}
