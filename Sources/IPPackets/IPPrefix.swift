/// An address block in CIDR form; the host bits are zero.
public struct IPPrefix: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The first address.
    public let address: IPAddress
    /// Bits that are fixed.
    public let length: Int

    /// The block of `length` fixed bits around `address` (host bits are cleared), or nil if it has fewer bits.
    public init?(_ address: IPAddress, length: Int) {
        guard (0...address.bitWidth).contains(length) else { return nil }
        self.length = length
        switch address {
        case .v4(let v4):
            self.address = .v4(IPv4Address(v4.value & Self.mask32(length)))
        case .v6(let v6):
            let high = v6.high & Self.mask64(min(length, 64))
            self.address = .v6(IPv6Address(high: high, low: v6.low & Self.mask64(max(length - 64, 0))))
        }
    }

    /// The block of one address.
    public init(host address: IPAddress) {
        self.address = address
        self.length = address.bitWidth
    }

    /// Parses `10.1.0.0/16`, `2001:db8::/32`, or a bare address; nil when host bits are set.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let address = IPAddress(first) else { return nil }
        guard parts.count == 2 else {
            self.init(host: address)
            return
        }
        guard parts[1].utf8.allSatisfy({ (48...57).contains($0) }), let length = Int(parts[1]) else {
            return nil
        }
        self.init(address, length: length)
        guard self.address == address else { return nil }
    }

    /// The last address.
    public var last: IPAddress {
        switch address {
        case .v4(let v4): .v4(IPv4Address(v4.value | ~Self.mask32(length)))
        case .v6(let v6):
            .v6(
                IPv6Address(
                    high: v6.high | ~Self.mask64(min(length, 64)),
                    low: v6.low | ~Self.mask64(max(length - 64, 0))
                )
            )
        }
    }

    /// True when `other` lies inside.
    public func contains(_ other: IPAddress) -> Bool {
        other.bitWidth == address.bitWidth && address <= other && other <= last
    }

    /// True when `other` lies wholly inside.
    public func contains(_ other: IPPrefix) -> Bool {
        length <= other.length && contains(other.address)
    }

    /// True when any address is in both.
    public func overlaps(_ other: IPPrefix) -> Bool {
        contains(other.address) || other.contains(address)
    }

    /// CIDR text.
    public var description: String { "\(address)/\(length)" }

    /// By address, then the wider first.
    public static func < (left: IPPrefix, right: IPPrefix) -> Bool {
        (left.address, left.length) < (right.address, right.length)
    }

    /// The blocks that cover the inclusive range exactly, in order; empty for mixed families or a reversed range.
    public static func covering(_ first: IPAddress, _ last: IPAddress) -> [IPPrefix] {
        guard first.bitWidth == last.bitWidth, first <= last else { return [] }
        var result = [IPPrefix]()
        var next = first
        while true {
            var length = next.bitWidth
            while length > 0, let wider = IPPrefix(next, length: length - 1), wider.address == next,
                wider.last <= last
            { length -= 1 }
            guard let block = IPPrefix(next, length: length) else { return result }
            result.append(block)
            guard block.last < last, let following = block.last.successor else { return result }
            next = following
        }
    }

    private static func mask32(_ bits: Int) -> UInt32 { bits == 0 ? 0 : UInt32.max << UInt32(32 - bits) }
    private static func mask64(_ bits: Int) -> UInt64 { bits == 0 ? 0 : UInt64.max << UInt64(64 - bits) }
}

extension IPAddress {
    /// The next address, or nil after the last one.
    public var successor: IPAddress? {
        switch self {
        case .v4(let v4):
            return v4.value == .max ? nil : .v4(IPv4Address(v4.value + 1))
        case .v6(let v6):
            guard v6.low == .max else { return .v6(IPv6Address(high: v6.high, low: v6.low + 1)) }
            return v6.high == .max ? nil : .v6(IPv6Address(high: v6.high + 1, low: 0))
        }
    }
}
