import Glibc

/// The claim to be the only daemon of an instance name on this machine; released with the process.
///
/// The file stays behind: only its lock counts, so one left by a crash is no obstacle.
public final class InstanceLock: Sendable {
    private let file: FileDescriptorOwner

    /// Takes the lock on `path`, whose directory is created if need be.
    ///
    /// Fails with EWOULDBLOCK while another process holds it, and names that one.
    public init(path: String) throws(LinuxError) {
        let operation = "lock \(path)"
        if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
            // An existing directory is the usual case; any other failure shows in the open that follows.
            _ = unsafe mkdir(String(path[..<slash]), 0o755)
        }
        let flags = O_RDWR | O_CREAT | O_NOFOLLOW
        file = try SystemFile.open(path, flags, mode: 0o600, operation: operation)
        guard flock(file.descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            let holder = try SystemFile.read(file, limit: 20, operation: operation)
            let digits = holder.prefix { (48...57).contains($0) }
            throw LinuxError(
                operation: operation,
                errno: code,
                detail: "held by process \(String(decoding: digits, as: UTF8.self))"
            )
        }
        guard ftruncate(file.descriptor, 0) == 0 else { throw .last(operation) }
        try SystemFile.write(Array("\(getpid())\n".utf8), to: file, operation: operation)
    }
}
