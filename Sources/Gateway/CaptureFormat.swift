import IPPackets
import Primitives

/// The octets of a pcapng file (draft-ietf-opsawg-pcapng) of IKE datagrams, each with the IP and UDP headers that it went
/// behind and a comment.
enum CaptureFormat {
    private static let rawIP: UInt16 = 101
    private static let optionComment: UInt16 = 1
    private static let optionApplication: UInt16 = 4
    private static let optionName: UInt16 = 2
    private static let optionResolution: UInt16 = 9
    /// A comment is no longer than this.
    private static let commentOctets = 2048

    /// Section header and the only interface, whose times are nanoseconds.
    static func header(application: String, interface: String) -> [UInt8] {
        var section = ByteWriter(capacity: 64)
        section.u32(littleEndian: 0x1a2b_3c4d)
        section.u16(littleEndian: 1)
        section.u16(littleEndian: 0)
        section.append([UInt8](repeating: 0xff, count: 8))
        option(optionApplication, Array(application.utf8), into: &section)
        section.zeros(4)
        var description = ByteWriter(capacity: 32)
        description.u16(littleEndian: rawIP)
        description.u16(littleEndian: 0)
        description.zeros(4)
        option(optionName, Array(interface.utf8), into: &description)
        option(optionResolution, [9], into: &description)
        description.zeros(4)
        return block(0x0a0d_0d0a, section.bytes) + block(1, description.bytes)
    }

    /// One packet; nil if it does not fit into an IP packet.
    static func packet(_ datagram: CapturedDatagram, comment: String, nanoseconds: UInt64) -> [UInt8]? {
        guard let packet = datagram.ipPacket else { return nil }
        let length = UInt32(truncatingIfNeeded: packet.count)
        var body = ByteWriter(capacity: packet.count + comment.utf8.count + 64)
        body.zeros(4)
        body.u32(littleEndian: UInt32(truncatingIfNeeded: nanoseconds >> 32))
        body.u32(littleEndian: UInt32(truncatingIfNeeded: nanoseconds))
        body.u32(littleEndian: length)
        body.u32(littleEndian: length)
        body.append(packet)
        body.zeros(padding(packet.count))
        if !comment.isEmpty {
            option(optionComment, Array(comment.utf8.prefix(commentOctets)), into: &body)
            body.zeros(4)
        }
        return block(6, body.bytes)
    }

    private static func block(_ type: UInt32, _ body: [UInt8]) -> [UInt8] {
        let length = UInt32(truncatingIfNeeded: body.count + 12)
        var writer = ByteWriter(capacity: body.count + 12)
        writer.u32(littleEndian: type)
        writer.u32(littleEndian: length)
        writer.append(body)
        writer.u32(littleEndian: length)
        return writer.bytes
    }

    private static func option(_ code: UInt16, _ octets: [UInt8], into writer: inout ByteWriter) {
        writer.u16(littleEndian: code)
        writer.u16(littleEndian: UInt16(truncatingIfNeeded: octets.count))
        writer.append(octets)
        writer.zeros(padding(octets.count))
    }

    private static func padding(_ count: Int) -> Int { (4 - count % 4) % 4 }
}

extension ByteWriter {
    fileprivate mutating func u16(littleEndian value: UInt16) { u16(value.byteSwapped) }

    fileprivate mutating func u32(littleEndian value: UInt32) { u32(value.byteSwapped) }
}

/// An IKE message with where it came from and went to.
struct CapturedDatagram: Equatable, Sendable {
    let octets: [UInt8]
    let source: Endpoint
    let destination: Endpoint
    /// It goes behind the non-ESP marker (RFC 3948 §2.2).
    let hasMarker: Bool

    /// The packet as it was on the wire, but for fields that IKE does not see: identification, hop limit, fragments.
    var ipPacket: [UInt8]? {
        var udp = ByteWriter(capacity: octets.count + 12)
        let length = octets.count + (hasMarker ? 12 : 8)
        guard let udpLength = UInt16(exactly: length) else { return nil }
        udp.u16(source.port)
        udp.u16(destination.port)
        udp.u16(udpLength)
        udp.u16(0)
        if hasMarker { udp.zeros(4) }
        udp.append(octets)
        var payload = udp.bytes
        let addresses = source.address.octets + destination.address.octets
        var sum = InternetChecksum()
        sum.add(addresses.span, 0..<addresses.count)
        sum.add(udpLength)
        sum.add(17)
        sum.add(payload.span, 0..<payload.count)
        // RFC 768: zero means that there is none.
        let checksum = sum.value == 0 ? 0xffff : sum.value
        payload[6] = UInt8(truncatingIfNeeded: checksum >> 8)
        payload[7] = UInt8(truncatingIfNeeded: checksum)
        guard source.address.bitWidth == destination.address.bitWidth else { return nil }
        return source.address.bitWidth == 32
            ? Self.ipv4(payload, addresses) : Self.ipv6(payload, addresses, udpLength)
    }

    private static func ipv4(_ payload: [UInt8], _ addresses: [UInt8]) -> [UInt8]? {
        guard let total = UInt16(exactly: payload.count + 20) else { return nil }
        var header = ByteWriter(capacity: 20)
        header.u16(0x4500)
        header.u16(total)
        header.zeros(4)
        header.u8(64)
        header.u8(17)
        header.u16(0)
        header.append(addresses)
        var octets = header.bytes
        var sum = InternetChecksum()
        sum.add(octets.span, 0..<octets.count)
        octets[10] = UInt8(truncatingIfNeeded: sum.value >> 8)
        octets[11] = UInt8(truncatingIfNeeded: sum.value)
        return octets + payload
    }

    private static func ipv6(_ payload: [UInt8], _ addresses: [UInt8], _ length: UInt16) -> [UInt8] {
        var header = ByteWriter(capacity: 40)
        header.u32(0x6000_0000)
        header.u16(length)
        header.u8(17)
        header.u8(64)
        header.append(addresses)
        return header.bytes + payload
    }
}
