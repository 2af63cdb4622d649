import CLinux
public import Dispatch
public import Primitives

/// One deadline that can be moved, on the clock that `MonotonicClock` reads.
///
/// A timer of Dispatch stands still while the machine sleeps; a timerfd on CLOCK_BOOTTIME does not.
/// Every stored property is immutable, the kernel serialises what is done with the descriptor, and Dispatch
/// allows `cancel` from any thread.
@safe
public final class DeadlineTimer: @unchecked Sendable {
    private let descriptor: FileDescriptorOwner
    private let source: any DispatchSourceRead

    /// A disarmed timer that will call `handler` on `queue`.
    public init(queue: DispatchQueue, handler: @escaping @Sendable () -> Void) throws(LinuxError) {
        let owner = FileDescriptorOwner(owning: try LinuxError.check(clinux_timer_open(), "open timer"))
        descriptor = owner
        source = DispatchSource.makeReadSource(fileDescriptor: owner.descriptor, queue: queue)
        // A deadline that was moved after it had expired leaves a wake-up without an expiry: no call then.
        source.setEventHandler { @Sendable in
            if clinux_timer_expired(owner.descriptor) == 1 { handler() }
        }
        // Keeps the descriptor open until Dispatch has let go of it.
        source.setCancelHandler { @Sendable in _ = owner.descriptor }
        source.activate()
    }

    deinit {
        source.cancel()
    }

    /// Calls the handler once at `deadline`, at once if that has passed; replaces an earlier deadline.
    public func arm(at deadline: Instant) {
        let components = max(deadline, Instant(sinceStart: .nanoseconds(1))).sinceStart.components
        let nanoseconds = components.attoseconds / 1_000_000_000
        _ = clinux_timer_set(
            descriptor.descriptor,
            // The kernel refuses seconds beyond its own range; 2^40 is far beyond any uptime.
            min(components.seconds, 1 << 40),
            components.seconds == 0 ? max(1, nanoseconds) : nanoseconds
        )
    }

    /// Forgets the deadline.
    public func disarm() {
        _ = clinux_timer_set(descriptor.descriptor, 0, 0)
    }
}
