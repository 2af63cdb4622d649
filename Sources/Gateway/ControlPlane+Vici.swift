import Dispatch
import GatewayConfiguration
import IKECore
import IKEv2
import IPsecTypes
import LinuxIO
import Logging
import PacketPump
import Policy
import Primitives
import Vici

/// The commands of strongSwan's control protocol.
extension ControlPlane {
    private static let commands: Set<String> = [
        "version", "stats", "reload-settings", "list-sas", "list-conns", "get-conns", "initiate", "terminate",
        "rekey",
    ]
    private static let events: Set<String> = [
        "list-sa", "list-conn", "control-log", "ike-updown", "child-updown", "ike-rekey", "child-rekey",
    ]

    func startVici() throws {
        let control = queue
        let server = try ViciServer(
            paths: options.viciPath.map { [$0] } ?? description.viciPaths,
            commands: Self.commands,
            events: Self.events
        ) { [weak self] request in
            control.async { [weak self] in self?.assumeIsolated { $0.handle(request) } }
        }
        vici = server
        server.start()
    }

    private func handle(_ request: ViciRequest) {
        switch request.command {
        case "version": request.reply(SystemVersion.message)
        case "stats": request.reply(stats())
        case "reload-settings": request.reply(reload().map { .failure($0) } ?? .success)
        case "list-sas": listSAs(request)
        case "list-conns": listConnections(request)
        case "get-conns":
            let names = description.connections.map { $0.name }
            request.reply(ViciMessage { $0.list("conns", names) })
        case "initiate": initiate(request)
        case "terminate": terminate(request)
        case "rekey": rekey(request)
        default: request.reply(.failure("unknown command"))
        }
    }

    private func listSAs(_ request: ViciRequest) {
        let filter = request.message
        let snapshots = engine.snapshots.filter { ike in
            if let name = filter.string("ike"), ike.connection != name { return false }
            if let id = filter.number("ike-id", as: UInt32.self), ike.id != id { return false }
            if let name = filter.string("child"), !ike.children.contains(where: { $0.tunnel == name }) {
                return false
            }
            if let id = filter.number("child-id", as: UInt32.self),
                !ike.children.contains(where: { $0.id == id })
            {
                return false
            }
            return true
        }
        let (details, now) = (details(of: snapshots), MonotonicClock.now())
        request.streamAll(
            "list-sa",
            snapshots.count,
            { index in ViciLists.listSA(snapshots[index], details: details, at: now) },
            ViciMessage()
        )
    }

