/// Numbers in network order; a place that does not lie inside stops the process.
///
/// One check for all octets of a number: with one an octet the compiler makes no single load of them.
extension Span<UInt8> {
    @inlinable
    @inline(__always)
    func check(_ offset: Int, _ width: Int) {
        precondition(offset >= 0 && count >= width && offset <= count &- width)
    }

    @inlinable
    @inline(__always)
    func be16(_ offset: Int) -> UInt16 {
        check(offset, 2)
        return UInt16(self[offset]) << 8 | UInt16(self[offset &+ 1])
    }

    @inlinable
    @inline(__always)
    func be32(_ offset: Int) -> UInt32 {
        check(offset, 4)
        return UInt32(self[offset]) << 24 | UInt32(self[offset &+ 1]) << 16
            | UInt32(self[offset &+ 2]) << 8 | UInt32(self[offset &+ 3])
    }

    @inlinable
    @inline(__always)
    func be64(_ offset: Int) -> UInt64 {
        check(offset, 8)
        let high =
            UInt64(self[offset]) << 56 | UInt64(self[offset &+ 1]) << 48
            | UInt64(self[offset &+ 2]) << 40 | UInt64(self[offset &+ 3]) << 32
        let low =
            UInt64(self[offset &+ 4]) << 24 | UInt64(self[offset &+ 5]) << 16
            | UInt64(self[offset &+ 6]) << 8 | UInt64(self[offset &+ 7])
        return high | low
    }
}

extension MutableSpan<UInt8> {
    @inline(__always)
    @_lifetime(self: copy self)
    mutating func put16(_ value: UInt16, at offset: Int) {
        precondition(offset >= 0 && count >= 2 && offset <= count &- 2)
        self[offset] = UInt8(truncatingIfNeeded: value >> 8)
        self[offset &+ 1] = UInt8(truncatingIfNeeded: value)
    }
}
