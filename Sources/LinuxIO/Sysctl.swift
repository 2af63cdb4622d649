import Glibc

/// Kernel parameters of the caller's network namespace, by their path below /proc/sys.
public enum Sysctl {
    /// The value of `path`, without the line break; `net/ipv4/conf/eth0.5/rp_filter` or, without dots in
    /// names, `net.ipv4.conf.eth0.rp_filter`.
    public static func read(_ path: String) throws(LinuxError) -> String {
        let operation = "read sysctl \(path)"
        let file = try SystemFile.open(try location(path, operation), O_RDONLY, operation: operation)
        let octets = try SystemFile.read(file, limit: 4096, operation: operation)
        let text = String(decoding: octets, as: UTF8.self)
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }

    /// Sets `path` to `value`.
    public static func write(_ path: String, _ value: String) throws(LinuxError) {
        let operation = "write sysctl \(path)"
        let file = try SystemFile.open(try location(path, operation), O_WRONLY, operation: operation)
        try SystemFile.write(Array((value + "\n").utf8), to: file, operation: operation)
    }

    /// Sets `path` to `value` unless it is so already; true when it was written.
    @discardableResult
    public static func writeIfDifferent(_ path: String, _ value: String) throws(LinuxError) -> Bool {
        guard try read(path) != value else { return false }
        try write(path, value)
        return true
    }

    private static func location(_ path: String, _ operation: String) throws(LinuxError) -> String {
        let separator: Character = path.contains("/") ? "/" : "."
        let parts = path.split(separator: separator, omittingEmptySubsequences: false)
        guard parts.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." }) else {
            throw LinuxError(operation: operation, errno: EINVAL, detail: "not a path below /proc/sys")
        }
        return "/proc/sys/" + parts.joined(separator: "/")
    }
}
