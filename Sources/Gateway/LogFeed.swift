import Logging
import Synchronization
import Vici

/// Hands log lines to vici clients that registered for `log`.
///
/// Logging never waits for them: lines are dropped and counted when a client does not keep up.
public final class LogFeed: Sendable {
    private struct Target {
        weak var server: ViciServer?
    }

    private let target = Mutex(Target())

    /// A feed that nobody hears until a server is there.
    public init() {}

    /// Sends what is logged from now on to the clients of `server`.
    func connect(_ server: ViciServer) { target.withLock { $0.server = server } }

    /// Hands one line on.
    func publish(_ level: Logger.Level, _ text: String, _ pairs: Logger.Metadata) {
        guard let server = target.withLock({ $0.server }), server.isWanted("log") else { return }
        server.publish(event: "log", message: LogFeed.message(level, text, pairs))
    }

    /// The `log` event, in strongSwan's shape.
    static func message(_ level: Logger.Level, _ text: String, _ pairs: Logger.Metadata) -> ViciMessage {
        ViciMessage { message in
            message.set("group", group(pairs["event"].map { "\($0)" } ?? ""))
            message.set("level", number(level))
            message.set("thread", 1)
            if let name = pairs["connection"].map({ "\($0)" }), !name.isEmpty, name != "-" {
                message.set("ikesa-name", name)
                if let id = pairs["ike"] { message.set("ikesa-uniqueid", "\(id)") }
            }
            message.set("msg", text)
        }
    }

    /// strongSwan's number of a level: 0 is what is always told, 1 what matters to users, 2 and 3 are details.
    static func number(_ level: Logger.Level) -> Int {
        switch level {
        case .critical, .error: 0
        case .warning, .notice, .info: 1
        case .debug: 2
        case .trace: 3
        }
    }

    /// strongSwan's group of a kind of event.
    static func group(_ event: String) -> String {
        if event.hasPrefix("child") || event == "preflight-failed" { return "CHD" }
        if event.hasPrefix("ike") || event == "attempt-failed" || event == "rekey-failed"
            || event == "progress"
        {
            return "IKE"
        }
        if event.hasPrefix("network") || event.hasPrefix("name") || event.hasPrefix("path") { return "NET" }
        if event.hasPrefix("reload") || event.hasPrefix("loaded") || event.hasPrefix("unloaded") {
            return "CFG"
        }
        return "DMN"
    }
}
