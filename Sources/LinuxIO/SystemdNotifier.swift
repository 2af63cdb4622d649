import CLinux
import Glibc

/// Tells the service manager how the daemon is doing (sd_notify); does nothing without a manager.
public struct SystemdNotifier: Sendable {
    /// Where the manager listens; nil when there is none.
    public let socketPath: String?
    /// How often the manager wants a `watchdog()` at the latest; call it at half of this.
    public let watchdogInterval: Duration?

    /// What the environment says; `variable` reads one variable.
    public init(variable: (String) -> String? = { SystemdNotifier.environment($0) }) {
        // sd_notify(3): only absolute paths and, with '@', the abstract name space.
        let path = variable("NOTIFY_SOCKET") ?? ""
        socketPath = path.utf8.count > 1 && (path.hasPrefix("/") || path.hasPrefix("@")) ? path : nil
        // sd_watchdog_enabled(3): WATCHDOG_PID, when set, must name this process.
        let isForUs = variable("WATCHDOG_PID").map { Int32($0) == getpid() } ?? true
        if isForUs, let microseconds = variable("WATCHDOG_USEC").flatMap({ Int64($0) }), microseconds > 0 {
            watchdogInterval = .microseconds(microseconds)
        } else {
            watchdogInterval = nil
        }
    }

    /// Start-up or a reload is complete.
    public func ready(status: String? = nil) throws(LinuxError) {
        try send(["READY=1"] + statusLine(status))
    }

    /// One line about the state, for `systemctl status`.
    public func status(_ text: String) throws(LinuxError) {
        try send(statusLine(text))
    }

    /// A reload begins; `ready()` ends it.
    public func reloading() throws(LinuxError) {
        // Type=notify-reload needs the time so that the manager can tell this reload from an earlier one.
        try send(["RELOADING=1", "MONOTONIC_USEC=\(MonotonicClock.monotonicMicroseconds())"])
    }

    /// The orderly stop begins.
    public func stopping(status: String? = nil) throws(LinuxError) {
        try send(["STOPPING=1"] + statusLine(status))
    }

    /// The daemon is alive.
    public func watchdog() throws(LinuxError) {
        try send(["WATCHDOG=1"])
    }

    /// The value of an environment variable.
    public static func environment(_ name: String) -> String? {
        unsafe getenv(name).map { unsafe String(cString: $0) }
    }

    /// A line break in the text would begin a new assignment.
    private func statusLine(_ text: String?) -> [String] {
        guard let text else { return [] }
        return ["STATUS=" + String(text.map { $0.isNewline ? " " : $0 })]
    }

    private func send(_ lines: [String]) throws(LinuxError) {
        guard let socketPath else { return }
        let octets = Array(lines.joined(separator: "\n").utf8)
        let result = unsafe octets.withUnsafeBytes {
            unsafe clinux_unix_send(socketPath, $0.baseAddress, $0.count)
        }
        try LinuxError.check(result, "notify the service manager")
    }
}
