import ArgumentParser
import Vici

struct Status: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows the connections, their tunnels and what was dropped."
    )

    @OptionGroup var daemon: DaemonOptions

    @Flag(help: "Print one JSON object with all that the daemon says.")
    var json = false

    @Argument(help: "Show this connection only.")
    var name: String?

    func run() throws {
        try daemon.withDaemon { client in
            let version = try client.request("version")
            let stats = try client.request("stats")
            var connections: [ViciMessage] = []
            var sas: [ViciMessage] = []
            _ = try client.request("list-conns", filter("ike"), event: "list-conn") { connections.append($0) }
            var arguments = filter("ike")
            // Without it strongSwan waits for every IKE_SA that is busy.
            arguments.set("noblock", flag: true)
            _ = try client.request("list-sas", arguments, event: "list-sa") { sas.append($0) }
            let status = GatewayStatus(
                version: version,
                stats: stats,
                connections: connections,
                sas: sas,
                name: name
            )
            if let name, status.connections.isEmpty {
                throw ViciClientError.refused("there is no connection '\(name)'")
            }
            print(json ? status.json + "\n" : StatusReport.text(status), terminator: "")
        }
    }

    private func filter(_ key: String) -> ViciMessage {
        ViciMessage { if let name { $0.set(key, name) } }
    }
}
