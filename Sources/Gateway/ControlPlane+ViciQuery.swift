import Dispatch
import GatewayConfiguration
import IKECore
import IKEv2
import LinuxIO
import Policy
import Primitives
import SwanctlConfiguration
import Vici

/// Commands that tell what is.
extension ControlPlane {
    /// Runs on the server's queue.
    nonisolated static func listSAs(_ request: ViciRequest, _ board: StatusBoard) {
        let filter = request.message
        let now = MonotonicClock.now()
        let listed = board.listed(
            connection: filter.string("ike"),
            // As in strongSwan, 0 is any.
            id: filter.number("ike-id", as: UInt32.self).flatMap { $0 == 0 ? nil : $0 }
        )
        let child = filter.string("child")
        let childID = filter.number("child-id", as: UInt32.self).flatMap { $0 == 0 ? nil : $0 }
        guard child != nil || childID != nil else {
            request.streamAll("list-sa", listed.count, { board.event(listed[$0], at: now) }, ViciMessage())
            return
        }
        // The IKE_SAs are all shown, with the CHILD_SAs that are asked for.
        request.streamAll(
            "list-sa",
            listed.count,
            { index in
                var ike = listed[index].snapshot
                let isWanted = { (sa: ChildSASnapshot) in
                    (child ?? sa.tunnel) == sa.tunnel && (childID ?? sa.id) == sa.id
                }
                ike.children = ike.children.filter(isWanted)
                ike.replacedChildren = ike.replacedChildren.filter(isWanted)
                let details = Dictionary(
                    zip(ike.allChildren.map { $0.id }, board.details(of: ike)),
                    uniquingKeysWith: { $1 }
                )
                return ViciRequest.frame("list-sa", ViciLists.listSA(ike, details: details, at: now))
            },
            ViciMessage()
        )
    }

    func listConnections(_ request: ViciRequest) {
        let wanted = request.message.string("ike")
        let connections = wanted.map { connection(named: $0).map { [$0] } ?? [] } ?? description.connections
        let (entries, records, now) = (supervisor.entries, names.records, MonotonicClock.now())
        let loaded = loaded
        request.streamAll(
            "list-conn",
            connections.count,
            { index in
                let connection = connections[index]
                var details = ConnectionDetails()
                for tunnel in connection.tunnels {
                    let key = TunnelKey(connection: connection.name, tunnel: tunnel.name)
                    details.entries[tunnel.name] = entries[key]
                }
                details.names = connection.remoteAddress.names.compactMap { name in
                    records[name].map { (name, $0) }
                }
                let message = ViciLists.listConnection(
                    connection,
                    details,
                    listing: loaded.connection(connection.name)?.listing,
                    at: now
                )
                return ViciRequest.frame("list-conn", message)
            },
            ViciMessage()
        )
    }

    /// Tunnels whose packets bring them up; other policies there are none.
    func listPolicies(_ request: ViciRequest) {
        let filter = request.message
        let (ike, child) = (filter.string("ike"), filter.string("child"))
        // As in strongSwan the mere presence of the key counts.
        guard filter["trap"] != nil else { return request.reply(ViciMessage()) }
        var found: [(key: TunnelKey, tunnel: Policy.TunnelPolicy)] = []
        for connection in description.connections where (ike ?? connection.name) == connection.name {
            for tunnel in connection.tunnels where (child ?? tunnel.name) == tunnel.name {
                let key = TunnelKey(connection: connection.name, tunnel: tunnel.name)
                if supervisor.traps(key) { found.append((key, tunnel)) }
            }
        }
        let (policies, numbers) = (found, tunnelIDs)
        request.streamAll(
            "list-policy",
            policies.count,
            { index in
                let (key, tunnel) = policies[index]
                let message = ViciLists.listPolicy(key, tunnel, number: numbers[key])
                return ViciRequest.frame("list-policy", message)
            },
            ViciMessage()
        )
    }

    // MARK: - stats

    private static let leaksFreshFor = Duration.seconds(2)

    /// Answers `stats`; what only a program of the system can tell is asked for on another queue first.
    func stats(_ request: ViciRequest) {
        let now = MonotonicClock.now()
        if let read = leaksReadAt, read.advanced(by: Self.leaksFreshFor) > now {
            request.reply(stats())
            return
        }
        leaksReadAt = now
        let (control, instance) = (queue, description.name)
        DispatchQueue.global(qos: .utility).async { [weak self] in
            let leaks = (try? NoLeakFilter.droppedPackets(instance: instance)) ?? 0
            control.async { [weak self] in
                self?.assumeIsolated { plane in
                    plane.leaksPrevented = leaks
                    request.reply(plane.stats())
                }
            }
        }
    }

    private func stats() -> ViciMessage {
        let uptime = startedAt.duration(to: MonotonicClock.now()).wholeSeconds
        let priorities = ["critical", "high", "medium", "low"]
        let jobs = pool?.load ?? (running: 0, waiting: 0)
        return ViciMessage { message in
            message.section("uptime") { section in
                section.set("running", SystemVersion.spanText(uptime))
                section.set("since", SystemVersion.calendarText(startedAtWallClock))
            }
            // Threads of the compute pool, which carry out slow cryptography; all else runs on queues.
            message.section("workers") { section in
                section.set("total", Self.computeWidth)
                section.set("idle", max(0, Self.computeWidth - jobs.running))
                section.section("active") { active in
                    for name in priorities { active.set(name, name == "medium" ? jobs.running : 0) }
                }
            }
            message.section("queues") { section in
                for name in priorities { section.set(name, name == "medium" ? jobs.waiting : 0) }
            }
            message.set("scheduled", pending.count)
            message.section("ikesas") { section in
                section.set("total", engine.count)
                section.set("half-open", engine.halfOpenCount)
            }
            message.list("plugins", ["openssl", "sodium", "tun", "vici", "counters"])
            message.section("causeway") { section in
                section.section("drops", dropCounters(withZeros: false))
                section.section("data-plane", dataPlaneStatus())
                section.section("vici", viciCounters())
                section.section("updown", updownCounters())
                section.set("control-delay-max", longestDelay.wholeMilliseconds)
            }
        }
    }

    private func viciCounters() -> ViciMessage {
        let counters = vici?.counters ?? ViciServerCounters()
        return ViciMessage { message in
            message.set("clients", counters.clients)
            message.set("accepted", counters.accepted)
            message.set("malformed", counters.malformed)
            message.set("refused", counters.refused)
            message.set("overflowed", counters.overflowed)
            message.set("dropped-events", counters.droppedEvents)
            message.set("dropped-log-lines", counters.droppedLogLines)
        }
    }

    /// The drop counters by reason; those of reasons that did not occur are left out unless `withZeros`.
    func dropCounters(withZeros: Bool) -> ViciMessage {
        var all: [(reason: String, count: UInt64)] = IKEDropReason.allCases.map { reason in
            (reason.rawValue, engine.drops[reason] ?? 0)
        }
        all += pumpDrops
        all += [
            ("plaintext-from-outside", leaksPrevented), ("pump-events", pumpMailbox?.dropped ?? 0),
            ("compute-jobs", pool?.refused ?? 0), ("capture-packets", captures.dropped),
        ]
        return ViciMessage { message in
            for (reason, count) in all where withZeros || count > 0 { message.set(reason, count) }
        }
    }
}
