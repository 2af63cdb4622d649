import IPPackets
public import IPsecTypes
import Primitives

/// A Traffic Selector payload, TSi or TSr (RFC 7296 §3.13).
public struct TSPayload: Hashable, Sendable {
    /// The selectors that we can represent.
    public var selectors: [TrafficSelector]
    /// How many there were of types that we do not know (such as security labels): they match nothing.
    public var unknownCount: Int

    /// Makes a payload.
    public init(_ selectors: [TrafficSelector]) {
        self.selectors = selectors
        self.unknownCount = 0
    }

    init(parsing reader: inout ByteReader) throws(WireError) {
        let count = Int(try reader.u8())
        try reader.skip(3)
        guard count > 0 else { throw WireError(.invalidLength(0), at: reader.offset) }
        selectors = []
        unknownCount = 0
        for _ in 0..<count {
            let start = reader.offset
            let type = try reader.u8()
            let ipProtocol = try reader.u8()
            let length = Int(try reader.u16())
            guard length >= 4 else { throw WireError(.invalidLength(length), at: start) }
            var body = try reader.sub(length - 4)
            guard type == 7 || type == 8 else {
                unknownCount += 1
                continue
            }
            selectors.append(
                try Self.selector(from: &body, isIPv6: type == 8, ipProtocol: ipProtocol, at: start)
            )
        }
        try reader.expectEnd()
    }

    private static func selector(
        from body: inout ByteReader,
        isIPv6: Bool,
        ipProtocol: UInt8,
        at start: Int
    ) throws(WireError) -> TrafficSelector {
        let startPort = try body.u16()
        let endPort = try body.u16()
        let first = try IPAddress(parsing: &body, isIPv6: isIPv6)
        let last = try IPAddress(parsing: &body, isIPv6: isIPv6)
        try body.expectEnd()
        // RFC 7296 §3.13.1: start 65535 with end 0 is OPAQUE.
        let isOpaque = startPort == 65535 && endPort == 0
        guard isOpaque || startPort <= endPort else {
            throw WireError(.invalidValue("port range"), at: start)
        }
        let ports: ClosedRange<UInt16> = isOpaque ? 0...65535 : startPort...endPort
        guard
            let selector = TrafficSelector(
                first,
                last,
                ipProtocol: ipProtocol,
                ports: ports,
                isOpaque: isOpaque
            )
        else { throw WireError(.invalidValue("address range"), at: start) }
        return selector
    }

    func write(into writer: inout ByteWriter) throws(WireError) {
        guard let count = UInt8(exactly: selectors.count), count > 0 else {
            throw WireError(.overflow("selectors"), at: writer.count)
        }
        writer.u8(count)
        writer.zeros(3)
        for selector in selectors {
            let isIPv6 = selector.first.bitWidth == 128
            writer.u8(isIPv6 ? 8 : 7)
            writer.u8(selector.ipProtocol)
            writer.u16(isIPv6 ? 40 : 16)
            writer.u16(selector.isOpaque ? 65535 : selector.ports.lowerBound)
            writer.u16(selector.isOpaque ? 0 : selector.ports.upperBound)
            writer.append(selector.first.octets)
            writer.append(selector.last.octets)
        }
    }
}
