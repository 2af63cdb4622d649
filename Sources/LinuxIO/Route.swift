public import IPPackets
import Primitives

/// A route of one of the kernel's tables.
public struct Route: Hashable, Sendable {
    /// What happens to a packet that takes it.
    public enum Kind: Hashable, Sendable {
        /// Goes out of the interface.
        case unicast
        /// Refused, with an ICMP error to the sender.
        case unreachable
        /// Dropped in silence.
        case blackhole
        /// The lookup goes on with the next rule.
        case `throw`
        /// RTN_* that this daemon never makes: local, broadcast, prohibit...
        case other(UInt8)

        init(_ number: UInt8) {
            self =
                switch number {
                case 1: .unicast
                case 6: .blackhole
                case 7: .unreachable
                case 9: .throw
                default: .other(number)
                }
        }

        var number: UInt8 {
            switch self {
            case .unicast: 1
            case .blackhole: 6
            case .unreachable: 7
            case .throw: 9
            case .other(let number): number
            }
        }
    }

    /// The protocol number of our own routes and rules, by which we know them again.
    public static let ownProtocol: UInt8 = 0xca

    /// Which packets it is for.
    public var destination: IPPrefix
    /// The table; 254 is the main one.
    public var table: UInt32
    /// Where packets go out; nil with a type that sends none.
    public var linkIndex: Int32?
    /// The next hop; nil when the destination is on the link.
    public var gateway: IPAddress?
    /// The source that this machine's own packets get.
    public var preferredSource: IPAddress?
    /// Of several routes to one destination the least metric wins.
    ///
    /// IPv6 makes 1024 of nil.
    public var metric: UInt32?
    /// What happens to packets.
    public var type: Kind
    /// Who made it.
    public var `protocol`: UInt8
    /// The path MTU to assume.
    public var mtu: Int?

    /// A route, by default one of ours.
    public init(
        destination: IPPrefix,
        table: UInt32,
        linkIndex: Int32? = nil,
        gateway: IPAddress? = nil,
        preferredSource: IPAddress? = nil,
        metric: UInt32? = nil,
        type: Kind = .unicast,
        protocol: UInt8 = Route.ownProtocol,
        mtu: Int? = nil
    ) {
        self.destination = destination
        self.table = table
        self.linkIndex = linkIndex
        self.gateway = gateway
        self.preferredSource = preferredSource
        self.metric = metric
        self.type = type
        self.protocol = `protocol`
        self.mtu = mtu
    }
}

/// RTA_* and RTAX_MTU of linux/rtnetlink.h.
enum RouteAttribute {
    static let destination: UInt16 = 1
    static let outputLink: UInt16 = 4
    static let gateway: UInt16 = 5
    static let priority: UInt16 = 6
    static let preferredSource: UInt16 = 7
    static let metrics: UInt16 = 8
    static let table: UInt16 = 15
    static let mark: UInt16 = 16
    static let via: UInt16 = 18

    static let metricMTU: UInt16 = 2
}

extension Route {
    /// The payload of RTM_NEWROUTE, or of RTM_DELROUTE.
    func payload(forDeletion: Bool) -> [UInt8] {
        var writer = ByteWriter(capacity: 96)
        writer.u8(destination.address.family)
        writer.u8(UInt8(clamping: destination.length))
        writer.zeros(2)
        // Tables above 255 stand in the attribute alone.
        writer.u8(UInt8(exactly: table) ?? 0)
        writer.u8(`protocol`)
        writer.u8(scope(forDeletion: forDeletion))
        writer.u8(type.number)
        writer.host32(UInt32(0))
        writer.attribute(RouteAttribute.table, host32: table)
        if destination.length > 0 {
            writer.attribute(RouteAttribute.destination, destination.address.octets)
        }
        if let linkIndex {
            writer.attribute(RouteAttribute.outputLink, host32: UInt32(bitPattern: linkIndex))
        }
        if let gateway { writeGateway(gateway, to: &writer) }
        if let preferredSource { writer.attribute(RouteAttribute.preferredSource, preferredSource.octets) }
        if let metric { writer.attribute(RouteAttribute.priority, host32: metric) }
        if let mtu {
            var metrics = ByteWriter()
            metrics.attribute(RouteAttribute.metricMTU, host32: UInt32(clamping: mtu))
            writer.attribute(RouteAttribute.metrics, metrics.bytes)
        }
        return writer.bytes
    }

    /// RT_SCOPE_*: an IPv4 route without a next hop reaches hosts on its link only; deletion takes any.
    private func scope(forDeletion: Bool) -> UInt8 {
        if forDeletion { return 255 }
        return type == .unicast && gateway == nil && destination.address.family == NetlinkNumber.familyV4
            ? 253 : 0
    }

    private func writeGateway(_ gateway: IPAddress, to writer: inout ByteWriter) {
        if gateway.family == destination.address.family {
            writer.attribute(RouteAttribute.gateway, gateway.octets)
        } else {
            var via = ByteWriter()
            via.host16(UInt16(gateway.family))
            via.append(gateway.octets)
            writer.attribute(RouteAttribute.via, via.bytes)
        }
    }

    /// Reads the payload of RTM_NEWROUTE; nil for a family other than IP.
    init?(payload: [UInt8]) throws(WireError) {
        var reader = ByteReader(payload.span)
        let family = try reader.u8()
        let length = Int(try reader.u8())
        try reader.skip(2)
        let shortTable = try reader.u8()
        `protocol` = try reader.u8()
        try reader.skip(1)
        type = Kind(try reader.u8())
        try reader.skip(4)
        let attributes = try NetlinkAttributes(&reader)
        guard family == NetlinkNumber.familyV4 || family == NetlinkNumber.familyV6 else { return nil }
        table = try attributes.host32(RouteAttribute.table) ?? UInt32(shortTable)
        let isIPv6 = family == NetlinkNumber.familyV6
        let zero = [UInt8](repeating: 0, count: isIPv6 ? 16 : 4)
        guard let address = IPAddress(octets: attributes[RouteAttribute.destination] ?? zero),
            address.family == family, let prefix = IPPrefix(address, length: length)
        else { throw WireError(.invalidValue("route destination"), at: 1) }
        destination = prefix
        gateway = try Self.gateway(attributes)
        preferredSource = try Self.address(attributes[RouteAttribute.preferredSource])
        metric = try attributes.host32(RouteAttribute.priority)
        mtu = try attributes.nest(RouteAttribute.metrics)?.host32(RouteAttribute.metricMTU).map { Int($0) }
        // The kernel binds an IPv6 route that sends nothing to lo.
        linkIndex =
            switch type {
            case .unicast, .other:
                try attributes.host32(RouteAttribute.outputLink).map { Int32(bitPattern: $0) }
            case .unreachable, .blackhole, .throw: nil
            }
    }

    static func address(_ octets: [UInt8]?) throws(WireError) -> IPAddress? {
        guard let octets else { return nil }
        guard let address = IPAddress(octets: octets) else {
            throw WireError(.invalidLength(octets.count), at: 0)
        }
        return address
    }

    static func gateway(_ attributes: NetlinkAttributes) throws(WireError) -> IPAddress? {
        if let gateway = try address(attributes[RouteAttribute.gateway]) { return gateway }
        guard let via = attributes[RouteAttribute.via] else { return nil }
        return try address(Array(via.dropFirst(2)))
    }
}
