public import IPPackets
import Primitives

/// A range of addresses, ports and one protocol (RFC 7296 §3.13.1); one with start after end cannot exist.
public struct TrafficSelector: Hashable, Sendable, CustomStringConvertible {
    /// The IP protocol, 0 for any.
    public let ipProtocol: UInt8
    /// The ports as sent; for ICMP type and code (RFC 4301 §4.4.1.1).
    public let ports: ClosedRange<UInt16>
    /// True for OPAQUE (65535–0): packets whose ports cannot be seen.
    public let isOpaque: Bool
    /// The first address.
    public let first: IPAddress
    /// The last address, of the same family.
    public let last: IPAddress

    /// Makes a selector, or nil when the ends differ in family or are reversed.
    public init?(
        _ first: IPAddress,
        _ last: IPAddress,
        ipProtocol: UInt8 = 0,
        ports: ClosedRange<UInt16> = 0...65535,
        isOpaque: Bool = false
    ) {
        guard first.bitWidth == last.bitWidth, first <= last else { return nil }
        self.first = first
        self.last = last
        self.ipProtocol = ipProtocol
        self.ports = ports
        self.isOpaque = isOpaque
    }

    /// The selector of all traffic of a prefix.
    public init(_ prefix: IPPrefix, ipProtocol: UInt8 = 0, ports: ClosedRange<UInt16> = 0...65535) {
        first = prefix.address
        last = prefix.last
        self.ipProtocol = ipProtocol
        self.ports = ports
        isOpaque = false
    }

    /// True when every packet of `other` matches.
    public func contains(_ other: TrafficSelector) -> Bool {
        first.bitWidth == other.first.bitWidth && first <= other.first && other.last <= last
            && (ipProtocol == 0 || ipProtocol == other.ipProtocol) && containsPorts(of: other)
    }

    private func containsPorts(of other: TrafficSelector) -> Bool {
        if ports == 0...65535, !isOpaque { return true }
        return isOpaque == other.isOpaque && ports.lowerBound <= other.ports.lowerBound
            && other.ports.upperBound <= ports.upperBound
    }

    /// The traffic that matches both, or nil if none does (RFC 7296 §2.9).
    public func narrowed(to other: TrafficSelector) -> TrafficSelector? {
        guard first.bitWidth == other.first.bitWidth,
            ipProtocol == 0 || other.ipProtocol == 0 || ipProtocol == other.ipProtocol
        else { return nil }
        let low = max(first, other.first)
        let high = min(last, other.last)
        let number = ipProtocol == 0 ? other.ipProtocol : ipProtocol
        if isOpaque || other.isOpaque {
            let bothAllow = (isOpaque || ports == 0...65535) && (other.isOpaque || other.ports == 0...65535)
            guard bothAllow else { return nil }
            return TrafficSelector(low, high, ipProtocol: number, isOpaque: true)
        }
        guard ports.overlaps(other.ports) else { return nil }
        return TrafficSelector(low, high, ipProtocol: number, ports: ports.clamped(to: other.ports))
    }

    /// The blocks that cover the addresses, for routes and tries.
    public var prefixes: [IPPrefix] { IPPrefix.covering(first, last) }

    /// strongSwan's text: `10.1.0.0/16`, `10.1.0.1..10.1.0.9[tcp/22]`.
    public var description: String { text { _, _ in nil } }

    /// The same with the names of ports, which `service` knows by port and protocol.
    public func text(service: (UInt16, UInt8) -> String?) -> String {
        let blocks = prefixes
        let range = blocks.count == 1 ? blocks[0].description : "\(first)..\(last)"
        guard ipProtocol != 0 || ports != 0...65535 || isOpaque else { return range }
        let names: [UInt8: String] = [1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp"]
        var text = names[ipProtocol] ?? String(ipProtocol)
        if isOpaque {
            text += "/OPAQUE"
        } else if ports.count == 1 {
            text += "/\(service(ports.lowerBound, ipProtocol) ?? "\(ports.lowerBound)")"
        } else if ports != 0...65535 {
            text += "/\(ports.lowerBound)-\(ports.upperBound)"
        }
        return "\(range)[\(text)]"
    }
}
