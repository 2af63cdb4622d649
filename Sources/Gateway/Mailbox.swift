import Dispatch
import Synchronization

/// A bounded queue of values into the control plane: many threads post, one serial queue takes.
///
/// What does not fit is dropped and counted: a flood of events never grows the process.
final class Mailbox<Value: Sendable>: Sendable {
    private struct State {
        var values: [Value] = []
        var isScheduled = false
        var dropped: UInt64 = 0
    }

    private let state = Mutex(State())
    private let limit: Int
    private let queue: DispatchQueue
    private let receive: @Sendable ([Value]) -> Void

    /// - Parameter receive: called on `queue` with what has gathered, in order.
    init(limit: Int, queue: DispatchQueue, receive: @escaping @Sendable ([Value]) -> Void) {
        self.limit = limit
        self.queue = queue
        self.receive = receive
    }

    /// Values that did not fit.
    var dropped: UInt64 { state.withLock { $0.dropped } }

    func post(_ value: Value) {
        let schedule = state.withLock { state in
            guard state.values.count < limit else {
                state.dropped += 1
                return false
            }
            state.values.append(value)
            defer { state.isScheduled = true }
            return !state.isScheduled
        }
        guard schedule else { return }
        queue.async { [self] in
            let values = state.withLock { state in
                defer { state.values = [] }
                state.isScheduled = false
                return state.values
            }
            receive(values)
        }
    }
}
