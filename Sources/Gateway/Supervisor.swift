import HeapModule
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
/// Pure: told what happens, asked what is due. At most `maximumInFlight` handshakes run at a time, and new ones
/// begin within `RetryBudget`; a failed one is tried again after a wait with full jitter that doubles from one to
/// sixty seconds. A tunnel that did not stay up counts as a failed one.
struct Supervisor: Sendable {
    static let maximumInFlight = 64
    static let firstBackoff = 1.0
    static let longestBackoff = 60.0
    /// A tunnel that was up for less than this was no success.
    static let steadyAfter = Duration.seconds(10)

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
        /// What brings it up, and what keeps it up.
        fileprivate(set) var persistence: Persistence
        /// Attempts that may fail in a row before it is given up; 0 is for ever.
        fileprivate(set) var tries: Int
        var canInitiate: Bool
        var phase = Phase.idle
        var failures = 0
        /// It shall be up: the configuration, a user or a packet asked for it.
        var isWanted: Bool
        /// A packet that wants through brings it up.
        var isTrapped: Bool
        /// The peer died, and it is brought up again however often that fails.
        var isRestarting = false
        /// A user took it down, against the configuration.
        var isHeldDown = false
        /// Why it is down, or failed last.
        var lastCause: String?
        /// Its CHILD_SAs; a rekey replaces one by another.
        var children: Set<UInt32> = []
        /// Since when it is up.
        var upSince: Instant?

        init(_ tunnel: SupervisedTunnel) {
            persistence = tunnel.persistence
            tries = tunnel.tries
            canInitiate = tunnel.canInitiate
            isWanted = tunnel.persistence.onLoad.starts
            isTrapped = tunnel.persistence.onLoad.traps
        }

        var shallBeUp: Bool { canInitiate && !isHeldDown && isWanted }
        var isUp: Bool { if case .up = phase { true } else { false } }
        /// Only a packet brings it up again: it is not wanted any more once it is down or failed.
        fileprivate var isOnDemand: Bool { persistence.keepsWishes && persistence.onLoad == .trap }

