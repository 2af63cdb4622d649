import Glibc

/// Why a file is not accepted as the home of a secret; never holds an octet of it.
public enum SecretFileError: Error, Hashable, Sendable, CustomStringConvertible {
    /// It cannot be opened or read.
    case unreadable(LinuxError)
    /// It is a directory, device, pipe or socket.
    case notRegular(path: String)
    /// Somebody else than root or our user owns it.
    case wrongOwner(path: String, owner: UInt32)
    /// Its group or others have a permission on it.
    case tooOpen(path: String, mode: UInt32)
    /// It holds more than the limit.
    case tooLarge(path: String, octets: Int)
    /// It holds nothing but perhaps a line break.
    case empty(path: String)

    /// One line that says which rule failed.
    public var description: String {
        switch self {
        case .unreadable(let error): error.description
        case .notRegular(let path): "secret file \(path): not a regular file"
        case .wrongOwner(let path, let owner):
            "secret file \(path): owned by uid \(owner), must be root or the daemon's own user"
        case .tooOpen(let path, let mode):
            "secret file \(path): mode 0\(String(mode, radix: 8)) lets others in, must be 0600 or 0400"
        case .tooLarge(let path, let octets):
            "secret file \(path): \(octets) octets, the limit is \(SecretFile.limit)"
        case .empty(let path): "secret file \(path): is empty"
        }
    }
}

/// Reads pre-shared keys, passwords and private keys from files that nobody else can read.
public enum SecretFile {
    /// The largest file that is accepted, in octets.
    public static let limit = 65_536

    /// What `path` holds, without one line break at its end.
    ///
    /// A file below `credentialsDirectory` may be readable by its group: systemd itself made it, with 0440.
    public static func read(
        _ path: String,
        credentialsDirectory: String? = SystemdNotifier.environment("CREDENTIALS_DIRECTORY")
    ) throws(SecretFileError) -> [UInt8] {
        let operation = "read secret file \(path)"
        let file: FileDescriptorOwner
        var status = stat()
        do throws(LinuxError) {
            // Without O_NONBLOCK the open of a named pipe would wait for a writer.
            file = try SystemFile.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY, operation: operation)
            guard unsafe fstat(file.descriptor, &status) == 0 else { throw LinuxError.last(operation) }
        } catch {
            throw .unreadable(error)
        }
        if let refusal = refusal(status, path, isCredential: isInside(credentialsDirectory, path)) {
            throw refusal
        }
        var octets: [UInt8]
        do throws(LinuxError) {
            octets = try SystemFile.read(file, limit: limit + 1, operation: operation)
        } catch {
            throw .unreadable(error)
        }
        guard octets.count <= limit else { throw .tooLarge(path: path, octets: octets.count) }
        if octets.last == UInt8(ascii: "\n") { octets.removeLast() }
        guard !octets.isEmpty else { throw .empty(path: path) }
        return octets
    }

    private static func refusal(_ status: stat, _ path: String, isCredential: Bool) -> SecretFileError? {
        guard status.st_mode & S_IFMT == S_IFREG else { return .notRegular(path: path) }
        guard status.st_uid == 0 || status.st_uid == geteuid() else {
            return .wrongOwner(path: path, owner: status.st_uid)
        }
        let forbidden: mode_t = isCredential ? 0o037 : 0o077
        guard status.st_mode & forbidden == 0 else {
            return .tooOpen(path: path, mode: status.st_mode & 0o7777)
        }
        guard status.st_size <= limit else { return .tooLarge(path: path, octets: status.st_size) }
        return nil
    }

    private static func isInside(_ directory: String?, _ path: String) -> Bool {
        guard let directory, directory.hasPrefix("/"), !path.split(separator: "/").contains("..") else {
            return false
        }
        return path.hasPrefix(directory.hasSuffix("/") ? directory : directory + "/")
    }
}
