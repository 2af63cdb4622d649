import Primitives

/// A Security Parameter Index of ESP (RFC 4303 §2.1); 0…255 are reserved and cannot exist.
public struct SPI: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The number as sent.
    public let value: UInt32

    /// The SPI of this number, or nil for a reserved one.
    @inlinable
    public init?(_ value: UInt32) {
        guard value > 255 else { return nil }
        self.value = value
    }

    /// Eight hexadecimal digits.
    public var description: String { Hex.encode(value) }

    /// Numeric order.
    public static func < (left: SPI, right: SPI) -> Bool { left.value < right.value }
}

/// The SPI of an IKE_SA's end (RFC 7296 §2.6); zero only stands for "not yet known" and cannot exist.
public struct IKESPI: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The number as sent.
    public let value: UInt64

    /// The SPI of this number, or nil for zero.
    public init?(_ value: UInt64) {
        guard value != 0 else { return nil }
        self.value = value
    }

    /// The eight octets as sent.
    public var octets: [UInt8] {
        stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> UInt64($0)) }
    }

    /// Sixteen hexadecimal digits.
    public var description: String { Hex.encode(value) }

    /// Numeric order.
    public static func < (left: IKESPI, right: IKESPI) -> Bool { left.value < right.value }
}
