import Glibc

/// Small files of the system, read and written in one go.
enum SystemFile {
    /// Opens `path`; `mode` matters with O_CREAT only.
    static func open(
        _ path: String,
        _ flags: Int32,
        mode: mode_t = 0,
        operation: String
    ) throws(LinuxError) -> FileDescriptorOwner {
        // A NUL would silently cut the path short.
        guard !path.utf8.contains(0) else { throw LinuxError(operation: operation, errno: EINVAL) }
        while true {
            let descriptor = unsafe Glibc.open(path, flags | O_CLOEXEC, mode)
            if descriptor >= 0 { return FileDescriptorOwner(owning: descriptor) }
            if errno != EINTR { throw .last(operation) }
        }
    }

    /// What `file` holds, at most `limit` octets of it.
    static func read(
        _ file: FileDescriptorOwner,
        limit: Int,
        operation: String
    ) throws(LinuxError) -> [UInt8] {
        var failure: Int32 = 0
        let octets = unsafe [UInt8](unsafeUninitializedCapacity: max(0, limit)) { buffer, count in
            while count < limit {
                let rest = unsafe UnsafeMutableRawBufferPointer(
                    rebasing: UnsafeMutableRawBufferPointer(buffer)[count...]
                )
                let size = unsafe Glibc.read(file.descriptor, rest.baseAddress, rest.count)
                if size > 0 {
                    count += size
                } else if size == 0 {
                    return
                } else if errno != EINTR {
                    failure = errno
                    return
                }
            }
        }
        guard failure == 0 else { throw LinuxError(operation: operation, errno: failure) }
        return octets
    }

    /// Writes `octets` with one call, as files of the kernel want it.
    static func write(
        _ octets: [UInt8],
        to file: FileDescriptorOwner,
        operation: String
    ) throws(LinuxError) {
        let size = unsafe octets.withUnsafeBytes {
            unsafe Glibc.write(file.descriptor, $0.baseAddress, $0.count)
        }
        guard size >= 0 else { throw .last(operation) }
        guard size == octets.count else { throw LinuxError(operation: operation, errno: EIO) }
    }
}
