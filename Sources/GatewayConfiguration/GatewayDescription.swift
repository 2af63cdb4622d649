public import IPPackets
public import Policy

/// A remote network with its gateway, as connections refer to it.
public struct SiteDescription: Hashable, Sendable {
    /// Its name.
    public var name: String
    /// The outer address of its gateway.
    public var address: RemoteAddress
    /// The networks behind it.
    public var networks: [IPPrefix]

    /// Makes a site.
    public init(name: String, address: RemoteAddress, networks: [IPPrefix]) {
        self.name = name
        self.address = address
        self.networks = networks
    }
}

/// Everything that a gateway.yaml says, checked.
public struct GatewayDescription: Sendable {
    /// The gateway's name, which also names what it adds to the system.
    public var name = "gateway"
    /// Our outer addresses; empty is any.
    public var outerAddresses: [IPAddress] = []
    /// The networks behind this gateway.
    public var networks: [IPPrefix] = []
    /// Our identity in connections that name none; nil is the outer address in use.
    public var identity: Identity?
    /// The name of the TUN interface.
    public var interfaceName = "causeway0"
    /// The mark of packets that must not be routed into a tunnel.
    public var mark: UInt32 = 0xca05e
    /// The routing table that holds the tunnels' routes.
    public var routingTable: UInt32 = 2200
    /// The priority of the rule that looks that table up.
    public var rulePriority: UInt32 = 2200
    /// The UDP port of IKE.
    public var ikePort: UInt16 = 500
    /// The UDP port of IKE and ESP behind a NAT (RFC 3948).
    public var natTraversalPort: UInt16 = 4500
    /// The sockets on which vici is served.
    public var viciPaths = ["/run/causeway/vici.sock"]
    /// The TUN's MTU; nil is chosen by the gateway.
    public var innerMTU: Int?
    /// Threads that carry packets; nil is chosen by the gateway.
    public var workers: Int?
    /// Names of the offloads that are not to be used.
    public var disabledOffloads: [String] = []
    /// Names of the offloads that there are.
    public static let offloads = ["tun-tcp", "tun-udp", "udp-segment", "udp-gro", "ipsec-mb"]
    /// The level from which on events are logged.
    public var logLevel: String?
    /// The gateway's BGP number; kept, not used yet.
    public var asn: UInt32?
    /// Connections find out how large packets may be on their way, unless they say otherwise.
    public var discoversPathMTU = true
    /// Interval of NAT keepalives, unless a connection says otherwise; also for connections that vici loads.
    public var keepaliveInterval = Duration.seconds(20)
    /// Connections try their first rekey soon after their first setup, unless they say otherwise.
    public var preflightsPFS = true
    /// The connections in the order of the file.
    public var connections: [ConnectionPolicy] = []
    /// The sites in the order of the file.
    public var sites: [SiteDescription] = []
    /// What is accepted but probably not meant.
    public var warnings: [ConfigurationDiagnostic] = []

    /// Makes a description of defaults.
    public init() {}
}
