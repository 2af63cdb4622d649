public import Primitives

/// One packet of the vici protocol, without the length that frames it on a stream.
///
///     0                   1
///     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 ...
///     +---------------+---------------+-----------+-------------+
///     |     type      | name length * |  name *   |  message *  |
///     +---------------+---------------+-----------+-------------+
///     * where the type has them
public enum ViciPacket: Equatable, Sendable {
    /// A command with its arguments.
    case request(command: String, ViciMessage)
    /// The answer to a command.
    case response(ViciMessage)
    /// The command of the request is not known.
    case unknownCommand
    /// Asks for the events of a name.
    case register(event: String)
    /// Ends a registration.
    case unregister(event: String)
    /// A registration or its end is done.
    case confirm
    /// The event of a registration is not known.
    case unknownEvent
    /// Something happened.
    case event(String, ViciMessage)

    private enum Kind {
        static let request: UInt8 = 0
        static let response: UInt8 = 1
        static let unknownCommand: UInt8 = 2
        static let register: UInt8 = 3
        static let unregister: UInt8 = 4
        static let confirm: UInt8 = 5
        static let unknownEvent: UInt8 = 6
        static let event: UInt8 = 7
    }

    /// Reads a packet that takes up all that is left of `reader`.
    public init(parsing reader: inout ByteReader) throws(WireError) {
        let start = reader.offset
        switch try reader.u8() {
        case Kind.request:
            let command = try ViciPacket.parseName(&reader)
            self = .request(command: command, try ViciMessage(parsing: &reader))
        case Kind.response: self = .response(try ViciMessage(parsing: &reader))
        case Kind.unknownCommand: self = .unknownCommand
        case Kind.register: self = .register(event: try ViciPacket.parseName(&reader))
        case Kind.unregister: self = .unregister(event: try ViciPacket.parseName(&reader))
        case Kind.confirm: self = .confirm
        case Kind.unknownEvent: self = .unknownEvent
        case Kind.event:
            let event = try ViciPacket.parseName(&reader)
            self = .event(event, try ViciMessage(parsing: &reader))
        default:
            throw WireError(.invalidValue("packet type"), at: start)
        }
        try reader.expectEnd()
    }

    /// Writes the packet without its length.
    public func write(into writer: inout ByteWriter) throws(WireError) {
        switch self {
        case .request(let command, let message):
            writer.u8(Kind.request)
            try ViciName.write(command, into: &writer)
            try message.write(into: &writer)
        case .response(let message):
            writer.u8(Kind.response)
            try message.write(into: &writer)
        case .unknownCommand: writer.u8(Kind.unknownCommand)
        case .register(let event):
            writer.u8(Kind.register)
            try ViciName.write(event, into: &writer)
        case .unregister(let event):
            writer.u8(Kind.unregister)
            try ViciName.write(event, into: &writer)
        case .confirm: writer.u8(Kind.confirm)
        case .unknownEvent: writer.u8(Kind.unknownEvent)
        case .event(let event, let message):
            writer.u8(Kind.event)
            try ViciName.write(event, into: &writer)
            try message.write(into: &writer)
        }
    }

    /// The octets for the stream: 32 bits of length, then the packet.
    public func framed() throws(WireError) -> [UInt8] {
        var writer = ByteWriter(capacity: 256)
        writer.u32(0)
        try write(into: &writer)
        let count = writer.count - 4
        guard count <= ViciLimits.packetOctets else {
            throw WireError(.limitExceeded("\(ViciLimits.packetOctets) octets of a packet"), at: 0)
        }
        try writer.patch32(count, at: 0, field: "packet length")
        return writer.bytes
    }

    private static func parseName(_ reader: inout ByteReader) throws(WireError) -> String {
        let count = Int(try reader.u8())
        return try ViciName.parse(&reader, count: count)
    }
}
