/// Finds in a batch of packets those that one super-packet can stand for (receive offload).
///
/// A plan, no copy: packets are numbered in the order of their arrival, and each belongs to one group. Groups are
/// to be written in order; so each flow keeps its order, and what cannot be merged its place in it. A group cut by
/// its segment size gives the same packets again, octet for octet but for the IPv4 identification of packets
/// that cannot be fragmented and all carry the same one: it means nothing there (RFC 6864 §4.1).
public struct Coalescer: Sendable {
    /// Packets that stand for one another.
    public struct Group: Sendable {
        /// The number of the first packet.
        public fileprivate(set) var first: Int32
        fileprivate var last: Int32
        /// Packets in it.
        public fileprivate(set) var count: Int32 = 1
        /// Octets from the arena's start to the first packet.
        public let offset: Int
        /// Octets of the first packet's headers, which the others have too.
        public let headerLength: Int
        /// Octets of all: the headers once.
        public fileprivate(set) var totalLength: Int
        fileprivate let transportOffset: Int
        fileprivate let segmentSize: Int
        fileprivate let isIPv6: Bool
        fileprivate let isTCP: Bool
        fileprivate let flow: UInt64
        fileprivate var nextSequence: UInt32
        fileprivate var lastIdentification: UInt16
        /// The step between identifications, known from the second packet on.
        fileprivate var step: UInt16?
        fileprivate var isPush: Bool
    }

    /// The largest super-packet.
    static let largest = 65_535
    /// Packets in one group.
    public static let longest = 128
    /// Flows that are looked after at once.
    static let flows = 16

    /// The groups of the batch, in the order in which they are to be written.
    public private(set) var groups = [Group]()
    /// For each packet the next one of its group, or -1.
    private var following = [Int32]()
    /// Groups that still grow, the latest last.
    private var growing = [Int]()
    private let mergesTCP: Bool
    private let mergesUDP: Bool

    /// A plan for batches of at most `capacity` packets; what is beyond stays alone and costs memory.
    public init(capacity: Int, mergesTCP: Bool = true, mergesUDP: Bool = true) {
        self.mergesTCP = mergesTCP
        self.mergesUDP = mergesUDP
        groups.reserveCapacity(capacity)
        following.reserveCapacity(capacity)
        growing.reserveCapacity(Self.flows)
    }

    /// Begins a new batch.
    public mutating func clear() {
        groups.removeAll(keepingCapacity: true)
        following.removeAll(keepingCapacity: true)
        growing.removeAll(keepingCapacity: true)
    }

    /// The packet that follows packet `index` in its group.
    public func packet(after index: Int32) -> Int32? {
        let next = following[Int(index)]
        return next < 0 ? nil : next
    }

    /// Adds the next packet, `length` octets at `offset`.
    ///
    /// `sum` gives the folded sum of a range of the arena; it is asked only where a merge is possible, since a
    /// merge would hide a wrong transport checksum.
    public mutating func add(
        _ octets: borrowing Span<UInt8>,
        at offset: Int,
        length: Int,
        sum: (Range<Int>) -> UInt16
    ) {
        let index = Int32(truncatingIfNeeded: following.count)
        following.append(-1)
        guard let segment = FlowSegment(octets, at: offset, length: length) else {
            // It may belong to any flow: a fragment, or an error about one.
            growing.removeAll(keepingCapacity: true)
            return start(index, nil, offset, length)
        }
        let place = growingPlace(of: segment.flow)
        guard segment.isMergeable, segment.isTCP ? mergesTCP : mergesUDP,
            Self.isSound(octets, segment, offset, length, sum)
        else {
            if let place { growing.remove(at: place) }
            return start(index, nil, offset, length)
        }
        if let place {
            let group = growing[place]
            if accepts(group, segment, octets, offset) {
                append(index, segment, to: group)
                if isFull(group, segment) { growing.remove(at: place) }
                return
            }
            growing.remove(at: place)
        }
        start(index, segment, offset, length)
    }

    /// The latest group of a flow among those that grow.
    private func growingPlace(of flow: UInt64) -> Int? {
        var place = growing.count - 1
        while place >= 0, groups[growing[place]].flow != flow { place -= 1 }
        return place < 0 ? nil : place
    }

    private static func isSound(
        _ octets: borrowing Span<UInt8>,
        _ segment: FlowSegment,
        _ offset: Int,
        _ length: Int,
        _ sum: (Range<Int>) -> UInt16
    ) -> Bool {
        let transport = offset + segment.transportOffset..<offset + length
        let pseudo = FlowSegment.pseudoSum(
            octets,
            at: offset,
            isIPv6: segment.isIPv6,
            isTCP: segment.isTCP,
            length: transport.count
        )
        let whole = UInt32(pseudo) + UInt32(sum(transport))
        return (whole & 0xffff) + (whole >> 16) == 0xffff
    }

