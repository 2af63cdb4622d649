/// A growing buffer of octets in network byte order.
public struct ByteWriter: Sendable {
    /// What has been written.
    public private(set) var bytes: [UInt8]

    /// Starts with an empty buffer that has room for `capacity` octets.
    public init(capacity: Int = 64) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    /// Octets written.
    public var count: Int { bytes.count }

    /// Appends one octet.
    public mutating func u8(_ value: UInt8) { bytes.append(value) }

    /// Appends a 16-bit number.
    public mutating func u16(_ value: UInt16) {
        bytes.append(UInt8(truncatingIfNeeded: value >> 8))
        bytes.append(UInt8(truncatingIfNeeded: value))
    }

    /// Appends a 32-bit number.
    public mutating func u32(_ value: UInt32) {
        u16(UInt16(truncatingIfNeeded: value >> 16))
        u16(UInt16(truncatingIfNeeded: value))
    }

    /// Appends a 64-bit number.
    public mutating func u64(_ value: UInt64) {
        u32(UInt32(truncatingIfNeeded: value >> 32))
        u32(UInt32(truncatingIfNeeded: value))
    }

    /// Appends octets as they are.
    public mutating func append(_ octets: [UInt8]) { bytes.append(contentsOf: octets) }

    /// Appends `count` zero octets.
    public mutating func zeros(_ count: Int) {
        bytes.append(contentsOf: repeatElement(0, count: max(0, count)))
    }

    /// Overwrites the octet at `offset`; an offset outside of what was written is an error.
    public mutating func patch8(_ value: UInt8, at offset: Int) throws(WireError) {
        guard bytes.indices.contains(offset) else { throw WireError(.overflow("patch"), at: offset) }
        bytes[offset] = value
    }

    /// Overwrites the 16-bit number at `offset` with `value`, which must fit.
    public mutating func patch16(_ value: Int, at offset: Int, field: String) throws(WireError) {
        guard let fitting = UInt16(exactly: value) else { throw WireError(.overflow(field), at: offset) }
        try patch8(UInt8(truncatingIfNeeded: fitting >> 8), at: offset)
        try patch8(UInt8(truncatingIfNeeded: fitting), at: offset + 1)
    }

    /// Overwrites the 32-bit number at `offset` with `value`, which must fit.
    public mutating func patch32(_ value: Int, at offset: Int, field: String) throws(WireError) {
        guard let fitting = UInt32(exactly: value) else { throw WireError(.overflow(field), at: offset) }
        for (index, shift) in [24, 16, 8, 0].enumerated() {
            try patch8(UInt8(truncatingIfNeeded: fitting >> UInt32(shift)), at: offset + index)
        }
    }
}
