/// What coalescing must know of a TCP or UDP packet, read once.
struct FlowSegment {
    /// Octets of all headers.
    let headerLength: Int
    /// Octets before the transport header.
    let transportOffset: Int
    /// Octets of payload.
    let payloadLength: Int
    let isIPv6: Bool
    let isTCP: Bool
    /// A mixture of addresses and ports, equal for packets of one flow.
    let flow: UInt64
    /// The first octet of the payload in the TCP stream.
    let sequence: UInt32
    /// The IPv4 identification.
    let identification: UInt16
    let isPush: Bool
    /// True when its headers allow a merge; else it only keeps the order of its flow.
    let isMergeable: Bool

    /// Reads the packet of `length` octets at `offset`; nil when it is neither TCP nor UDP, or has options,
    /// extension headers or only a part.
    init?(_ octets: borrowing Span<UInt8>, at offset: Int, length: Int) {
        guard length >= 28, offset >= 0, length <= octets.count, offset <= octets.count - length else {
            return nil
        }
        let addresses: UInt64
        let number: UInt8
        let isSound: Bool
        if octets[offset] == 0x45 {
            guard octets.be16(offset + 6) & 0x3fff == 0 else { return nil }
            number = octets[offset + 9]
            transportOffset = 20
            isIPv6 = false
            identification = octets.be16(offset + 4)
            addresses = octets.be64(offset + 12)
            // A wrong header checksum would be made right.
            isSound = Int(octets.be16(offset + 2)) == length && Self.headerSum(octets, at: offset) == 0xffff
        } else if octets[offset] >> 4 == 6, length >= 48 {
            number = octets[offset + 6]
            transportOffset = 40
            isIPv6 = true
            identification = 0
            addresses =
                octets.be64(offset + 8) ^ octets.be64(offset + 16) &* 0x9e37_79b9_7f4a_7c15
                ^ octets.be64(offset + 24) &* 0xff51_afd7_ed55_8ccd ^ octets.be64(offset + 32)
            isSound = Int(octets.be16(offset + 4)) == length - 40
        } else {
            return nil
        }
        let transport = offset + transportOffset
        let available = length - transportOffset
        flow = (addresses ^ UInt64(octets.be32(transport)) << 8 ^ UInt64(number)) &* 0x9e37_79b9_7f4a_7c15
        switch number {
        case 6:
            guard available >= 20 else { return nil }
            let transportLength = Int(octets[transport + 12] >> 4) * 4
            let flags = octets[transport + 13]
            isTCP = true
            sequence = octets.be32(transport + 4)
            isPush = flags & 0x08 != 0
            headerLength = transportOffset + transportLength
            payloadLength = max(0, length - headerLength)
            // ACK and PSH alone, and none of the reserved bits.
            isMergeable =
                isSound && transportLength >= 20 && payloadLength > 0 && flags & 0xf7 == 0x10
                && octets[transport + 12] & 0x0f == 0 && octets.be16(transport + 18) == 0
        case 17:
            isTCP = false
            sequence = 0
            isPush = false
            headerLength = transportOffset + 8
            payloadLength = length - headerLength
            // Without a checksum the pieces would get one.
            isMergeable =
                isSound && payloadLength > 0 && Int(octets.be16(transport + 4)) == available
                && octets.be16(transport + 6) != 0
        default:
            return nil
        }
    }

    private static func headerSum(_ octets: borrowing Span<UInt8>, at offset: Int) -> UInt16 {
        var sum = UInt64(octets.be32(offset)) + UInt64(octets.be32(offset + 4))
        sum += UInt64(octets.be32(offset + 8)) + UInt64(octets.be32(offset + 12))
        sum += UInt64(octets.be32(offset + 16))
        while sum > 0xffff { sum = (sum & 0xffff) + (sum >> 16) }
        return UInt16(truncatingIfNeeded: sum)
    }

    /// The sum of the pseudo-header (RFC 9293 §3.1) of `octets` at `offset` for `length` octets of transport.
    static func pseudoSum(
        _ octets: borrowing Span<UInt8>,
        at offset: Int,
        isIPv6: Bool,
        isTCP: Bool,
        length: Int
    ) -> UInt16 {
        var sum = UInt64(isTCP ? 6 : 17) + UInt64(length)
        let addresses = isIPv6 ? offset + 8..<offset + 40 : offset + 12..<offset + 20
        var index = addresses.lowerBound
        while index < addresses.upperBound {
            sum += UInt64(octets.be32(index))
            index += 4
        }
        while sum > 0xffff { sum = (sum & 0xffff) + (sum >> 16) }
        return UInt16(truncatingIfNeeded: sum)
    }
}
