/// The header of ten octets by which a TUN device and its owner leave work to each other (struct
/// virtio_net_hdr).
///
/// Its numbers are in the machine's order, which on every machine we run on is little-endian.
public struct OffloadHeader: Hashable, Sendable {
    /// Octets before the packet.
    public static let length = 10

    /// What a super-packet is to be cut into.
    public enum Kind: UInt8, Hashable, Sendable {
        /// Nothing: it is a packet as it travels.
        case whole = 0
        /// TCP segments in IPv4.
        case tcp4 = 1
        /// TCP segments in IPv6.
        case tcp6 = 4
        /// UDP datagrams.
        case udp = 5
    }

    /// What it is to be cut into; nil for what nobody asked the kernel for.
    public var kind: Kind?
    /// The transport checksum holds the pseudo-header's sum alone.
    public var needsChecksum: Bool
    /// Octets of all headers.
    public var headerLength: Int
    /// Octets of payload in each piece but the last.
    public var segmentSize: Int
    /// Where the checksummed octets begin, counted from the packet's start.
    public var checksumStart: Int
    /// Where the checksum stands, counted from there.
    public var checksumOffset: Int

    /// The header of a packet as it travels.
    public init() {
        kind = .whole
        needsChecksum = false
        headerLength = 0
        segmentSize = 0
        checksumStart = 0
        checksumOffset = 0
    }

    /// Reads the header that stands before the packet at `packet`, or gives nil when it does not lie inside.
    public init?(_ octets: borrowing Span<UInt8>, before packet: Int) {
        let start = packet - Self.length
        guard start >= 0, packet <= octets.count else { return nil }
        needsChecksum = octets[start] & 1 != 0
        // The highest bit only says that CWR may be set.
        kind = Kind(rawValue: octets[start + 1] & 0x7f)
        func number(_ offset: Int, _ octets: borrowing Span<UInt8>) -> Int {
            Int(octets[start + offset]) | Int(octets[start + offset + 1]) << 8
        }
        headerLength = number(2, octets)
        segmentSize = number(4, octets)
        checksumStart = number(6, octets)
        checksumOffset = number(8, octets)
    }

    /// Where the checksum stands, counted from the packet's start.
    public var checksumField: Int { checksumStart + checksumOffset }

    /// What a checksum that is left to us covers in a packet of `length` octets, its own field included; nil when
    /// that does not lie inside.
    public func checksummed(length: Int) -> Range<Int>? {
        guard needsChecksum, checksumStart >= 0, checksumOffset >= 0, checksumField + 2 <= length else {
            return nil
        }
        return checksumStart..<length
    }

    /// Writes the header before the packet at `packet`; false when it does not fit there.
    @discardableResult
    public func write(to octets: inout MutableSpan<UInt8>, before packet: Int) -> Bool {
        let start = packet - Self.length
        guard start >= 0, packet <= octets.count else { return false }
        octets[start] = needsChecksum ? 1 : 0
        octets[start + 1] = kind?.rawValue ?? 0
        octets.put16(UInt16(truncatingIfNeeded: headerLength).byteSwapped, at: start + 2)
        octets.put16(UInt16(truncatingIfNeeded: segmentSize).byteSwapped, at: start + 4)
        octets.put16(UInt16(truncatingIfNeeded: checksumStart).byteSwapped, at: start + 6)
        octets.put16(UInt16(truncatingIfNeeded: checksumOffset).byteSwapped, at: start + 8)
        return true
    }
}
