import Cryptography
import Dispatch
import IKECore
import IPPackets
import LinuxIO
import Primitives
import Synchronization

/// A few threads for slow cryptography, shared fairly: each peer address may occupy one worker at a time while
/// others wait, and what waits is bounded.
final class ComputePool: Sendable {
    /// A job, and how often the network was asked for it.
    private struct Waiting {
        let job: ComputeJob
        let inquiries: Int
        let since: Instant
    }

    private struct State {
        var waiting: [Waiting] = []
        var running: [IPAddress: Int] = [:]
        var active = 0
        var refused: UInt64 = 0
    }

    static let maximumWaiting = 2048
    /// A check asks the network so often: responders first, one after the other, then lists, then lists of changes.
    static let mostInquiries = 16
    /// After this nothing more is asked for a check: the peer waits, and gives up one day.
    static let patience = Duration.seconds(12)

    private let width: Int
    private let queue = DispatchQueue(label: "causeway.compute", qos: .userInitiated, attributes: .concurrent)
    private let state = Mutex(State())
    private let cache: RevocationCache
    private let fetcher: RevocationFetcher
    private let answer: @Sendable (ComputeResult) -> Void

    /// - Parameter answer: called on a thread of the pool with each result.
    init(
        width: Int,
        cache: RevocationCache,
        fetcher: RevocationFetcher,
        answer: @escaping @Sendable (ComputeResult) -> Void
    ) {
        self.width = max(1, width)
        self.cache = cache
        self.fetcher = fetcher
        self.answer = answer
    }

    /// Jobs that were refused because too many wait.
    var refused: UInt64 { state.withLock { $0.refused } }

    /// Jobs that run and jobs that wait.
    var load: (running: Int, waiting: Int) { state.withLock { ($0.active, $0.waiting.count) } }

    /// Takes a job; when too many wait it is answered with a failure at once, which ends the handshake behind it.
    func submit(_ job: ComputeJob) {
        submit(Waiting(job: job, inquiries: 0, since: MonotonicClock.now()))
    }

    private func submit(_ waiting: Waiting) {
        let accepted = state.withLock { state in
            guard state.waiting.count < Self.maximumWaiting else {
                state.refused += 1
                return false
            }
            state.waiting.append(waiting)
            return true
        }
        guard accepted else {
            return answer(ComputeResult(id: waiting.job.id, outcome: .failure(.exhausted)))
        }
        startNext()
    }

    private func startNext() {
        let waiting: Waiting? = state.withLock { state in
            guard state.active < width, !state.waiting.isEmpty else { return nil }
            // A peer without a running job goes before one that has some.
            let index = state.waiting.firstIndex { state.running[$0.job.peer] == nil } ?? 0
            let waiting = state.waiting.remove(at: index)
            state.active += 1
            state.running[waiting.job.peer, default: 0] += 1
            return waiting
        }
        guard let waiting else { return }
        queue.async { [self] in
            let job = waiting.job
            let result = run(waiting)
            state.withLock { state in
                state.active -= 1
                let left = (state.running[job.peer] ?? 1) - 1
                state.running[job.peer] = left > 0 ? left : nil
            }
            if let inquiries = result.inquiries {
                // Whoever is slow to answer holds nobody else up: the job waits outside of the pool.
                fetcher.fetch(inquiries) { [self] in
                    submit(Waiting(job: job.again(), inquiries: waiting.inquiries + 1, since: waiting.since))
                }
            } else {
                answer(result)
            }
            startNext()
        }
    }

    private func run(_ waiting: Waiting) -> ComputeResult {
        let seconds = MonotonicClock.wallClockSeconds()
        let isLate = waiting.since.advanced(by: Self.patience) <= MonotonicClock.now()
        guard waiting.inquiries < Self.mostInquiries, !isLate else {
            return waiting.job.run(at: seconds, knowing: SettledKnowledge(cache: cache))
        }
        return waiting.job.run(at: seconds, knowing: cache)
    }
}
