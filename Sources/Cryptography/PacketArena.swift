import CChecksum
import CSodium

/// Memory for batches of packets, aligned to 4 KiB and owned by one worker.
///
/// Safe: it owns the memory, every access is checked against `capacity`, and it moves with its owner.
/// A wrong offset is our own bug and stops the process; callers check lengths from the wire before.
@safe
public struct PacketArena: ~Copyable, @unchecked Sendable {
    @usableFromInline let base: UnsafeMutableRawPointer
    /// Octets of the arena.
    public let capacity: Int

    /// Zeroed memory of `capacity` octets.
    public init(capacity: Int) {
        precondition(capacity >= 0)
        self.capacity = capacity
        // Pages of its own: what is never used takes no memory, and no plaintext stays in freed memory.
        guard let pages = unsafe csodium_map_pages(max(capacity, 1)) else {
            fatalError("no memory for packets")
        }
        unsafe base = pages
    }

    deinit { unsafe csodium_unmap_pages(base, max(capacity, 1)) }

    @inlinable
    func check(_ offset: Int, _ count: Int) {
        precondition(offset >= 0 && count >= 0 && count <= capacity && offset <= capacity &- count)
    }

    /// The octet at `offset`.
    @inlinable
    public func load8(at offset: Int) -> UInt8 {
        check(offset, 1)
        return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
    }

    /// The big-endian 16-bit number at `offset`.
    @inlinable
    public func load16(at offset: Int) -> UInt16 {
        check(offset, 2)
        return UInt16(bigEndian: unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    /// The big-endian 32-bit number at `offset`.
    @inlinable
    public func load32(at offset: Int) -> UInt32 {
        check(offset, 4)
        return UInt32(bigEndian: unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// The big-endian 64-bit number at `offset`.
    @inlinable
    public func load64(at offset: Int) -> UInt64 {
        check(offset, 8)
        return UInt64(bigEndian: unsafe base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    /// Writes an octet at `offset`.
    @inlinable
    public mutating func store8(_ value: UInt8, at offset: Int) {
        check(offset, 1)
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
    }

    /// Writes a big-endian 16-bit number at `offset`.
    @inlinable
    public mutating func store16(_ value: UInt16, at offset: Int) {
        check(offset, 2)
        unsafe base.storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt16.self)
    }

    /// Writes a big-endian 32-bit number at `offset`.
    @inlinable
    public mutating func store32(_ value: UInt32, at offset: Int) {
        check(offset, 4)
        unsafe base.storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt32.self)
    }

    /// Writes a big-endian 64-bit number at `offset`.
    @inlinable
    public mutating func store64(_ value: UInt64, at offset: Int) {
        check(offset, 8)
        unsafe base.storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt64.self)
    }

    /// Copies `count` octets within the arena; the ranges may overlap.
    @inlinable
    public mutating func copy(from source: Int, to target: Int, count: Int) {
        check(source, count)
        check(target, count)
        unsafe (base + target).copyMemory(from: base + source, byteCount: count)
    }

    /// Copies a range of another arena to `target`.
    @inlinable
    public mutating func copy(from other: borrowing PacketArena, _ range: Range<Int>, to target: Int) {
        other.check(range.lowerBound, range.count)
        check(target, range.count)
        unsafe (base + target).copyMemory(from: other.base + range.lowerBound, byteCount: range.count)
    }

    /// The ones' complement sum of the 16-bit words of a range (RFC 1071), folded and not complemented; an odd
    /// last octet is padded with zero.
    public func onesComplementSum(_ range: Range<Int>) -> UInt16 {
        check(range.lowerBound, range.count)
        return UInt16(bigEndian: unsafe cchecksum_sum(base + range.lowerBound, range.count))
    }

    /// Copies a range of another arena to `target` and gives its sum as `onesComplementSum` does.
    public mutating func copySumming(
        from other: borrowing PacketArena,
        _ range: Range<Int>,
        to target: Int
    ) -> UInt16 {
        other.check(range.lowerBound, range.count)
        check(target, range.count)
        return UInt16(
            bigEndian: unsafe cchecksum_copy(base + target, other.base + range.lowerBound, range.count)
        )
    }

    /// Fills a range with zeros.
    @inlinable
    public mutating func zero(_ range: Range<Int>) {
        check(range.lowerBound, range.count)
        unsafe (base + range.lowerBound).initializeMemory(as: UInt8.self, repeating: 0, count: range.count)
    }

    /// Copies `octets` to `offset`.
    public mutating func write(_ octets: [UInt8], at offset: Int) {
        write(octets.span, at: offset)
    }

    /// Copies `octets` to `offset`.
    @inlinable
    public mutating func write(_ octets: borrowing Span<UInt8>, at offset: Int) {
        check(offset, octets.count)
        unsafe octets.withUnsafeBufferPointer { source in
            guard let start = source.baseAddress else { return }
            unsafe (base + offset).copyMemory(from: start, byteCount: source.count)
        }
    }

    /// A copy of a range.
    public func octets(_ range: Range<Int>) -> [UInt8] {
        check(range.lowerBound, range.count)
        return unsafe Array(UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count))
    }

    /// The whole arena to read.
    @inlinable
    public var span: Span<UInt8> {
        @_lifetime(borrow self)
        get {
            let whole = unsafe Span<UInt8>(
                _unsafeStart: UnsafePointer(base.assumingMemoryBound(to: UInt8.self)),
                count: capacity
            )
            return unsafe _overrideLifetime(whole, borrowing: self)
        }
    }

    /// The whole arena to write.
    @inlinable
    public var mutableSpan: MutableSpan<UInt8> {
        @_lifetime(&self)
        mutating get {
            let whole = unsafe MutableSpan<UInt8>(
                _unsafeStart: base.assumingMemoryBound(to: UInt8.self),
                count: capacity
            )
            return unsafe _overrideLifetime(whole, mutating: &self)
        }
    }

    /// Lends the memory itself, for the vectors of system calls; `capacity` octets, for the call's duration.
    @unsafe
    @inlinable
    public func withUnsafeBase<Result>(_ body: (UnsafeMutableRawPointer) -> Result) -> Result {
        unsafe body(base)
    }

    /// The start of a packet, or nil when it does not lie inside.
    func packet(at offset: Int32, length: Int32) -> UnsafeMutablePointer<UInt8>? {
        guard offset >= 0, length >= 0, Int(offset) + Int(length) <= capacity else { return nil }
        return unsafe (base + Int(offset)).assumingMemoryBound(to: UInt8.self)
    }
}
