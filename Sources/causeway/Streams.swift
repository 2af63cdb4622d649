import ArgumentParser
import Dispatch
import LinuxIO
import Vici

struct Log: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Follows the daemon's log until it is interrupted.",
        discussion: "Each line has the time at which it was heard, the part of the daemon, and what happened."
    )

    @OptionGroup var daemon: DaemonOptions
    @OptionGroup var form: StreamForm

    @Option(help: "The most detail: 0 what an operator must see, 1 changes of state, 2 to 4 more and more.")
    var level = 1

    @Argument(help: "Show lines about this connection only.")
    var connection: String?

    func validate() throws {
        guard (0...4).contains(level) else { throw ValidationError("The level is a number from 0 to 4.") }
    }

    func run() throws {
        try form.follow(["log"], daemon) { _, message in
            let record = LogRecord(message)
            guard record.isWanted(level: level, connection: connection) else { return nil }
            return StreamForm.Line(text: record.line, json: record.json)
        }
    }
}

struct Monitor: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Follows what happens to SAs until it is interrupted: up, down, rekeyed, moved, alerts."
    )

    @OptionGroup var daemon: DaemonOptions
    @OptionGroup var form: StreamForm

    @Argument(help: "Show events of this connection only.")
    var connection: String?

    func run() throws {
        try form.follow(SAEvent.names, daemon) { name, message in
            let event = SAEvent(name: name, message: message)
            guard connection == nil || connection == event.connection else { return nil }
            return StreamForm.Line(text: event.text, json: event.json)
        }
    }
}

/// How a command that follows events tells them.
struct StreamForm: ParsableArguments {
    /// One event in both forms; the second is told when it was heard.
    struct Line {
        let text: String
        let json: (_ time: String) -> String
    }

    @Flag(help: "Print one JSON object a line.")
    var json = false

    /// Prints what `render` makes of each event until a signal comes, nobody reads on, or the daemon goes.
    func follow(
        _ events: [String],
        _ daemon: DaemonOptions,
        _ render: (String, ViciMessage) -> Line?
    ) throws {
        let signals = try Self.endOnSignals()
        defer { withExtendedLifetime(signals) {} }
        try daemon.withDaemon { client in
            try client.listen(
                events,
                isMissing: {
                    printError("the daemon does not offer the event \($0): what it tells is not seen")
                }
            ) { name, message in
                guard let line = render(name, message) else { return true }
                let time = Timestamp()
                print(json ? line.json(time.universal) : "\(time.timeOfDay) \(line.text)")
                return flushOutput()
            }
        }
    }

    /// A line that is being printed is finished: the end waits for the lock of standard output.
    private static func endOnSignals() throws -> SignalSources {
        try SignalSources(queue: DispatchQueue(label: "causeway.signals")) { _ in
            flushOutput()
            Process.exit(0)
        }
    }
}
