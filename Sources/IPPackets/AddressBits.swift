/// An address as numbers that compare fast; an IPv4 address stands in the low 32 bits.
public struct AddressBits: Hashable, Comparable, Sendable {
    /// The first 64 bits of an IPv6 address, else 0.
    public let high: UInt64
    /// The last 64 bits of an IPv6 address, or an IPv4 address.
    public let low: UInt64
    /// The family.
    public let isIPv6: Bool

    /// Makes an address of its parts.
    @inlinable
    public init(high: UInt64, low: UInt64, isIPv6: Bool) {
        self.high = high
        self.low = low
        self.isIPv6 = isIPv6
    }

    /// The numbers of `address`.
    public init(_ address: IPAddress) {
        switch address {
        case .v4(let v4): self.init(high: 0, low: UInt64(v4.value), isIPv6: false)
        case .v6(let v6): self.init(high: v6.high, low: v6.low, isIPv6: true)
        }
    }

    /// The address as a value of its family.
    public var address: IPAddress {
        isIPv6
            ? .v6(IPv6Address(high: high, low: low))
            : .v4(IPv4Address(UInt32(truncatingIfNeeded: low)))
    }

    /// 32 or 128.
    @inlinable public var bitWidth: Int { isIPv6 ? 128 : 32 }

    /// The address with all but its first `length` bits cleared.
    @inlinable
    public func masked(to length: Int) -> AddressBits {
        if isIPv6 {
            let first = length >= 64 ? UInt64.max : ~(UInt64.max >> UInt64(max(length, 0)))
            let second = length <= 64 ? 0 : ~(UInt64.max >> UInt64(length &- 64))
            return AddressBits(high: high & first, low: low & second, isIPv6: true)
        }
        let mask = ~(UInt64(UInt32.max) >> UInt64(max(length, 0)))
        return AddressBits(high: 0, low: low & mask, isIPv6: false)
    }

    /// True when both are of one family and their bits are equal.
    @inlinable
    public static func == (left: AddressBits, right: AddressBits) -> Bool {
        left.low == right.low && left.high == right.high && left.isIPv6 == right.isIPv6
    }

    /// IPv4 before IPv6, numeric within.
    @inlinable
    public static func < (left: AddressBits, right: AddressBits) -> Bool {
        if left.isIPv6 != right.isIPv6 { return right.isIPv6 }
        return left.high != right.high ? left.high < right.high : left.low < right.low
    }
}
