import Glibc

/// A refused request to the kernel or to a program of the system.
public struct LinuxError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was tried, in words for a log line: "add route 10.0.0.0/8".
    public let operation: String
    /// The errno.
    public let errno: Int32
    /// What else is known: the kernel's own words, or those of the program.
    public let detail: String?

    /// The failure of `operation` with `errno`.
    public init(operation: String, errno: Int32, detail: String? = nil) {
        self.operation = operation
        self.errno = errno
        self.detail = detail
    }

    /// One line: operation, the text of errno, details.
    public var description: String {
        let reason = unsafe strerror(errno).map { unsafe String(cString: $0) } ?? "errno \(errno)"
        return "\(operation): \(reason)" + (detail.map { " (\($0))" } ?? "")
    }

    /// The result of a call that gives a negated errno on failure.
    @discardableResult
    static func check(_ result: Int32, _ operation: @autoclosure () -> String) throws(LinuxError) -> Int32 {
        guard result >= 0 else { throw LinuxError(operation: operation(), errno: 0 &- result) }
        return result
    }

    /// The failure of `operation` with what the thread's errno holds.
    static func last(_ operation: String, detail: String? = nil) -> LinuxError {
        LinuxError(operation: operation, errno: Glibc.errno, detail: detail)
    }
}

extension LinuxError {
    /// True when the thing that was to be removed or read does not exist.
    public var isAbsence: Bool { errno == ENOENT || errno == ESRCH || errno == ENODEV }
}
