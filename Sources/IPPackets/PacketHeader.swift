/// What forwarding needs to know of an inner packet, read once and checked against its length.
///
/// IPv6 extension headers are walked up to a bound; what lies behind it counts as without ports.
public struct PacketHeader: Sendable {
    /// The sender.
    public let source: AddressBits
    /// The receiver.
    public let destination: AddressBits
    /// Octets of the packet by its own header; never more than there are.
    public let totalLength: Int
    /// Octets from the packet's start to the header of the next layer.
    public let transportOffset: Int
    /// The next layer's protocol; for IPv6 that behind the extension headers.
    public let ipProtocol: UInt8
    /// True when the ports could be read (RFC 4301 §4.4.1.1: else they are OPAQUE).
    public let hasPorts: Bool
    /// The source port; type and code for ICMP.
    public let sourcePort: UInt16
    /// The destination port; type and code for ICMP.
    public let destinationPort: UInt16
    /// True for a piece of a packet.
    public let isFragment: Bool
    /// True for a piece that does not hold the next layer's header.
    public let isLaterFragment: Bool
    /// True when no router may cut the packet; always for IPv6.
    public let dontFragment: Bool
    /// DSCP and ECN (RFC 2474 §3, RFC 3168 §5).
    public let trafficClass: UInt8

    /// The family.
    @inlinable public var isIPv6: Bool { source.isIPv6 }

    /// The header of a later piece of this packet: its ports cannot be seen.
    public var ofLaterFragment: PacketHeader { PacketHeader(laterFragmentOf: self) }

    private init(laterFragmentOf whole: PacketHeader) {
        source = whole.source
        destination = whole.destination
        totalLength = whole.totalLength
        transportOffset = whole.transportOffset
        ipProtocol = whole.ipProtocol
        hasPorts = false
        sourcePort = 0
        destinationPort = 0
        isFragment = true
        isLaterFragment = true
        dontFragment = whole.dontFragment
        trafficClass = whole.trafficClass
    }

    /// Reads the packet of at most `length` octets at `offset`, or gives nil when it contradicts itself.
    @inlinable
    public init?(_ octets: borrowing Span<UInt8>, at offset: Int, length: Int) {
        guard length >= 20, offset >= 0, length <= octets.count, offset <= octets.count &- length else {
            return nil
        }
        switch octets[offset] >> 4 {
        case 4: self.init(v4: octets, at: offset, length: length)
        case 6: self.init(v6: octets, at: offset, length: length)
        default: return nil
        }
    }

    @inlinable
    init?(v4 octets: borrowing Span<UInt8>, at offset: Int, length: Int) {
        let headerLength = Int(octets[offset] & 15) &* 4
        let total = Int(octets.be16(offset &+ 2))
        guard headerLength >= 20, total >= headerLength, total <= length else { return nil }
        let fragment = octets.be16(offset &+ 6)
        ipProtocol = octets[offset &+ 9]
        source = AddressBits(high: 0, low: UInt64(octets.be32(offset &+ 12)), isIPv6: false)
        destination = AddressBits(high: 0, low: UInt64(octets.be32(offset &+ 16)), isIPv6: false)
        totalLength = total
        transportOffset = headerLength
        dontFragment = fragment & 0x4000 != 0
        trafficClass = octets[offset &+ 1]
        isFragment = fragment & 0x3fff != 0
        isLaterFragment = fragment & 0x1fff != 0
        (hasPorts, sourcePort, destinationPort) =
            isLaterFragment
            ? (false, 0, 0)
            : Self.ports(octets, ipProtocol, at: offset &+ headerLength, end: offset &+ total)
    }

    @inlinable
    init?(v6 octets: borrowing Span<UInt8>, at offset: Int, length: Int) {
        guard length >= 40 else { return nil }
        let total = 40 &+ Int(octets.be16(offset &+ 4))
        guard total <= length else { return nil }
        source = AddressBits(high: octets.be64(offset &+ 8), low: octets.be64(offset &+ 16), isIPv6: true)
        destination = AddressBits(
            high: octets.be64(offset &+ 24),
            low: octets.be64(offset &+ 32),
            isIPv6: true
        )
        totalLength = total
        dontFragment = true
        trafficClass = UInt8(truncatingIfNeeded: octets.be16(offset) >> 4)
        let end = offset &+ total
        let chain = ExtensionChain(octets, next: octets[offset &+ 6], at: offset &+ 40, end: end)
        ipProtocol = chain.next
        transportOffset = chain.position &- offset
        isFragment = chain.isFragment
        isLaterFragment = chain.isLaterFragment
        (hasPorts, sourcePort, destinationPort) =
            chain.isLaterFragment
            ? (false, 0, 0) : Self.ports(octets, chain.next, at: chain.position, end: end)
    }

    /// The ports, or for ICMP type and code as one number for both ends (RFC 7296 §3.13.1).
    @inlinable
    static func ports(
        _ octets: borrowing Span<UInt8>,
        _ number: UInt8,
        at position: Int,
        end: Int
    ) -> (Bool, UInt16, UInt16) {
        switch number {
        // TCP, UDP, DCCP, SCTP, UDP-Lite.
        case 6, 17, 33, 132, 136:
            guard position &+ 4 <= end else { return (false, 0, 0) }
            return (true, octets.be16(position), octets.be16(position &+ 2))
        // ICMP, ICMPv6.
        case 1, 58:
            guard position &+ 2 <= end else { return (false, 0, 0) }
            let typeAndCode = octets.be16(position)
            return (true, typeAndCode, typeAndCode)
        default:
            return (false, 0, 0)
        }
    }
}

/// The extension headers of an IPv6 packet (RFC 8200 §4), up to what ends them.
@usableFromInline
struct ExtensionChain {
    @usableFromInline var next: UInt8
    @usableFromInline var position: Int
    @usableFromInline var isFragment = false
    @usableFromInline var isLaterFragment = false

    @inlinable
    init(_ octets: borrowing Span<UInt8>, next first: UInt8, at start: Int, end: Int) {
        next = first
        position = start
        // More headers than this do not occur; they would cost every packet time.
        for _ in 0..<8 {
            guard position &+ 8 <= end else { return }
            let length: Int
            switch next {
            // Hop-by-hop, routing, destination options, mobility aside.
            case 0, 43, 60: length = (Int(octets[position &+ 1]) &+ 1) &* 8
            case 44:
                let field = octets.be16(position &+ 2)
                isFragment = field & 0xfff9 != 0
                isLaterFragment = field & 0xfff8 != 0
                length = 8
            // AH counts in words of four octets, less two.
            case 51: length = (Int(octets[position &+ 1]) &+ 2) &* 4
            default: return
            }
            guard position &+ length <= end else { return }
            next = octets[position]
            position &+= length
            if isLaterFragment { return }
        }
    }
}
