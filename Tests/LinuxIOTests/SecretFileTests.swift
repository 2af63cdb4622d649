import Foundation
import Glibc
import Testing

@testable import LinuxIO

/// A directory that goes with the test.
private final class Scratch {
    let path: String

    init() throws {
        path = NSTemporaryDirectory() + "causeway-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ octets: [UInt8], mode: mode_t = 0o600) throws -> String {
        let file = "\(path)/\(UUID().uuidString)"
        try Data(octets).write(to: URL(fileURLWithPath: file))
        try #require(unsafe chmod(file, mode) == 0)
        return file
    }
}

@Suite struct SecretFileTests {
    private let scratch: Scratch
    init() throws { scratch = try Scratch() }

    private func refusal(_ path: String, credentials: String? = nil) -> SecretFileError? {
        do throws(SecretFileError) {
            _ = try SecretFile.read(path, credentialsDirectory: credentials)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: [mode_t(0o600), 0o400, 0o700]) func readsPrivateFile(mode: mode_t) throws {
        let path = try scratch.file(Array("secret\n\n".utf8), mode: mode)
        #expect(try SecretFile.read(path, credentialsDirectory: nil) == Array("secret\n".utf8))
    }

    @Test(arguments: [mode_t(0o640), 0o604, 0o620, 0o601, 0o644]) func refusesOpenFile(mode: mode_t) throws {
        let path = try scratch.file([1], mode: mode)
        #expect(refusal(path) == .tooOpen(path: path, mode: UInt32(mode)))
        #expect(refusal(path)?.description.contains("mode 0\(String(mode, radix: 8))") == true)
    }

    @Test func allowsGroupToReadCredentialsOnly() throws {
        let path = try scratch.file([1, 2], mode: 0o440)
        #expect(try SecretFile.read(path, credentialsDirectory: scratch.path) == [1, 2])
        #expect(refusal(path, credentials: "/run/credentials") == .tooOpen(path: path, mode: 0o440))
        let name = path.dropFirst(scratch.path.count + 1)
        let detour = "\(scratch.path)/../\(scratch.path.split(separator: "/").last ?? "")/\(name)"
        #expect(refusal(detour, credentials: scratch.path) == .tooOpen(path: detour, mode: 0o440))
        // A neighbour whose name begins the same way.
        #expect(
            refusal(path, credentials: String(scratch.path.dropLast())) == .tooOpen(path: path, mode: 0o440)
        )
        let open = try scratch.file([1], mode: 0o444)
        #expect(refusal(open, credentials: scratch.path) == .tooOpen(path: open, mode: 0o444))
    }

    @Test(.enabled(if: NamespaceThread.isRoot, "needs root: changes the owner"))
    func refusesForeignOwner() throws {
        let path = try scratch.file([1])
        try #require(unsafe chown(path, 65_534, 65_534) == 0)
        #expect(refusal(path) == .wrongOwner(path: path, owner: 65_534))
    }

    @Test func refusesWhatIsNotARegularFile() throws {
        #expect(refusal(scratch.path) == .notRegular(path: scratch.path))
        let pipe = scratch.path + "/pipe"
        try #require(unsafe mkfifo(pipe, 0o600) == 0)
        #expect(refusal(pipe) == .notRegular(path: pipe))
        #expect(refusal("/dev/null") == .notRegular(path: "/dev/null"))
    }

    @Test func limitsTheSize() throws {
        let largest = try scratch.file([UInt8](repeating: 7, count: SecretFile.limit))
        #expect(try SecretFile.read(largest, credentialsDirectory: nil).count == SecretFile.limit)
        let path = try scratch.file([UInt8](repeating: 7, count: SecretFile.limit + 1))
        #expect(refusal(path) == .tooLarge(path: path, octets: SecretFile.limit + 1))
        for octets in [[], [10]] as [[UInt8]] {
            let path = try scratch.file(octets)
            #expect(refusal(path) == .empty(path: path))
        }
    }

    @Test func missingFileNamesThePath() {
        let path = scratch.path + "/none"
        let error = LinuxError(operation: "read secret file \(path)", errno: ENOENT)
        #expect(refusal(path) == .unreadable(error))
        #expect(error.description == "read secret file \(path): No such file or directory")
        #expect(refusal("/etc/hostname\u{0}.key")?.description.contains("Invalid argument") == true)
    }
}

@Suite struct InstanceLockTests {
    @Test func keepsASecondHolderOutUntilReleased() throws {
        let scratch = try Scratch()
        let path = scratch.path + "/run/causewayd.lock"
        do {
            let held = try InstanceLock(path: path)
            let error = #expect(throws: LinuxError.self) { try InstanceLock(path: path) }
            #expect(error?.errno == EWOULDBLOCK)
            #expect(error?.detail == "held by process \(getpid())")
            withExtendedLifetime(held) {}
        }
        // The file is still there, as after a crash.
        #expect(FileManager.default.fileExists(atPath: path))
        withExtendedLifetime(try InstanceLock(path: path)) {}
    }
}

@Suite struct SysctlTests {
    @Test(.enabled(if: NamespaceThread.isRoot, "needs root: makes network namespaces"))
    func writesOnlyWhatDiffers() throws {
        let (values, written) = try NamespaceThread.run {
            let path = "net/ipv4/conf/lo/rp_filter"
            try Sysctl.write(path, "0")
            let written = [try Sysctl.writeIfDifferent(path, "2"), try Sysctl.writeIfDifferent(path, "2")]
            return ([try Sysctl.read(path), try Sysctl.read("net.ipv4.conf.lo.rp_filter")], written)
        }
        #expect(values == ["2", "2"])
        #expect(written == [true, false])
    }

    @Test func refusesPathsThatLeaveTheTree() {
        for path in ["../../etc/passwd", "net/../../x", "/etc/passwd", "", "net//ipv4", "net..ipv4"] {
            let error = #expect(throws: LinuxError.self) { try Sysctl.read(path) }
            #expect(error?.errno == EINVAL)
        }
    }
}

@Suite struct ProcessHardeningTests {
    @Test func takesEffect() async {
        await #expect(processExitsWith: .success) {
            let failures = ProcessHardening.apply()
            var core = rlimit()
            var files = rlimit()
            _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &core)
            _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &files)
            exit(failures.isEmpty && core.rlim_max == 0 && files.rlim_cur == files.rlim_max ? 0 : 1)
        }
    }
}
