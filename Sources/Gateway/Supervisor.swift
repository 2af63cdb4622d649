import IKECore
import Policy
import Primitives

/// Names one tunnel of one connection.
struct TunnelKey: Hashable, Comparable, Sendable, CustomStringConvertible {
    let connection: String
    let tunnel: String

    var description: String { connection == tunnel ? connection : "\(connection)/\(tunnel)" }

    static func < (left: TunnelKey, right: TunnelKey) -> Bool {
        (left.connection, left.tunnel) < (right.connection, right.tunnel)
    }
}

/// Decides when a tunnel is brought up: one idea, "keep up what shall be up".
///
/// Pure: told what happens, asked what is due. At most `maximumInFlight` handshakes run at a time; a failed one is
/// tried again after a wait with full jitter that doubles from one to sixty seconds.
struct Supervisor: Sendable {
    static let maximumInFlight = 64
    static let firstBackoff = 1.0
    static let longestBackoff = 60.0

    /// What one tunnel is doing.
    enum Phase: Equatable, Sendable {
        /// Down, and nothing is planned.
        case idle
        /// Down; due at this instant.
        case waiting(Instant)
        /// A handshake of ours runs.
        case connecting
        /// This many CHILD_SAs are up.
        case up(Int)
    }

    /// The state of one tunnel.
    struct Entry: Sendable {
        var mode: StartMode
        var canInitiate: Bool
        var phase = Phase.idle
        var failures = 0
        /// A user or a packet asked for it.
        var isWanted = false
        /// A user took it down.
        var isHeldDown = false
        /// Why it is down.
        var lastCause: String?

        var shallBeUp: Bool { canInitiate && !isHeldDown && (isWanted || mode == .start) }
    }

    private(set) var entries: [TunnelKey: Entry] = [:]
    private var entropy: any EntropySource

    init(entropy: any EntropySource) {
        self.entropy = entropy
    }

    /// When something is due.
    var deadline: Instant? {
        entries.values.compactMap { entry in
            guard case .waiting(let instant) = entry.phase else { return nil }
            return instant
        }.min()
    }

    /// Replaces the set of tunnels; those that stay keep their state.
    mutating func setTunnels(
        _ tunnels: [(key: TunnelKey, mode: StartMode, canInitiate: Bool)],
        at now: Instant
    ) {
        var next: [TunnelKey: Entry] = [:]
        for (key, mode, canInitiate) in tunnels {
            var entry = entries[key] ?? Entry(mode: mode, canInitiate: canInitiate)
            entry.mode = mode
            entry.canInitiate = canInitiate
            if entry.phase == .idle, entry.shallBeUp { entry.phase = .waiting(now) }
            next[key] = entry
        }
        entries = next
    }

    /// The tunnels to initiate now; they count as connecting from here on.
    mutating func takeDue(at now: Instant) -> [TunnelKey] {
        var free = Self.maximumInFlight - entries.values.count { $0.phase == .connecting }
        var due = [TunnelKey]()
        for key in entries.keys.sorted() where free > 0 {
            guard case .waiting(let instant) = entries[key]?.phase, instant <= now else { continue }
            entries[key]?.phase = .connecting
            due.append(key)
            free -= 1
        }
        return due
    }

    /// A user wants the tunnel.
    mutating func request(_ key: TunnelKey, at now: Instant) {
        guard var entry = entries[key] else { return }
        entry.isHeldDown = false
        entry.isWanted = true
        switch entry.phase {
        case .idle, .waiting: entry.phase = .waiting(now)
        case .connecting, .up: break
        }
        entries[key] = entry
    }

    /// A packet wants through.
    ///
    /// A wait that a failure imposed stays.
    mutating func trigger(_ key: TunnelKey, at now: Instant) {
        guard var entry = entries[key], entry.canInitiate, entry.mode != .passive, !entry.isHeldDown,
            entry.phase == .idle
        else { return }
        entry.isWanted = true
        entry.phase = .waiting(now)
        entries[key] = entry
    }

    /// A user takes the tunnel down; it stays down until asked for.
    mutating func holdDown(_ key: TunnelKey) {
        guard var entry = entries[key] else { return }
        entry.isHeldDown = true
        entry.isWanted = false
        if case .waiting = entry.phase { entry.phase = .idle }
        entries[key] = entry
    }

    /// A CHILD_SA is up, whoever initiated it.
    mutating func childUp(_ key: TunnelKey) {
        guard var entry = entries[key] else { return }
        if case .up(let count) = entry.phase { entry.phase = .up(count + 1) } else { entry.phase = .up(1) }
        entry.failures = 0
        entry.lastCause = nil
        entries[key] = entry
    }

    /// A CHILD_SA is gone.
    mutating func childDown(_ key: TunnelKey, cause: DownCause, at now: Instant) {
        guard var entry = entries[key], case .up(let count) = entry.phase else { return }
        if count > 1 {
            entry.phase = .up(count - 1)
        } else {
            entry.lastCause = cause.description
            if entry.mode == .onDemand { entry.isWanted = false }
            entry.phase = .idle
            if entry.shallBeUp {
                // A peer that restarted or deleted gets a moment; a dead one was waited for long enough.
                entry.phase = .waiting(now.advanced(by: .milliseconds(Int64(200 + 800 * entropy.fraction()))))
            }
        }
        entries[key] = entry
    }

    /// A handshake of ours, or the CHILD_SA in it, failed.
    mutating func attemptFailed(_ key: TunnelKey, cause: DownCause, at now: Instant) {
        guard var entry = entries[key] else { return }
        entry.lastCause = cause.description
        if entry.phase == .connecting {
            entry.failures += 1
            if entry.mode == .onDemand { entry.isWanted = false }
            entry.phase = entry.shallBeUp ? .waiting(now.advanced(by: backoff(entry.failures))) : .idle
        }
        entries[key] = entry
    }

    /// Full jitter between half a second and the doubled wait.
    private mutating func backoff(_ failures: Int) -> Duration {
        var ceiling = Self.firstBackoff
        for _ in 1..<max(2, min(failures + 1, 12)) { ceiling = min(ceiling * 2, Self.longestBackoff) }
        return .milliseconds(Int64(1000 * (0.5 + ceiling * entropy.fraction())))
    }
}
