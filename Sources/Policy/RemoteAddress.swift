public import IPPackets

/// One way to say where a peer is.
public enum RemoteHost: Hashable, Sendable, CustomStringConvertible {
    /// Exactly this address.
    case address(IPAddress)
    /// Any address of a network; only the peer can initiate from there.
    case prefix(IPPrefix)
    /// Any address from the first to the last, which are of one family; only the peer can initiate from there.
    case range(IPAddress, IPAddress)
    /// A DNS name, whose addresses may change.
    case name(String)

    /// As it is configured.
    public var description: String {
        switch self {
        case .address(let address): address.description
        case .prefix(let prefix): prefix.description
        case .range(let first, let last): "\(first)-\(last)"
        case .name(let name): name
        }
    }
}

/// Several ways to say where a peer is, in order of preference, with what the names among them stand for now.
public struct RemoteHosts: Hashable, Sendable {
    /// The hosts as configured.
    public let hosts: [RemoteHost]
    /// The addresses that names were last answered with.
    public var answers: [String: [IPAddress]]

    /// Makes a list.
    public init(_ hosts: [RemoteHost], answers: [String: [IPAddress]] = [:]) {
        self.hosts = hosts
        self.answers = answers
    }

    func permits(_ address: IPAddress) -> Bool {
        hosts.contains { host in
            switch host {
            case .address(let mine): mine == address
            case .prefix(let prefix): prefix.contains(address)
            case .range(let first, let last):
                first.bitWidth == address.bitWidth && first <= address && address <= last
            case .name(let name): answers[name]?.contains(address) ?? false
            }
        }
    }

    var targets: [IPAddress] {
        var seen: Set<IPAddress> = []
        return hosts.flatMap { host in
            switch host {
            case .address(let address): [address]
            case .prefix, .range: [IPAddress]()
            case .name(let name): answers[name] ?? []
            }
        }.filter { seen.insert($0).inserted }
    }
}

/// Which peer addresses a connection is for.
public enum RemoteAddress: Hashable, Sendable, CustomStringConvertible {
    /// Any address; such a connection cannot initiate.
    case any
    /// Exactly this one.
    case address(IPAddress)
    /// Names, networks, or more than one.
    case hosts(RemoteHosts)

    /// The address of a list of hosts, in its simplest form.
    public init(_ hosts: [RemoteHost]) {
        if hosts.count == 1, case .address(let address) = hosts.first {
            self = .address(address)
        } else {
            self = .hosts(RemoteHosts(hosts))
        }
    }

    /// True when a peer at `address` may use the connection.
    public func permits(_ address: IPAddress) -> Bool {
        switch self {
        case .any: true
        case .address(let mine): mine == address
        case .hosts(let hosts): hosts.permits(address)
        }
    }

    /// True when it names `address` itself, not only a network around it or everybody.
    public func names(_ address: IPAddress) -> Bool {
        switch self {
        case .any: false
        case .address(let mine): mine == address
        case .hosts(let hosts): hosts.targets.contains(address)
        }
    }

    /// How precisely it names `address`: from 1 for any to 129 for that very address; nil when it does not permit it.
    public func precision(for address: IPAddress) -> Int? {
        switch self {
        case .any: 1
        case .address(let mine): mine == address ? Self.exactly : nil
        case .hosts(let list):
            list.hosts.compactMap { host -> Int? in
                switch host {
                case .address(let mine): mine == address ? Self.exactly : nil
                case .name(let name): list.answers[name]?.contains(address) == true ? Self.exactly : nil
                case .prefix(let prefix):
                    prefix.contains(address) ? 1 + prefix.length * 128 / address.bitWidth : nil
                case .range(let first, let last):
                    first.bitWidth == address.bitWidth && first <= address && address <= last
                        ? 1 + Identity.commonBits(first, last) * 128 / address.bitWidth : nil
                }
            }.max()
        }
    }

    private static let exactly = 129

    /// True when we can know where to initiate to: not for any, and not for networks and ranges.
    public var canInitiate: Bool {
        switch self {
        case .any: false
        case .address: true
        case .hosts(let list):
            list.hosts.contains { host in
                switch host {
                case .address, .name: true
                case .prefix, .range: false
                }
            }
        }
    }

    /// The addresses to initiate to, the preferred one first; empty while no name is answered.
    public var initiatorTargets: [IPAddress] {
        switch self {
        case .any: []
        case .address(let address): [address]
        case .hosts(let hosts): hosts.targets
        }
    }

    /// The preferred address to initiate to.
    public var initiatorTarget: IPAddress? { initiatorTargets.first }

    /// The DNS names in it.
    public var names: [String] {
        guard case .hosts(let list) = self else { return [] }
        return list.hosts.compactMap { host in
            if case .name(let name) = host { name } else { nil }
        }
    }

    /// As it was configured, without what names were answered with.
    public var configured: RemoteAddress { answered([:]) }

    /// With these addresses for its names; those of other names are left out.
    public func answered(_ answers: [String: [IPAddress]]) -> RemoteAddress {
        guard case .hosts(var list) = self else { return self }
        let names = Set(names)
        list.answers = answers.filter { names.contains($0.key) }
        return .hosts(list)
    }

    /// `%any`, or what is configured.
    public var description: String {
        switch self {
        case .any: "%any"
        case .address(let address): address.description
        case .hosts(let list): list.hosts.map { $0.description }.joined(separator: ", ")
        }
    }

    /// Each host for itself, `%any` for any.
    public var hostTexts: [String] {
        guard case .hosts(let list) = self else { return [description] }
        return list.hosts.map { $0.description }
    }
}