    private mutating func start(_ index: Int32, _ segment: FlowSegment?, _ offset: Int, _ length: Int) {
        groups.append(
            Group(
                first: index,
                last: index,
                offset: offset,
                headerLength: segment?.headerLength ?? 0,
                totalLength: length,
                transportOffset: segment?.transportOffset ?? 0,
                segmentSize: segment?.payloadLength ?? 0,
                isIPv6: segment?.isIPv6 ?? false,
                isTCP: segment?.isTCP ?? false,
                flow: segment?.flow ?? 0,
                nextSequence: (segment?.sequence ?? 0)
                    &+ UInt32(truncatingIfNeeded: segment?.payloadLength ?? 0),
                lastIdentification: segment?.identification ?? 0,
                isPush: segment?.isPush ?? false
            )
        )
        guard let segment, !segment.isPush else { return }
        // The oldest flow is looked after no longer; its packets keep their order all the same.
        if growing.count >= Self.flows { growing.remove(at: 0) }
        growing.append(groups.count - 1)
    }

    private mutating func append(_ index: Int32, _ segment: FlowSegment, to group: Int) {
        following[Int(groups[group].last)] = index
        groups[group].last = index
        groups[group].count += 1
        groups[group].totalLength += segment.payloadLength
        groups[group].nextSequence &+= UInt32(truncatingIfNeeded: segment.payloadLength)
        groups[group].step = segment.identification &- groups[group].lastIdentification
        groups[group].lastIdentification = segment.identification
        groups[group].isPush = segment.isPush
    }

    /// Only the last piece may be shorter, and PSH ends what the receiver is given at once.
    private func isFull(_ group: Int, _ segment: FlowSegment) -> Bool {
        segment.isPush || segment.payloadLength < groups[group].segmentSize
            || groups[group].count >= Self.longest
    }

    /// True when the packet is what cutting a longer group would give as the next piece.
    private func accepts(
        _ group: Int,
        _ segment: FlowSegment,
        _ octets: borrowing Span<UInt8>,
        _ offset: Int
    ) -> Bool {
        let head = groups[group]
        guard head.isTCP == segment.isTCP, head.isIPv6 == segment.isIPv6,
            head.headerLength == segment.headerLength, segment.payloadLength <= head.segmentSize,
            head.totalLength + segment.payloadLength <= Self.largest,
            !head.isTCP || head.nextSequence == segment.sequence
        else { return false }
        let step = segment.identification &- head.lastIdentification
        let first = head.offset
        if head.isIPv6 {
            // Traffic class, flow label, hop limit, addresses.
            guard octets.be32(first) == octets.be32(offset),
                octets.be16(first + 6) == octets.be16(offset + 6),
                Self.equal(octets, first + 8, offset + 8, 32)
            else { return false }
        } else {
            // Service, DF, time to live, addresses.
            guard octets[first + 1] == octets[offset + 1], octets.be16(first + 6) == octets.be16(offset + 6),
                octets.be16(first + 8) == octets.be16(offset + 8),
                octets.be64(first + 12) == octets.be64(offset + 12),
                step == 1 || step == 0 && octets.be16(first + 6) & 0x4000 != 0,
                head.step == nil || head.step == step
            else { return false }
        }
        let (one, other) = (first + head.transportOffset, offset + head.transportOffset)
        guard octets.be32(one) == octets.be32(other) else { return false }
        // Acknowledgement, window, and options, timestamps among them.
        return !head.isTCP
            || octets.be32(one + 8) == octets.be32(other + 8)
                && octets.be16(one + 14) == octets.be16(other + 14)
                && Self.equal(octets, one + 20, other + 20, head.headerLength - head.transportOffset - 20)
    }

    /// Whole words: headers and options are multiples of four octets.
    private static func equal(_ octets: borrowing Span<UInt8>, _ one: Int, _ other: Int, _ count: Int) -> Bool
    {
        var index = 0
        while index < count {
            guard octets.be32(one + index) == octets.be32(other + index) else { return false }
            index += 4
        }
        return true
    }

    /// Makes the first packet's headers those of the super-packet of a group, and writes before them what the
    /// kernel needs to know; the payloads of the other packets are to follow.
    public func finish(_ group: Group, in octets: inout MutableSpan<UInt8>) {
        var offload = OffloadHeader()
        defer { offload.write(to: &octets, before: group.offset) }
        guard group.count > 1, group.offset >= 0, group.offset + group.headerLength <= octets.count else {
            return
        }
        offload.kind = group.isTCP ? (group.isIPv6 ? .tcp6 : .tcp4) : .udp
        offload.needsChecksum = true
        offload.headerLength = group.headerLength
        offload.segmentSize = group.segmentSize
        offload.checksumStart = group.transportOffset
        offload.checksumOffset = group.isTCP ? 16 : 6
        let total = UInt16(truncatingIfNeeded: group.totalLength)
        let start = group.offset
        if group.isIPv6 {
            octets.put16(total &- 40, at: start + 4)
        } else {
            let old = octets.span.be16(start + 2)
            let checksum = InternetChecksum.updating(octets.span.be16(start + 10), from: old, to: total)
            octets.put16(total, at: start + 2)
            octets.put16(checksum, at: start + 10)
        }
        let transport = start + group.transportOffset
        let length = group.totalLength - group.transportOffset
        let pseudo = FlowSegment.pseudoSum(
            octets.span,
            at: start,
            isIPv6: group.isIPv6,
            isTCP: group.isTCP,
            length: length
        )
        if group.isTCP, group.isPush { octets[transport + 13] |= 0x08 }
        if !group.isTCP { octets.put16(UInt16(truncatingIfNeeded: length), at: transport + 4) }
        octets.put16(pseudo, at: transport + offload.checksumOffset)
    }
}
