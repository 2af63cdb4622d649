/// Work that is done for many packets at once, by the kernel or by an optional library.
///
/// Each is probed when the data plane is made, and where it is missing the packets go one by one.
public struct Offloads: OptionSet, Hashable, Sendable {
    /// One bit for each.
    public let rawValue: Int

    /// A set of its bits.
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// TCP segments cross the TUN device as one super-packet (TSO, and the same in the other direction).
    public static let tunTCP = Offloads(rawValue: 1 << 0)
    /// UDP datagrams cross the TUN device as one super-packet (USO; Linux 6.2).
    public static let tunUDP = Offloads(rawValue: 1 << 1)
    /// ESP packets in UDP leave as one message (UDP_SEGMENT; Linux 4.18).
    public static let sendSegments = Offloads(rawValue: 1 << 2)
    /// ESP packets in UDP arrive as one message (UDP_GRO; Linux 5.0).
    public static let receiveSegments = Offloads(rawValue: 1 << 3)

    /// Packets are protected by IPsec-MB where it is faster than OpenSSL.
    public static let multiBuffer = Offloads(rawValue: 1 << 4)

    /// All of them.
    public static let all: Offloads = [.tunTCP, .tunUDP, .sendSegments, .receiveSegments, .multiBuffer]

    /// Each with its name in configuration and status output.
    public static let names: [(name: String, offload: Offloads)] = [
        ("tun-tcp", .tunTCP), ("tun-udp", .tunUDP), ("udp-segment", .sendSegments),
        ("udp-gro", .receiveSegments),
        ("ipsec-mb", .multiBuffer),
    ]

    /// The offloads of these names; others are left out.
    public init(names: [String]) {
        self = []
        for (name, offload) in Self.names where names.contains(name) { insert(offload) }
    }
}
