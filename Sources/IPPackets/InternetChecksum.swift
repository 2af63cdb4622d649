/// The ones' complement checksum of IP, TCP, UDP and ICMP (RFC 1071).
public struct InternetChecksum: Sendable {
    @usableFromInline var sum: UInt64 = 0

    /// Nothing added yet.
    @inlinable public init() {}

    /// Adds one 16-bit word.
    @inlinable
    public mutating func add(_ word: UInt16) { sum &+= UInt64(word) }

    /// Adds the octets of `range`, which starts a word of its own; an odd last octet is padded with zero.
    @inlinable
    public mutating func add(_ octets: borrowing Span<UInt8>, _ range: Range<Int>) {
        guard range.lowerBound >= 0, range.upperBound <= octets.count else { return }
        var index = range.lowerBound
        while index &+ 2 <= range.upperBound {
            sum &+= UInt64(octets.be16(index))
            index &+= 2
        }
        if index < range.upperBound { sum &+= UInt64(octets[index]) << 8 }
    }

    /// Adds the pseudo-header of `header` for `length` octets of the next layer (RFC 9293 §3.1, RFC 8200
    /// §8.1).
    public mutating func addPseudoHeader(_ header: PacketHeader, length: Int) {
        for part in [header.source.high, header.source.low, header.destination.high, header.destination.low] {
            for shift in [UInt64(48), 32, 16, 0] { sum &+= (part >> shift) & 0xffff }
        }
        sum &+= UInt64(header.ipProtocol) &+ UInt64(max(0, length))
    }

    /// The folded sum, not complemented.
    @inlinable
    public var folded: UInt16 {
        var folded = sum
        while folded > 0xffff { folded = (folded & 0xffff) &+ (folded >> 16) }
        return UInt16(truncatingIfNeeded: folded)
    }

    /// The checksum to store.
    @inlinable public var value: UInt16 { ~folded }

    /// The checksum that follows from `checksum` when a word changes (RFC 1624 §3).
    @inlinable
    public static func updating(_ checksum: UInt16, from old: UInt16, to new: UInt16) -> UInt16 {
        var result = InternetChecksum()
        result.add(~checksum)
        result.add(~old)
        result.add(new)
        return result.value
    }
}

extension InternetChecksum {
    /// Finishes a checksum that the kernel left to the device: the field holds the pseudo-header's sum.
    ///
    /// `start` and `field` count from the packet's start; false when they do not lie in the packet.
    public static func finish(
        _ octets: inout MutableSpan<UInt8>,
        packet: Range<Int>,
        start: Int,
        field: Int
    ) -> Bool {
        guard start >= 0, field >= start, field &+ 2 <= packet.count, packet.lowerBound >= 0,
            packet.upperBound <= octets.count
        else { return false }
        var sum = InternetChecksum()
        sum.add(octets.span, packet.lowerBound &+ start..<packet.upperBound)
        // Zero means "no checksum" in UDP; the other zero of ones' complement is the same number.
        let value = sum.value == 0 ? 0xffff : sum.value
        octets[packet.lowerBound &+ field] = UInt8(truncatingIfNeeded: value >> 8)
        octets[packet.lowerBound &+ field &+ 1] = UInt8(truncatingIfNeeded: value)
        return true
    }
}
