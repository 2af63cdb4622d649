/// Why a packet went no further; each is counted and none is silent.
public enum DropReason: Int, CaseIterable, Sendable {
    // Outbound.
    /// Not an IP packet, or one that contradicts itself.
    case malformedInner
    /// No tunnel's selectors match.
    case noPolicy
    /// A tunnel matches that has no SA and does not trap.
    case noSA
    /// A held packet gave way to a younger one.
    case heldOverflow
    /// A held packet waited too long for its SA.
    case heldExpired
    /// Larger than the path allows, and not to be fragmented.
    case tooBig
    /// The SA's sequence numbers are used up.
    case sequenceExhausted
    /// The SA carried its volume.
    case volumeExhausted
    /// The cipher refused.
    case sealFailed
    /// A super-packet, although no offload was asked for.
    case offloadUnsupported
    /// A checksum request that lies outside of its packet.
    case badChecksumRequest
    /// The device's virtio header is incomplete.
    case badDeviceHeader
    /// The device was taken away; counted once.
    case deviceReadFailed
    /// No socket for the SA's address family or encapsulation.
    case noSocket
    /// The kernel refused the outer packet.
    case sendFailed
    /// The socket stayed full.
    case sendBlocked

    // Inbound.
    /// A NAT keepalive.
    case keepalive
    /// Shorter than any ESP packet.
    case tooShort
    /// Larger than the receive buffer.
    case truncated
    /// No SA has this SPI.
    case unknownSPI
    /// Seen before, or left of the replay window.
    case replayed
    /// The ICV is wrong.
    case integrityFailed
    /// The length does not fit the transform.
    case invalidLength
    /// The pad octets are not 1, 2, 3…, or more than there are.
    case badPadding
    /// Next header is neither IPv4 nor IPv6, or not what the packet is.
    case badNextHeader
    /// A dummy packet (RFC 4303 §2.6).
    case dummy
    /// What was decrypted is not a sound IP packet.
    case malformedDecrypted
    /// The inner addresses, protocol or ports are not the SA's (RFC 4301 §5.2).
    case selectorMismatch
    /// Marked for congestion on the way although its sender knows no ECN (RFC 6040 §4.2).
    case invalidECN
    /// The device took no packet.
    case deviceWriteFailed
    /// A bounded queue between planes was full.
    case queueFull

    /// The name in metrics and status output.
    public var name: String { String(describing: self) }
}

/// How many packets were dropped, by reason.
public struct DropCounters: Sendable {
    private var counts = [UInt64](repeating: 0, count: DropReason.allCases.count)

    /// All zero.
    public init() {}

    /// Packets dropped for `reason`.
    public subscript(reason: DropReason) -> UInt64 {
        get { counts[reason.rawValue] }
        set { counts[reason.rawValue] = newValue }
    }

    /// Counts one packet.
    public mutating func count(_ reason: DropReason) { counts[reason.rawValue] &+= 1 }

    /// Adds what another worker counted.
    public mutating func add(_ other: DropCounters) {
        for index in counts.indices { counts[index] &+= other.counts[index] }
    }
}
