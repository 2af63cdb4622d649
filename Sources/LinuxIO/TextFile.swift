import Glibc

/// Reads configuration files.
public enum TextFile {
    /// The largest file that is accepted, in octets.
    public static let limit = 4 * 1024 * 1024

    /// The text of `path`; EFBIG when it is larger than `limit`, EILSEQ when it is not UTF-8.
    public static func read(_ path: String) throws(LinuxError) -> String {
        let operation = "read \(path)"
        let file = try SystemFile.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, operation: operation)
        let octets = try SystemFile.read(file, limit: limit + 1, operation: operation)
        guard octets.count <= limit else { throw LinuxError(operation: operation, errno: EFBIG) }
        guard let text = String(validating: octets, as: UTF8.self) else {
            throw LinuxError(operation: operation, errno: EILSEQ, detail: "not UTF-8")
        }
        return text
    }
}
