import Cryptography
import GatewayConfiguration
import IKECore
import IKEMessages
import IKEv2
import IPsecTypes
import LinuxIO
import Logging
import Policy
import Primitives

/// The trial of the first rekey.
extension ControlPlane {
    /// What an earlier process has seen go well.
    func recallPolicies() {
        // With several directories systemd separates them by colons; the first is ours.
        guard let directory = SystemdNotifier.environment("STATE_DIRECTORY")?.split(separator: ":").first
        else {
            return
        }
        let file = StateFile(path: "\(directory)/policies-rekeyed")
        stateFile = file
        do throws(LinuxError) {
            guard let octets = try file.read() else { return }
            guard let known = PolicyMemory.parse(octets) else {
                logger.warning("\(file.path) is damaged and left out; rekeys are tried again")
                return
            }
            preflight = PFSPreflight(known: known, entropy: SystemEntropy())
        } catch {
            logger.warning("\(file.path) is left out: \(error)")
        }
    }

    /// Plans a trial for a tunnel whose policy was never rekeyed.
    func planPreflight(_ ike: IKESASnapshot, _ child: ChildSASnapshot, at now: Instant) {
        guard let (connection, tunnel) = policy(of: ike, child), connection.preflightsPFS,
            connection.remoteAddress != .any, tunnel.lifetime.rekey != nil,
            let fingerprint = PolicyFingerprint.of(connection, tunnel)
        else { return }
        let key = TunnelKey(connection: ike.connection, tunnel: child.tunnel)
        preflight.childUp(key, id: child.id, fingerprint: fingerprint, at: now)
    }

    /// Begins trials that are due.
    func runPreflights(at now: Instant) {
        for id in preflight.takeDue(at: now) {
            logger.info("CHILD_SA {\(id)}: its policy was never rekeyed, which is tried now")
            engine.handle(.rekeyChild(id: id), at: now)
        }
    }

    func notePreflightSuccess(_ old: ChildSASnapshot) {
        guard preflight.childRekeyed(old.id), let stateFile else { return }
        do throws(LinuxError) { try stateFile.write(PolicyMemory.text(preflight.known)) } catch {
            logger.warning("which policies were rekeyed is not remembered: \(error)")
        }
    }

    /// Says in one line what will happen at the real rekey, and what decides.
    func notePreflightFailure(
        _ ike: IKESASnapshot,
        _ child: ChildSASnapshot,
        _ cause: DownCause,
        at now: Instant
    ) {
        guard preflight.rekeyFailed(child.id, tellsPolicy: PreflightText.tellsPolicy(cause)),
            let (connection, tunnel) = policy(of: ike, child)
        else { return }
        let key = TunnelKey(connection: ike.connection, tunnel: child.tunnel)
        let until = child.expiresAt.map { "in \(PreflightText.span(now.duration(to: $0)))" } ?? "one day"
        logger.warning(
            """
            CHILD_SA \(key){\(child.id)}: the trial of a rekey failed: \(cause). The tunnel works for now; \
            \(until) the rekey fails the same way and its traffic stops until a new IKE_SA is up. \
            \(connection.origin(of: "esp-proposals")) decides on this side, which asks for \
            \(PreflightText.groups(tunnel))
            """,
            metadata: [
                "event": "preflight-failed", "connection": "\(ike.connection)", "peer": "\(ike.remote)",
            ]
        )
    }

    func policy(of ike: IKESASnapshot, _ child: ChildSASnapshot) -> (
        ConnectionPolicy, Policy.TunnelPolicy
    )? {
        guard let connection = connection(named: ike.connection),
            let tunnel = connection.tunnels.first(where: { $0.name == child.tunnel })
        else { return nil }
        return (connection, tunnel)
    }
}

/// Words for the line about a failed trial.
enum PreflightText {
    /// The PFS groups that a tunnel asks for.
    static func groups(_ tunnel: Policy.TunnelPolicy) -> String {
        var names: [String] = []
        for transform in tunnel.proposals.flatMap({ $0.transforms }) where transform.type == .keyExchange {
            if !names.contains(transform.description) { names.append(transform.description) }
        }
        return names.isEmpty ? "no PFS" : "PFS with " + names.joined(separator: " or ")
    }

    /// True for a cause that the next rekey will meet as well.
    static func tellsPolicy(_ cause: DownCause) -> Bool {
        switch cause {
        case .peerRefused(.temporaryFailure, _): false
        case .peerRefused, .noProposalChosen, .tsUnacceptable, .protocolError: true
        case .localRequest, .shutdown, .policyChanged, .peerDeleted, .replacedByInitialContact, .noAnswer,
            .authenticationFailed, .eap, .noConnection, .halfOpenExpired, .lastChildGone, .lifetimeOver,
            .duplicate,
            .exhausted, .localAddressGone, .noVirtualAddress, .postquantumKey, .inactive, .cryptography:
            false
        }
    }

    /// `7h 59m`.
    static func span(_ duration: Duration) -> String {
        let seconds = max(0, duration.wholeSeconds)
        if seconds < 60 { return "\(seconds)s" }
        if seconds < 3600 { return "\(seconds / 60)m" }
        return "\(seconds / 3600)h \(seconds % 3600 / 60)m"
    }
}
