import Cryptography
import Dispatch
import LinuxIO
import Logging
import Synchronization

/// Makes inquiries about certificates on threads of its own, each one once for all who wait for it.
final class RevocationFetcher: Sendable {
    private struct State {
        /// Who waits for each inquiry under way, by number.
        var waiting: [RevocationInquiry: [Int]] = [:]
        /// How many inquiries each waiter still misses, and what follows.
        var waiters: [Int: (missing: Int, then: @Sendable () -> Void)] = [:]
        var lastNumber = 0
    }

    /// Inquiries under way at most.
    static let most = 256
    /// How long one may take.
    static let timeout = Duration.seconds(8)

    private let cache: RevocationCache
    private let logger: Logger
    private let mark: UInt32
    private let queue = DispatchQueue(label: "causeway.fetch", qos: .utility, attributes: .concurrent)
    private let slots = DispatchSemaphore(value: 8)
    private let order = DispatchQueue(label: "causeway.fetch.order", qos: .utility)
    private let state = Mutex(State())

    /// - Parameter mark: what keeps packets out of the tunnels: a peer is believed before its tunnel is there.
    init(cache: RevocationCache, mark: UInt32, logger: Logger) {
        self.mark = mark
        self.cache = cache
        self.logger = logger
    }

    /// Makes the inquiries; `then` follows on another thread once all of them brought something or failed.
    func fetch(_ inquiries: [RevocationInquiry], then: @escaping @Sendable () -> Void) {
        let begun: [RevocationInquiry]? = state.withLock { state in
            let new = inquiries.filter { state.waiting[$0] == nil }
            guard state.waiting.count + new.count <= Self.most else { return nil }
            state.lastNumber += 1
            state.waiters[state.lastNumber] = (inquiries.count, then)
            for inquiry in inquiries { state.waiting[inquiry, default: []].append(state.lastNumber) }
            return new
        }
        guard let begun else {
            for inquiry in inquiries where cache.answer(to: inquiry) == nil {
                cache.note(.failed("too many inquiries are under way"), for: inquiry)
            }
            queue.async { then() }
            return
        }
        for inquiry in begun {
            // In a queue of their own they wait for a slot without holding a thread each.
            order.async { [self] in
                slots.wait()
                queue.async { [self] in
                    run(inquiry)
                    slots.signal()
                }
            }
        }
    }

    private func run(_ inquiry: RevocationInquiry) {
        let answer: RevocationKnowledgeAnswer
        do throws(HTTPFetch.Failure) {
            switch inquiry.subject {
            case .list:
                logger.info("fetching crl from '\(inquiry.uri)'")
                answer = .octets(
                    try HTTPFetch.body(at: inquiry.uri, timeout: Self.timeout, mark: mark, limit: 8 << 20)
                )
            case .certificate(let hash):
                logger.info("fetching certificate from '\(inquiry.uri)'")
                let octets = try HTTPFetch.body(
                    at: inquiry.uri,
                    timeout: Self.timeout,
                    mark: mark,
                    limit: 64 << 10
                )
                let isRight = (try? Digest.sha1([octets])) == hash
                answer = isRight ? .octets(octets) : .failed("it has another hash")
            case .ocsp(let request):
                logger.info("requesting ocsp status from '\(inquiry.uri)'")
                answer = .octets(
                    try HTTPFetch.body(
                        at: inquiry.uri,
                        posting: (request, "application/ocsp-request"),
                        timeout: Self.timeout,
                        mark: mark,
                        limit: 64 << 10
                    )
                )
            }
        } catch {
            logger.warning("'\(inquiry.uri)' brought nothing: \(error.description)")
            answer = .failed(error.description)
        }
        cache.note(answer, for: inquiry)
        let ready: [@Sendable () -> Void] = state.withLock { state in
            var ready: [@Sendable () -> Void] = []
            for number in state.waiting.removeValue(forKey: inquiry) ?? [] {
                guard let (missing, then) = state.waiters[number] else { continue }
                if missing > 1 {
                    state.waiters[number] = (missing - 1, then)
                } else {
                    state.waiters[number] = nil
                    ready.append(then)
                }
            }
            return ready
        }
        for then in ready { then() }
    }
}
