public import Primitives

/// An IPv4 address.
public struct IPv4Address: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The address in host order.
    public let value: UInt32

    /// The address with this value in host order.
    @inlinable
    public init(_ value: UInt32) { self.value = value }

    /// 0.0.0.0.
    public static let any = IPv4Address(0)

    /// The four octets as sent.
    public var octets: [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> UInt32($0)) }
    }

    /// Dotted decimal.
    public var description: String { octets.map { String($0) }.joined(separator: ".") }

    /// Numeric order.
    public static func < (left: IPv4Address, right: IPv4Address) -> Bool { left.value < right.value }

    /// Parses dotted decimal: four numbers without leading zeros.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (48...57).contains($0) }),
                part.utf8.count == 1 || part.utf8.first != 48, let octet = UInt8(part)
            else { return nil }
            value = value << 8 | UInt32(octet)
        }
        self.init(value)
    }
}

/// An IPv6 address.
public struct IPv6Address: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The first 64 bits.
    public let high: UInt64
    /// The last 64 bits.
    public let low: UInt64

    /// The address of these two halves.
    @inlinable
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// ::.
    public static let any = IPv6Address(high: 0, low: 0)

    /// The sixteen octets as sent.
    public var octets: [UInt8] {
        [high, low].flatMap { half in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: half >> UInt64($0)) }
        }
    }

    /// Numeric order.
    public static func < (left: IPv6Address, right: IPv6Address) -> Bool {
        (left.high, left.low) < (right.high, right.low)
    }

    private var groups: [UInt16] {
        [high, low].flatMap { half in
            [48, 32, 16, 0].map { UInt16(truncatingIfNeeded: half >> UInt64($0)) }
        }
    }

    /// The canonical text of RFC 5952.
    public var description: String {
        let groups = groups
        var best = 0..<0
        var start = 0
        while start < 8 {
            var stop = start
            while stop < 8, groups[stop] == 0 { stop += 1 }
            if stop - start > max(best.count, 1) { best = start..<stop }
            start = max(stop, start + 1)
        }
        let text = { (range: Range<Int>) in
            groups[range].map { String($0, radix: 16) }.joined(separator: ":")
        }
        guard !best.isEmpty else { return text(0..<8) }
        return text(0..<best.lowerBound) + "::" + text(best.upperBound..<8)
    }

    /// Parses the forms of RFC 4291 §2.2, an IPv4 tail included; no zone.
    public init?(_ text: some StringProtocol) {
        var head = Substring(text)
        var tailGroups = [UInt16]()
        if head.contains("."), let colon = head.lastIndex(of: ":") {
            guard let tail = IPv4Address(head[head.index(after: colon)...]) else { return nil }
            tailGroups = [
                UInt16(truncatingIfNeeded: tail.value >> 16), UInt16(truncatingIfNeeded: tail.value),
            ]
            head = head[...colon]
            if !head.hasSuffix("::") { head = head.dropLast() }
        }
        guard let groups = Self.groups(of: head, tail: tailGroups) else { return nil }
        let half = { (part: ArraySlice<UInt16>) in part.reduce(UInt64(0)) { $0 << 16 | UInt64($1) } }
        self.init(high: half(groups[..<4]), low: half(groups[4...]))
    }

    private static func groups(of text: Substring, tail: [UInt16]) -> [UInt16]? {
        let needed = 8 - tail.count
        func parse(_ part: Substring) -> [UInt16]? {
            guard !part.isEmpty else { return [] }
            var result = [UInt16]()
            for group in part.split(separator: ":", omittingEmptySubsequences: false) {
                guard (1...4).contains(group.utf8.count), let value = UInt16(group, radix: 16),
                    group.utf8.first != 43
                else { return nil }
                result.append(value)
            }
            return result
        }
        guard let gap = text.firstRange(of: "::") else {
            guard let all = parse(text), all.count == needed else { return nil }
            return all + tail
        }
        guard let left = parse(text[..<gap.lowerBound]), let right = parse(text[gap.upperBound...]),
            left.count + right.count < needed
        else { return nil }
        return left + [UInt16](repeating: 0, count: needed - left.count - right.count) + right + tail
    }
}

/// An address of either family.
public enum IPAddress: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// An IPv4 address.
    case v4(IPv4Address)
    /// An IPv6 address.
    case v6(IPv6Address)

    /// 32 or 128.
    public var bitWidth: Int {
        switch self {
        case .v4: 32
        case .v6: 128
        }
    }

    /// The address in network order, 4 or 16 octets.
    public var octets: [UInt8] {
        switch self {
        case .v4(let address): address.octets
        case .v6(let address): address.octets
        }
    }

    /// True for 0.0.0.0 and ::.
    public var isUnspecified: Bool {
        switch self {
        case .v4(let address): address.value == 0
        case .v6(let address): address.high == 0 && address.low == 0
        }
    }

    /// True for what can be an address of one host for others beyond its own link.
    public var isRoutedUnicast: Bool {
        switch self {
        case .v4(let address):
            let first = address.value >> 24
            return first != 0 && first != 127 && first < 224 && address.value >> 16 != 0xa9fe
        case .v6(let address):
            let isReserved = address.high == 0 && address.low <= 1
            return !isReserved && address.high >> 56 != 0xff && address.high >> 54 != 0x3fa
        }
    }

    /// The family's usual text.
    public var description: String {
        switch self {
        case .v4(let address): address.description
        case .v6(let address): address.description
        }
    }

    /// IPv4 before IPv6, numeric within.
    public static func < (left: IPAddress, right: IPAddress) -> Bool {
        switch (left, right) {
        case (.v4(let first), .v4(let second)): first < second
        case (.v6(let first), .v6(let second)): first < second
        case (.v4, .v6): true
        case (.v6, .v4): false
        }
    }

    /// Parses either family's text.
    public init?(_ text: some StringProtocol) {
        if let address = IPv4Address(text) {
            self = .v4(address)
        } else if let address = IPv6Address(text) {
            self = .v6(address)
        } else {
            return nil
        }
    }

    /// The address of 4 or 16 octets in network order.
    public init?(octets: [UInt8]) {
        let number = { (part: ArraySlice<UInt8>) in part.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
        switch octets.count {
        case 4: self = .v4(IPv4Address(UInt32(truncatingIfNeeded: number(octets[...]))))
        case 16: self = .v6(IPv6Address(high: number(octets[..<8]), low: number(octets[8...])))
        default: return nil
        }
    }

    /// Reads 4 or 16 octets.
    public init(parsing reader: inout ByteReader, isIPv6: Bool) throws(WireError) {
        if isIPv6 {
            let high = try reader.u64()
            self = .v6(IPv6Address(high: high, low: try reader.u64()))
        } else {
            self = .v4(IPv4Address(try reader.u32()))
        }
    }
}

/// An address with a UDP port: one end of an outer path.
public struct Endpoint: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The address.
    public var address: IPAddress
    /// The UDP port.
    public var port: UInt16

    /// The end at `address` and `port`.
    public init(_ address: IPAddress, _ port: UInt16) {
        self.address = address
        self.port = port
    }

    /// Address[port], as IKE daemons print it.
    public var description: String { "\(address)[\(port)]" }

    /// By address, then by port.
    public static func < (left: Endpoint, right: Endpoint) -> Bool {
        (left.address, left.port) < (right.address, right.port)
    }
}
