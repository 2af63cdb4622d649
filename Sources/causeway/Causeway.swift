import ArgumentParser

/// The version of the command; the daemon has its own.
let commandVersion = "0.1.0"

/// Accepts `--uri` in front of the subcommand too, where `ip` and `git` users look for it.
@main
enum Entry {
    static func main() {
        var arguments = Array(CommandLine.arguments.dropFirst())
        if arguments.first == "--uri", arguments.count > 2 {
            let option = Array(arguments.prefix(2))
            arguments.removeFirst(2)
            // `check` asks no daemon.
            if arguments.first != "check" { arguments.insert(contentsOf: option, at: 1) }
        }
        Causeway.main(arguments)
    }
}

struct Causeway: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "causeway",
        abstract: "Shows and controls a Causeway gateway.",
        discussion: """
            Exit codes: 0 done, or interrupted while it followed events; 1 refused or failed, the reason is on \
            standard error; 2 the daemon cannot be reached, or went away; 64 wrong usage.
            """,
        version: commandVersion,
        subcommands: [
            Status.self, Explain.self, Up.self, Down.self, Rekey.self, Log.self, Monitor.self, Capture.self,
            Check.self, Reload.self, Version.self,
        ]
    )
}

/// The options that all commands have which talk to the daemon.
struct DaemonOptions: ParsableArguments {
    @Option(help: "The vici socket of the daemon: unix://PATH.")
    var uri = "unix:///run/causeway/vici.sock"

    mutating func validate() throws {
        _ = try path()
    }

    /// Connects, runs `body`, and turns its errors into messages and exit codes.
    func withDaemon(_ body: (UnixViciClient) throws -> Void) throws {
        do {
            try body(UnixViciClient(path: try path()))
        } catch let error as ViciClientError {
            printError(error.description)
            throw ExitCode(error.exitCode)
        }
    }

    private func path() throws -> String {
        if uri.hasPrefix("/") { return uri }
        let scheme = "unix://"
        guard uri.hasPrefix(scheme), uri.dropFirst(scheme.count).hasPrefix("/") else {
            throw ValidationError("'\(uri)' is no unix:// address with an absolute path.")
        }
        return String(uri.dropFirst(scheme.count))
    }
}
