public import IPsecTypes
import Primitives

/// A Key Exchange payload (RFC 7296 §3.4).
public struct KEPayload: Hashable, Sendable {
    /// The group's Transform ID.
    public var group: UInt16
    /// The public value.
    public var data: [UInt8]

    /// Makes a payload.
    public init(group: UInt16, data: [UInt8]) {
        self.group = group
        self.data = data
    }

    init(parsing reader: inout ByteReader) throws(WireError) {
        group = try reader.u16()
        try reader.skip(2)
        data = reader.rest()
    }

    func write(into writer: inout ByteWriter) {
        writer.u16(group)
        writer.u16(0)
        writer.append(data)
    }
}

/// An Identification payload, IDi or IDr (RFC 7296 §3.5).
public struct IDPayload: Hashable, Sendable {
    /// The ID Type.
    public var type: UInt8
    /// The Identification Data.
    public var data: [UInt8]

    /// Makes a payload.
    public init(type: UInt8, data: [UInt8]) {
        self.type = type
        self.data = data
    }

    init(parsing reader: inout ByteReader) throws(WireError) {
        type = try reader.u8()
        try reader.skip(3)
        data = reader.rest()
    }

    func write(into writer: inout ByteWriter) { writer.append(body) }

    /// RestOfIDPayload of RFC 7296 §2.15: what AUTH covers.
    public var body: [UInt8] { [type, 0, 0, 0] + data }
}

/// An Authentication payload (RFC 7296 §3.8).
public struct AUTHPayload: Hashable, Sendable {
    /// The Auth Method; 2 is Shared Key Message Integrity Code.
    public var method: UInt8
    /// The Authentication Data.
    public var data: [UInt8]

    /// Makes a payload.
    public init(method: UInt8, data: [UInt8]) {
        self.method = method
        self.data = data
    }

    init(parsing reader: inout ByteReader) throws(WireError) {
        method = try reader.u8()
        try reader.skip(3)
        data = reader.rest()
    }

    func write(into writer: inout ByteWriter) {
        writer.u8(method)
        writer.zeros(3)
        writer.append(data)
    }
}

/// A Notify payload (RFC 7296 §3.10).
public struct NotifyPayload: Hashable, Sendable {
    /// The SA it is about, if any.
    public var securityProtocol: SecurityProtocol
    /// That SA's SPI, or empty.
    public var spi: [UInt8]
    /// What it says.
    public var type: NotifyType
    /// Its data.
    public var data: [UInt8]

    /// Makes a payload.
    public init(
        _ type: NotifyType,
        data: [UInt8] = [],
        securityProtocol: SecurityProtocol = .none,
        spi: [UInt8] = []
    ) {
        self.securityProtocol = securityProtocol
        self.spi = spi
        self.type = type
        self.data = data
    }

    init(parsing reader: inout ByteReader) throws(WireError) {
        securityProtocol = SecurityProtocol(try reader.u8())
        let spiSize = Int(try reader.u8())
        type = NotifyType(try reader.u16())
        spi = try reader.bytes(spiSize)
        data = reader.rest()
    }

    func write(into writer: inout ByteWriter) throws(WireError) {
        guard let size = UInt8(exactly: spi.count) else {
            throw WireError(.overflow("SPI size"), at: writer.count)
        }
        writer.u8(securityProtocol.number)
        writer.u8(size)
        writer.u16(type.number)
        writer.append(spi)
        writer.append(data)
    }
}

/// A Delete payload (RFC 7296 §3.11).
public struct DeletePayload: Hashable, Sendable {
    /// IKE means this IKE_SA, without SPIs; ESP: the listed ones.
    public var securityProtocol: SecurityProtocol
    /// Octets of each SPI as sent.
    public var spiSize: UInt8
    /// The sender's inbound SPIs.
    public var spis: [[UInt8]]

    /// Deletes the IKE_SA.
    public static let ike = DeletePayload(securityProtocol: .ike, spiSize: 0, spis: [])

    /// Deletes ESP SAs by the sender's inbound SPIs.
    public static func esp(_ spis: [SPI]) -> DeletePayload {
        DeletePayload(securityProtocol: .esp, spiSize: 4, spis: spis.map { $0.octets })
    }

    init(securityProtocol: SecurityProtocol, spiSize: UInt8, spis: [[UInt8]]) {
        self.securityProtocol = securityProtocol
        self.spiSize = spiSize
        self.spis = spis
    }

    init(parsing reader: inout ByteReader) throws(WireError) {
        securityProtocol = SecurityProtocol(try reader.u8())
        spiSize = try reader.u8()
        let count = Int(try reader.u16())
        guard count * Int(spiSize) == reader.remaining, count <= 1024, spiSize > 0 || count == 0 else {
            throw WireError(.invalidLength(count), at: reader.offset)
        }
        spis = []
        for _ in 0..<count { spis.append(try reader.bytes(Int(spiSize))) }
    }

    func write(into writer: inout ByteWriter) throws(WireError) {
        guard let count = UInt16(exactly: spis.count) else {
            throw WireError(.overflow("SPIs"), at: writer.count)
        }
        writer.u8(securityProtocol.number)
        writer.u8(spiSize)
        writer.u16(count)
        spis.forEach { writer.append($0) }
    }
}

extension SPI {
    /// The four octets as sent.
    public var octets: [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> UInt32($0)) } }

    /// The SPI of four octets.
    public init?(octets: [UInt8]) {
        guard octets.count == 4 else { return nil }
        self.init(octets.reduce(0) { $0 << 8 | UInt32($1) })
    }
}

extension IKESPI {
    /// An IKE SPI as it stands in a proposal: 8 octets, not all zero.
    public init?(octets: [UInt8]) {
        guard octets.count == 8 else { return nil }
        self.init(octets.reduce(0) { $0 << 8 | UInt64($1) })
    }
}
