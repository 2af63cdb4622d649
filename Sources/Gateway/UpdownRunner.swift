import DequeModule
import Dispatch
import LinuxIO
import Logging
import Synchronization

/// Runs updown scripts away from the control queue: those of one tunnel one after the other, of several at once.
final class UpdownRunner: Sendable {
    /// One run of a script for all pairs of selectors.
    struct Job: Sendable {
        let entry: UpdownLedger.Entry
        let isUp: Bool
    }

    /// What happened so far.
    struct Counters: Equatable, Sendable {
        /// Calls of a script.
        var runs: UInt64 = 0
        /// Calls that did not end with status 0.
        var failures: UInt64 = 0
        /// Tunnels that came up without their script, because too many waited.
        var refusals: UInt64 = 0
    }

    private struct State {
        /// Jobs by tunnel; the first of each is running, if the tunnel is not in `ready`.
        var waiting: [TunnelKey: Deque<Job>] = [:]
        /// Tunnels whose next job can run, in the order in which it can.
        var ready: Deque<TunnelKey> = []
        /// Queues that run nothing.
        var idleQueues: [DispatchQueue]
        var count = 0
        var counters = Counters()
        var idle: (@Sendable () -> Void)?
    }

    private let state: Mutex<State>
    private let clock = DispatchQueue(label: "causeway.updown.clock")
    private let logger: Logger
    private let limit: Int
    private let timeout: Duration

    /// - Parameters:
    ///   - limit: `up`s that may wait.
    ///   - width: scripts that run at once.
    ///   - timeout: after which a script is killed.
    init(logger: Logger, limit: Int = 256, width: Int = 4, timeout: Duration = .seconds(30)) {
        self.logger = logger
        self.limit = limit
        self.timeout = timeout
        // Scripts block their threads. Serial queues have threads of their own; a concurrent queue, or a global one,
        // shares a pool as wide as the processor with others, who would wait.
        let queues = (0..<max(1, width)).map { DispatchQueue(label: "causeway.updown.\($0)") }
        state = Mutex(State(idleQueues: queues))
    }

    var counters: Counters { state.withLock { $0.counters } }

    /// Queues a run; false, and counted, when it would come up while too many wait.
    ///
    /// A `down` is always taken: there are no more of them than of `up`s that were.
    func submit(_ job: Job) -> Bool {
        let isTaken = state.withLock { state in
            guard !job.isUp || state.count < limit else {
                state.counters.refusals += 1
                return false
            }
            let tunnel = job.entry.environment.tunnel
            state.count += 1
            if state.waiting[tunnel] == nil { state.ready.append(tunnel) }
            state.waiting[tunnel, default: []].append(job)
            return true
        }
        if isTaken { startReady() }
        return isTaken
    }

    /// Calls `body` once when nothing runs or waits, or after `patience`.
    func whenIdle(within patience: Duration, _ body: @escaping @Sendable () -> Void) {
        let once = Once(body)
        let isIdle = state.withLock { state in
            if state.count > 0 { state.idle = { once.call() } }
            return state.count == 0
        }
        if isIdle { return once.call() }
        clock.asyncAfter(deadline: .now() + .milliseconds(Int(patience / .milliseconds(1)))) { once.call() }
    }

    private func startReady() {
        while let (queue, tunnel, job) = takeReady() {
            queue.async { [self] in
                run(job)
                finish(tunnel, queue)
            }
        }
    }

    private func takeReady() -> (DispatchQueue, TunnelKey, Job)? {
        state.withLock { state in
            guard let queue = state.idleQueues.last, let tunnel = state.ready.popFirst(),
                let job = state.waiting[tunnel]?.first
            else { return nil }
            state.idleQueues.removeLast()
            return (queue, tunnel, job)
        }
    }

    private func finish(_ tunnel: TunnelKey, _ queue: DispatchQueue) {
        let idle = state.withLock { state -> (@Sendable () -> Void)? in
            state.idleQueues.append(queue)
            state.count -= 1
            _ = state.waiting[tunnel]?.popFirst()
            if state.waiting[tunnel]?.isEmpty ?? true {
                state.waiting[tunnel] = nil
            } else {
                state.ready.append(tunnel)
            }
            guard state.count == 0 else { return nil }
            defer { state.idle = nil }
            return state.idle
        }
        idle?()
        startReady()
    }

    private func run(_ job: Job) {
        let environment = job.entry.environment
        let name = environment.tunnel.description
        if environment.pairsLeftOut > 0 {
            logger.warning("\(name): updown leaves out \(environment.pairsLeftOut) pairs of selectors")
        }
        for pair in environment.pairs {
            let variables = environment.variables(pair, isUp: job.isUp)
            let verb = variables.first { $0.name == "PLUTO_VERB" }?.value ?? "?"
            let command = ShellCommand(job.entry.command, environment: variables)
            var failure: String?
            do throws(LinuxError) {
                let outcome = try command.run(timeout: timeout) { [logger] line in
                    logger.info("\(name): updown: \(line)", metadata: ["event": "updown"])
                }
                failure = outcome.failure(after: timeout)
            } catch {
                failure = "was not run: \(error)"
            }
            state.withLock { state in
                state.counters.runs += 1
                if failure != nil { state.counters.failures += 1 }
            }
            let metadata: Logger.Metadata = [
                "event": "updown", "connection": "\(environment.tunnel.connection)",
            ]
            if let failure {
                logger.warning("\(name): updown \(verb) \(failure)", metadata: metadata)
            } else {
                logger.info("\(name): updown \(verb) ended with status 0", metadata: metadata)
            }
        }
    }
}

extension ShellCommand.Outcome {
    /// Nil after success, else the rest of the sentence.
    fileprivate func failure(after timeout: Duration) -> String? {
        switch self {
        case .exited(0): nil
        case .exited(let status): "ended with status \(status)"
        case .signalled(let signal): "was ended by signal \(signal)"
        case .timedOut: "was not done after \(timeout.components.seconds) s and was killed"
        }
    }
}

/// A closure that is called at most once.
private final class Once: Sendable {
    private let body: Mutex<(@Sendable () -> Void)?>

    init(_ body: @escaping @Sendable () -> Void) {
        self.body = Mutex(body)
    }

    func call() {
        let taken = body.withLock { body in
            defer { body = nil }
            return body
        }
        taken?()
    }
}
