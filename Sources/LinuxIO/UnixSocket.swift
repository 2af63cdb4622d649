import CLinux
import Glibc

/// A system call on a unix socket that failed.
public struct UnixSocketError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The name of the call.
    public let call: String
    /// The value of `errno`.
    public let code: Int32
    /// The path of the socket, where the call has one.
    public let path: String?

    /// Makes an error of `call`.
    public init(_ call: String, code: Int32, path: String? = nil) {
        self.call = call
        self.code = code
        self.path = path
    }

    /// One line for logs and users.
    public var description: String {
        let reason: String
        if let text = unsafe strerror(code) {
            reason = unsafe String(cString: text)
        } else {
            reason = "error \(code)"
        }
        guard let path else { return "\(call): \(reason)" }
        return "\(call) \(path): \(reason)"
    }
}

/// Who is at the other end of a unix socket, as the kernel saw it when the connection was made.
public struct UnixPeerCredentials: Hashable, Sendable {
    /// The process.
    public let processID: Int32
    /// The effective user.
    public let userID: UInt32
    /// The effective group.
    public let groupID: UInt32
    /// The other groups of the process.
    public let supplementaryGroups: [UInt32]

    /// The effective user of this process.
    public static var ownUserID: UInt32 { geteuid() }

    /// True if `group` is the effective group or one of the others.
    public func isMember(of group: UInt32) -> Bool {
        groupID == group || supplementaryGroups.contains(group)
    }
}

/// A connected stream socket; it is closed when the last reference goes.
///
/// Safe to share: the descriptor never changes, and the kernel orders calls on it.
public final class UnixStream: Sendable {
    /// What a read found.
    public enum ReadResult: Equatable, Sendable {
        /// One octet or more.
        case octets([UInt8])
        /// Nothing now.
        case wouldBlock
        /// The other end will send no more.
        case endOfStream
    }

    /// What `wait` waits for.
    public enum Readiness: Sendable {
        /// Octets, or the end of the stream.
        case read
        /// Room for octets.
        case write
    }

    /// The descriptor, for event sources; it stays open as long as this object lives.
    public let fileDescriptor: Int32

    /// Takes over a connected descriptor and makes it nonblocking.
    fileprivate init(adopting fileDescriptor: Int32) throws(UnixSocketError) {
        self.fileDescriptor = fileDescriptor
        try prepare(fileDescriptor)
    }

    deinit { _ = close(fileDescriptor) }

    /// Connects to the listener at `path`.
    public static func connect(path: String) throws(UnixSocketError) -> UnixStream {
        let descriptor = try makeSocket()
        let result = unsafe try withAddress(path) { address, length in
            retrying { unsafe Glibc.connect(descriptor, address, length) }
        }
        guard result == 0 else {
            let code = errno
            _ = close(descriptor)
            throw UnixSocketError("connect", code: code, path: path)
        }
        return try UnixStream(adopting: descriptor)
    }

