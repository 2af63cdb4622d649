import Primitives

/// ICMP messages about packets that cannot pass.
public enum ICMPError {
    /// The answer to a packet that is larger than `mtu` and must not be cut, or nil when none may be sent.
    ///
    /// "Fragmentation needed" (RFC 1191 §4) or "packet too big" (RFC 4443 §3.2). It comes from the packet's
    /// destination: that is an address which the device's routes lead to, so no reverse-path filter drops it.
    public static func packetTooBig(
        for header: PacketHeader,
        in octets: borrowing Span<UInt8>,
        at offset: Int,
        mtu: Int
    ) -> [UInt8]? {
        guard mayAnswer(header), offset >= 0, offset <= octets.count - header.totalLength else { return nil }
        // RFC 1812 §4.3.2.3: as much of the packet as fits 576 octets; RFC 4443 §2.4 (c): 1280.
        let quoted = min(header.totalLength, header.isIPv6 ? 1280 - 48 : 576 - 28)
        let message =
            header.isIPv6
            ? message(type: 2, code: 0, word: UInt32(clamping: mtu), octets, offset..<offset + quoted)
            : message(type: 3, code: 4, word: UInt32(UInt16(clamping: mtu)), octets, offset..<offset + quoted)
        return header.isIPv6 ? v6(header, message) : v4(header, message)
    }

    /// RFC 1122 §3.2.2: no error about an error, a later fragment, or to nobody in particular.
    private static func mayAnswer(_ header: PacketHeader) -> Bool {
        guard !header.isLaterFragment else { return false }
        if header.isIPv6 {
            let isMulticast = header.source.high >> 56 == 0xff || header.destination.high >> 56 == 0xff
            let isError = header.ipProtocol == 58 && header.hasPorts && header.sourcePort >> 8 < 128
            return !isMulticast && !isError && (header.source.high | header.source.low) != 0
        }
        let queries: [UInt16] = [0, 8, 13, 14, 17, 18]
        let isError = header.ipProtocol == 1 && !(header.hasPorts && queries.contains(header.sourcePort >> 8))
        let source = UInt32(truncatingIfNeeded: header.source.low)
        let destination = UInt32(truncatingIfNeeded: header.destination.low)
        return !isError && source != 0 && source >> 28 < 14 && destination >> 28 < 14
    }

    private static func message(
        type: UInt8,
        code: UInt8,
        word: UInt32,
        _ octets: borrowing Span<UInt8>,
        _ quoted: Range<Int>
    ) -> [UInt8] {
        var writer = ByteWriter(capacity: 8 + quoted.count)
        writer.u8(type)
        writer.u8(code)
        writer.u16(0)
        writer.u32(word)
        for index in quoted { writer.u8(octets[index]) }
        return writer.bytes
    }

    private static func v4(_ header: PacketHeader, _ body: [UInt8]) -> [UInt8] {
        var body = body
        store(checksum(of: body, InternetChecksum()), &body, at: 2)
        var writer = ByteWriter(capacity: 20 + body.count)
        writer.u8(0x45)
        writer.u8(0xc0)
        writer.u16(UInt16(clamping: 20 + body.count))
        writer.u32(0)
        writer.u8(64)
        writer.u8(1)
        writer.u16(0)
        writer.u32(UInt32(truncatingIfNeeded: header.destination.low))
        writer.u32(UInt32(truncatingIfNeeded: header.source.low))
        var packet = writer.bytes
        store(checksum(of: packet, InternetChecksum()), &packet, at: 10)
        return packet + body
    }

    private static func v6(_ header: PacketHeader, _ body: [UInt8]) -> [UInt8] {
        var body = body
        var sum = InternetChecksum()
        for part in [header.source.high, header.source.low, header.destination.high, header.destination.low] {
            for shift in [UInt64(48), 32, 16, 0] { sum.add(UInt16(truncatingIfNeeded: part >> shift)) }
        }
        sum.add(UInt16(clamping: body.count))
        sum.add(58)
        store(checksum(of: body, sum), &body, at: 2)
        var writer = ByteWriter(capacity: 40 + body.count)
        writer.u32(0x6000_0000)
        writer.u16(UInt16(clamping: body.count))
        writer.u8(58)
        writer.u8(64)
        for part in [header.destination.high, header.destination.low, header.source.high, header.source.low] {
            writer.u64(part)
        }
        return writer.bytes + body
    }

    private static func checksum(of octets: [UInt8], _ start: InternetChecksum) -> UInt16 {
        var sum = start
        sum.add(octets.span, 0..<octets.count)
        return sum.value
    }

    private static func store(_ value: UInt16, _ octets: inout [UInt8], at offset: Int) {
        octets[offset] = UInt8(truncatingIfNeeded: value >> 8)
        octets[offset + 1] = UInt8(truncatingIfNeeded: value)
    }
}
