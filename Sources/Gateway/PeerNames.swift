import IPPackets
import LinuxIO
import Primitives

/// What the DNS names of peers stand for, and when they are asked for again.
///
/// Pure: lookups are carried out by whoever asks `takeDue`, and answered by `answered`. A name that cannot be
/// looked up keeps the addresses that it had.
struct PeerNames: Sendable {
    /// An attempt uses an answer that is not older than this.
    static let freshFor = Duration.seconds(30)
    /// A failure is tried again by an attempt after this.
    static let failureFor = Duration.seconds(5)
    static let intervalWhileDown = Duration.seconds(60)
    static let intervalWhileUp = Duration.seconds(300)
    /// A lookup without an answer counts as failed; a late answer is taken all the same.
    static let timeLimit = Duration.seconds(10)
    static let maximumInFlight = 16
    static let maximumAddresses = 16

    /// What is known of one name.
    struct Record: Sendable {
        var addresses: [IPAddress] = []
        /// When the last answer or failure came.
        var settledAt: Instant?
        /// Since when a lookup runs.
        var askedAt: Instant?
        /// The running lookup took too long and was given up, though its thread may still wait.
        var isOverdue = false
        /// It shall be asked as soon as there is room.
        var isWanted = true
        /// Why the last lookup failed.
        var failure: String?

        var isSettling: Bool { isWanted || (askedAt != nil && !isOverdue) }
    }

    /// What an answer changed.
    enum Change: Equatable, Sendable {
        /// Nothing that matters.
        case none
        /// The name stands for other addresses now.
        case addresses(old: [IPAddress], new: [IPAddress])
        /// The lookup failed.
        case failure(String)
    }

    private(set) var records: [String: Record] = [:]

    /// Replaces the set of names; those that stay keep their answers.
    mutating func setNames(_ names: some Sequence<String>) {
        var next: [String: Record] = [:]
        for name in names { next[name] = records[name] ?? Record() }
        records = next
    }

    /// The last answers.
    var answers: [String: [IPAddress]] { records.mapValues { $0.addresses } }

    /// An attempt wants to use these names.
    ///
    /// - Returns: true if it should wait for a lookup, since what is known is too old.
    mutating func wantsFresh(_ names: [String], at now: Instant) -> Bool {
        var waits = false
        for name in names {
            guard var record = records[name] else { continue }
            let limit = record.failure == nil ? Self.freshFor : Self.failureFor
            if record.askedAt == nil, record.settledAt.map({ $0.duration(to: now) > limit }) ?? true {
                record.isWanted = true
                records[name] = record
            }
            if record.isSettling { waits = true }
        }
        return waits
    }

    /// True while a lookup of one of these names is wanted or runs.
    func isSettling(_ names: [String]) -> Bool {
        names.contains { records[$0]?.isSettling ?? false }
    }

    /// The names to look up now; `isDown` tells whether a tunnel waits for the name.
    mutating func takeDue(at now: Instant, isDown: (String) -> Bool) -> [String] {
        var free = Self.maximumInFlight - records.values.count { $0.askedAt != nil }
        var due = [String]()
        for name in records.keys.sorted() where free > 0 {
            guard var record = records[name], record.askedAt == nil else { continue }
            if !record.isWanted, let settled = record.settledAt {
                let age = settled.duration(to: now)
                guard age >= Self.intervalWhileDown else { continue }
                guard age >= Self.intervalWhileUp || isDown(name) else { continue }
            }
            record.askedAt = now
            record.isOverdue = false
            record.isWanted = false
            records[name] = record
            due.append(name)
            free -= 1
        }
        return due
    }

    /// Gives lookups up that take too long.
    mutating func expire(at now: Instant) -> [String] {
        var expired = [String]()
        for name in records.keys.sorted() {
            guard var record = records[name], let asked = record.askedAt, !record.isOverdue,
                asked.duration(to: now) >= Self.timeLimit
            else { continue }
            record.isOverdue = true
            record.settledAt = now
            record.failure = "no answer in \(Self.timeLimit.wholeSeconds) s"
            records[name] = record
            expired.append(name)
        }
        return expired
    }

    /// A lookup came to an end.
    mutating func answered(_ name: String, _ result: Result<[IPAddress], NameLookupError>, at now: Instant)
        -> Change
    {
        guard var record = records[name] else { return .none }
        record.askedAt = nil
        record.isOverdue = false
        record.settledAt = now
        defer { records[name] = record }
        switch result {
        case .failure(let error):
            record.failure = error.description
            return .failure(error.description)
        case .success([]):
            record.failure = "it has no addresses"
            return .failure("it has no addresses")
        case .success(let addresses):
            record.failure = nil
            let new = Array(addresses.prefix(Self.maximumAddresses))
            let old = record.addresses
            record.addresses = new
            // Servers rotate their answers: another order is no change.
            return Set(old) == Set(new) ? .none : .addresses(old: old, new: new)
        }
    }
}

/// Which of a peer's addresses the next attempt goes to: the same one while it works, else the next in turn.
struct AddressRotation: Sendable {
    private var last: [String: IPAddress] = [:]
    private var failed: Set<String> = []

    /// The addresses of `targets` in the order in which to try them.
    func order(_ connection: String, _ targets: [IPAddress]) -> [IPAddress] {
        guard let last = last[connection], let index = targets.firstIndex(of: last) else { return targets }
        let first = failed.contains(connection) ? index + 1 : index
        return Array(targets[first...] + targets[..<first])
    }

    /// An attempt goes to `address`.
    mutating func tries(_ connection: String, _ address: IPAddress) {
        last[connection] = address
        failed.remove(connection)
    }

    /// An attempt to `address` failed; several tunnels may share one and report it.
    mutating func fails(_ connection: String, _ address: IPAddress) {
        if last[connection] == address { failed.insert(connection) }
    }

    /// Forgets connections that are no more.
    mutating func keep(_ connections: Set<String>) {
        last = last.filter { connections.contains($0.key) }
        failed.formIntersection(connections)
    }
}