    /// Reads at most `count` octets without waiting.
    public func read(upTo count: Int) throws(UnixSocketError) -> ReadResult {
        guard count > 0 else { return .wouldBlock }
        var received = 0
        let octets = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            received = retrying { unsafe recv(fileDescriptor, buffer.baseAddress, count, 0) }
            initialized = max(0, received)
        }
        if received > 0 { return .octets(octets) }
        if received == 0 { return .endOfStream }
        let code = errno
        if code == EAGAIN || code == EWOULDBLOCK { return .wouldBlock }
        throw UnixSocketError("recv", code: code)
    }

    /// As `read`, with the descriptor that the other end passed along, if it did (SCM_RIGHTS).
    public func readWithDescriptor(upTo count: Int) throws(UnixSocketError) -> (
        result: ReadResult, passed: FileDescriptorOwner?
    ) {
        guard count > 0 else { return (.wouldBlock, nil) }
        var received = 0
        var passed: Int32 = -1
        let octets = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            repeat {
                received = unsafe clinux_unix_receive(fileDescriptor, buffer.baseAddress, count, &passed)
            } while received == -Int(EINTR)
            initialized = max(0, received)
        }
        let owner = passed < 0 ? nil : FileDescriptorOwner(owning: passed)
        if received > 0 { return (.octets(octets), owner) }
        if received == 0 { return (.endOfStream, owner) }
        let code = Int32(truncatingIfNeeded: -received)
        if code == EAGAIN || code == EWOULDBLOCK { return (.wouldBlock, owner) }
        throw UnixSocketError("recvmsg", code: code)
    }

    /// Writes as `write` does, and passes a descriptor to the other end with the first octet (SCM_RIGHTS).
    public func write(_ octets: [UInt8], passing descriptor: Int32) throws(UnixSocketError) -> Int {
        guard !octets.isEmpty else { return 0 }
        var sent = 0
        unsafe octets.withUnsafeBytes { buffer in
            repeat {
                sent = unsafe clinux_unix_send_descriptor(
                    fileDescriptor,
                    buffer.baseAddress,
                    buffer.count,
                    descriptor
                )
            } while sent == -Int(EINTR)
        }
        if sent >= 0 { return sent }
        let code = Int32(truncatingIfNeeded: -sent)
        if code == EAGAIN || code == EWOULDBLOCK { return 0 }
        throw UnixSocketError("sendmsg", code: code)
    }

    /// Writes what the socket takes now of `octets` and returns how many; 0 when it takes none.
    public func write(_ octets: [UInt8]) throws(UnixSocketError) -> Int {
        guard !octets.isEmpty else { return 0 }
        let sent = unsafe octets.withUnsafeBytes { buffer in
            retrying {
                unsafe send(fileDescriptor, buffer.baseAddress, buffer.count, Int32(MSG_NOSIGNAL))
            }
        }
        if sent >= 0 { return sent }
        let code = errno
        if code == EAGAIN || code == EWOULDBLOCK { return 0 }
        throw UnixSocketError("send", code: code)
    }

    /// Waits until the socket is ready or `milliseconds` have passed; false if it is not ready then.
    public func wait(for readiness: Readiness, milliseconds: Int32) throws(UnixSocketError) -> Bool {
        let events =
            switch readiness {
            case .read: Int16(POLLIN)
            case .write: Int16(POLLOUT)
            }
        var entry = pollfd(fd: fileDescriptor, events: events, revents: 0)
        let count = unsafe poll(&entry, 1, milliseconds)
        if count >= 0 { return count > 0 }
        if errno == EINTR { return false }
        throw UnixSocketError("poll", code: errno)
    }

    /// True once the other end has closed, or will send no more.
    public var isHungUp: Bool {
        // POLLRDHUP of <bits/poll.h>, which the C library's module does not export.
        let remoteHangUp: Int16 = 0x2000
        var entry = pollfd(fd: fileDescriptor, events: remoteHangUp, revents: 0)
        guard unsafe poll(&entry, 1, 0) > 0 else { return false }
        return entry.revents & (remoteHangUp | Int16(POLLHUP) | Int16(POLLERR)) != 0
    }

    /// The process at the other end.
    public func peerCredentials() throws(UnixSocketError) -> UnixPeerCredentials {
        // struct ucred: pid, uid, gid, each of 32 bits.
        var fields: [UInt32] = [0, 0, 0]
        guard try option(SO_PEERCRED, into: &fields) == 3 else {
            throw UnixSocketError("getsockopt", code: EINVAL)
        }
        // More groups than fit here are not needed by anyone who is let in.
        var groups = [UInt32](repeating: 0, count: 1024)
        let count = (try? option(UnixStream.peerGroups, into: &groups)) ?? 0
        return UnixPeerCredentials(
            processID: Int32(bitPattern: fields[0]),
            userID: fields[1],
            groupID: fields[2],
            supplementaryGroups: Array(groups.prefix(count))
        )
    }

    /// SO_PEERGROUPS of <asm-generic/socket.h>, which the C library's module does not export.
    private static let peerGroups: Int32 = 59

    /// Fills `words` from an option of the socket and returns how many were filled.
    private func option(_ name: Int32, into words: inout [UInt32]) throws(UnixSocketError) -> Int {
        var length = socklen_t(words.count * MemoryLayout<UInt32>.size)
        let result = unsafe words.withUnsafeMutableBytes { buffer in
            unsafe getsockopt(fileDescriptor, SOL_SOCKET, name, buffer.baseAddress, &length)
        }
        guard result == 0 else { throw UnixSocketError("getsockopt", code: errno) }
        return min(words.count, Int(length) / MemoryLayout<UInt32>.size)
    }
}

/// A listening stream socket at a path; both go when the last reference goes.
public final class UnixListener: Sendable {
    /// Where it listens.
    public let path: String
    /// The descriptor, for event sources; it stays open as long as this object lives.
    public let fileDescriptor: Int32
    private let identity: FileIdentity?

