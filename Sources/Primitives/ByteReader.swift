/// A cursor over untrusted octets: every read is checked and throws, none traps.
///
/// The only way by which bytes are parsed. Copying it saves the position.
public struct ByteReader: ~Escapable {
    @usableFromInline let octets: Span<UInt8>
    @usableFromInline var position: Int
    @usableFromInline let end: Int
    /// Octets of the outermost buffer before `octets`, so that errors name absolute offsets.
    @usableFromInline let base: Int

    /// Reads `octets` from the first to the last.
    @inlinable
    @_lifetime(copy octets)
    public init(_ octets: Span<UInt8>, base: Int = 0) {
        self.octets = octets
        self.position = 0
        self.end = octets.count
        self.base = base
    }

    @inlinable
    @_lifetime(copy octets)
    init(_ octets: Span<UInt8>, from position: Int, to end: Int, base: Int) {
        self.octets = octets
        self.position = position
        self.end = end
        self.base = base
    }

    /// Octets not yet read.
    @inlinable public var remaining: Int { end &- position }
    /// True when all octets were read.
    @inlinable public var isAtEnd: Bool { position == end }
    /// Octets from the start of the outermost buffer to the next read.
    @inlinable public var offset: Int { base &+ position }

    /// Throws `.truncated` unless `count` octets are left.
    @inlinable
    public func require(_ count: Int) throws(WireError) {
        guard count >= 0 else { throw WireError(.invalidLength(count), at: offset) }
        guard count <= remaining else {
            throw WireError(.truncated(needed: count, available: remaining), at: offset)
        }
    }

    /// Reads one octet.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func u8() throws(WireError) -> UInt8 {
        try require(1)
        defer { position &+= 1 }
        return octets[position]
    }

    /// Reads a big-endian 16-bit number.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func u16() throws(WireError) -> UInt16 {
        try require(2)
        defer { position &+= 2 }
        return UInt16(octets[position]) << 8 | UInt16(octets[position &+ 1])
    }

    /// Reads a big-endian 32-bit number.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func u32() throws(WireError) -> UInt32 {
        try require(4)
        defer { position &+= 4 }
        return UInt32(octets[position]) << 24 | UInt32(octets[position &+ 1]) << 16
            | UInt32(octets[position &+ 2]) << 8 | UInt32(octets[position &+ 3])
    }

    /// Reads a big-endian 64-bit number.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func u64() throws(WireError) -> UInt64 {
        let high = UInt64(try u32())
        return high << 32 | UInt64(try u32())
    }

    /// Reads `count` octets into an array of their own.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func bytes(_ count: Int) throws(WireError) -> [UInt8] {
        try require(count)
        var result = [UInt8]()
        result.reserveCapacity(count)
        for index in position..<(position &+ count) { result.append(octets[index]) }
        position &+= count
        return result
    }

    /// Reads all octets that are left.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func rest() -> [UInt8] {
        var result = [UInt8]()
        result.reserveCapacity(remaining)
        for index in position..<end { result.append(octets[index]) }
        position = end
        return result
    }

    /// Skips `count` octets.
    @inlinable
    @_lifetime(self: copy self)
    public mutating func skip(_ count: Int) throws(WireError) {
        try require(count)
        position &+= count
    }

    /// Takes the next `count` octets as a reader of their own.
    @inlinable
    @_lifetime(copy self)
    @_lifetime(self: copy self)
    public mutating func sub(_ count: Int) throws(WireError) -> ByteReader {
        try require(count)
        let start = position
        position &+= count
        return ByteReader(octets, from: start, to: start &+ count, base: base)
    }

    /// Throws `.trailingOctets` unless all was read.
    @inlinable
    public func expectEnd() throws(WireError) {
        guard isAtEnd else { throw WireError(.trailingOctets(remaining), at: offset) }
    }
}
