import Glibc

/// Writes whole lines to standard error, each with one system call.
public struct StandardErrorLines: Sendable {
    /// Makes a writer.
    public init() {}

    /// Writes `line` and a line feed; a full or closed pipe loses the line rather than stop the daemon.
    public func write(_ line: String) {
        var octets = Array(line.utf8)
        octets.append(10)
        _ = unsafe octets.withUnsafeBytes { unsafe Glibc.write(2, $0.baseAddress, $0.count) }
    }
}
