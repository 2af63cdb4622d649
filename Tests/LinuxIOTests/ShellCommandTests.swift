import Glibc
import LinuxIO
import Testing

@Suite struct ShellCommandTests {
    private static func run(
        _ command: String,
        _ environment: [(name: String, value: String)] = [("PATH", "/usr/bin:/bin")],
        timeout: Duration = .seconds(20)
    ) throws -> (outcome: ShellCommand.Outcome, lines: [String]) {
        var lines: [String] = []
        let outcome = try ShellCommand(command, environment: environment).run(timeout: timeout) {
            lines.append($0)
        }
        return (outcome, lines)
    }

    @Test func tellsOutputOfBothStreamsAndTheStatus() throws {
        let (outcome, lines) = try Self.run("echo one; echo two >&2; printf three; exit 7")
        #expect(outcome == .exited(7))
        #expect(lines == ["one", "two", "three"])
    }

    @Test func tellsASignal() throws {
        #expect(try Self.run("kill -TERM $$").outcome == .signalled(SIGTERM))
    }

    @Test func givesTheChildItsEnvironmentAndNothingElse() throws {
        let value = "a'; touch /nonexistent/x; $(id) `id` \"b\\"
        let (_, lines) = try Self.run(
            "/usr/bin/env; printf '%s\\n' \"$PEER\"",
            [("PEER", value), ("B", "2")]
        )
        #expect(lines.contains("PEER=\(value)"))
        #expect(lines.contains("B=2"))
        #expect(lines.last == value)
        // The shell itself adds PWD and the like, but nothing of this process comes through.
        #expect(!lines.contains { $0.hasPrefix("HOME=") || $0.hasPrefix("USER=") || $0.hasPrefix("PATH=") })
    }

    @Test func leavesOutWhatNoEnvironmentCanHold() throws {
        let (_, lines) = try Self.run("/usr/bin/env", [("A", "x\0y"), ("B=C", "1"), ("D", "2")])
        #expect(lines.contains("D=2"))
        #expect(!lines.contains { $0.hasPrefix("A=") || $0.hasPrefix("B=") })
    }

    @Test func inheritsNoDescriptor() throws {
        let file = unsafe open("/dev/null", O_RDONLY)
        defer { close(file) }
        #expect(file > 2)
        // `ls` itself has the directory open.
        let (_, lines) = try Self.run("ls /proc/self/fd | wc -l")
        #expect(lines == ["4"])
    }

    @Test func resetsSignalsThatThisProcessIgnores() throws {
        let before = signal(SIGPIPE, SIG_IGN)
        defer { _ = signal(SIGPIPE, before) }
        let (_, lines) = try Self.run("grep SigIgn /proc/self/status")
        let digits = try #require(lines.first?.split(separator: "\t").last)
        // 32 and 33 are the C library's own.
        #expect(try #require(UInt64(digits, radix: 16)) & 0x7fff_ffff == 0)
    }

    @Test func killsWhatTakesTooLongWithAllThatItStarted() throws {
        let started = ContinuousClock.now
        let (outcome, lines) = try Self.run("sleep 60 & echo $!; wait", timeout: .milliseconds(300))
        #expect(outcome == .timedOut)
        #expect(ContinuousClock.now - started < .seconds(10))
        let child = try #require(lines.first.flatMap { Int32($0) })
        // It may still be a zombie until init has taken it.
        var attempts = 0
        while kill(child, 0) == 0, Self.state(child) != "Z", attempts < 100 {
            usleep(20_000)
            attempts += 1
        }
        #expect(attempts < 100)
    }

    @Test func doesNotWaitForWhatWasLeftInTheBackground() throws {
        let started = ContinuousClock.now
        let (outcome, _) = try Self.run("sleep 5 & exit 0")
        #expect(outcome == .exited(0))
        #expect(ContinuousClock.now - started < .seconds(4))
    }

    @Test func doesNotGiveUpOnOneThatClosedItsOutput() throws {
        #expect(try Self.run("exec >&- 2>&-; sleep 0.2; exit 3").outcome == .exited(3))
    }

    @Test func boundsTheOutput() throws {
        let (outcome, lines) = try Self.run("head -c 1000 /dev/zero | tr '\\0' x; echo; seq 5000")
        #expect(outcome == .exited(0))
        #expect(lines.count == ShellCommand.lineLimit + 1)
        #expect(lines[0] == String(repeating: "x", count: ShellCommand.lineOctets))
        #expect(lines.last == "(\(5001 - ShellCommand.lineLimit) more lines)")
        let endless = try Self.run("yes", timeout: .milliseconds(300))
        #expect(endless.outcome == .timedOut)
        #expect(endless.lines.count == ShellCommand.lineLimit + 1)
    }

    private static func state(_ process: Int32) -> String? {
        let text = try? TextFile.read("/proc/\(process)/stat")
        return text?.split(separator: ")").last?.split(separator: " ").first.map(String.init)
    }
}
