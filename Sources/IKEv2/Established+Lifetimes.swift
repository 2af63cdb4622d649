import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

/// What happens by itself as time goes by: liveness, keepalives, rekeys, ends.
extension Established {
    var deadline: Instant? {
        var earliest = endsAt
        func consider(_ instant: Instant?) {
            guard let instant else { return }
            earliest = earliest.map { min($0, instant) } ?? instant
        }
        consider(active?.request?.nextAt)
        consider(awaitedFollowUp?.followUp?.expiresAt)
        consider(livenessDue)
        consider(keepaliveDue)
        consider(abandonedAt)
        consider(rekeyDue)
        consider(replacementDue)
        consider(reauthenticationDue)
        for child in children {
            consider(child.abandonedAt)
            consider(child.takesOverAt)
            if child.role != .deleting { consider(child.snapshot.expiresAt) }
            guard child.isCurrent else { continue }
            consider(rekeyDue(child))
            if isWorking { consider(child.replacementDue) }
        }
        for child in retired { consider(child.until) }
        return earliest
    }

    /// True while rekeys and probes make sense.
    private var isWorking: Bool { closing == nil && successor == nil && !awaitsHandover }

    /// When its lifetime is over, unless it is ending anyway.
    private var endsAt: Instant? { closing == nil && !awaitsHandover ? expiresAt : nil }

    private var livenessDue: Instant? {
        guard active == nil, isWorking, !isPlanned(.livenessCheck) else { return nil }
        return connection.livenessDelay.map { lastInbound.advanced(by: $0) }
    }

    private var keepaliveDue: Instant? {
        // A zero interval would never let the deadline pass.
        nat.isLocalBehindNAT ? lastOutbound.advanced(by: max(connection.keepaliveInterval, .seconds(1))) : nil
    }

    private var rekeyDue: Instant? {
        isWorking && !isPlanned(.rekeyIKE) ? rekeyAt : nil
    }

    private func rekeyDue(_ child: ChildSA) -> Instant? {
        isWorking && child.isCurrent && !isPlanned(.rekeyChild(id: child.id)) ? child.snapshot.rekeyAt : nil
    }

    mutating func timeout(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        if case .close = askBeforeTakeover(common, &context) { return .close }
        if let active, let request = active.request, request.nextAt <= context.now {
            if case .close = retransmit(active, request, common, &context) { return .close }
        }
        if let abandonedAt, abandonedAt <= context.now { return abandon(common, &context) }
        if let awaited = awaitedFollowUp?.followUp, awaited.expiresAt <= context.now {
            forgetFollowUp(&context)
            let hint = "it began to make the same and did not go on"
            reportOwed(.peerRefused(.temporaryFailure, hint: hint), common, &context)
            if case .close = sendNext(common, &context) { return .close }
        }
        if let endsAt, endsAt <= context.now {
            let cause = DownCause.lifetimeOver(lastFailure: nil)
            return terminate(cause, common, &context)
        }
        askForReplacement(common, &context)
        if let ended = endChildren(common, &context) { return ended }
        if let due = livenessDue, due <= context.now {
            return enqueue(.livenessCheck, common, &context)
        }
        if let due = keepaliveDue, due <= context.now {
            context.emit(.keepalive(local: common.local, remote: common.remote))
            lastOutbound = context.now
        }
        if let due = rekeyDue, due <= context.now, let ended = plan(.rekeyIKE, common, &context) {
            return ended
        }
        for child in children {
            guard let due = rekeyDue(child), due <= context.now else { continue }
            if let ended = plan(.rekeyChild(id: child.id), common, &context) { return ended }
        }
        return .stay
    }

    /// How long before the end of what cannot be rekeyed its replacement begins.
    static func replacementLead(_ start: Instant, _ end: Instant) -> Duration {
        min(.seconds(60), start.duration(to: end) / 8)
    }

    private var replacementDue: Instant? {
        guard failures > 0, isWorking, !isReplacementAsked, let expiresAt else { return nil }
        return expiresAt.advanced(by: .zero - Self.replacementLead(establishedAt, expiresAt))
    }

    private var reauthenticationDue: Instant? { isWorking ? reauthAt : nil }

    /// Makes a new IKE_SA due, unless one is being made.
    mutating func reauthenticate(at now: Instant) {
        guard isWorking, !isReauthenticating else { return }
        reauthAt = now
    }

    /// How long a new IKE_SA that shall take over may take before another one is tried.
    private static let reauthenticationPatience = Duration.seconds(60)

