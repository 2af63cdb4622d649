import Dispatch
import GatewayConfiguration
import IKECore
import IKEv2
import IPPackets
import LinuxIO
import Logging
import PacketPump
import Policy
import Primitives
import Vici

/// Reload and orderly stop.
extension ControlPlane {
    /// Reads the configuration again and applies the difference; one with errors changes nothing.
    ///
    /// - Returns: nil, or why nothing was changed.
    @discardableResult
    public func reload() -> String? {
        try? notifier.reloading()
        defer { try? notifier.ready(status: "\(description.connections.count) connections") }
        guard let path = options.configurationPath else { return nil }
        let next: GatewayDescription
        do throws(ConfigurationErrors) {
            next = try GatewayConfigurationFile.load(
                path: path,
                files: SystemConfigurationFiles()
            )
        } catch {
            for diagnostic in error.diagnostics { logger.error("\(diagnostic)") }
            logger.error("the configuration has errors and was not applied; nothing changed")
            return error.diagnostics.map { $0.description }.joined(separator: "\n")
        }
        if let name = next.connections.first(where: { isLoaded($0.name) })?.name {
            let text =
                "connection \(name) is loaded over vici; unload it there, or name it otherwise in \(path)"
            logger.error("\(text); nothing changed")
            return text
        }
        for warning in next.warnings { logger.warning("\(warning)") }
        apply(next)
        return nil
    }

    private func apply(_ wanted: GatewayDescription) {
        var next = wanted
        let fixed = keepWhatNeedsRestart(&next)
        if !fixed.isEmpty {
            logger.warning("a change of \(fixed.joined(separator: ", ")) needs a restart and was left out")
        }
        let old = fileConnections
        fileConnections = next.connections
        description = next
        mergeLoaded()
        applyFilterNow()
        do {
            for warning in try routes?.apply(description) ?? [] { logger.warning("\(warning)") }
        } catch {
            logger.error("routes could not be applied: \(error)")
        }
        applyPolicies()
        let now = MonotonicClock.now()
        let byName = { (connections: [ConnectionPolicy]) in
            Dictionary(connections.map { ($0.name, $0) }) { first, _ in first }
        }
        let (former, latter) = (byName(old), byName(next.connections))
        for snapshot in engine.snapshots where !snapshot.connection.isEmpty {
            // What was loaded over vici keeps its SAs, also when it was unloaded.
            guard let before = former[snapshot.connection] else { continue }
            let after = latter[snapshot.connection]
            if let after, before.isEquivalent(to: after) { continue }
            engine.handle(.terminateIKE(id: snapshot.id, cause: .policyChanged), at: now)
        }
        logger.notice(
            "configuration reloaded: \(next.connections.count) connections",
            metadata: ["event": "reloaded"]
        )
        settle()
    }

    /// What sockets and devices were opened with stays until a restart.
    private func keepWhatNeedsRestart(_ next: inout GatewayDescription) -> [String] {
        var fixed = [String]()
        func keep<Value: Equatable>(_ path: WritableKeyPath<GatewayDescription, Value>, _ name: String) {
            guard next[keyPath: path] != description[keyPath: path] else { return }
            next[keyPath: path] = description[keyPath: path]
            fixed.append(name)
        }
        keep(\.name, "name")
        keep(\.interfaceName, "interface")
        keep(\.mark, "mark")
        keep(\.routingTable, "routing-table")
        keep(\.rulePriority, "rule-priority")
        keep(\.ikePort, "ports.ike")
        keep(\.natTraversalPort, "ports.nat-t")
        keep(\.viciPaths, "vici")
        keep(\.workers, "workers")
        keep(\.innerMTU, "mtu")
        return fixed
    }

    /// Deletes all SAs, waits a moment for the peers and takes back what was added.
    ///
    /// Then it calls `completion` with the exit status. A second call does not wait any longer.
    public func stop(completion: @escaping @Sendable (Int32) -> Void) {
        let now = MonotonicClock.now()
        guard stopping == nil else {
            finishStopping()
            return
        }
        logger.notice("stopping: deleting \(engine.snapshots.count) IKE_SAs", metadata: ["event": "stopping"])
        try? notifier.stopping(status: "deleting SAs")
        stopping = Stopping(deadline: now.advanced(by: .seconds(3)), completion: completion)
        for snapshot in engine.snapshots {
            engine.handle(.terminateIKE(id: snapshot.id, cause: .shutdown), at: now)
        }
        settle()
        continueStopping(at: now)
    }

    /// Goes on when every peer has answered, or the time is over.
    func continueStopping(at now: Instant) {
        guard let stopping else { return }
        let isBusy = engine.snapshots.contains { $0.state != .connecting }
        if !isBusy || now >= stopping.deadline { finishStopping() }
    }

    private func finishStopping() {
        guard let stopping else { return }
        self.stopping = nil
        vici?.stop()
        sockets?.close()
        dataPlane?.stop()
        dataPlane = nil
        // What is being applied must not come after what takes it back.
        filterQueue.sync {}
        var status: Int32 = 0
        for failure in routes?.removeAll() ?? [] {
            logger.error("not taken back: \(failure)")
            status = 1
        }
        finishUpdowns { [logger, status] in
            logger.notice("stopped", metadata: ["event": "stopped"])
            stopping.completion(status)
        }
    }
}
