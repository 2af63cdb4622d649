import IKEMessages
import IPPackets
import IPsecTypes
import Policy

/// The connections in order of configuration, found by name and by what a peer shows of itself.
///
/// Those that an IKE_SA_INIT request cannot tell apart, with the same addresses and proposals, are one class: what a
/// stranger's first message costs does not grow with their number.
final class PolicyTable: Sendable {
    let connections: [ConnectionPolicy]
    private let byName: [String: Int]
    fileprivate let classes: [PolicyClass]
    /// The class of each connection.
    private let classNumbers: [Int32]
    /// Classes for exactly one address of a peer.
    private let classesByPeer: [IPAddress: [Int]]
    /// All other classes.
    private let openClasses: [Int]
    /// Connections whose peer has exactly this identity, in its normalized form.
    private let byIdentity: [Identity: [Int]]
    /// Connections whose peer may have one of many identities.
    private let withPatterns: [Int]

    init(_ connections: [ConnectionPolicy]) {
        var byName: [String: Int] = [:]
        var classifier = PolicyClassifier()
        var numbers: [Int32] = []
        var byIdentity: [Identity: [Int]] = [:]
        var withPatterns: [Int] = []
        numbers.reserveCapacity(connections.count)
        for (index, connection) in connections.enumerated() {
            if byName[connection.name] == nil { byName[connection.name] = index }
            numbers.append(Int32(classifier.classify(connection, index)))
            if let identity = connection.effectiveRemoteIdentity, !identity.isPattern {
                byIdentity[identity.normalized, default: []].append(index)
            } else {
                withPatterns.append(index)
            }
        }
        self.connections = connections
        self.byName = byName
        self.byIdentity = byIdentity
        self.withPatterns = withPatterns
        classes = classifier.classes
        classNumbers = numbers
        var byPeer: [IPAddress: [Int]] = [:]
        var open: [Int] = []
        for (number, entry) in classes.enumerated() {
            if case .address(let address) = entry.remoteAddress {
                byPeer[address, default: []].append(number)
            } else {
                open.append(number)
            }
        }
        classesByPeer = byPeer
        openClasses = open
    }

    subscript(name: String) -> ConnectionPolicy? { byName[name].map { connections[$0] } }

    /// Connections for a peer at `remote` that speaks to `local`: those that name the addresses most precisely come
    /// first, the precision of both ends together, then that of the peer's, then the order of configuration.
    func candidates(local: IPAddress, remote: IPAddress) -> PolicyCandidates {
        var ranked: [PolicyCandidates.Ranked] = []
        for number in [classesByPeer[remote] ?? [], openClasses].joined() {
            let entry = classes[number]
            guard let theirs = entry.remoteAddress.precision(for: remote),
                entry.localAddresses.isEmpty || entry.localAddresses.contains(local)
            else { continue }
            let both = theirs + (entry.localAddresses.isEmpty ? 1 : 129)
            ranked.append(PolicyCandidates.Ranked(both: both, theirs: theirs, number: number))
        }
        // Classes are numbered by their first connection.
        ranked.sort { ($1.both, $1.theirs, $0.number) < ($0.both, $0.theirs, $1.number) }
        return PolicyCandidates(table: self, classes: ranked)
    }

    /// Connections whose peer may be `identity`, in order of configuration, each with the number of its class.
    fileprivate func connections(of identity: Identity) -> [(index: Int, number: Int, match: IdentityMatch)] {
        let found = (byIdentity[identity.normalized] ?? []) + withPatterns
        return found.compactMap { index in
            let match = connections[index].effectiveRemoteIdentity?.match(identity) ?? .any
            return match == .none ? nil : (index, Int(classNumbers[index]), match)
        }
    }
}

/// Connections with the same addresses and the same IKE proposals.
struct PolicyClass: Sendable {
    let localAddresses: [IPAddress]
    let remoteAddress: RemoteAddress
    let proposals: [Proposal]
    /// Where the proposals of the first are written.
    let origin: ConfigurationOrigin
    fileprivate(set) var members: [Int]
    fileprivate(set) var forcesEncapsulation: Bool
    /// The first of those that make or accept signatures.
    fileprivate(set) var signers: [Int] = []
    /// One of them has post-quantum keys.
    fileprivate(set) var hasPostquantumKeys = false
    /// One of them fetches certificates by hash and URL.
    fileprivate(set) var fetchesCertificates = false
    /// Where they send peers that begin here; nil when they do not all send them to the same place.
    fileprivate(set) var redirect: Identity?
    /// One of them has several proofs of a side.
    fileprivate(set) var hasSeveralRounds = false

    /// True when one of its proposals holds all transforms of `chosen`.
    func accepts(_ chosen: Proposal) -> Bool {
        proposals.contains { proposal in chosen.transforms.allSatisfy { proposal.transforms.contains($0) } }
    }
}

private struct PolicyClassifier {
    private struct Addresses: Hashable {
        let local: [IPAddress]
        let remote: RemoteAddress
    }

    /// Connections whose authorities a stranger is told of.
    private static let mostSigners = 64

