import ArgumentParser
import Dispatch
import Gateway
import GatewayConfiguration
import LinuxIO
import Logging

@main
struct Causewayd: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "causewayd",
        abstract: "IPsec gateway in user space; runs in the foreground and logs to standard error.",
        discussion: """
            With --vici and without --config there is no configuration file: the gateway begins without connections and \
            gets them over vici, as from swanctl --load-all. SIGHUP reloads the configuration. SIGTERM deletes all SAs, takes back routes, rules, the TUN device and \
            the packet filter, and ends. Exit status: 0 after an orderly stop, 1 when the gateway could not start \
            or not take everything back, 64 for a wrong command line, 78 for a wrong configuration.
            """,
        version: SystemVersion.number
    )

    @Option(help: "The configuration file (default: /etc/causeway/gateway.yaml unless --vici is given).")
    var config: String?

    @Option(help: "A vici socket to listen on, instead of those in the configuration; may be repeated.")
    var vici: [String] = []

    @Option(help: "trace, debug, info, notice, warning or error.")
    var logLevel: String?

    func validate() throws {
        if let logLevel, Logger.Level(rawValue: logLevel) == nil {
            throw ValidationError("'\(logLevel)' is no log level")
        }
    }

    func run() throws {
        let path = config ?? (vici.isEmpty ? "/etc/causeway/gateway.yaml" : nil)
        try Daemon.run(configurationPath: path, viciPaths: vici, logLevel: logLevel)
    }
}

/// Handlers are formed in here, not in `main`, where they would inherit the main actor.
enum Daemon {
    static let configurationError = ExitCode(78)

    static func run(configurationPath: String?, viciPaths: [String], logLevel: String?) throws {
        let isJournal = SystemdNotifier.environment("JOURNAL_STREAM") != nil
        let feed = LogFeed()
        let level = logLevel.flatMap { Logger.Level(rawValue: $0) }
        var logger = Logger(label: "causewayd") { _ in
            JournalLogHandler(level: level ?? .info, hasPriorities: isJournal, feed: feed)
        }
        let description: GatewayDescription
        do throws(ConfigurationErrors) {
            description = try load(configurationPath)
        } catch {
            for diagnostic in error.diagnostics { logger.error("\(diagnostic)") }
            throw configurationError
        }
        if level == nil, let configured = description.logLevel.flatMap({ Logger.Level(rawValue: $0) }) {
            logger.logLevel = configured
        }
        for warning in description.warnings { logger.warning("\(warning)") }
        for failure in ProcessHardening.apply() { logger.warning("\(failure)") }
        let plane = ControlPlane(
            description,
            options: ControlPlane.Options(
                configurationPath: configurationPath,
                viciPaths: viciPaths,
                logFeed: feed
            ),
            logger: logger
        )
        let signals = try SignalSources(queue: DispatchQueue(label: "causeway.signals")) { signal in
            handle(signal, plane)
        }
        let log = logger
        Task {
            do {
                try await plane.start()
            } catch {
                log.critical("the gateway cannot start: \(error)")
                await plane.stop { _ in Process.exit(1) }
            }
        }
        withExtendedLifetime(signals) { dispatchMain() }
    }

    /// The file's gateway, or one of defaults.
    private static func load(_ path: String?) throws(ConfigurationErrors) -> GatewayDescription {
        guard let path else { return GatewayDescription() }
        return try GatewayConfigurationFile.load(path: path, files: SystemConfigurationFiles())
    }

    private static func handle(_ signal: SignalSources.Signal, _ plane: ControlPlane) {
        switch signal {
        case .terminate, .interrupt: Task { await plane.stop { status in Process.exit(status) } }
        case .hangUp: Task { await plane.reload() }
        }
    }
}
