/// An IPv4 packet that is to be cut into pieces which fit (RFC 791 §3.2).
///
/// Pieces are written one by one to where they are needed; nothing is allocated. A piece of a packet can be cut
/// again.
public struct IPv4Fragments: Sendable {
    private let offset: Int
    private let headerLength: Int
    /// Of the pieces after the first: only some options are copied.
    private let laterHeaderLength: Int
    private let end: Int
    private let mtu: Int
    /// The field of flags and offset as the packet has it.
    private let field: UInt16
    /// Octets of data that were written.
    private var position = 0

    /// True when all was written.
    public var isDone: Bool { offset &+ headerLength &+ position >= end }

    /// Prepares to cut the packet at `offset` into pieces of at most `mtu` octets; nil when that cannot be.
    public init?(_ header: PacketHeader, in octets: borrowing Span<UInt8>, at offset: Int, mtu: Int) {
        guard !header.isIPv6, !header.dontFragment, offset >= 0, offset <= octets.count - header.totalLength
        else { return nil }
        self.offset = offset
        self.mtu = mtu
        headerLength = Int(octets[offset] & 15) * 4
        end = offset + header.totalLength
        field = octets.be16(offset + 6)
        laterHeaderLength = Self.copiedHeaderLength(octets, at: offset, length: headerLength)
        // Each piece but the last holds a multiple of eight octets.
        guard mtu >= headerLength + 8, header.totalLength > headerLength else { return nil }
    }

    /// Writes the next piece to `target` at `start`; the result is its length, or nil without one or room.
    public mutating func writeNext(
        from octets: borrowing Span<UInt8>,
        to target: inout MutableSpan<UInt8>,
        at start: Int
    ) -> Int? {
        let isFirst = position == 0
        let length = isFirst ? headerLength : laterHeaderLength
        let data = offset + headerLength + position
        let remaining = end - data
        guard remaining > 0, end <= octets.count else { return nil }
        let isLast = length + remaining <= mtu
        let count = isLast ? remaining : (mtu - length) / 8 * 8
        guard start >= 0, start <= target.count - length - count else { return nil }
        if isFirst {
            for index in 0..<length { target[start + index] = octets[offset + index] }
        } else {
            copyHeader(octets, &target, at: start)
        }
        for index in 0..<count { target[start + length + index] = octets[data + index] }
        target[start] = 0x40 | UInt8(truncatingIfNeeded: length / 4)
        target.put16(UInt16(truncatingIfNeeded: length + count), at: start + 2)
        let units = (field & 0x1fff) &+ UInt16(truncatingIfNeeded: position / 8)
        let more: UInt16 = isLast ? field & 0x2000 : 0x2000
        target.put16(units & 0x1fff | more, at: start + 6)
        target.put16(0, at: start + 10)
        var sum = InternetChecksum()
        sum.add(target.span, start..<start + length)
        target.put16(sum.value, at: start + 10)
        position += count
        return length + count
    }

    /// The header of a later piece: the first 20 octets and the options that ask to be copied.
    private func copyHeader(
        _ octets: borrowing Span<UInt8>,
        _ target: inout MutableSpan<UInt8>,
        at start: Int
    ) {
        for index in 0..<20 { target[start + index] = octets[offset + index] }
        var place = start + 20
        Self.eachCopiedOption(octets, at: offset, length: headerLength) { range in
            for index in range {
                target[place] = octets[index]
                place += 1
            }
        }
        while place < start + laterHeaderLength {
            target[place] = 0
            place += 1
        }
    }

    private static func copiedHeaderLength(_ octets: borrowing Span<UInt8>, at offset: Int, length: Int)
        -> Int
    {
        var copied = 0
        eachCopiedOption(octets, at: offset, length: length) { copied += $0.count }
        return 20 + (copied + 3) / 4 * 4
    }

    /// RFC 791 §3.1: the first bit of an option's type says whether all pieces carry it.
    private static func eachCopiedOption(
        _ octets: borrowing Span<UInt8>,
        at offset: Int,
        length: Int,
        _ body: (Range<Int>) -> Void
    ) {
        var index = offset + 20
        let end = offset + length
        while index < end {
            let kind = octets[index]
            if kind == 0 { return }
            if kind == 1 {
                index += 1
                continue
            }
            guard index + 2 <= end else { return }
            let count = Int(octets[index + 1])
            guard count >= 2, index + count <= end else { return }
            if kind & 0x80 != 0 { body(index..<index + count) }
            index += count
        }
    }
}
