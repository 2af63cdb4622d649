import Glibc

/// A small file of the daemon's own that is replaced as a whole: a crash leaves the old one or the new one.
public struct StateFile: Sendable {
    /// The largest file that is read or written, in octets.
    public static let limit = 1 << 20

    /// Its path.
    public let path: String

    /// The file at `path`, whose directory must exist.
    public init(path: String) {
        self.path = path
    }

    /// What it holds; nil when there is none.
    public func read() throws(LinuxError) -> [UInt8]? {
        let operation = "read \(path)"
        let file: FileDescriptorOwner
        do throws(LinuxError) {
            file = try SystemFile.open(
                path,
                O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
                operation: operation
            )
        } catch {
            guard error.errno == ENOENT else { throw error }
            return nil
        }
        let octets = try SystemFile.read(file, limit: Self.limit + 1, operation: operation)
        guard octets.count <= Self.limit else { throw LinuxError(operation: operation, errno: EFBIG) }
        return octets
    }

    /// Replaces what it holds; mode 0600.
    public func write(_ octets: [UInt8]) throws(LinuxError) {
        let operation = "write \(path)"
        guard octets.count <= Self.limit else { throw LinuxError(operation: operation, errno: EFBIG) }
        let temporary = path + ".new"
        let file = try SystemFile.open(
            temporary,
            O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW,
            mode: 0o600,
            operation: operation
        )
        try SystemFile.write(octets, to: file, operation: operation)
        guard fsync(file.descriptor) == 0 else { throw .last(operation) }
        guard unsafe rename(temporary, path) == 0 else { throw .last(operation) }
    }
}
