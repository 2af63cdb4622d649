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

/// An attempt that waits for the answer to a name.
struct HeldAttempt {
    let key: TunnelKey
    /// It goes on with what is known then.
    let until: Instant
}

/// The DNS names of peers.
extension ControlPlane {
    /// An attempt does not wait longer for an answer.
    private static let patience = Duration.seconds(3)

    /// The connections with what their names were last answered with.
    var answeredConnections: [ConnectionPolicy] {
        let answers = names.answers
        let connections = carried(description.connections)
        guard !answers.isEmpty else { return connections }
        return connections.map { connection in
            var connection = connection
            connection.remoteAddress = connection.remoteAddress.answered(answers)
            return connection
        }
    }

    /// Starts lookups that are due and lets attempts go on that waited for one; once a second, and at need.
    func serviceNames(at now: Instant) {
        guard !names.records.isEmpty else { return }
        for name in names.expire(at: now) {
            noteLookupFailure(name, names.records[name]?.failure ?? "", at: now)
        }
        let due = names.takeDue(at: now) { name in
            connectionsByName[name]?.contains { supervisor.isDown($0) } ?? false
        }
        for name in due { startLookup(name) }
        releaseAttempts(at: now)
    }

    private func startLookup(_ name: String) {
        let control = queue
        let lookup = options.lookup
        // At most `PeerNames.maximumInFlight` of them: a resolver that hangs cannot use up the threads.
        DispatchQueue.global(qos: .utility).async { [weak self] in
            let result: Result<[IPAddress], NameLookupError>
            do throws(NameLookupError) { result = .success(try lookup(name)) } catch {
                result = .failure(error)
            }
            control.async { [weak self] in self?.assumeIsolated { $0.nameAnswered(name, result) } }
        }
    }

    private func nameAnswered(_ name: String, _ result: Result<[IPAddress], NameLookupError>) {
        let now = MonotonicClock.now()
        switch names.answered(name, result, at: now) {
        case .none: break
        case .failure(let cause): noteLookupFailure(name, cause, at: now)
        case .addresses(let old, let new):
            let text = new.map { $0.description }.joined(separator: ", ")
            logger.info(
                "\(name) is \(text)\(old.isEmpty ? "" : " now")",
                metadata: ["event": "name-answered"]
            )
            applyAnswers(at: now)
            for connection in connectionsByName[name] ?? [] { addressChanged(connection, new, at: now) }
        }
        serviceNames(at: now)
        settle()
    }

    private func noteLookupFailure(_ name: String, _ cause: String, at now: Instant) {
        let known = names.records[name]?.addresses ?? []
        let consequence = known.isEmpty ? "" : "; its last addresses stay in use"
        warnThrottled("name \(name)", "the name \(name) cannot be looked up: \(cause)\(consequence)", at: now)
    }

    /// Tells engine and packet filter which addresses the names stand for.
    private func applyAnswers(at now: Instant) {
        engine.handle(.setPolicies(answeredConnections), at: now)
        applyFilter()
    }

    /// A working tunnel stays, its peer is asked whether it is there; one that is down tries the new address.
    private func addressChanged(_ connection: String, _ addresses: [IPAddress], at now: Instant) {
        guard supervisor.isDown(connection) else {
            for ike in engine.snapshots
            where ike.connection == connection && !addresses.contains(ike.remote.address) {
                checkLiveness(ike.id)
            }
            return
        }
        // An attempt to where the peer no longer is would be waited for in vain.
        for ike in engine.snapshots
        where ike.connection == connection && ike.state == .connecting && ike.isInitiator
            && !addresses.contains(ike.remote.address)
        {
            let cause = DownCause.noConnection("its name stands for another address now")
            engine.handle(.terminateIKE(id: ike.id, cause: cause), at: now)
        }
        drainOutputs()
        supervisor.tryNow(connection, forgetsFailures: true, at: now)
    }

    // MARK: - Attempts

    /// Begins an attempt, or holds it until the peer's names are answered.
    func initiate(_ key: TunnelKey, at now: Instant) {
        guard let connection = connection(named: key.connection) else {
            return
        }
        if names.wantsFresh(connection.remoteAddress.names, at: now) {
            heldAttempts.append(HeldAttempt(key: key, until: now.advanced(by: Self.patience)))
            serviceNames(at: now)
        } else {
            begin(key, connection, at: now)
        }
    }

    private func releaseAttempts(at now: Instant) {
        guard !heldAttempts.isEmpty else { return }
        let held = heldAttempts
        heldAttempts = []
        for attempt in held {
            guard
                let connection = connection(named: attempt.key.connection),
                let entry = supervisor.entries[attempt.key], entry.phase == .connecting
            else { continue }
            if entry.isHeldDown {
                supervisor.attemptFailed(attempt.key, cause: .localRequest, at: now)
            } else if attempt.until > now, names.isSettling(connection.remoteAddress.names) {
                heldAttempts.append(attempt)
            } else {
                begin(attempt.key, connection, at: now)
            }
        }
    }

    private func begin(_ key: TunnelKey, _ connection: ConnectionPolicy, at now: Instant) {
        let address = connection.remoteAddress.answered(names.answers)
        let targets = rotation.order(key.connection, address.initiatorTargets)
        for remote in targets {
            guard let local = localAddress(for: connection, towards: remote) else { continue }
            rotation.tries(key.connection, remote)
            engine.handle(
                .initiate(
                    connection: key.connection,
                    tunnel: key.tunnel,
                    local: Endpoint(local, description.ikePort),
                    remote: Endpoint(remote, description.ikePort)
                ),
                at: now
            )
            return
        }
        let reason: String
        if let first = targets.first {
            reason = "no route to \(first)" + (targets.count > 1 ? " and \(targets.count - 1) more" : "")
        } else {
            let failures = connection.remoteAddress.names.map { name in
                "\(name) cannot be looked up: \(names.records[name]?.failure ?? "no answer yet")"
            }
            reason = failures.joined(separator: "; ")
        }
        supervisor.attemptFailed(key, cause: .noConnection(reason), at: now)
        warnThrottled("\(key): unreachable", "\(key): \(reason)", at: now)
        failPending(key, reason)
    }

    /// The address to speak from: a configured one that is there, or what the kernel chooses.
    func localAddress(for connection: ConnectionPolicy, towards remote: IPAddress) -> IPAddress? {
        let own = connection.localAddresses.isEmpty ? description.outerAddresses : connection.localAddresses
        let configured = own.filter { $0.bitWidth == remote.bitWidth }
        guard !configured.isEmpty else { return sockets?.localAddress(towards: remote) }
        return configured.first { network.isPresent($0) } ?? configured.first
    }
}
