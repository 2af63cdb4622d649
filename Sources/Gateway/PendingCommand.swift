import IKECore
import IKEv2
import LinuxIO
import Logging
import Primitives
import Vici

/// A vici command that is answered when something has happened.
struct PendingCommand {
    enum Goal {
        /// All of these tunnels are up.
        case up(Set<TunnelKey>)
        /// None of these IKE_SAs and CHILD_SAs is left.
        case down(ikes: Set<UInt32>, children: Set<UInt32>)
    }

    var goal: Goal
    let request: ViciRequest
    let deadline: Instant?
    /// What it works on, as the answer names it: `CHILD_SA 'net'`.
    let subject: String
    /// How many SAs a `terminate` found.
    var matches = 0
    /// IKE_SAs that are gone at the deadline whether the peer has answered or not.
    var isForced = false

    /// The events that are streamed, by strongSwan's levels.
    var logLevel: Int { request.message.number("loglevel", as: Int.self) ?? 1 }
}

/// Commands that wait.
extension ControlPlane {
    /// Streams `event` to whom it concerns and answers commands that it fulfils or fails.
    func advancePending(_ event: EngineEvent) {
        guard !pending.isEmpty else { return }
        let line = EventText(event)
        var remaining: [PendingCommand] = []
        for var command in pending {
            if command.concerns(event), LogFeed.number(line.level) <= command.logLevel {
                command.request.stream("control-log", Self.controlLog(line))
            }
            switch command.advance(event) {
            case nil: remaining.append(command)
            case .some(let answer): command.request.reply(answer)
            }
        }
        pending = remaining
    }

    private static func controlLog(_ line: EventText) -> ViciMessage {
        ViciMessage { message in
            message.set("group", LogFeed.group(line.metadata["event"].map { "\($0)" } ?? ""))
            message.set("level", LogFeed.number(line.level))
            if let name = line.metadata["connection"].map({ "\($0)" }), !name.isEmpty, name != "-" {
                message.set("ikesa-name", name)
                if let id = line.metadata["ike"] { message.set("ikesa-uniqueid", "\(id)") }
            }
            message.set("msg", line.text)
        }
    }

    /// Answers commands that waited for these IKE_SAs to go; one that was being made ends without an `ikeDown`.
    func advancePending(gone: Set<UInt32>) {
        guard !pending.isEmpty, !gone.isEmpty else { return }
        var remaining: [PendingCommand] = []
        for var command in pending {
            if let answer = command.advance(gone: gone) {
                command.request.reply(answer)
            } else {
                remaining.append(command)
            }
        }
        pending = remaining
    }

    /// Fails what waits for a tunnel that cannot even be tried.
    func failPending(_ key: TunnelKey, _ reason: String) {
        pending.removeAll { command in
            guard case .up(let keys) = command.goal, keys.contains(key) else { return false }
            command.request.reply(command.failure(reason))
            return true
        }
    }

    /// Answers commands whose time is over.
    func expirePending(at now: Instant) {
        guard pending.contains(where: { $0.deadline.map { $0 <= now } ?? false }) else { return }
        let expired = pending.filter { $0.deadline.map { $0 <= now } ?? false }
        pending.removeAll { $0.deadline.map { $0 <= now } ?? false }
        for command in expired {
            switch command.goal {
            case .up:
                let timeout = command.request.message.number("timeout", as: Int64.self) ?? 0
                command.request.reply(.failure("\(command.subject) not established after \(timeout)ms"))
            case .down(let ikes, let children):
                guard command.isForced else {
                    let left = ikes.count + children.count
                    command.request.reply(.terminated(command.matches - left, of: command.matches))
                    continue
                }
                for id in ikes.sorted() { engine.handle(.destroyIKE(id: id, cause: .localRequest), at: now) }
                command.request.reply(.terminated(command.matches, of: command.matches))
            }
        }
        drainOutputs()
    }
}

extension PendingCommand {
    /// The answer of an `initiate` that failed, in strongSwan's words with the cause behind.
    func failure(_ cause: String) -> ViciMessage { .failure("establishing \(subject) failed: \(cause)") }

    fileprivate func concerns(_ event: EngineEvent) -> Bool {
        let connection: String? =
            switch event {
            case .ikeUp(let ike), .ikeDown(let ike, _), .ikeMoved(let ike), .childUp(let ike, _),
                .childDown(let ike, _, _), .childFailed(let ike, _, _):
                ike.connection
            case .attemptFailed(let failure): failure.connection
            case .progress(let connection, _): connection
            case .ikeRekeyed(_, let ike), .childRekeyed(let ike, _, _), .rekeyFailed(let ike, _, _, _):
                ike.connection
            case .pathProbed: nil
            }
        switch goal {
        case .up(let keys): return keys.contains { $0.connection == connection }
        case .down(let ikes, let children):
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
        case (.up(let keys), .attemptFailed(let attempt)):
            guard attempt.isInitiator,
                keys.contains(where: { $0.connection == attempt.connection && $0.tunnel == attempt.tunnel })
            else { return nil }
            return failure(attempt.cause.description)
        case (.up(let keys), .childFailed(let ike, let tunnel, let cause)):
            guard keys.contains(where: { $0.connection == ike.connection && $0.tunnel == tunnel }) else {
                return nil
            }
            return failure(cause.description)
        case (.down(var ikes, let children), .ikeDown(let ike, _)):
            ikes.remove(ike.id)
            return finish(ikes, children)
        case (.down(let ikes, var children), .childDown(_, let child, _)):
            children.remove(child.id)
            return finish(ikes, children)
        default:
            return nil
        }
    }

    fileprivate mutating func advance(gone: Set<UInt32>) -> ViciMessage? {
        guard case .down(let ikes, let children) = goal, !ikes.isDisjoint(with: gone) else { return nil }
        return finish(ikes.subtracting(gone), children)
    }

    private mutating func finish(_ ikes: Set<UInt32>, _ children: Set<UInt32>) -> ViciMessage? {
        goal = .down(ikes: ikes, children: children)
        guard ikes.isEmpty, children.isEmpty else { return nil }
        return .terminated(matches, of: matches)
    }
}

extension ViciMessage {
    /// The answer of `terminate`, in strongSwan's words.
    static func terminated(_ count: Int, of matches: Int) -> ViciMessage {
        let error: String? =
            switch matches {
            case 0: "no matching SAs to terminate found"
            case count: nil
            case 1: "terminating SA failed"
            default: "not all matching SAs could be terminated"
            }
        return counted("matches", matches, error) { $0.set("terminated", count) }
    }

    /// An answer that says how many SAs were meant.
    static func counted(
        _ key: String,
        _ count: Int,
        _ error: String?,
        _ more: (inout ViciMessage) -> Void = { _ in }
    ) -> ViciMessage {
        ViciMessage { message in
            message.set("success", flag: error == nil)
            message.set(key, count)
            more(&message)
            if let error { message.set("errmsg", error) }
        }
    }
}
