import IPPackets
public import IPsecTypes

/// A tunnel as the outbound policy sees it: what to do with its traffic while it has no SA.
public struct SPDEntry: Sendable {
    /// The tunnel's number.
    public let id: UInt32
    /// The connection's name.
    public let connection: String
    /// The tunnel's name.
    public let tunnel: String
    /// Our side.
    public let local: [TrafficSelector]
    /// The peer's side.
    public let remote: [TrafficSelector]
    /// True to hold packets and ask for an SA; else they are dropped.
    public let traps: Bool

    /// Makes an entry.
    public init(
        id: UInt32,
        connection: String,
        tunnel: String,
        local: [TrafficSelector],
        remote: [TrafficSelector],
        traps: Bool
    ) {
        self.id = id
        self.connection = connection
        self.tunnel = tunnel
        self.local = local
        self.remote = remote
        self.traps = traps
    }
}

/// Which tunnel of which connection an SA belongs to.
struct TunnelName: Hashable, Sendable {
    let connection: String
    let tunnel: String
    /// The name that several SAs for the same traffic share.
    var group: String

    init(connection: String, tunnel: String, group: String? = nil) {
        self.connection = connection
        self.tunnel = tunnel
        self.group = group ?? tunnel
    }

    /// True for another one's SA for the same traffic; an older SA of the same is no substitute for a newer one.
    func isBeside(_ other: TunnelName) -> Bool {
        connection == other.connection && group == other.group && tunnel != other.tunnel
    }
}

/// What to do with an outbound packet.
public enum SPDAction: Hashable, Sendable {
    /// Seal it with the SA in this slot.
    case protect(slot: Int)
    /// Hold it and ask for an SA.
    case trap(tunnel: UInt32)
    /// Drop it: the tunnel has no SA.
    case discard(tunnel: UInt32)
    /// Drop it: nobody's traffic.
    case noPolicy
}

/// Finds the SA, or the tunnel without SA, for an outbound packet.
///
/// A hash table a prefix length, asked from the longest to the shortest, so the cost depends on the number of
/// different lengths and not on that of tunnels. Before it stands a cache of flows, which spares nearly every
/// packet the search. With one prefix the SAs come first, the newest before the others, then the tunnels.
struct SPDCache: Sendable {
    enum Owner: Hashable, Sendable {
        case sa(slot: Int)
        case tunnel(UInt32)
    }

    private struct Candidate: Sendable {
        let owner: Owner
        let action: SPDAction
        /// SAs in the order in which they began to send or were installed; tunnels 0.
        var order: UInt64
        /// True for an SA that sends only when no other of its tunnel does.
        var isStandby: Bool
        /// True for an SA of another worker.
        var isElsewhere = false
        let local: [SelectorRule]
        let remote: SelectorRule
    }

    /// What is known of an SA beside its candidates.
    private struct Member: Sendable {
        let tunnel: TunnelName
        var order: UInt64
        var isStandby: Bool
        let isElsewhere: Bool
        let local: [SelectorRule]
        let remote: [SelectorRule]
    }

    private struct Table: Sendable {
        let length: Int
        var buckets = [AddressBits: [Candidate]]()
    }

    private struct Flow {
        var generation: UInt64 = 0
        var source = AddressBits(high: 0, low: 0, isIPv6: false)
        var destination = AddressBits(high: 0, low: 0, isIPv6: false)
        var ports: UInt32 = 0
        var ipProtocol: UInt8 = 0
        var hasPorts = false
        var action = SPDAction.noPolicy
    }

    private static let flowCount = 1024

    private var tables4 = [Table]()
    private var tables6 = [Table]()
    private var prefixes = [Owner: [IPPrefix]]()
    private var members = [Int: Member]()
    /// Slots of the SAs that do not send yet: few, during rekeys.
    private var standby = [Int]()
    private var flows = [Flow](repeating: Flow(), count: flowCount)
    private var generation: UInt64 = 1
    private var nextOrder: UInt64 = 1

