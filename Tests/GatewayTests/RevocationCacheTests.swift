import Cryptography
import Logging
import Synchronization
import Testing

@testable import Gateway

@Suite struct RevocationCacheTests {
    private final class Clock: Sendable {
        let seconds = Mutex<Int64>(1_800_000_000)

        func advance(_ by: Int64) { seconds.withLock { $0 += by } }
    }

    private static func list(_ number: Int) -> RevocationInquiry {
        RevocationInquiry(uri: "http://ca.test/\(number)", subject: .list)
    }

    @Test func keepsWhatItCannotDateForAMinute() {
        let clock = Clock()
        let cache = RevocationCache { clock.seconds.withLock { $0 } }
        #expect(cache.answer(to: Self.list(1)) == nil)
        cache.note(.octets([1, 2, 3]), for: Self.list(1))
        cache.note(.failed("refused"), for: Self.list(2))
        clock.advance(59)
        #expect(cache.answer(to: Self.list(1)) == .octets([1, 2, 3]))
        #expect(cache.answer(to: Self.list(2)) == .failed("refused"))
        // An OCSP request to the same place is another inquiry.
        #expect(cache.answer(to: RevocationInquiry(uri: "http://ca.test/1", subject: .ocsp([]))) == nil)
        clock.advance(1)
        #expect(cache.answer(to: Self.list(1)) == nil && cache.answer(to: Self.list(2)) == nil)
    }

    @Test func isBoundedInEntriesAndOctets() {
        let cache = RevocationCache { 1_800_000_000 }
        for number in 0..<2000 { cache.note(.failed("x"), for: Self.list(number)) }
        #expect(cache.counts.entries == RevocationCache.mostEntries)
        let large = [UInt8](repeating: 7, count: 6 << 20)
        for number in 0..<20 { cache.note(.octets(large), for: Self.list(5000 + number)) }
        #expect(cache.counts.octets <= RevocationCache.mostOctets)
        #expect(cache.answer(to: Self.list(5019)) != nil)
        cache.removeAll()
        #expect(cache.counts == (0, 0))
    }

    /// What waits for one inquiry goes on when it failed; nothing leaves this machine: the port is closed.
    @Test func everyWaiterGoesOn() async throws {
        let cache = RevocationCache { 1_800_000_000 }
        let fetcher = RevocationFetcher(cache: cache, mark: 0, logger: Logger(label: "test"))
        let inquiry = RevocationInquiry(uri: "http://127.0.0.1:9/list", subject: .list)
        let other = RevocationInquiry(uri: "ftp://127.0.0.1/list", subject: .list)
        let done = Mutex(0)
        for _ in 0..<10 { fetcher.fetch([inquiry, other]) { done.withLock { $0 += 1 } } }
        for _ in 0..<1000 where done.withLock({ $0 }) < 10 { try await Task.sleep(for: .milliseconds(10)) }
        #expect(done.withLock { $0 } == 10)
        guard case .failed = cache.answer(to: inquiry), case .failed = cache.answer(to: other) else {
            Issue.record("an inquiry did not fail")
            return
        }
    }
}
