import ArgumentParser
import Vici

struct Up: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Brings up a connection with all of its tunnels, or one tunnel."
    )

    @OptionGroup var daemon: DaemonOptions
    @OptionGroup var target: Target
    @OptionGroup var form: OutputForm

    func run() throws {
        try daemon.withDaemon { client in
            try form.report("up") { log in
                let tunnels =
                    try target.tunnel.map { [$0] } ?? tunnels(of: target.connection, client)
                for tunnel in tunnels { try target.carryOut("initiate", tunnel: tunnel, client, log) }
                if tunnels.isEmpty { try target.carryOut("initiate", tunnel: nil, client, log) }
            }
        }
    }

    private func tunnels(of connection: String, _ client: UnixViciClient) throws -> [String] {
        var configurations: [ViciMessage] = []
        let filter = ViciMessage { $0.set("ike", connection) }
        _ = try client.request("list-conns", filter, event: "list-conn") { configurations.append($0) }
        let found = configurations.lazy.compactMap { $0.section(connection) }.first
        return found?.section("children")?.sections.map(\.name) ?? []
    }
}

struct Down: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Takes down a connection with all of its tunnels, or one tunnel."
    )

    @OptionGroup var daemon: DaemonOptions
    @OptionGroup var target: Target
    @OptionGroup var form: OutputForm

    func run() throws {
        try daemon.withDaemon { client in
            try form.report("down") { log in
                try target.carryOut("terminate", tunnel: target.tunnel, client, log)
            }
        }
    }
}

struct Rekey: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Replaces the keys of a tunnel, or of a connection's IKE_SA, by new ones now."
    )

    @OptionGroup var daemon: DaemonOptions
    @OptionGroup var target: Target
    @OptionGroup var form: OutputForm

    @Flag(help: "Make a new IKE_SA with a new proof of identity, and delete the old one after that.")
    var reauth = false

    func validate() throws {
        guard !reauth || target.tunnel == nil else {
            throw ValidationError("--reauth is about a connection's IKE_SA, not about a tunnel.")
        }
    }

    func run() throws {
        try daemon.withDaemon { client in
            try form.report("rekey") { log in
                try target.carryOut("rekey", tunnel: target.tunnel, reauth: reauth, client, log)
            }
        }
    }
}

struct Reload: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes the daemon read its configuration again and apply what changed."
    )

    @OptionGroup var daemon: DaemonOptions
    @OptionGroup var form: OutputForm

    func run() throws {
        try daemon.withDaemon { client in
            try form.report("reload") { _ in try client.carryOut("reload-settings", patience: .seconds(60)) }
        }
    }
}

/// What `up` and `down` act on.
struct Target: ParsableArguments {
    @Option(help: "Seconds to wait for the peer.")
    var timeout: UInt16 = 30

    @Argument(help: "The connection.")
    var connection: String

    @Argument(help: "The tunnel; without it all tunnels of the connection.")
    var tunnel: String?

    /// Runs `command` and hands the daemon's log of it over line by line.
    func carryOut(
        _ command: String,
        tunnel: String?,
        reauth: Bool = false,
        _ client: UnixViciClient,
        _ log: (String) -> Void
    ) throws {
        let message = ViciMessage {
            if let tunnel { $0.set("child", tunnel) }
            $0.set("ike", connection)
            if reauth { $0.set("reauth", flag: true) }
            $0.set("timeout", UInt32(timeout) * 1000)
            $0.set("loglevel", 1)
        }
        let patience: Duration = .seconds(Int(timeout) + 5)
        try client.carryOut(command, message, event: "control-log", patience: patience) { event in
            let group = event.string("group").map { "[\($0)] " } ?? ""
            log(StatusReport.printable(group + (event.string("msg") ?? "")))
        }
    }
}