    /// Adds an SA; unless it `sends`, others of its tunnel are preferred to it.
    mutating func insert(
        slot: Int,
        tunnel: TunnelName,
        sends: Bool = true,
        isOwned: Bool = true,
        local: [TrafficSelector],
        remote: [TrafficSelector]
    ) {
        members[slot] = Member(
            tunnel: tunnel,
            order: nextOrder,
            isStandby: !sends,
            isElsewhere: !isOwned,
            local: local.map { SelectorRule($0) },
            remote: remote.map { SelectorRule($0) }
        )
        if !sends { standby.append(slot) }
        insert(
            .sa(slot: slot),
            .protect(slot: slot),
            order: nextOrder,
            isStandby: !sends,
            isElsewhere: !isOwned,
            local: local,
            remote: remote
        )
        nextOrder += 1
    }

    mutating func insert(_ entry: SPDEntry) {
        let action = entry.traps ? SPDAction.trap(tunnel: entry.id) : .discard(tunnel: entry.id)
        insert(
            .tunnel(entry.id),
            action,
            order: 0,
            isStandby: false,
            local: entry.local,
            remote: entry.remote
        )
    }

    /// Prefers an SA to all that its tunnel has now.
    mutating func useForSending(slot: Int) {
        guard members[slot] != nil else { return }
        let order = nextOrder
        nextOrder += 1
        generation += 1
        members[slot]?.order = order
        members[slot]?.isStandby = false
        standby.removeAll { $0 == slot }
        for prefix in prefixes[.sa(slot: slot)] ?? [] {
            let key = AddressBits(prefix.address)
            if key.isIPv6 {
                Self.promote(slot, order, key, prefix.length, &tables6)
            } else {
                Self.promote(slot, order, key, prefix.length, &tables4)
            }
        }
    }

    private static func promote(
        _ slot: Int,
        _ order: UInt64,
        _ key: AddressBits,
        _ length: Int,
        _ tables: inout [Table]
    ) {
        guard let place = tables.firstIndex(where: { $0.length == length }),
            var bucket = tables[place].buckets[key]
        else { return }
        var promoted = bucket.filter { $0.owner == .sa(slot: slot) }
        for index in promoted.indices {
            promoted[index].order = order
            promoted[index].isStandby = false
        }
        bucket.removeAll { $0.owner == .sa(slot: slot) }
        tables[place].buckets[key] = promoted + bucket
    }

    private mutating func insert(
        _ owner: Owner,
        _ action: SPDAction,
        order: UInt64,
        isStandby: Bool,
        isElsewhere: Bool = false,
        local: [TrafficSelector],
        remote: [TrafficSelector]
    ) {
        generation += 1
        let localRules = local.map { SelectorRule($0) }
        for selector in remote {
            let candidate = Candidate(
                owner: owner,
                action: action,
                order: order,
                isStandby: isStandby,
                isElsewhere: isElsewhere,
                local: localRules,
                remote: SelectorRule(selector)
            )
            for prefix in selector.prefixes {
                prefixes[owner, default: []].append(prefix)
                let key = AddressBits(prefix.address)
                if key.isIPv6 {
                    Self.add(candidate, key, prefix.length, &tables6)
                } else {
                    Self.add(candidate, key, prefix.length, &tables4)
                }
            }
        }
    }

    private static func add(
        _ candidate: Candidate,
        _ key: AddressBits,
        _ length: Int,
        _ tables: inout [Table]
    ) {
        let place = tables.firstIndex { $0.length <= length } ?? tables.count
        if place == tables.count || tables[place].length != length {
            tables.insert(Table(length: length), at: place)
        }
        // New SAs go to the front, so a rekey of many does not search the bucket; a tunnel goes to the end.
        let index = candidate.order == 0 ? tables[place].buckets[key]?.count ?? 0 : 0
        tables[place].buckets[key, default: []].insert(candidate, at: index)
    }

    mutating func remove(_ owner: Owner) {
        if case .sa(let slot) = owner, let member = members.removeValue(forKey: slot) {
            standby.removeAll { $0 == slot }
            if !member.isStandby { succeed(member) }
        }
        removeCandidates(owner)
    }

