import Glibc

/// An open file descriptor that is closed when its last owner lets go.
public final class FileDescriptorOwner: Sendable {
    /// The number; valid as long as this object lives.
    public let descriptor: Int32

    /// Takes over `descriptor`, which nobody else may close.
    public init(owning descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }
}