    /// Make before break: begins a new IKE_SA, of which this one is a duplicate once it is up.
    ///
    /// A peer that refuses a rekey would refuse a further CHILD_SA too, but not a new IKE_SA, in whose IKE_AUTH there is
    /// no key exchange to disagree about.
    private mutating func askForReplacement(_ common: SACommon, _ context: inout EngineContext) {
        guard isWorking else { return }
        var tunnels = [String]()
        if let due = replacementDue, due <= context.now {
            isReplacementAsked = true
            tunnels = children.filter { $0.isCurrent }.map { $0.snapshot.tunnel }
        }
        if let due = reauthenticationDue, due <= context.now {
            isReauthenticating = true
            reauthAt = context.now.advanced(by: Self.reauthenticationPatience)
            tunnels = children.filter { $0.isCurrent }.map { $0.snapshot.tunnel }
        }
        for index in children.indices {
            guard let due = children[index].replacementDue, due <= context.now else { continue }
            children[index].isReplacementAsked = true
            if !tunnels.contains(children[index].snapshot.tunnel) {
                tunnels.append(children[index].snapshot.tunnel)
            }
        }
        // Where the peer is now is known, whatever is configured: who may be anywhere is asked there.
        guard connection.remoteAddress.canInitiate || isReauthenticating else { return }
        for tunnel in withoutFurther(tunnels) {
            context.needsFreshIKE.insert(EngineContext.Tunnel(connection: connection.name, name: tunnel))
            context.replacements.append(
                EngineContext.Replacement(
                    connection: connection.name,
                    tunnel: tunnel,
                    local: common.local,
                    remote: common.remote
                )
            )
        }
    }

    /// A CHILD_SA is nearly used up.
    mutating func childNearLimit(_ id: UInt32, _ common: SACommon, _ context: inout EngineContext)
        -> Transition
    {
        guard let index = children.firstIndex(where: { $0.id == id }), children[index].isCurrent else {
            return .stay
        }
        children[index].isNearLimit = true
        return plan(.rekeyChild(id: id), common, &context) ?? .stay
    }

    /// Enqueues a rekey unless too much waits; then it comes up again a moment later.
    mutating func plan(
        _ task: OwnExchange.Task,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition? {
        guard isWorking, !isPlanned(task) else { return nil }
        guard waiting.count < Self.maximumWaiting / 2 else {
            postpone(task, until: context.now.advanced(by: .seconds(1)))
            return nil
        }
        if case .close = enqueue(task, common, &context) { return .close }
        return nil
    }

    mutating func postpone(_ task: OwnExchange.Task, until instant: Instant?) {
        switch task {
        case .rekeyIKE: rekeyAt = instant
        case .rekeyChild(let id):
            guard let index = children.firstIndex(where: { $0.id == id }) else { return }
            children[index].snapshot.rekeyAt = instant
        default: break
        }
    }

    /// The peer, or the successor, did not do its part in time.
    private mutating func abandon(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        abandonedAt = nil
        if awaitsHandover { return close(.lifetimeOver(lastFailure: nil), common, &context) }
        guard closing == nil else { return .stay }
        closing = .lifetimeOver(lastFailure: nil)
        return enqueue(.deleteIKE, common, &context)
    }

    /// Takes away CHILD_SAs whose time is over; a value means that the IKE_SA ends with them.
    private mutating func endChildren(_ common: SACommon, _ context: inout EngineContext) -> Transition? {
        let now = context.now
        for child in retired where child.until <= now { Self.remove(child.snapshot, &context) }
        retired.removeAll { $0.until <= now }
        let over = children.filter { child in
            (child.abandonedAt.map { $0 <= now } ?? false)
                || (child.role != .deleting && child.snapshot.expiresAt.map { $0 <= now } ?? false)
        }
        for child in over {
            guard child.isCurrent else {
                children.removeAll { $0.id == child.id }
                release(child, .lifetimeOver(lastFailure: nil), common, &context)
                if child.isSending { useCurrent(of: child.snapshot.tunnel, &context) }
                if case .close = enqueue(.deleteChildren([child.snapshot.inboundSPI]), common, &context) {
                    return .close
                }
                continue
            }
            let cause = DownCause.lifetimeOver(lastFailure: child.lastFailure?.description)
            // Whoever could not rekey it could not make a further CHILD_SA either: only a new IKE_SA brings the tunnel
            // back.
            if child.failures > 0, closing == nil {
                guard children.contains(where: { $0.isCurrent && $0.id != child.id }) else {
                    return terminate(cause, common, &context)
                }
                context.needsFreshIKE.insert(
                    EngineContext.Tunnel(connection: connection.name, name: child.snapshot.tunnel)
                )
            }
            if case .close = terminateChild(child.id, cause, common, &context) { return .close }
        }
        return nil
    }

    /// A rekey failed: the old SA carries on, and a next try comes after a growing wait, before its end.
    func retryInstant(
        after failures: Int,
        _ cause: DownCause,
        expiresAt: Instant?,
        _ context: inout EngineContext
    ) -> Instant {
        let ceiling: Double
        if case .peerRefused(.temporaryFailure, _) = cause {
            // A collision: the peer is busy for some round trips (RFC 7296 §2.25).
            ceiling = min(0.5 * Double(1 << min(failures, 6)), 30)
        } else {
            ceiling = min(5 * Double(1 << min(failures, 8)), 300)
        }
        var wait = Duration.milliseconds(Int64(1000 * ceiling * (0.5 + context.entropy.fraction())))
        if let expiresAt { wait = min(wait, context.now.duration(to: expiresAt) / 3) }
        return context.now.advanced(by: max(wait, .milliseconds(250)))
    }
}
