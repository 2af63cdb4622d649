import GatewayConfiguration
import IKECore
import IKEv2
import LinuxIO
import Policy
import Primitives
import Vici

/// Commands that bring tunnels up and take them down.
extension ControlPlane {
    func connection(named name: String) -> ConnectionPolicy? {
        connectionIndex[name].map { description.connections[$0] }
    }

    /// The tunnels that `child` and `ike` name: as in strongSwan those of the first connection that fits.
    private func tunnels(child: String?, ike: String?) -> [TunnelKey]? {
        let candidates = ike.map { connection(named: $0).map { [$0] } ?? [] } ?? description.connections
        for connection in candidates {
            let keys = connection.tunnels.filter {
                child.map { [name = $0.name] in $0 == name } ?? !$0.isFurther
            }
            .map { TunnelKey(connection: connection.name, tunnel: $0.name) }
            if child == nil || !keys.isEmpty { return keys }
        }
        return nil
    }

    func initiate(_ request: ViciRequest) {
        let (child, ike) = (request.message.string("child"), request.message.string("ike"))
        guard let name = child ?? ike else { return request.reply(.failure("missing configuration name")) }
        let kind = child == nil ? "IKE_SA" : "CHILD_SA"
        guard let keys = tunnels(child: child, ike: ike) else {
            return request.reply(.failure("\(kind) config '\(name)' not found"))
        }
        let timeout = request.message.number("timeout", as: Int64.self) ?? 0
        let now = MonotonicClock.now()
        var command = PendingCommand(
            goal: .up([]),
            request: request,
            deadline: timeout > 0 ? now.advanced(by: .milliseconds(timeout)) : nil,
            subject: "\(kind) '\(name)'"
        )
        guard !keys.isEmpty else { return request.reply(command.failure("it has no children")) }
        if let fixed = keys.first(where: { supervisor.entries[$0]?.canInitiate == false }) {
            let reason = "\(fixed): the peer's address is not configured, only it can initiate"
            return request.reply(command.failure(reason))
        }
        let missing = keys.filter { !(supervisor.entries[$0]?.isUp ?? false) }
        for key in keys.sorted() { supervisor.request(key, at: now) }
        if missing.isEmpty || timeout < 0 {
            request.reply(.success)
        } else {
            command.goal = .up(Set(missing))
            pending.append(command)
        }
        runSupervisor()
    }

    /// The SAs that a command names.
    private struct Matches {
        var ikes: [UInt32] = []
        var children: [UInt32] = []
        var count: Int { ikes.count + children.count }
    }

    /// Which SAs a command is about; the numbers are those of `list-sas`, and 0 is none.
    private struct Selector {
        let ike: String?
        let ikeID: UInt32?
        let child: String?
        let childID: UInt32?

        init?(_ message: ViciMessage) {
            ike = message.string("ike")
            ikeID = message.number("ike-id", as: UInt32.self).flatMap { $0 == 0 ? nil : $0 }
            child = message.string("child")
            childID = message.number("child-id", as: UInt32.self).flatMap { $0 == 0 ? nil : $0 }
            guard ike != nil || ikeID != nil || child != nil || childID != nil else { return nil }
        }

        func matches(in listed: [ListedSA]) -> Matches {
            var found = Matches()
            for ike in listed.map({ $0.snapshot }) {
                guard child != nil || childID != nil else {
                    found.ikes.append(ike.id)
                    continue
                }
                found.children += ike.children.filter {
                    (child ?? $0.tunnel) == $0.tunnel && (childID ?? $0.id) == $0.id
                }.map { $0.id }
            }
            return found
        }
    }

    private func matches(_ selector: Selector) -> Matches {
        _ = publishChanges()
        return selector.matches(in: board.listed(connection: selector.ike, id: selector.ikeID))
    }

    func terminate(_ request: ViciRequest) {
        let message = request.message
        guard let selector = Selector(message) else {
            return request.reply(.failure("missing terminate selector"))
        }
        let now = MonotonicClock.now()
        let found = matches(selector)
        holdDown(selector)
        let timeout = message.number("timeout", as: Int64.self) ?? 0
        let isForced = message.flag("force") ?? false
        let goal = PendingCommand.Goal.down(ikes: Set(found.ikes), children: Set(found.children))
        let waits = timeout > 0 || (timeout == 0 && !isForced)
        if found.count > 0, waits {
            pending.append(
                PendingCommand(
                    goal: goal,
                    request: request,
                    deadline: timeout == 0 ? nil : now.advanced(by: .milliseconds(timeout)),
                    subject: "SAs",
                    matches: found.count,
                    isForced: isForced
                )
            )
        }
        for id in found.ikes {
            let cause = DownCause.localRequest
            engine.handle(
                isForced && !waits
                    ? .destroyIKE(id: id, cause: cause) : .terminateIKE(id: id, cause: cause),
                at: now
            )
        }
        for id in found.children { engine.handle(.terminateChild(id: id, cause: .localRequest), at: now) }
        settle()
        if found.count == 0 || !waits { request.reply(.terminated(found.count, of: found.count)) }
    }

    /// By number one SA is meant; by name the tunnel itself, which then stays down.
    private func holdDown(_ selector: Selector) {
        guard selector.ikeID == nil, selector.childID == nil else { return }
        for key in supervisor.entries.keys
        where (selector.ike ?? key.connection) == key.connection
            && (selector.child ?? key.tunnel) == key.tunnel
        {
            supervisor.holdDown(key)
        }
        // Without a child to delete no event follows that would end an IKE_SA which nobody wants any more.
        for listed in board.listed(connection: selector.ike) { noteUseless(listed.snapshot) }
    }

    func rekey(_ request: ViciRequest) {
        guard let selector = Selector(request.message) else {
            return request.reply(.failure("missing rekey selector"))
        }
        let found = matches(selector)
        let now = MonotonicClock.now()
        // As in strongSwan it is about IKE_SAs alone.
        let isNewProof = request.message.flag("reauth") ?? false
        for id in found.ikes {
            engine.handle(isNewProof ? .reauthenticate(ikeID: id) : .rekeyIKE(id: id), at: now)
        }
        for id in found.children { engine.handle(.rekeyChild(id: id), at: now) }
        let error = found.count == 0 ? "no matching SAs to rekey found" : nil
        request.reply(.counted("matches", found.count, error))
        settle()
    }

    // MARK: - Traps

    func install(_ request: ViciRequest) {
        guard let child = request.message.string("child") else {
            return request.reply(.failure("missing configuration name"))
        }
        guard let key = tunnels(child: child, ike: request.message.string("ike"))?.first else {
            return request.reply(.failure("configuration name not found"))
        }
        guard supervisor.entries[key]?.canInitiate == true else {
            let why = "the peer's address is not configured"
            return request.reply(.failure("installing policy '\(child)' failed: \(why)"))
        }
        supervisor.install(key, at: MonotonicClock.now())
        setDataPlaneTunnels()
        request.reply(.success)
        settle()
    }

    func uninstall(_ request: ViciRequest) {
        guard let child = request.message.string("child") else {
            return request.reply(.failure("missing configuration name"))
        }
        let ike = request.message.string("ike")
        let key = supervisor.entries.keys.filter {
            $0.tunnel == child && (ike ?? $0.connection) == $0.connection && supervisor.traps($0)
        }.min()
        guard let key, supervisor.uninstall(key, at: MonotonicClock.now()) else {
            return request.reply(.failure("policy '\(child)' not found"))
        }
        setDataPlaneTunnels()
        request.reply(.success)
        settle()
    }
}
