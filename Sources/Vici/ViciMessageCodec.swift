public import Primitives

/// The bounds of what the codec accepts, beside the 512 KiB of a packet.
public enum ViciLimits {
    /// Octets of a packet after its length field, as in strongSwan.
    public static let packetOctets = 512 * 1024
    /// Sections within sections.
    public static let depth = 32
    /// Elements, list items and sections of one message together.
    public static let elements = 100_000
    /// Octets of a name.
    public static let nameOctets = 255
    /// Octets of a value or a list item.
    public static let valueOctets = 65_535
}

/// The octet that begins an element.
private enum ElementType {
    static let sectionStart: UInt8 = 1
    static let sectionEnd: UInt8 = 2
    static let keyValue: UInt8 = 3
    static let listStart: UInt8 = 4
    static let listItem: UInt8 = 5
    static let listEnd: UInt8 = 6
}

extension ViciMessage {
    /// Reads a message that takes up all that is left of `reader`.
    public init(parsing reader: inout ByteReader) throws(WireError) {
        var budget = ViciLimits.elements
        self = try ViciMessage.parse(&reader, depth: 0, budget: &budget)
    }

    private static func parse(
        _ reader: inout ByteReader,
        depth: Int,
        budget: inout Int
    ) throws(WireError) -> ViciMessage {
        var message = ViciMessage()
        while !reader.isAtEnd {
            let start = reader.offset
            try spend(&budget, at: start)
            switch try reader.u8() {
            case ElementType.sectionStart:
                guard depth < ViciLimits.depth else {
                    throw WireError(.limitExceeded("\(ViciLimits.depth) nested sections"), at: start)
                }
                let name = try parseName(&reader)
                message.section(name, try parse(&reader, depth: depth + 1, budget: &budget))
            case ElementType.sectionEnd:
                guard depth > 0 else { throw WireError(.invalidValue("end of no section"), at: start) }
                return message
            case ElementType.keyValue:
                let name = try parseName(&reader)
                message.set(name, octets: try parseValue(&reader))
            case ElementType.listStart:
                let name = try parseName(&reader)
                message.list(name, octets: try parseItems(&reader, budget: &budget))
            default:
                throw WireError(.invalidValue("element type"), at: start)
            }
        }
        guard depth == 0 else { throw WireError(.truncated(needed: 1, available: 0), at: reader.offset) }
        return message
    }

    private static func parseItems(
        _ reader: inout ByteReader,
        budget: inout Int
    ) throws(WireError) -> [[UInt8]] {
        var items = [[UInt8]]()
        while true {
            let start = reader.offset
            switch try reader.u8() {
            case ElementType.listItem:
                try spend(&budget, at: start)
                items.append(try parseValue(&reader))
            case ElementType.listEnd:
                return items
            default:
                throw WireError(.invalidValue("element type within a list"), at: start)
            }
        }
    }

    private static func spend(_ budget: inout Int, at offset: Int) throws(WireError) {
        guard budget > 0 else {
            throw WireError(.limitExceeded("\(ViciLimits.elements) elements"), at: offset)
        }
        budget -= 1
    }

    private static func parseName(_ reader: inout ByteReader) throws(WireError) -> String {
        let count = Int(try reader.u8())
        return try ViciName.parse(&reader, count: count)
    }

    private static func parseValue(_ reader: inout ByteReader) throws(WireError) -> [UInt8] {
        let count = Int(try reader.u16())
        return try reader.bytes(count)
    }
}

extension ViciMessage {
    /// Writes the message; throws if a name, a value, the depth or the number of elements exceeds its limit.
    public func write(into writer: inout ByteWriter) throws(WireError) {
        var budget = ViciLimits.elements
        try write(into: &writer, depth: 0, budget: &budget)
    }

    /// The octets of the message alone, without the header of a packet.
    public func encoded() throws(WireError) -> [UInt8] {
        var writer = ByteWriter(capacity: encodedOctets)
        try write(into: &writer)
        return writer.bytes
    }

    /// Octets that `write` appends, without making them.
    public var encodedOctets: Int {
        elements.reduce(0) { sum, element in
            let name = 2 + element.name.utf8.count
            switch element.value {
            case .section(let inner): return sum + name + inner.encodedOctets + 1
            case .value(let octets): return sum + name + 2 + octets.count
            case .list(let items): return items.reduce(sum + name + 1) { $0 + 3 + $1.count }
            }
        }
    }

    private func write(
        into writer: inout ByteWriter,
        depth: Int,
        budget: inout Int
    ) throws(WireError) {
        for element in elements {
            try ViciMessage.spend(&budget, at: writer.count)
            switch element.value {
            case .section(let inner):
                guard depth < ViciLimits.depth else {
                    throw WireError(.limitExceeded("\(ViciLimits.depth) nested sections"), at: writer.count)
                }
                writer.u8(ElementType.sectionStart)
                try ViciName.write(element.name, into: &writer)
                try inner.write(into: &writer, depth: depth + 1, budget: &budget)
                // The parser counts the end of a section as an element of it.
                try ViciMessage.spend(&budget, at: writer.count)
                writer.u8(ElementType.sectionEnd)
            case .value(let octets):
                writer.u8(ElementType.keyValue)
                try ViciName.write(element.name, into: &writer)
                try ViciMessage.write(value: octets, into: &writer)
            case .list(let items):
                writer.u8(ElementType.listStart)
                try ViciName.write(element.name, into: &writer)
                for item in items {
                    try ViciMessage.spend(&budget, at: writer.count)
                    writer.u8(ElementType.listItem)
                    try ViciMessage.write(value: item, into: &writer)
                }
                writer.u8(ElementType.listEnd)
            }
        }
    }

    private static func write(value octets: [UInt8], into writer: inout ByteWriter) throws(WireError) {
        guard let count = UInt16(exactly: octets.count) else {
            throw WireError(.overflow("value"), at: writer.count)
        }
        writer.u16(count)
        writer.append(octets)
    }
}

/// The names of elements, commands and events: one octet of length, then printable ASCII as in strongSwan.
///
/// A name may be empty: that of the section of `get-counters` for all connections together is.
enum ViciName {
    static func parse(_ reader: inout ByteReader, count: Int) throws(WireError) -> String {
        let start = reader.offset
        let octets = try reader.bytes(count)
        guard octets.allSatisfy(isPrintable) else { throw WireError(.invalidValue("name"), at: start) }
        return String(decoding: octets, as: UTF8.self)
    }

    static func write(_ name: String, into writer: inout ByteWriter) throws(WireError) {
        let octets = Array(name.utf8)
        guard let count = UInt8(exactly: octets.count) else {
            throw WireError(.overflow("name"), at: writer.count)
        }
        guard octets.allSatisfy(isPrintable) else {
            throw WireError(.invalidValue("name"), at: writer.count)
        }
        writer.u8(count)
        writer.append(octets)
    }

    private static func isPrintable(_ octet: UInt8) -> Bool { (0x20...0x7e).contains(octet) }
}
