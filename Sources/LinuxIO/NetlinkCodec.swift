import IPPackets
import Primitives

// Netlink is in the byte order of the host, the codec of Primitives in that of the network:
// `bigEndian` turns one into the other on either kind of machine.

extension ByteWriter {
    mutating func host16(_ value: UInt16) { u16(value.bigEndian) }
    mutating func host32(_ value: UInt32) { u32(value.bigEndian) }
    mutating func host32(_ value: Int32) { host32(UInt32(bitPattern: value)) }

    /// Appends an attribute of `type`, padded to 4 octets.
    mutating func attribute(_ type: UInt16, _ payload: [UInt8]) {
        // Our payloads are names, numbers, addresses and nests of those: far below 64 KiB.
        host16(UInt16(clamping: payload.count + 4))
        host16(type)
        append(payload)
        zeros((4 - payload.count % 4) % 4)
    }

    mutating func attribute(_ type: UInt16, host32 value: UInt32) {
        var number = ByteWriter(capacity: 4)
        number.host32(value)
        attribute(type, number.bytes)
    }

    mutating func attribute(_ type: UInt16, text: String) {
        attribute(type, Array(text.utf8) + [0])
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    mutating func host16() throws(WireError) -> UInt16 { UInt16(bigEndian: try u16()) }
    @_lifetime(self: copy self)
    mutating func host32() throws(WireError) -> UInt32 { UInt32(bigEndian: try u32()) }
    @_lifetime(self: copy self)
    mutating func hostSigned32() throws(WireError) -> Int32 { Int32(bitPattern: try host32()) }
}

/// One message of a netlink datagram.
struct NetlinkMessage: Hashable, Sendable {
    static let headerOctets = 16

    var type: UInt16
    var flags: UInt16
    var sequence: UInt32
    var payload: [UInt8]

    /// The message as sent; the kernel fills in the port.
    var bytes: [UInt8] {
        var writer = ByteWriter(capacity: Self.headerOctets + payload.count)
        writer.host32(UInt32(clamping: Self.headerOctets + payload.count))
        writer.host16(type)
        writer.host16(flags)
        writer.host32(sequence)
        writer.host32(UInt32(0))
        writer.append(payload)
        return writer.bytes
    }

    /// Splits a datagram into its messages.
    static func parse(_ datagram: [UInt8]) throws(WireError) -> [NetlinkMessage] {
        var reader = ByteReader(datagram.span)
        var messages = [NetlinkMessage]()
        while !reader.isAtEnd {
            let start = reader.offset
            let length = Int(try reader.host32())
            guard length >= headerOctets else { throw WireError(.invalidLength(length), at: start) }
            let type = try reader.host16()
            let flags = try reader.host16()
            let sequence = try reader.host32()
            try reader.skip(4)
            let payload = try reader.bytes(length - headerOctets)
            try reader.skip(min((4 - length % 4) % 4, reader.remaining))
            messages.append(
                NetlinkMessage(type: type, flags: flags, sequence: sequence, payload: payload)
            )
        }
        return messages
    }
}

/// The attributes of a message or of a nest, by type; of several with one type the last counts.
struct NetlinkAttributes {
    private var values = [UInt16: [UInt8]]()

    /// Reads attributes to the end of `reader`.
    init(_ reader: inout ByteReader) throws(WireError) {
        // linux/netlink.h: NLA_F_NESTED and NLA_F_NET_BYTEORDER share the field with the type.
        let typeMask: UInt16 = 0x3fff
        while reader.remaining >= 4 {
            let start = reader.offset
            let length = Int(try reader.host16())
            guard length >= 4 else { throw WireError(.invalidLength(length), at: start) }
            let type = try reader.host16() & typeMask
            values[type] = try reader.bytes(length - 4)
            try reader.skip(min((4 - length % 4) % 4, reader.remaining))
        }
    }

    /// Reads the attributes of a nest.
    init(nest: [UInt8]) throws(WireError) {
        var reader = ByteReader(nest.span)
        try self.init(&reader)
    }

    /// The payload of `type`.
    subscript(_ type: UInt16) -> [UInt8]? { values[type] }

    /// The nest of `type`.
    func nest(_ type: UInt16) throws(WireError) -> NetlinkAttributes? {
        guard let payload = values[type] else { return nil }
        return try NetlinkAttributes(nest: payload)
    }

    /// The number of `type`.
    func host32(_ type: UInt16) throws(WireError) -> UInt32? {
        guard let payload = values[type] else { return nil }
        var reader = ByteReader(payload.span)
        return try reader.host32()
    }

    /// The text of `type`, to the first NUL.
    func text(_ type: UInt16) -> String? {
        values[type].map { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
}

/// What NLMSG_ERROR and NLMSG_DONE say.
struct NetlinkResult {
    /// A positive errno, 0 for success.
    let code: Int32
    /// The kernel's own words.
    let text: String?

    init(_ message: NetlinkMessage) throws(WireError) {
        var reader = ByteReader(message.payload.span)
        let signed = try reader.hostSigned32()
        code = signed > 0 ? signed : 0 &- signed
        // linux/netlink.h: NLM_F_CAPPED 0x100, NLM_F_ACK_TLVS 0x200. Without the first the whole request
        // stands between the code and the attributes.
        guard message.type == NetlinkNumber.error, message.flags & 0x200 != 0 else {
            text = nil
            return
        }
        let length = Int(try reader.host32())
        try reader.skip(NetlinkMessage.headerOctets - 4)
        if message.flags & 0x100 == 0 {
            try reader.skip(max(0, (length + 3) & ~3 - NetlinkMessage.headerOctets))
        }
        text = try NetlinkAttributes(&reader).text(1)
    }
}

/// Numbers of linux/netlink.h and linux/rtnetlink.h.
enum NetlinkNumber {
    static let error: UInt16 = 2
    static let done: UInt16 = 3

    static let newLink: UInt16 = 16
    static let deleteLink: UInt16 = 17
    static let getLink: UInt16 = 18
    static let newAddress: UInt16 = 20
    static let deleteAddress: UInt16 = 21
    static let getAddress: UInt16 = 22
    static let newRoute: UInt16 = 24
    static let deleteRoute: UInt16 = 25
    static let getRoute: UInt16 = 26
    static let newRule: UInt16 = 32
    static let deleteRule: UInt16 = 33
    static let getRule: UInt16 = 34

    static let request: UInt16 = 0x1
    static let acknowledge: UInt16 = 0x4
    static let dumpInterrupted: UInt16 = 0x10
    static let replace: UInt16 = 0x100
    static let dump: UInt16 = 0x300
    static let exclusive: UInt16 = 0x200
    static let create: UInt16 = 0x400

    static let familyV4: UInt8 = 2
    static let familyV6: UInt8 = 10
}

extension IPAddress {
    /// AF_INET or AF_INET6.
    var family: UInt8 {
        switch self {
        case .v4: NetlinkNumber.familyV4
        case .v6: NetlinkNumber.familyV6
        }
    }
}
