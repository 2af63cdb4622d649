import IKECore
import LinuxIO
import Primitives
import Vici

/// A vici command that is answered when something has happened.
struct PendingCommand {
    enum Goal {
        /// All of these tunnels are up.
        case up(Set<TunnelKey>)
        /// None of these IKE_SAs and CHILD_SAs is left.
        case down(ikes: Set<UInt32>, children: Set<UInt32>, count: Int)
    }

    var goal: Goal
    let request: ViciRequest
    let deadline: Instant?
}

/// Commands that wait.
extension ControlPlane {
    /// Streams `event` to whom it concerns and answers commands that it fulfils or fails.
    func advancePending(_ event: EngineEvent) {
        guard !pending.isEmpty else { return }
        let line = EventText(event)
        var remaining: [PendingCommand] = []
        for var command in pending {
            if command.concerns(event) { command.request.stream("control-log", Self.controlLog(line.text)) }
            switch command.advance(event) {
            case nil: remaining.append(command)
            case .some(let answer): command.request.reply(answer)
            }
        }
        pending = remaining
    }

    private static func controlLog(_ text: String) -> ViciMessage {
        ViciMessage { message in
            message.set("group", "IKE")
            message.set("level", 1)
            message.set("msg", text)
        }
    }

    /// Fails what waits for a tunnel that cannot even be tried.
    func failPending(_ key: TunnelKey, _ reason: String) {
        pending.removeAll { command in
            guard case .up(let keys) = command.goal, keys.contains(key) else { return false }
            command.request.reply(.failure(reason))
            return true
        }
    }

    /// Answers commands whose time is over.
    func expirePending(at now: Instant) {
        pending.removeAll { command in
            guard let deadline = command.deadline, deadline <= now else { return false }
            command.request.reply(.failure("not done in time; it goes on in the background"))
            return true
        }
    }
}

extension PendingCommand {
    fileprivate func concerns(_ event: EngineEvent) -> Bool {
        let connection: String? =
            switch event {
            case .ikeUp(let ike), .ikeDown(let ike, _), .childUp(let ike, _), .childDown(let ike, _, _),
                .childFailed(let ike, _, _):
                ike.connection
            case .attemptFailed(let connection, _, _, _, _): connection
            case .progress(let connection, _): connection
            case .ikeRekeyed(_, let ike), .childRekeyed(let ike, _, _), .rekeyFailed(let ike, _, _, _):
                ike.connection
            case .pathProbed: nil
            }
        switch goal {
        case .up(let keys): return keys.contains { $0.connection == connection }
        case .down(let ikes, let children, _):
            switch event {
            case .ikeDown(let ike, _): return ikes.contains(ike.id)
            case .childDown(_, let child, _): return children.contains(child.id)
            default: return false
            }
        }
    }

    /// The answer, if `event` decides the command.
    fileprivate mutating func advance(_ event: EngineEvent) -> ViciMessage? {
        switch (goal, event) {
        case (.up(var keys), .childUp(let ike, let child)):
            keys.remove(TunnelKey(connection: ike.connection, tunnel: child.tunnel))
            goal = .up(keys)
            return keys.isEmpty ? .success : nil
        case (.up(let keys), .attemptFailed(let connection, let tunnel, true, _, let cause)):
            guard keys.contains(where: { $0.connection == connection && $0.tunnel == tunnel }) else {
                return nil
            }
            return .failure(cause.description)
        case (.up(let keys), .childFailed(let ike, let tunnel, let cause)):
            guard keys.contains(where: { $0.connection == ike.connection && $0.tunnel == tunnel }) else {
                return nil
            }
            return .failure(cause.description)
        case (.down(var ikes, let children, let count), .ikeDown(let ike, _)):
            ikes.remove(ike.id)
            return finish(ikes, children, count)
        case (.down(let ikes, var children, let count), .childDown(_, let child, _)):
            children.remove(child.id)
            return finish(ikes, children, count)
        default:
            return nil
        }
    }

    private mutating func finish(_ ikes: Set<UInt32>, _ children: Set<UInt32>, _ count: Int) -> ViciMessage? {
        goal = .down(ikes: ikes, children: children, count: count)
        guard ikes.isEmpty, children.isEmpty else { return nil }
        return .terminated(count)
    }
}

extension ViciMessage {
    /// The answer of `terminate`.
    static func terminated(_ count: Int) -> ViciMessage {
        ViciMessage { message in
            message.set("success", flag: true)
            message.set("matches", count)
            message.set("terminated", count)
        }
    }
}
