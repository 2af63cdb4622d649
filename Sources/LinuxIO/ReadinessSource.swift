public import Dispatch
import Synchronization

/// Calls a handler on a queue whenever a descriptor can be read or written.
///
/// It starts suspended. It keeps the owner of the descriptor alive until Dispatch has let go of the
/// descriptor, so that no other file gets its number meanwhile.
///
/// Safe to share: Dispatch allows its calls on a source from any thread; the count of suspensions, which it
/// does not forgive, is under a lock.
public final class ReadinessSource: @unchecked Sendable {
    /// What the handler is called for.
    public enum Direction: Sendable {
        /// Octets, a connection, or the end of the stream.
        case read
        /// Room for octets.
        case write
    }

    private enum State {
        /// No calls. Can transition to: `.active`, `.cancelled`.
        case suspended
        /// The handler is called. Can transition to: `.suspended`, `.cancelled`.
        case active
        /// No calls any more. Final.
        case cancelled
    }

    private let source: any DispatchSourceProtocol
    private let state = Mutex(State.suspended)

    /// Watches `fileDescriptor`, which stays open as long as `owner` lives.
    public init(
        fileDescriptor: Int32,
        direction: Direction,
        owner: any AnyObject & Sendable,
        queue: DispatchQueue,
        handler: @escaping @Sendable () -> Void
    ) {
        source =
            switch direction {
            case .read: DispatchSource.makeReadSource(fileDescriptor: fileDescriptor, queue: queue)
            case .write: DispatchSource.makeWriteSource(fileDescriptor: fileDescriptor, queue: queue)
            }
        source.setEventHandler(handler: handler)
        source.setCancelHandler { withExtendedLifetime(owner) {} }
    }

    deinit { cancel() }

    /// Starts or goes on with calls; no effect if they go on already.
    public func resume() {
        state.withLock {
            guard case .suspended = $0 else { return }
            $0 = .active
            source.resume()
        }
    }

    /// Stops calls until `resume`; one that is under way ends.
    public func suspend() {
        state.withLock {
            guard case .active = $0 else { return }
            $0 = .suspended
            source.suspend()
        }
    }

    /// Stops calls for good.
    public func cancel() {
        state.withLock {
            switch $0 {
            case .cancelled: return
            case .active: source.cancel()
            case .suspended:
                source.cancel()
                // Dispatch traps when a suspended source is released, and never calls its cancel handler.
                source.resume()
            }
            $0 = .cancelled
        }
    }
}
