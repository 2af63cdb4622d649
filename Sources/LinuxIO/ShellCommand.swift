import CLinux
import Glibc

/// A command line of the administrator, run by `/bin/sh` with an environment of ours and nothing else of this process.
///
/// It has no descriptor but /dev/null and one pipe for its output, no signal ignored or blocked, and a process
/// group of its own, so that what it started can be ended with it.
public struct ShellCommand: Sendable {
    /// How it ended.
    public enum Outcome: Equatable, Sendable {
        /// By itself, with this status.
        case exited(Int32)
        /// By this signal.
        case signalled(Int32)
        /// By us: it took too long.
        case timedOut
    }

    /// The most octets of an output line that are told; the rest of it is left out.
    public static let lineOctets = 256
    /// The most output lines that are told.
    public static let lineLimit = 64

    private let arguments: [String]
    private let environment: [String]

    /// Makes the command; nothing of `environment` is expanded or split by anyone.
    ///
    /// A value with a zero octet would end there: such a pair is left out.
    public init(_ command: String, environment: [(name: String, value: String)]) {
        arguments = ["/bin/sh", "-c", command]
        self.environment =
            environment
            .filter { !$0.name.utf8.contains(0) && !$0.value.utf8.contains(0) && !$0.name.contains("=") }
            .map { "\($0.name)=\($0.value)" }
    }

    /// Runs it to its end and hands every line of its output on as it comes; blocks this thread meanwhile.
    ///
    /// After `timeout` its process group is killed. What it left running with our pipe open does not count.
    public func run(timeout: Duration, line: @escaping (String) -> Void) throws(LinuxError) -> Outcome {
        var pipe: Int32 = -1
        let result = unsafe CStrings(arguments).withPointers { arguments in
            unsafe CStrings(environment).withPointers { environment in
                unsafe clinux_shell_spawn(arguments, environment, &pipe)
            }
        }
        let child = try LinuxError.check(result, "run /bin/sh")
        let reading = FileDescriptorOwner(owning: pipe)
        var output = OutputLines(emit: line)
        let status = Self.follow(
            child,
            reading.descriptor,
            until: ContinuousClock.now + timeout,
            output: &output
        )
        output.finish()
        guard let status else { return .timedOut }
        // <sys/wait.h>: the low seven bits are the signal, the next octet the exit status.
        let signal = status & 0x7f
        return signal == 0 ? .exited(status >> 8 & 0xff) : .signalled(signal)
    }

    /// The wait status of `child`, or nil when it had to be killed.
    private static func follow(
        _ child: pid_t,
        _ pipe: Int32,
        until deadline: ContinuousClock.Instant,
        output: inout OutputLines
    ) -> Int32? {
        var status: Int32 = 0
        var isOpen = true
        while ContinuousClock.now < deadline {
            if isOpen {
                var entry = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
                _ = unsafe poll(&entry, 1, 50)
                isOpen = drain(pipe, &output)
            } else {
                // It closed its output, and may go on for a while.
                usleep(2_000)
            }
            let waited = unsafe waitpid(child, &status, WNOHANG)
            if waited == child {
                if isOpen { _ = drain(pipe, &output) }
                return status
            }
            // Nobody else waits for our children: then there is none.
            if waited < 0, errno != EINTR { return 0 }
        }
        _ = kill(-child, SIGKILL)
        while unsafe waitpid(child, &status, 0) < 0, errno == EINTR {}
        _ = drain(pipe, &output)
        return nil
    }

    /// Takes what is in the pipe; false at its end.
    private static func drain(_ pipe: Int32, _ output: inout OutputLines) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 4096)
        // Bounded: who writes without end must not keep us from looking at the clock.
        for _ in 0..<64 {
            let count = unsafe buffer.withUnsafeMutableBytes { unsafe read(pipe, $0.baseAddress, $0.count) }
            if count == 0 { return false }
            if count < 0 { return errno == EAGAIN || errno == EINTR }
            output.take(buffer.prefix(count))
        }
        return true
    }
}

/// Cuts output into lines within the bounds of `ShellCommand`.
private struct OutputLines {
    private let emit: (String) -> Void
    private var line: [UInt8] = []
    private var told = 0
    private var untold = 0

    init(emit: @escaping (String) -> Void) {
        self.emit = emit
    }

    mutating func take(_ octets: ArraySlice<UInt8>) {
        for octet in octets {
            if octet == UInt8(ascii: "\n") {
                flush()
            } else if line.count < ShellCommand.lineOctets {
                line.append(octet)
            }
        }
    }

    mutating func finish() {
        if !line.isEmpty { flush() }
        if untold > 0 { emit("(\(untold) more lines)") }
    }

    private mutating func flush() {
        if told < ShellCommand.lineLimit {
            told += 1
            emit(String(decoding: line, as: UTF8.self))
        } else {
            untold += 1
        }
        line.removeAll(keepingCapacity: true)
    }
}

/// Texts as C has them, for the length of a call.
@safe
private final class CStrings {
    private var copies: [UnsafePointer<CChar>?]

    init(_ texts: [String]) {
        unsafe copies = unsafe texts.map { text in unsafe UnsafePointer(strdup(text)) }
        unsafe copies.append(UnsafePointer<CChar>?.none)
    }

    deinit {
        unsafe copies.forEach { unsafe free(UnsafeMutablePointer(mutating: $0)) }
    }

    func withPointers<Result>(_ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> Result) -> Result {
        unsafe copies.withUnsafeBufferPointer { buffer in unsafe body(buffer.baseAddress) }
    }
}
