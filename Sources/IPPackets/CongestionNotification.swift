/// Explicit congestion notification through tunnels (RFC 6040).
public enum CongestionNotification {
    /// Combines the outer ECN field of a packet that leaves a tunnel with its inner one (RFC 6040 §4.2, figure
    /// 4), in the packet at `offset`; false when the packet must be dropped.
    ///
    /// The DSCP stays as it is inside (RFC 4301 §5.1.2.1).
    @inlinable
    public static func decapsulate(
        _ octets: inout MutableSpan<UInt8>,
        at offset: Int,
        header: PacketHeader,
        outerTrafficClass: UInt8
    ) -> Bool {
        let outer = outerTrafficClass & 3
        let inner = header.trafficClass & 3
        // Nearly every packet: nothing was marked on the way.
        if outer == inner || outer == 0 { return true }
        return combine(&octets, at: offset, isIPv6: header.isIPv6, inner: inner, outer: outer)
    }

    @usableFromInline
    static func combine(
        _ octets: inout MutableSpan<UInt8>,
        at offset: Int,
        isIPv6: Bool,
        inner: UInt8,
        outer: UInt8
    ) -> Bool {
        // 0 is Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
        switch (inner, outer) {
        case (0, 3): return false
        case (1, 3), (2, 3): TrafficClassField.set(&octets, at: offset, isIPv6: isIPv6, to: 3, mask: 3)
        case (2, 1): TrafficClassField.set(&octets, at: offset, isIPv6: isIPv6, to: 1, mask: 3)
        default: break
        }
        return true
    }
}