    private func listConnections(_ request: ViciRequest) {
        let wanted = request.message.string("ike")
        let connections = description.connections.filter { wanted == nil || $0.name == wanted }
        let (entries, records, now) = (supervisor.entries, names.records, MonotonicClock.now())
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
                return ViciLists.listConnection(connection, details, at: now)
            },
            ViciMessage()
        )
    }

    private func stats() -> ViciMessage {
        let snapshots = engine.snapshots
        let uptime = startedAt.duration(to: MonotonicClock.now()).wholeSeconds
        return ViciMessage { message in
            message.section("uptime") { section in
                section.set("running", "\(uptime) seconds")
                section.set("since", SystemVersion.calendarText(startedAtWallClock))
            }
            message.section("workers") { section in
                section.set("total", 3)
                section.set("idle", 0)
                section.section("active") { active in
                    for name in ["critical", "high", "medium", "low"] { active.set(name, 0) }
                }
            }
            message.section("queues") { section in
                for name in ["critical", "high", "medium", "low"] { section.set(name, 0) }
            }
            message.set("scheduled", pending.count)
            message.section("ikesas") { section in
                section.set("total", snapshots.count)
                section.set("half-open", engine.halfOpenCount)
            }
            message.list("plugins", [])
            message.section("causeway") { section in section.section("drops", dropCounters()) }
        }
    }

    /// All drop counters that are not zero, by reason.
    private func dropCounters() -> ViciMessage {
        ViciMessage { message in
            for reason in IKEDropReason.allCases {
                if let count = engine.drops[reason], count > 0 { message.set(reason.rawValue, count) }
            }
            for (reason, count) in pumpDrops where count > 0 { message.set(reason, count) }
            let leaks = routes?.leaksPrevented ?? 0
            if leaks > 0 { message.set("plaintext-from-outside", leaks) }
            if let dropped = pumpMailbox?.dropped, dropped > 0 { message.set("pump-events", dropped) }
            if let refused = pool?.refused, refused > 0 { message.set("compute-jobs", refused) }
        }
    }

    private func initiate(_ request: ViciRequest) {
        let (child, ike) = (request.message.string("child"), request.message.string("ike"))
        guard child != nil || ike != nil else {
            request.reply(.failure("initiate needs 'child' or 'ike'"))
            return
        }
        let keys = supervisor.entries.keys.filter { key in
            (child == nil || key.tunnel == child) && (ike == nil || key.connection == ike)
        }
        guard !keys.isEmpty else {
            request.reply(.failure("no tunnel '\(child ?? "*")' in connection '\(ike ?? "*")'"))
            return
        }
        if let fixed = keys.first(where: { supervisor.entries[$0]?.canInitiate == false }) {
            request.reply(.failure("\(fixed): the peer's address is not configured, only it can initiate"))
            return
        }
        let missing = keys.filter { key in
            if case .up = supervisor.entries[key]?.phase { return false }
            return true
        }
        let now = MonotonicClock.now()
        for key in keys.sorted() { supervisor.request(key, at: now) }
        let timeout = request.message.number("timeout", as: Int64.self) ?? 0
        if missing.isEmpty || timeout < 0 {
            request.reply(.success)
        } else {
            let deadline = timeout == 0 ? nil : now.advanced(by: .milliseconds(timeout))
            pending.append(PendingCommand(goal: .up(Set(missing)), request: request, deadline: deadline))
        }
        runSupervisor()
    }

    private func terminate(_ request: ViciRequest) {
        let message = request.message
        let (ikeName, childName) = (message.string("ike"), message.string("child"))
        let ikeID = message.number("ike-id", as: UInt32.self)
        let childID = message.number("child-id", as: UInt32.self)
        guard ikeName != nil || childName != nil || ikeID != nil || childID != nil else {
            request.reply(.failure("terminate needs 'ike', 'child', 'ike-id' or 'child-id'"))
            return
        }
        let now = MonotonicClock.now()
        var ikes: Set<UInt32> = []
        var children: Set<UInt32> = []
        for ike in engine.snapshots where (ikeName ?? ike.connection) == ike.connection {
            if let ikeID, ike.id != ikeID { continue }
            if childName == nil, childID == nil {
                ikes.insert(ike.id)
            } else {
                let fitting = ike.children.filter {
                    (childName ?? $0.tunnel) == $0.tunnel && (childID ?? $0.id) == $0.id
                }
                children.formUnion(fitting.map { $0.id })
            }
        }
        for key in supervisor.entries.keys {
            // By number one SA is meant; by name the tunnel itself, which then stays down.
            guard ikeID == nil, childID == nil, (ikeName ?? key.connection) == key.connection,
                (childName ?? key.tunnel) == key.tunnel
            else { continue }
            supervisor.holdDown(key)
        }
        // Without a child to delete no event follows that would end an IKE_SA which nobody wants any more.
        for ike in engine.snapshots where (ikeName ?? ike.connection) == ike.connection { noteUseless(ike) }
        guard !ikes.isEmpty || !children.isEmpty else {
            request.reply(.failure("no matching SAs to terminate found"))
            settle()
            return
        }
        let timeout = message.number("timeout", as: Int64.self) ?? 0
        let goal = PendingCommand.Goal.down(
            ikes: ikes,
            children: children,
            count: ikes.count + children.count
        )
        if timeout >= 0 {
            let deadline = timeout == 0 ? nil : now.advanced(by: .milliseconds(timeout))
            pending.append(PendingCommand(goal: goal, request: request, deadline: deadline))
        } else {
            request.reply(.terminated(ikes.count + children.count))
        }
        for id in ikes.sorted() { engine.handle(.terminateIKE(id: id, cause: .localRequest), at: now) }
        for id in children.sorted() { engine.handle(.terminateChild(id: id, cause: .localRequest), at: now) }
        settle()
    }
}
