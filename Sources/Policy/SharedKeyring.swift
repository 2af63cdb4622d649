public import Cryptography
public import IPPackets

/// Pre-shared keys with the identities they belong to.
///
/// Connections share one keyring by value; asking it costs the same however many keys of other peers it holds.
public struct SharedKeyring: Sendable, Equatable {
    /// One key.
    public struct Entry: Sendable, Equatable {
        /// Its name.
        public var id: String
        /// Who has it, patterns among them; empty for everybody.
        public var owners: [Identity]
        /// The key.
        public var key: SecretKey

        /// Makes an entry.
        public init(id: String, owners: [Identity], key: SecretKey) {
            self.id = id
            self.owners = owners
            self.key = key
        }
    }

    /// The keys in the order of loading.
    public let entries: [Entry]
    /// The entries that name an identity exactly.
    private let named: [Identity: [Int]]
    /// The entries whose owners all are one identity: whoever knows such a key may be its peer.
    private let sole: [Identity: [Int]]
    /// The entries with patterns, or without owners.
    private let open: [Int]

    /// One key for every peer, as gateway.yaml names it for each connection.
    public init(_ key: SecretKey) {
        self.init([Entry(id: "", owners: [], key: key)])
    }

    /// Keys with their owners.
    public init(_ entries: [Entry]) {
        var (named, sole, open): ([Identity: [Int]], [Identity: [Int]], [Int]) = ([:], [:], [])
        for (index, entry) in entries.enumerated() {
            let owners = Set(entry.owners.map { $0.normalized })
            if owners.isEmpty || entry.owners.contains(where: { $0.isPattern }) {
                open.append(index)
                continue
            }
            for owner in owners { named[owner, default: []].append(index) }
            if owners.count == 1, let owner = owners.first { sole[owner, default: []].append(index) }
        }
        self.entries = entries
        self.named = named
        self.sole = sole
        self.open = open
    }

    /// Two keyrings are equal when they hold the same keys for the same owners.
    public static func == (left: SharedKeyring, right: SharedKeyring) -> Bool {
        left.entries == right.entries
    }

    /// The keys between two identities, the best match first.
    ///
    /// As strongSwan chooses: the match of the peer's identity counts before that of ours; an exact match before a
    /// pattern, a pattern before `%any` or no owner at all. A key whose owners are we and somebody else is none for
    /// a third. Where no key is for the identities, those for the outer addresses are taken.
    ///
    /// - Parameter remote: who the peer says it is, or who it must be; nil while it has not said who it is and no identity is configured for it; then its
    ///   address says which of our keys comes first.
    public func keys(
        local: Identity,
        remote: Identity?,
        localAddress: IPAddress,
        remoteAddress: IPAddress
    ) -> [SecretKey] {
        let byIdentity = matches(local, remote, hint: .address(remoteAddress))
        if !byIdentity.isEmpty { return byIdentity }
        return matches(.address(localAddress), .address(remoteAddress), hint: nil)
    }

    private func matches(_ local: Identity, _ remote: Identity?, hint: Identity?) -> [SecretKey] {
        let mine = local.normalized
        var candidates = open
        if let remote {
            candidates += named[remote.normalized] ?? []
            if remote.normalized != mine { candidates += sole[mine] ?? [] }
        } else {
            candidates += named[mine] ?? []
        }
        let ranked = candidates.compactMap { index -> Ranked? in
            let owners = entries[index].owners
            let ours = Self.match(owners, local)
            let theirs = (remote ?? hint).map { Self.match(owners, $0) } ?? .none
            if remote != nil, theirs == .none, !owners.allSatisfy({ $0.match(local) != .none }) { return nil }
            guard ours != .none || theirs != .none else { return nil }
            return Ranked(theirs: theirs, ours: ours, index: index)
        }
        return ranked.sorted().map { entries[$0.index].key }
    }

    private static func match(_ owners: [Identity], _ identity: Identity) -> IdentityMatch {
        owners.isEmpty ? .any : owners.map { $0.match(identity) }.max() ?? .none
    }

    /// How well a key fits; the best one sorts first, of equal ones the one that was loaded first.
    private struct Ranked: Comparable {
        let theirs: IdentityMatch
        let ours: IdentityMatch
        let index: Int

        static func < (left: Ranked, right: Ranked) -> Bool {
            if left.theirs != right.theirs { return left.theirs > right.theirs }
            if left.ours != right.ours { return left.ours > right.ours }
            return left.index < right.index
        }
    }
}
