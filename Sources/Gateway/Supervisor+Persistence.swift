import IKECore
import Policy
import Primitives

/// What the supervisor is told of a tunnel.
struct SupervisedTunnel: Sendable {
    let key: TunnelKey
    let persistence: Persistence
    /// False when only the peer can begin.
    let canInitiate: Bool
    /// Attempts that may fail in a row before it is given up; 0 is for ever.
    let tries: Int

    init(_ key: TunnelKey, _ persistence: Persistence, canInitiate: Bool, tries: Int = 0) {
        self.key = key
        self.persistence = persistence
        self.canInitiate = canInitiate
        self.tries = persistence.triesForEver ? 0 : tries
    }

    init(_ tunnel: TunnelPolicy, of connection: ConnectionPolicy) {
        self.init(
            TunnelKey(connection: connection.name, tunnel: tunnel.name),
            tunnel.persistence,
            canInitiate: connection.remoteAddress.canInitiate,
            tries: connection.keyingTries
        )
    }
}

/// Traps: packets that want through bring a tunnel up.
extension Supervisor {
    /// True while a packet brings the tunnel up.
    func traps(_ key: TunnelKey) -> Bool { entries[key].map { $0.canInitiate && $0.isTrapped } ?? false }

    /// A user wants packets to bring the tunnel up, whatever the configuration says.
    mutating func install(_ key: TunnelKey, at now: Instant) {
        update(key) { entry in
            entry.isTrapped = true
            entry.isHeldDown = false
        }
    }

    /// Packets shall not bring the tunnel up any more; false when they did not.
    @discardableResult
    mutating func uninstall(_ key: TunnelKey, at now: Instant) -> Bool {
        guard traps(key) else { return false }
        update(key) { $0.isTrapped = false }
        return true
    }
}

extension DownCause {
    /// Who ended a CHILD_SA, as strongSwan's close_action and dpd_action ask it.
    enum Ending {
        /// A user here, or the end of the daemon.
        case ours
        /// The configuration, or another SA that took over: what was wanted is still wanted.
        case changed
        /// Time or volume: it is made anew.
        case expired
        /// The peer closed it.
        case closed
        /// The peer is not to be reached.
        case dead
    }

    var ending: Ending {
        switch self {
        case .localRequest, .shutdown, .inactive: .ours
        case .policyChanged, .duplicate, .lastChildGone: .changed
        case .lifetimeOver, .exhausted: .expired
        case .peerDeleted, .replacedByInitialContact, .peerRefused, .noProposalChosen, .tsUnacceptable,
            .authenticationFailed, .eap, .noConnection, .noVirtualAddress, .postquantumKey:
            .closed
        case .noAnswer, .localAddressGone, .halfOpenExpired, .protocolError, .cryptography: .dead
        }
    }
}