    /// When the sender of some traffic goes, the newest SA that came after it sends from now on.
    private mutating func succeed(_ gone: Member) {
        func follows(_ member: Member) -> Bool {
            member.tunnel == gone.tunnel && member.order > gone.order
                && SelectorRule.meet(member.local, gone.local)
                && SelectorRule.meet(member.remote, gone.remote)
        }
        let heir = standby.last { members[$0].map { follows($0) } ?? false }
        // An old one that goes was no sender any more if another took over.
        guard let heir, !members.values.contains(where: { !$0.isStandby && follows($0) }) else { return }
        useForSending(slot: heir)
    }

    private mutating func removeCandidates(_ owner: Owner) {
        guard let gone = prefixes.removeValue(forKey: owner) else { return }
        generation += 1
        for prefix in gone {
            let key = AddressBits(prefix.address)
            if key.isIPv6 {
                Self.remove(owner, key, prefix.length, &tables6)
            } else {
                Self.remove(owner, key, prefix.length, &tables4)
            }
        }
    }

    private static func remove(_ owner: Owner, _ key: AddressBits, _ length: Int, _ tables: inout [Table]) {
        guard let place = tables.firstIndex(where: { $0.length == length }) else { return }
        tables[place].buckets[key]?.removeAll { $0.owner == owner }
        if tables[place].buckets[key]?.isEmpty ?? false { tables[place].buckets[key] = nil }
        if tables[place].buckets.isEmpty { tables.remove(at: place) }
    }

    mutating func action(for header: PacketHeader) -> SPDAction {
        let ports = UInt32(header.sourcePort) << 16 | UInt32(header.destinationPort)
        var hash = header.source.low ^ (header.destination.low &* 0x9e37_79b9_7f4a_7c15)
        hash ^= (header.source.high ^ header.destination.high) &* 0xff51_afd7_ed55_8ccd
        hash = (hash ^ UInt64(ports) ^ UInt64(header.ipProtocol) << 40) &* 0x9e37_79b9_7f4a_7c15
        let index = Int(truncatingIfNeeded: hash >> 54)
        if flows[index].generation == generation, flows[index].source == header.source,
            flows[index].destination == header.destination, flows[index].ports == ports,
            flows[index].ipProtocol == header.ipProtocol, flows[index].hasPorts == header.hasPorts
        {
            return flows[index].action
        }
        let action = search(header)
        flows[index] = Flow(
            generation: generation,
            source: header.source,
            destination: header.destination,
            ports: ports,
            ipProtocol: header.ipProtocol,
            hasPorts: header.hasPorts,
            action: action
        )
        return action
    }

    /// The first candidate that matches; if that is an SA which does not send yet, one of its tunnel that does, and if
    /// it belongs to another worker, one of ours for the same traffic.
    private func search(_ header: PacketHeader) -> SPDAction {
        var waiting: (action: SPDAction, tunnel: TunnelName?)?
        var elsewhere: (action: SPDAction, tunnel: TunnelName?)?
        for table in header.isIPv6 ? tables6 : tables4 {
            guard let bucket = table.buckets[header.destination.masked(to: table.length)] else { continue }
            for candidate in bucket
            where candidate.remote.matchesDestination(of: header)
                && candidate.local.contains(where: { $0.matchesSource(of: header) })
            {
                let own = tunnel(of: candidate.owner)
                if let elsewhere {
                    guard !candidate.isStandby, !candidate.isElsewhere, let own,
                        elsewhere.tunnel.map({ own.isBeside($0) }) ?? false
                    else { continue }
                    return candidate.action
                }
                if let waiting {
                    guard own != nil, own == waiting.tunnel, !candidate.isStandby else { continue }
                } else if candidate.isStandby {
                    waiting = (candidate.action, own)
                    continue
                }
                guard candidate.isElsewhere else { return candidate.action }
                elsewhere = (candidate.action, own)
            }
            if let elsewhere { return elsewhere.action }
        }
        return waiting?.action ?? .noPolicy
    }

    private func tunnel(of owner: Owner) -> TunnelName? {
        switch owner {
        case .sa(let slot): members[slot]?.tunnel
        case .tunnel: nil
        }
    }
}
