/// The octet of an IP header that holds DSCP and ECN: the type of service of IPv4, the traffic class of IPv6.
public enum TrafficClassField {
    /// Sets the bits of `mask` in the packet at `offset` to those of `value`, with IPv4's checksum.
    public static func set(
        _ octets: inout MutableSpan<UInt8>,
        at offset: Int,
        isIPv6: Bool,
        to value: UInt8,
        mask: UInt8
    ) {
        guard offset >= 0, offset + 12 <= octets.count else { return }
        let old = octets.span.be16(offset)
        if isIPv6 {
            // It lies across two octets, four bits behind the start.
            octets.put16(old & ~(UInt16(mask) << 4) | UInt16(value & mask) << 4, at: offset)
            return
        }
        let new = old & ~UInt16(mask) | UInt16(value & mask)
        guard new != old else { return }
        octets.put16(new, at: offset)
        let checksum = InternetChecksum.updating(octets.span.be16(offset + 10), from: old, to: new)
        octets.put16(checksum, at: offset + 10)
    }
}