    /// Listens at `path` with mode 0660; a socket there that nobody serves is replaced.
    ///
    /// With `group`, the socket belongs to it, so that its members can connect.
    public init(path: String, backlog: Int32 = 16, group: UInt32? = nil) throws(UnixSocketError) {
        try UnixListener.removeStale(path)
        let descriptor = try makeSocket()
        do throws(UnixSocketError) {
            try prepare(descriptor)
            // On Linux the file gets the mode of the socket, less the umask: it is never wider than this.
            guard fchmod(descriptor, 0o660) == 0 else { throw UnixSocketError("fchmod", code: errno) }
            let bound = unsafe try withAddress(path) { address, length in
                unsafe bind(descriptor, address, length)
            }
            guard bound == 0 else { throw UnixSocketError("bind", code: errno, path: path) }
            if let group, unsafe chown(path, uid_t.max, group) != 0 {
                throw UnixSocketError("chown", code: errno, path: path)
            }
            guard unsafe chmod(path, 0o660) == 0 else {
                throw UnixSocketError("chmod", code: errno, path: path)
            }
            guard listen(descriptor, backlog) == 0 else {
                throw UnixSocketError("listen", code: errno, path: path)
            }
        } catch {
            _ = close(descriptor)
            throw error
        }
        self.path = path
        fileDescriptor = descriptor
        identity = FileIdentity(path: path)
    }

    deinit {
        removePath()
        _ = close(fileDescriptor)
    }

    /// The next connection, or nil if none waits.
    public func accept() throws(UnixSocketError) -> UnixStream? {
        let descriptor = retrying { Glibc.accept(fileDescriptor, nil, nil) }
        if descriptor >= 0 { return try UnixStream(adopting: descriptor) }
        let code = errno
        // ECONNABORTED: the other end gave up while it waited.
        if code == EAGAIN || code == EWOULDBLOCK || code == ECONNABORTED { return nil }
        throw UnixSocketError("accept", code: code, path: path)
    }

    /// Removes the path if it is still this socket, and not that of a later process.
    public func removePath() {
        guard let identity, FileIdentity(path: path) == identity else { return }
        _ = unsafe unlink(path)
    }

    private static func removeStale(_ path: String) throws(UnixSocketError) {
        guard let found = FileIdentity(path: path) else { return }
        guard found.isSocket else { throw UnixSocketError("bind", code: EEXIST, path: path) }
        do throws(UnixSocketError) {
            _ = try UnixStream.connect(path: path)
        } catch {
            guard error.code == ECONNREFUSED else { throw error }
            _ = unsafe unlink(path)
            return
        }
        throw UnixSocketError("bind", code: EADDRINUSE, path: path)
    }
}

/// What tells one file from another that later has its path.
private struct FileIdentity: Equatable, Sendable {
    let device: UInt64
    let inode: UInt64
    let isSocket: Bool

    init?(path: String) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { return nil }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        isSocket = status.st_mode & S_IFMT == S_IFSOCK
    }
}

private func makeSocket() throws(UnixSocketError) -> Int32 {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw UnixSocketError("socket", code: errno) }
    return descriptor
}

/// Makes a descriptor nonblocking and keeps it from programs that this process starts.
private func prepare(_ descriptor: Int32) throws(UnixSocketError) {
    let flags = fcntl(descriptor, F_GETFL)
    guard flags >= 0, fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0,
        fcntl(descriptor, F_SETFD, FD_CLOEXEC) == 0
    else { throw UnixSocketError("fcntl", code: errno) }
}

/// Calls `body` with the address of `path`; a path that does not fit is an error.
private func withAddress(
    _ path: String,
    _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
) throws(UnixSocketError) -> Int32 {
    var address = sockaddr_un()
    let octets = Array(path.utf8)
    guard !octets.isEmpty, !octets.contains(0), octets.count < MemoryLayout.size(ofValue: address.sun_path)
    else { throw UnixSocketError("path", code: ENAMETOOLONG, path: path) }
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: octets) }
    return unsafe withUnsafePointer(to: &address) { pointer in
        unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
    }
}

/// Calls again while a signal interrupts.
private func retrying<Result: SignedInteger>(_ call: () -> Result) -> Result {
    while true {
        let result = call()
        if result >= 0 || errno != EINTR { return result }
    }
}
