import ArgumentParser
import Vici

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows the versions of this command and of the daemon."
    )

    @OptionGroup var daemon: DaemonOptions

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        // Said also where no daemon answers.
        if !json { print("causeway \(commandVersion)") }
        try daemon.withDaemon { client in
            let answer = try client.request("version")
            if json {
                print(
                    ViciJSON.object([("causeway", ViciJSON.quoted(commandVersion)), ("daemon", answer.json)])
                )
            } else {
                let keys = ["daemon", "version", "sysname", "release", "machine"]
                print(StatusReport.printable(keys.compactMap { answer.string($0) }.joined(separator: " ")))
            }
        }
    }
}
