public import Primitives

/// Collects the octets of a stream and gives out packets, with a bound on what it holds.
public struct ViciFrameBuffer: Sendable {
    /// The most octets that one `append` may bring.
    public static let chunkOctets = 64 * 1024
    /// The most octets that are ever held: an unfinished packet and one chunk.
    public static let capacity = 4 + ViciLimits.packetOctets + chunkOctets

    private var octets: [UInt8] = []
    /// Octets at the front that were given out already.
    private var consumed = 0

    /// Starts empty.
    public init() {}

    /// Octets that are held and not given out.
    public var count: Int { octets.count - consumed }

    /// Adds what came from the stream; throws if more would be held than `capacity`.
    public mutating func append(_ chunk: [UInt8]) throws(WireError) {
        guard chunk.count <= ViciFrameBuffer.capacity - count else {
            throw WireError(.limitExceeded("\(ViciFrameBuffer.capacity) buffered octets"), at: 0)
        }
        if consumed > 0 {
            octets.removeFirst(consumed)
            consumed = 0
        }
        octets.append(contentsOf: chunk)
    }

    /// The next whole packet, or nil if more octets are needed.
    public mutating func next() throws(WireError) -> ViciPacket? {
        guard let (packet, length) = try peek() else { return nil }
        // A packet may hold keys: nothing of it stays here.
        for index in consumed..<consumed + length { octets[index] = 0 }
        consumed += length
        if consumed == octets.count {
            octets = []
            consumed = 0
        }
        return packet
    }

    private func peek() throws(WireError) -> (packet: ViciPacket, octets: Int)? {
        guard count >= 4 else { return nil }
        var reader = ByteReader(octets.span)
        try reader.skip(consumed)
        let length = Int(try reader.u32())
        guard length > 0, length <= ViciLimits.packetOctets else {
            throw WireError(.invalidLength(length), at: 0)
        }
        guard reader.remaining >= length else { return nil }
        var body = try reader.sub(length)
        return (try ViciPacket(parsing: &body), 4 + length)
    }
}
