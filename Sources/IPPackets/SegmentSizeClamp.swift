/// Lowers the maximum segment size that a TCP SYN announces, so that segments fit the tunnel.
public enum SegmentSizeClamp {
    /// Octets of IP and TCP headers without options, which the option does not count (RFC 6691).
    @inlinable
    public static func segmentSize(forMTU mtu: Int, isIPv6: Bool) -> Int { mtu &- (isIPv6 ? 60 : 40) }

    /// Clamps the MSS option of the packet at `offset`, if it is a SYN; true when it was changed.
    @discardableResult
    @inlinable
    public static func apply(
        _ octets: inout MutableSpan<UInt8>,
        at offset: Int,
        header: PacketHeader,
        maximum: Int
    ) -> Bool {
        guard header.ipProtocol == 6, !header.isLaterFragment else { return false }
        let start = offset &+ header.transportOffset
        let end = offset &+ header.totalLength
        guard offset >= 0, end <= octets.count, start &+ 20 <= end, octets[start &+ 13] & 0x02 != 0 else {
            return false
        }
        return clamp(&octets, start: start, end: end, maximum: maximum)
    }

    @usableFromInline
    static func clamp(_ octets: inout MutableSpan<UInt8>, start: Int, end: Int, maximum: Int) -> Bool {
        let optionsEnd = start + Int(octets[start + 12] >> 4) * 4
        guard optionsEnd <= end, (1...65_535).contains(maximum) else { return false }
        var position = start + 20
        while position < optionsEnd {
            let kind = octets[position]
            if kind == 0 { return false }
            if kind == 1 {
                position += 1
                continue
            }
            guard position + 2 <= optionsEnd else { return false }
            let length = Int(octets[position + 1])
            guard length >= 2, position + length <= optionsEnd else { return false }
            if kind == 2, length == 4 {
                return lower(&octets, at: position + 2, tcp: start, to: UInt16(maximum))
            }
            position += length
        }
        return false
    }

    private static func lower(
        _ octets: inout MutableSpan<UInt8>,
        at position: Int,
        tcp start: Int,
        to maximum: UInt16
    ) -> Bool {
        let old = octets.span.be16(position)
        guard old > maximum else { return false }
        octets.put16(maximum, at: position)
        // An option at an odd offset lies across two words of the sum, so its octets count swapped.
        let isOdd = (position - start) % 2 == 1
        let checksum = InternetChecksum.updating(
            octets.span.be16(start + 16),
            from: isOdd ? old.byteSwapped : old,
            to: isOdd ? maximum.byteSwapped : maximum
        )
        octets.put16(checksum, at: start + 16)
        return true
    }
}
