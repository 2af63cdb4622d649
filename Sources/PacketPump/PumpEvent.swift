public import ESP
public import IPPackets
public import IPsecTypes

/// What the data plane tells the control plane.
public enum PumpEvent: Hashable, Sendable {
    /// A packet waits for an SA of this tunnel; at most one event a second and tunnel.
    case trapped(tunnel: UInt32, source: IPAddress, destination: IPAddress, ipProtocol: UInt8)
    /// The first authentic packet of an SA came.
    case firstInbound(saID: UInt32)
    /// An authentic packet came from another outer end than the SA's; once per change.
    case inboundFrom(saID: UInt32, remote: Endpoint)
    /// Packets with a wrong ICV came; at most one event a second and SA.
    case integrityFailures(saID: UInt32, count: UInt64)
    /// A packet for no SA of ours came; at most ten events a second.
    ///
    /// With the ends that it travelled between, by which the IKE_SA is found that INVALID_SPI can be told by
    /// (RFC 7296 §1.5); ports are 0 when it came without UDP.
    case unknownSPI(SPI, local: Endpoint, remote: Endpoint)
    /// An SA asks for a replacement: its soft limit is reached, and at the hard one it refuses packets.
    case exhausted(saID: UInt32)
    /// The path of an SA carries less than was believed: its path MTU, the outer header included, is `mtu` now.
    case pathTooBig(saID: UInt32, mtu: Int)
    /// An SA could not be installed: its number or SPI is in use, or its cipher refused the keys.
    case installFailed(saID: UInt32)
    /// An IKE message that came to an ESP socket; the non-ESP marker is stripped.
    case strayIKE(octets: [UInt8], local: Endpoint, remote: Endpoint)
}

/// A snapshot of what the data plane has counted.
public struct PumpCounters: Sendable {
    /// By SA number; the SAs that are installed.
    public var perSA = [UInt32: SACounters]()
    /// By reason; all reasons, also those never met.
    public var drops = [(reason: String, count: UInt64)]()
    /// Packets that wait for an SA.
    public var held = 0
    /// Workers that counted.
    public var workers = 0
    /// The offloads in use.
    public var offloads = Offloads()

    /// All zero.
    public init() {}

    /// Adds what another worker counted.
    mutating func add(_ other: PumpCounters) {
        perSA.merge(other.perSA) { first, _ in first }
        if drops.isEmpty {
            drops = other.drops
        } else {
            for index in drops.indices where index < other.drops.count {
                drops[index].count += other.drops[index].count
            }
        }
        held += other.held
        offloads.formUnion(other.offloads)
        workers += 1
    }

    /// Packets dropped for the reason of this name.
    public func dropped(_ reason: DropReason) -> UInt64 {
        drops.first { $0.reason == reason.name }?.count ?? 0
    }
}

extension PumpEvent {
    init(_ event: ESPEvent) {
        switch event {
        case .trapped(let tunnel, let source, let destination, let ipProtocol):
            self = .trapped(tunnel: tunnel, source: source, destination: destination, ipProtocol: ipProtocol)
        case .firstInbound(let saID): self = .firstInbound(saID: saID)
        case .integrityFailures(let saID, let count): self = .integrityFailures(saID: saID, count: count)
        case .exhausted(let saID): self = .exhausted(saID: saID)
        case .pathTooBig(let saID, let mtu): self = .pathTooBig(saID: saID, mtu: mtu)
        }
    }
}
