public import Dispatch

/// Lets an actor run on a serial Dispatch queue, so that Dispatch handlers of that queue may call into it at once.
public final class DispatchQueueExecutor: SerialExecutor {
    /// The queue that every job runs on.
    public let queue: DispatchQueue

    /// Runs jobs on `queue`, which must be serial.
    public init(queue: DispatchQueue) {
        self.queue = queue
    }

    /// Runs a job on the queue.
    public func enqueue(_ job: consuming ExecutorJob) {
        let unowned = UnownedJob(job)
        queue.async { unsafe unowned.runSynchronously(on: self.asUnownedSerialExecutor()) }
    }

    /// The reference that an actor returns.
    public func asUnownedSerialExecutor() -> UnownedSerialExecutor {
        unsafe UnownedSerialExecutor(ordinary: self)
    }

    /// Traps unless the caller is on the queue: a fault of ours.
    public func checkIsolated() {
        dispatchPrecondition(condition: .onQueue(queue))
    }
}

/// An actor that runs on a serial Dispatch queue of its own.
public protocol DispatchQueueActor: Actor {
    /// Runs the actor's jobs.
    nonisolated var executor: DispatchQueueExecutor { get }
}

extension DispatchQueueActor {
    /// The executor as the runtime wants it.
    public nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe executor.asUnownedSerialExecutor()
    }
}
