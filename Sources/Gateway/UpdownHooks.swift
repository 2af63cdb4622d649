import GatewayConfiguration
import IKECore
import IPPackets
import LinuxIO
import Logging
import Policy
import Primitives
import Vici

/// When updown scripts run: as a CHILD_SA comes up and as it goes down, not when it is rekeyed.
extension ControlPlane {
    /// How long the scripts may take when the daemon stops.
    private static let patience = Duration.seconds(5)

    func updownUp(_ ike: IKESASnapshot, _ child: ChildSASnapshot) {
        let key = TunnelKey(connection: ike.connection, tunnel: child.tunnel)
        guard let (command, grantsHostAccess) = updownCommand(key) else { return }
        var environment = UpdownEnvironment(
            ike,
            child,
            reqid: board.reqid(ofChild: child.id) ?? child.id,
            outerInterface: network.link(of: ike.local.address).flatMap { interfaceName($0) },
            tunInterface: description.interfaceName
        )
        environment.grantsHostAccess = grantsHostAccess
        let entry = UpdownLedger.Entry(command: command, environment: environment)
        guard updown.submit(UpdownRunner.Job(entry: entry, isUp: true)) else {
            warnThrottled(
                "updown",
                "\(key): its updown script was left out, too many wait",
                at: MonotonicClock.now()
            )
            return
        }
        updownLedger.up(child.id, entry)
    }

    func updownDown(_ child: ChildSASnapshot) {
        guard let entry = updownLedger.down(child.id) else { return }
        _ = updown.submit(UpdownRunner.Job(entry: entry, isUp: false))
    }

    /// Runs what is owed and calls `completion` when all scripts have ended, or have had their time.
    func finishUpdowns(_ completion: @escaping @Sendable () -> Void) {
        for entry in updownLedger.removeAll() {
            _ = updown.submit(UpdownRunner.Job(entry: entry, isUp: false))
        }
        updown.whenIdle(within: Self.patience, completion)
    }

    /// The `updown` section of `stats`.
    func updownCounters() -> ViciMessage {
        let counters = updown.counters
        return ViciMessage { message in
            message.set("runs", counters.runs)
            message.set("failures", counters.failures)
            message.set("refusals", counters.refusals)
        }
    }

    private func updownCommand(_ key: TunnelKey) -> (String, grantsHostAccess: Bool)? {
        let tunnels = description.connections.first { $0.name == key.connection }?.tunnels ?? []
        guard let tunnel = tunnels.first(where: { $0.name == key.tunnel }), let command = tunnel.updown,
            !command.isEmpty
        else { return nil }
        return (command, tunnel.grantsHostAccess)
    }

    /// Looked up anew each time: interfaces may be renamed while they are up.
    private func interfaceName(_ index: Int32) -> String? {
        let links = try? networkReader?.allLinks()
        return links?.first { $0.index == index }?.name
    }
}
