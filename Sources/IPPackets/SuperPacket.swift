/// A packet larger than any link, which the kernel left to be cut (segmentation offload).
///
/// It gives the pieces one by one: the caller copies the headers and a piece's payload, and `finish` makes
/// of the copied headers those of that piece. What is equal in all pieces is summed once.
public struct SuperPacket: Sendable {
    /// Octets of the headers, which each piece repeats.
    public let headerLength: Int
    /// Octets of payload in each piece but the last.
    public let segmentSize: Int
    /// Octets of payload in all.
    public let payloadLength: Int

    private let isTCP: Bool
    private let isIPv6: Bool
    private let transportOffset: Int
    private let identification: UInt16
    private let sequence: UInt32
    /// The word of data offset and flags.
    private let flags: UInt16
    /// Of the IPv4 header without length, identification and checksum.
    private let networkSum: UInt64
    /// Of the pseudo-header without length and of the transport header without what differs from piece to piece.
    private let transportSum: UInt64

    /// Pieces.
    public var count: Int { (payloadLength + segmentSize - 1) / segmentSize }

    /// Octets of the largest piece.
    public var largestPiece: Int { headerLength + min(segmentSize, payloadLength) }

    /// Takes the packet at `offset`, whose header was read; nil when it is not what `offload` says.
    public init?(
        _ header: PacketHeader,
        _ offload: OffloadHeader,
        in octets: borrowing Span<UInt8>,
        at offset: Int
    ) {
        switch offload.kind {
        case .tcp4: guard header.ipProtocol == 6, !header.isIPv6 else { return nil }
        case .tcp6: guard header.ipProtocol == 6, header.isIPv6 else { return nil }
        case .udp: guard header.ipProtocol == 17 else { return nil }
        case .whole, nil: return nil
        }
        let isTCP = header.ipProtocol == 6
        let transport = offset + header.transportOffset
        let end = offset + header.totalLength
        guard !header.isFragment, offload.segmentSize > 0, offset >= 0, end <= octets.count,
            transport + (isTCP ? 20 : 8) < end
        else { return nil }
        let transportLength = isTCP ? Int(octets[transport + 12] >> 4) * 4 : 8
        guard transportLength >= (isTCP ? 20 : 8), transport + transportLength < end else { return nil }
        self.isTCP = isTCP
        isIPv6 = header.isIPv6
        transportOffset = header.transportOffset
        headerLength = header.transportOffset + transportLength
        segmentSize = offload.segmentSize
        payloadLength = header.totalLength - headerLength
        identification = header.isIPv6 ? 0 : octets.be16(offset + 4)
        sequence = isTCP ? octets.be32(transport + 4) : 0
        flags = isTCP ? octets.be16(transport + 12) : 0
        networkSum = header.isIPv6 ? 0 : Self.networkSum(octets, offset..<transport)
        let pseudo = Self.pseudoSum(header, offload, octets, transport, length: end - transport)
        transportSum = pseudo + Self.transportSum(octets, transport..<transport + transportLength, isTCP)
    }

    private static func networkSum(_ octets: borrowing Span<UInt8>, _ range: Range<Int>) -> UInt64 {
        var sum = InternetChecksum()
        sum.add(octets, range.lowerBound..<range.lowerBound + 2)
        sum.add(octets, range.lowerBound + 6..<range.lowerBound + 10)
        sum.add(octets, range.lowerBound + 12..<range.upperBound)
        return UInt64(sum.folded)
    }

    /// The kernel's own sum, which knows the last destination of a routing header, less the length.
    private static func pseudoSum(
        _ header: PacketHeader,
        _ offload: OffloadHeader,
        _ octets: borrowing Span<UInt8>,
        _ transport: Int,
        length: Int
    ) -> UInt64 {
        var sum = InternetChecksum()
        if offload.needsChecksum {
            sum.add(octets.be16(transport + (header.ipProtocol == 6 ? 16 : 6)))
            sum.add(~UInt16(truncatingIfNeeded: length))
        } else {
            sum.addPseudoHeader(header, length: 0)
        }
        return UInt64(sum.folded)
    }

    private static func transportSum(
        _ octets: borrowing Span<UInt8>,
        _ range: Range<Int>,
        _ isTCP: Bool
    ) -> UInt64 {
        let start = range.lowerBound
        var sum = InternetChecksum()
        sum.add(octets, start..<start + 4)
        if isTCP {
            sum.add(octets, start + 8..<start + 12)
            sum.add(octets, start + 14..<start + 16)
            sum.add(octets, start + 18..<range.upperBound)
        }
        return UInt64(sum.folded)
    }

    /// Where the payload of a piece lies, counted from the super-packet's start.
    public func payload(of piece: Int) -> Range<Int> {
        let start = headerLength + piece * segmentSize
        return start..<min(start + segmentSize, headerLength + payloadLength)
    }

    /// Makes of the headers at `start`, copied from the super-packet, those of a piece.
    ///
    /// `payloadSum` is the folded sum of its payload, which follows the headers.
    public func finish(
        _ piece: Int,
        payloadSum: UInt16,
        in target: inout MutableSpan<UInt8>,
        at start: Int
    ) {
        guard start >= 0, piece >= 0, piece < count, start <= target.count - headerLength else { return }
        let payloadCount = payload(of: piece).count
        let total = UInt64(headerLength + payloadCount)
        if isIPv6 {
            target.put16(UInt16(truncatingIfNeeded: total - 40), at: start + 4)
        } else {
            let id = identification &+ UInt16(truncatingIfNeeded: piece)
            target.put16(UInt16(truncatingIfNeeded: total), at: start + 2)
            target.put16(id, at: start + 4)
            target.put16(~Self.fold(networkSum + total + UInt64(id)), at: start + 10)
        }
        let transport = start + transportOffset
        let length = total - UInt64(transportOffset)
        let sum = transportSum + UInt64(payloadSum) + length
        if isTCP {
            finishTCP(piece, sum, &target, transport)
        } else {
            target.put16(UInt16(truncatingIfNeeded: length), at: transport + 4)
            // The length stands in the header, too; a sum of zero would mean that there is none.
            let checksum = ~Self.fold(sum + length)
            target.put16(checksum == 0 ? 0xffff : checksum, at: transport + 6)
        }
    }

    private func finishTCP(
        _ piece: Int,
        _ sum: UInt64,
        _ target: inout MutableSpan<UInt8>,
        _ transport: Int
    ) {
        let sequence = sequence &+ UInt32(truncatingIfNeeded: piece * segmentSize)
        var flags = flags
        // FIN and PSH speak of the end, CWR of the first segment (RFC 3168 §6.1.2).
        if piece < count - 1 { flags &= ~0x0009 }
        if piece > 0 { flags &= ~0x0080 }
        target.put16(UInt16(truncatingIfNeeded: sequence >> 16), at: transport + 4)
        target.put16(UInt16(truncatingIfNeeded: sequence), at: transport + 6)
        target.put16(flags, at: transport + 12)
        let whole = sum + UInt64(sequence >> 16) + UInt64(sequence & 0xffff) + UInt64(flags)
        target.put16(~Self.fold(whole), at: transport + 16)
    }

    private static func fold(_ sum: UInt64) -> UInt16 {
        var folded = sum
        while folded > 0xffff { folded = (folded & 0xffff) + (folded >> 16) }
        return UInt16(truncatingIfNeeded: folded)
    }
}