        /// Takes what the configuration says now.
        fileprivate mutating func update(_ tunnel: SupervisedTunnel) {
            canInitiate = tunnel.canInitiate
            tries = tunnel.tries
            guard persistence != tunnel.persistence else { return }
            let wasStarted = persistence.onLoad.starts
            persistence = tunnel.persistence
            isTrapped = persistence.onLoad.traps
            // What a user or a packet asked for stays asked for.
            if persistence.onLoad.starts { isWanted = !isHeldDown } else if wasStarted { isWanted = false }
        }
    }

    /// When a tunnel that waits is due.
    private struct Due: Comparable {
        let instant: Instant
        let key: TunnelKey

        static func < (left: Due, right: Due) -> Bool {
            (left.instant, left.key) < (right.instant, right.key)
        }
    }

    private(set) var entries: [TunnelKey: Entry] = [:]
    private var keysByConnection: [String: [TunnelKey]] = [:]
    /// The entries that wait; who waits longest goes first, so that a name late in the alphabet does not starve.
    private var due = Heap<Due>()
    private var inFlight = 0
    private var budget = RetryBudget()
    private var entropy: any EntropySource

    init(entropy: any EntropySource) {
        self.entropy = entropy
    }

    /// When something is due; nil also while as many handshakes run as may: the end of one asks again.
    var deadline: Instant? {
        guard inFlight < Self.maximumInFlight, let earliest = due.min?.instant else { return nil }
        return max(earliest, budget.availableAt)
    }

    /// Replaces the set of tunnels; those that stay keep their state.
    mutating func setTunnels(_ tunnels: [SupervisedTunnel], at now: Instant) {
        let old = entries
        entries = [:]
        keysByConnection = [:]
        due = Heap()
        inFlight = 0
        for tunnel in tunnels {
            let key = tunnel.key
            var entry = old[key] ?? Entry(tunnel)
            entry.update(tunnel)
            if entry.phase == .idle, entry.shallBeUp { entry.phase = .waiting(now) }
            if case .waiting = entry.phase, !entry.shallBeUp { entry.phase = .idle }
            keysByConnection[key.connection, default: []].append(key)
            put(entry, key)
        }
    }

    /// Keeps every index in step with an entry that changed.
    private mutating func put(_ entry: Entry, _ key: TunnelKey) {
        let before = entries[key]?.phase
        if before == .connecting { inFlight -= 1 }
        if entry.phase == .connecting { inFlight += 1 }
        entries[key] = entry
        if case .waiting(let instant) = entry.phase, before != entry.phase {
            due.insert(Due(instant: instant, key: key))
        }
        // What changed its phase since it was entered here does not wait any more.
        while let first = due.min, entries[first.key]?.phase != .waiting(first.instant) { due.removeMin() }
    }

    /// Changes one entry, if it is there.
    mutating func update(_ key: TunnelKey, _ body: (inout Entry) -> Void) {
        guard var entry = entries[key] else { return }
        body(&entry)
        put(entry, key)
    }

    /// The tunnels to initiate now; they count as connecting from here on.
    mutating func takeDue(at now: Instant) -> [TunnelKey] {
        var taken = [TunnelKey]()
        while inFlight < Self.maximumInFlight, let first = due.min, first.instant <= now,
            var entry = entries[first.key], budget.take(at: now)
        {
            entry.phase = .connecting
            put(entry, first.key)
            taken.append(first.key)
        }
        return taken
    }

    // MARK: - Wishes

    /// A user wants the tunnel.
    mutating func request(_ key: TunnelKey, at now: Instant) {
        guard var entry = entries[key] else { return }
        entry.isHeldDown = false
        entry.isWanted = true
        // What failed before is another attempt's matter.
        if entry.tries > 0 { entry.failures = 0 }
        switch entry.phase {
        case .idle, .waiting: entry.phase = .waiting(now)
        case .connecting, .up: break
        }
        put(entry, key)
    }

    /// A packet wants through.
    ///
    /// A wait that a failure imposed stays.
    mutating func trigger(_ key: TunnelKey, at now: Instant) {
        guard var entry = entries[key], entry.canInitiate, entry.isTrapped, !entry.isHeldDown,
            entry.phase == .idle
        else { return }
        entry.isWanted = true
        if entry.tries > 0 { entry.failures = 0 }
        entry.phase = .waiting(now)
        put(entry, key)
    }

    /// A user takes the tunnel down; it stays down until asked for.
    ///
    /// One of vici that is trapped stays so, as in strongSwan: then the next packet asks for it.
    mutating func holdDown(_ key: TunnelKey) {
        guard var entry = entries[key] else { return }
        entry.isHeldDown = entry.persistence.keepsWishes
        entry.isWanted = false
        entry.isRestarting = false
        if case .waiting = entry.phase { entry.phase = .idle }
        put(entry, key)
    }

    /// Something happened that may make the next attempt succeed: the network changed, a name has another address,
    /// an IKE_SA is there to use.
    ///
    /// - Parameters:
    ///   - connection: whose tunnels; nil is all.
    ///   - forgetsFailures: the failures so far tell nothing about the next attempt.
    mutating func tryNow(_ connection: String?, forgetsFailures: Bool, at now: Instant) {
        let keys = connection.map { keysByConnection[$0] ?? [] } ?? entries.keys.sorted()
        for key in keys {
            guard var entry = entries[key], case .waiting(let instant) = entry.phase else { continue }
            if forgetsFailures { entry.failures = 0 }
            if instant > now { entry.phase = .waiting(now) }
            put(entry, key)
        }
    }

    /// True while a tunnel of `connection` shall be up and is not: an IKE_SA without children is then kept for it.
    func lacksTunnel(_ connection: String) -> Bool {
        keysByConnection[connection]?.contains { key in
            entries[key].map { $0.shallBeUp && !$0.isUp } ?? false
        } ?? false
    }

    /// True while no tunnel of `connection` is up.
    func isDown(_ connection: String) -> Bool {
        keysByConnection[connection]?.contains { entries[$0]?.isUp ?? false } != true
    }

    // MARK: - What happens

    /// A CHILD_SA is up, whoever initiated it.
    mutating func childUp(_ key: TunnelKey, id: UInt32, at now: Instant) {
        guard var entry = entries[key] else { return }
        if entry.phase == .connecting { budget.giveBack() }
        if entry.children.isEmpty { entry.upSince = now }
        entry.children.insert(id)
        entry.phase = .up(entry.children.count)
        entry.lastCause = nil
        entry.isRestarting = false
        put(entry, key)
    }

    /// A CHILD_SA took over from another: nothing went down.
    mutating func childRekeyed(_ key: TunnelKey, old: UInt32, new: UInt32, at now: Instant) {
        guard var entry = entries[key] else { return }
        entry.children.remove(old)
        entry.children.insert(new)
        if entry.upSince == nil { entry.upSince = now }
        entry.phase = .up(entry.children.count)
        put(entry, key)
    }

    /// A CHILD_SA is gone.
    mutating func childDown(_ key: TunnelKey, id: UInt32, cause: DownCause, at now: Instant) {
        guard var entry = entries[key], entry.children.remove(id) != nil, entry.isUp else { return }
        if !entry.children.isEmpty {
            entry.phase = .up(entry.children.count)
        } else {
            entry.lastCause = cause.description
            decide(&entry, after: cause)
            entry.phase = .idle
            if entry.shallBeUp { entry.phase = .waiting(now.advanced(by: pause(&entry, cause, at: now))) }
            entry.upSince = nil
        }
        put(entry, key)
    }

    /// Whether a tunnel that went down shall be up again.
    private func decide(_ entry: inout Entry, after cause: DownCause) {
        guard !entry.persistence.keepsWishes else {
            if entry.isOnDemand { entry.isWanted = false }
            return
        }
        let action: StartAction
        switch cause.ending {
        case .ours: action = .none
        case .changed: return
        case .expired: action = .start
        case .closed: action = entry.persistence.onClose
        case .dead:
            action = entry.persistence.onDead
            entry.isRestarting = action.starts
        }
        entry.isWanted = action.starts
        if action.traps { entry.isTrapped = true }
    }

    /// How long to wait before a tunnel that went down is tried again.
    private mutating func pause(_ entry: inout Entry, _ cause: DownCause, at now: Instant) -> Duration {
        switch cause {
        case .localAddressGone, .policyChanged:
            entry.failures = 0
            return .zero
        default: break
        }
        if let since = entry.upSince, since.duration(to: now) >= Self.steadyAfter {
            // A peer that restarted or deleted gets a moment; a dead one was waited for long enough.
            entry.failures = 0
            return .milliseconds(Int64(200 + 800 * entropy.fraction()))
        }
        entry.failures += 1
        return backoff(entry.failures)
    }

    /// A handshake of ours, or the CHILD_SA in it, failed.
    ///
    /// - Returns: how often in a row, or nil when no attempt was under way.
    @discardableResult
    mutating func attemptFailed(_ key: TunnelKey, cause: DownCause, at now: Instant) -> Int? {
        guard var entry = entries[key] else { return nil }
        let wasConnecting = entry.phase == .connecting
        if !entry.isUp { entry.lastCause = cause.description }
        if wasConnecting {
            entry.failures += 1
            let isGivenUp = entry.tries > 0 && entry.failures >= entry.tries && !entry.isRestarting
            if entry.isOnDemand || isGivenUp { entry.isWanted = false }
            entry.phase = entry.shallBeUp ? .waiting(now.advanced(by: backoff(entry.failures))) : .idle
        }
        put(entry, key)
        return wasConnecting ? entry.failures : nil
    }

    /// Full jitter between half a second and the doubled wait.
    private mutating func backoff(_ failures: Int) -> Duration {
        var ceiling = Self.firstBackoff
        for _ in 1..<max(2, min(failures + 1, 12)) { ceiling = min(ceiling * 2, Self.longestBackoff) }
        return .milliseconds(Int64(1000 * (0.5 + ceiling * entropy.fraction())))
    }
}
