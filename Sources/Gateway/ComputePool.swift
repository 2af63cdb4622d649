import Cryptography
import Dispatch
import IKECore
import IPPackets
import LinuxIO
import Synchronization

/// A few threads for slow cryptography, shared fairly: each peer address may occupy one worker at a time while
/// others wait, and what waits is bounded.
final class ComputePool: Sendable {
    private struct State {
        var waiting: [ComputeJob] = []
        var running: [IPAddress: Int] = [:]
        var active = 0
        var refused: UInt64 = 0
    }

    static let maximumWaiting = 2048

    private let width: Int
    private let queue = DispatchQueue(label: "causeway.compute", qos: .userInitiated, attributes: .concurrent)
    private let state = Mutex(State())
    private let answer: @Sendable (ComputeResult) -> Void

    /// - Parameter answer: called on a thread of the pool with each result.
    init(width: Int, answer: @escaping @Sendable (ComputeResult) -> Void) {
        self.width = max(1, width)
        self.answer = answer
    }

    /// Jobs that were refused because too many wait.
    var refused: UInt64 { state.withLock { $0.refused } }

    /// Jobs that run and jobs that wait.
    var load: (running: Int, waiting: Int) { state.withLock { ($0.active, $0.waiting.count) } }

    /// Takes a job; when too many wait it is answered with a failure at once, which ends the handshake behind it.
    func submit(_ job: ComputeJob) {
        let accepted = state.withLock { state in
            guard state.waiting.count < Self.maximumWaiting else {
                state.refused += 1
                return false
            }
            state.waiting.append(job)
            return true
        }
        guard accepted else { return answer(ComputeResult(id: job.id, outcome: .failure(.exhausted))) }
        startNext()
    }

    private func startNext() {
        let job: ComputeJob? = state.withLock { state in
            guard state.active < width, !state.waiting.isEmpty else { return nil }
            // A peer without a running job goes before one that has some.
            let index = state.waiting.firstIndex { state.running[$0.peer] == nil } ?? 0
            let job = state.waiting.remove(at: index)
            state.active += 1
            state.running[job.peer, default: 0] += 1
            return job
        }
        guard let job else { return }
        queue.async { [self] in
            let result = job.run(at: MonotonicClock.wallClockSeconds())
            state.withLock { state in
                state.active -= 1
                let left = (state.running[job.peer] ?? 1) - 1
                state.running[job.peer] = left > 0 ? left : nil
            }
            answer(result)
            startNext()
        }
    }
}
