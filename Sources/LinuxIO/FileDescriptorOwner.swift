import Glibc

/// An open file descriptor that is closed when its last owner lets go.
public final class FileDescriptorOwner: Sendable {
    /// The number; valid as long as this object lives.
    public let descriptor: Int32

    /// Takes over `descriptor`, which nobody else may close.
    public init(owning descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// Writes all of `octets`, waiting for whoever reads a pipe; false if nobody does or there is no room left.
    public func writeAll(_ octets: [UInt8]) -> Bool {
        unsafe octets.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count {
                let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[done...])
                let count = unsafe write(descriptor, rest.baseAddress, rest.count)
                if count > 0 {
                    done += count
                } else if count < 0, errno == EAGAIN {
                    var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    guard unsafe poll(&entry, 1, 1000) >= 0 || errno == EINTR else { return false }
                } else if count == 0 || errno != EINTR {
                    return false
                }
            }
            return true
        }
    }

    deinit {
        close(descriptor)
    }
}
