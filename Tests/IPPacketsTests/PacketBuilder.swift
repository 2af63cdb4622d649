import IPPackets

/// Packets for tests, written octet by octet and not with the code under test.
enum PacketBuilder {
    static func v4(
        _ ipProtocol: UInt8,
        payload: [UInt8],
        source: [UInt8] = [10, 1, 0, 1],
        destination: [UInt8] = [10, 2, 0, 1],
        fragment: UInt16 = 0,
        options: [UInt8] = []
    ) -> [UInt8] {
        let total = 20 + options.count + payload.count
        var packet: [UInt8] = [0x40 | UInt8(5 + options.count / 4), 0, UInt8(total >> 8), UInt8(total & 255)]
        packet += [0, 1, UInt8(fragment >> 8), UInt8(fragment & 255), 64, ipProtocol, 0, 0]
        packet += source + destination + options + payload
        return packet
    }

    static func v6(_ nextHeader: UInt8, payload: [UInt8]) -> [UInt8] {
        var packet: [UInt8] = [
            0x60, 0, 0, 0, UInt8(payload.count >> 8), UInt8(payload.count & 255), nextHeader, 64,
        ]
        packet += [0xfd] + [UInt8](repeating: 0, count: 14) + [1]
        packet += [0xfd] + [UInt8](repeating: 0, count: 14) + [2]
        return packet + payload
    }

    static func tcp(flags: UInt8, options: [UInt8], data: [UInt8] = []) -> [UInt8] {
        let words = 5 + options.count / 4
        return [0x12, 0x34, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, UInt8(words << 4), flags, 0xff, 0xff, 0, 0, 0, 0]
            + options + data
    }

    /// The checksum by the definition: the sum of words, carries added, complemented.
    static func slowChecksum(_ octets: [UInt8]) -> UInt16 {
        var sum = 0
        for index in stride(from: 0, to: octets.count, by: 2) {
            sum += Int(octets[index]) * 256 + (index + 1 < octets.count ? Int(octets[index + 1]) : 0)
        }
        while sum > 65_535 { sum = sum % 65_536 + sum / 65_536 }
        return UInt16(65_535 - sum)
    }

    static func header(_ packet: [UInt8], at offset: Int = 0, length: Int? = nil) -> PacketHeader? {
        PacketHeader(packet.span, at: offset, length: length ?? packet.count)
    }

    static func tooBig(_ packet: [UInt8], mtu: Int) -> [UInt8]? {
        guard let header = header(packet) else { return nil }
        return ICMPError.packetTooBig(for: header, in: packet.span, at: 0, mtu: mtu)
    }

    static func finish(_ packet: inout [UInt8], start: Int, field: Int) -> Bool {
        let whole = 0..<packet.count
        var span = packet.mutableSpan
        return InternetChecksum.finish(&span, packet: whole, start: start, field: field)
    }
}
