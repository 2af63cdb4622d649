import CLinux
public import Dispatch
import Glibc

/// Delivers the signals that steer a daemon as calls on a queue; SIGPIPE is ignored.
///
/// The handler writes into a pipe, so it does not matter which thread a signal hits, no mask is inherited
/// by child programs, and `exec` resets the actions. One object at a time owns a signal: the latest.
/// Every stored property is immutable and Dispatch allows `cancel` from any thread.
@safe
public final class SignalSources: @unchecked Sendable {
    /// A signal that the daemon acts on.
    public enum Signal: CaseIterable, Hashable, Sendable {
        /// Stop in order (SIGTERM).
        case terminate
        /// Stop in order (SIGINT, from a terminal).
        case interrupt
        /// Read the configuration again (SIGHUP).
        case hangUp

        var number: Int32 {
            switch self {
            case .terminate: SIGTERM
            case .interrupt: SIGINT
            case .hangUp: SIGHUP
            }
        }
    }

    private let writeEnd: FileDescriptorOwner
    private let source: any DispatchSourceRead

    /// Calls `handler` on `queue` for each of `signals` until this object is released.
    public init(
        _ signals: [Signal] = Signal.allCases,
        queue: DispatchQueue,
        handler: @escaping @Sendable (Signal) -> Void
    ) throws(LinuxError) {
        var ends: [Int32] = [-1, -1]
        try LinuxError.check(unsafe clinux_pipe(&ends), "open signal pipe")
        let readEnd = FileDescriptorOwner(owning: ends[0])
        let writing = FileDescriptorOwner(owning: ends[1])
        writeEnd = writing
        source = DispatchSource.makeReadSource(fileDescriptor: readEnd.descriptor, queue: queue)
        source.setEventHandler { @Sendable in
            for number in Self.drain(readEnd.descriptor) {
                guard let signal = Signal.allCases.first(where: { $0.number == Int32(number) }) else {
                    continue
                }
                handler(signal)
            }
        }
        // The write end must outlive every handler that may still run when this object goes.
        source.setCancelHandler { @Sendable in _ = (readEnd.descriptor, writing.descriptor) }
        source.activate()
        try LinuxError.check(clinux_signal_ignore(SIGPIPE), "ignore SIGPIPE")
        for signal in signals {
            try LinuxError.check(
                clinux_signal_forward(signal.number, writing.descriptor),
                "handle signal \(signal.number)"
            )
        }
    }

    deinit {
        for signal in Signal.allCases { _ = clinux_signal_restore(signal.number, writeEnd.descriptor) }
        source.cancel()
    }

    private static func drain(_ descriptor: Int32) -> [UInt8] {
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
        return Array(buffer.prefix(max(0, count)))
    }
}