    var classes: [PolicyClass] = []
    private var byAddresses: [Addresses: [Int]] = [:]

    /// The number of the class of a connection.
    mutating func classify(_ connection: ConnectionPolicy, _ index: Int) -> Int {
        let key = Addresses(local: connection.localAddresses, remote: connection.remoteAddress)
        let known = byAddresses[key]?.first { classes[$0].proposals == connection.proposals }
        if let known {
            classes[known].members.append(index)
            if connection.forcesEncapsulation { classes[known].forcesEncapsulation = true }
            if connection.postquantum != nil { classes[known].hasPostquantumKeys = true }
            if connection.fetchesCertificates { classes[known].fetchesCertificates = true }
            if connection.hasSeveralRounds { classes[known].hasSeveralRounds = true }
            if classes[known].redirect != connection.redirect { classes[known].redirect = nil }
            if connection.usesSignatures, classes[known].signers.count < Self.mostSigners {
                classes[known].signers.append(index)
            }
            return known
        }
        classes.append(
            PolicyClass(
                localAddresses: connection.localAddresses,
                remoteAddress: connection.remoteAddress,
                proposals: connection.proposals,
                origin: connection.origin(of: "ike-proposals"),
                members: [index],
                forcesEncapsulation: connection.forcesEncapsulation,
                signers: connection.usesSignatures ? [index] : [],
                hasPostquantumKeys: connection.postquantum != nil,
                fetchesCertificates: connection.fetchesCertificates,
                redirect: connection.redirect,
                hasSeveralRounds: connection.hasSeveralRounds
            )
        )
        byAddresses[key, default: []].append(classes.count - 1)
        return classes.count - 1
    }
}

/// The connections that an unproven peer can still be meant for; the table stays as it was when they were found.
struct PolicyCandidates {
    /// A class, and how precisely it names the addresses of both ends, and of the peer.
    fileprivate struct Ranked {
        let both: Int
        let theirs: Int
        let number: Int
    }

    private let table: PolicyTable
    private let ranked: [Ranked]

    fileprivate init(table: PolicyTable, classes: [Ranked]) {
        self.table = table
        ranked = classes
    }

    var isEmpty: Bool { ranked.isEmpty }

    /// The classes, the best first.
    var classes: [PolicyClass] { ranked.map { table.classes[$0.number] } }

    /// The connection that fits best by addresses.
    var first: ConnectionPolicy? {
        ranked.first.flatMap { table.classes[$0.number].members.first }.map { table.connections[$0] }
    }

    /// True when one of them hides the addresses.
    var forcesEncapsulation: Bool { ranked.contains { table.classes[$0.number].forcesEncapsulation } }

    /// True when one of them makes or accepts signatures.
    var useSignatures: Bool { ranked.contains { !table.classes[$0.number].signers.isEmpty } }

    /// True when one of them has post-quantum keys.
    var usePostquantumKeys: Bool { ranked.contains { table.classes[$0.number].hasPostquantumKeys } }

    /// True when one of them fetches certificates by hash and URL.
    var fetchCertificates: Bool { ranked.contains { table.classes[$0.number].fetchesCertificates } }

    /// Where all of them send peers that begin here; nil when they differ.
    var redirect: Identity? {
        let all = Set(ranked.map { table.classes[$0.number].redirect })
        return all.count == 1 ? all.first ?? nil : nil
    }

    /// True when one of them has several proofs of a side.
    var haveSeveralRounds: Bool { ranked.contains { table.classes[$0.number].hasSeveralRounds } }

    /// Asks for a certificate that one of them accepts; nil when none does.
    var certificateRequest: Payload? {
        let signers = ranked.prefix(8).flatMap { table.classes[$0.number].signers }
        return .certificateRequest(
            of: signers.lazy.flatMap { [table] in table.connections[$0].requestedAuthorities ?? [] }
        )
    }

    /// Those that accept a proposal.
    func accepting(_ chosen: Proposal) -> PolicyCandidates {
        PolicyCandidates(table: table, classes: ranked.filter { table.classes[$0.number].accepts(chosen) })
    }

    /// The first few of them, to be named in a refusal.
    var examples: [ConnectionPolicy] {
        let few = ranked.prefix(8).flatMap { rank in
            table.classes[rank.number].members.prefix(8).map { (rank, IdentityMatch.any, $0) }
        }
        return ordered(few).prefix(8).map { table.connections[$0] }
    }

    /// Those whose peer may be `identity`: the best match first, of equal ones the order by addresses.
    func matching(_ identity: Identity) -> [ConnectionPolicy] {
        let ranks = Dictionary(ranked.map { ($0.number, $0) }) { first, _ in first }
        let found = table.connections(of: identity).compactMap { entry in
            ranks[entry.number].map { ($0, entry.match, entry.index) }
        }
        return ordered(found).map { table.connections[$0] }
    }

    private func ordered(_ found: [(rank: Ranked, match: IdentityMatch, index: Int)]) -> [Int] {
        found.sorted { left, right in
            (right.match, right.rank.both, right.rank.theirs, left.index)
                < (left.match, left.rank.both, left.rank.theirs, right.index)
        }.map { $0.index }
    }
}
