public import Cryptography
import IPPackets
public import Primitives

/// A packet of the inbound batch.
public struct InboundEntry: Hashable, Sendable {
    /// How far it came.
    public enum State: UInt8, Hashable, Sendable {
        /// Not yet opened.
        case pending
        /// Dropped: replayed, not authentic, or malformed.
        case dropped
        /// Authentic, but not to be delivered.
        case authentic
        /// To be written to the device.
        case delivered
    }

    /// The slot of its SA.
    public var slot: Int32
    /// What the caller gave to recognise it by.
    public var token: Int32
    /// Where the inner packet starts.
    public var offset: Int32
    /// Octets of the inner packet.
    public var length: Int32
    /// DSCP and ECN of its outer header.
    public var trafficClass: UInt8
    /// How far it came.
    public var state: State
}

extension ESPEngine {
    /// Packets in the inbound batch.
    @inlinable public var openCount: Int { openJobs.count }
    /// True when `receive` may not be called before the batch was opened and cleared.
    @inlinable public var isOpenBatchFull: Bool { openJobs.count >= Self.openCapacity }

    /// Adds the ESP packet at `offset` to the batch; the result is its SPI if no SA has it, else nil.
    public mutating func receive(
        packetAt offset: Int,
        length: Int,
        token: Int,
        trafficClass: UInt8 = 0,
        in arena: borrowing PacketArena
    ) -> UInt32? {
        guard length >= 8 else {
            drops.count(.tooShort)
            return nil
        }
        let spi = arena.load32(at: offset)
        guard let slot = spis.slot(of: spi) else {
            drops.count(.unknownSPI)
            return spi
        }
        openJobs.append(
            PacketJob(
                offset: Int32(truncatingIfNeeded: offset),
                length: Int32(truncatingIfNeeded: length),
                sequence: 0
            )
        )
        openEntries.append(
            InboundEntry(
                slot: Int32(truncatingIfNeeded: slot),
                token: Int32(truncatingIfNeeded: token),
                offset: 0,
                length: 0,
                trafficClass: trafficClass,
                state: .pending
            )
        )
        return nil
    }

    /// Verifies and decrypts the batch in place and decides on each packet.
    public mutating func openBatch(in arena: inout PacketArena, at now: Instant) {
        var start = 0
        while start < openJobs.count {
            var end = start + 1
            while end < openJobs.count, openEntries[end].slot == openEntries[start].slot { end += 1 }
            openRun(start..<end, slot: Int(openEntries[start].slot), &arena, now)
            start = end
        }
    }

    private mutating func openRun(_ run: Range<Int>, slot: Int, _ arena: inout PacketArena, _ now: Instant) {
        // RFC 4303 §3.4.3: the window is checked first, which spares the ICV, and moved only after it was
        // verified.
        var start = run.lowerBound
        for index in run {
            let low = arena.load32(at: Int(openJobs[index].offset) + 4)
            if let sequence = inbound[slot].window.sequence(low), inbound[slot].window.isFresh(sequence) {
                openJobs[index].sequence = sequence
                continue
            }
            countReplay(index, slot)
            if start < index { ciphers[slot]?.open(&openJobs, start..<index, &arena) }
            start = index + 1
        }
        if start < run.upperBound { ciphers[slot]?.open(&openJobs, start..<run.upperBound, &arena) }
        for index in run where openEntries[index].state == .pending { judge(index, slot, &arena, now) }
    }

    private mutating func countReplay(_ index: Int, _ slot: Int) {
        openEntries[index].state = .dropped
        inbound[slot].replays &+= 1
        drops.count(.replayed)
    }

    private mutating func judge(_ index: Int, _ slot: Int, _ arena: inout PacketArena, _ now: Instant) {
        switch openJobs[index].status {
        case .done:
            break
        case .authenticationFailed, .pending:
            openEntries[index].state = .dropped
            inbound[slot].integrityFailures &+= 1
            hasUnreportedFailures = true
            drops.count(.integrityFailed)
            return
        case .invalidLength:
            openEntries[index].state = .dropped
            drops.count(.invalidLength)
            return
        }
        // A second packet of the same number in one batch passed the first check too.
        guard inbound[slot].window.accept(openJobs[index].sequence) else { return countReplay(index, slot) }
        openEntries[index].state = .authentic
        if inbound[slot].last == nil { events.append(.firstInbound(saID: inbound[slot].id)) }
        inbound[slot].last = now
        if let reason = deliver(index, slot, &arena) { drops.count(reason) }
    }

    /// Checks trailer, inner header and selectors, or says why the packet goes no further.
    private mutating func deliver(_ index: Int, _ slot: Int, _ arena: inout PacketArena) -> DropReason? {
        let start = Int(openJobs[index].offset) + 8 + inbound[slot].ivLength
        let trailer = Int(openJobs[index].offset) + Int(openJobs[index].length) - inbound[slot].icvLength - 2
        let padLength = Int(arena.load8(at: trailer))
        let end = trailer - padLength
        guard end >= start else { return .badPadding }
        for value in 0..<padLength where Int(arena.load8(at: end + value)) != value + 1 { return .badPadding }
        let nextHeader = arena.load8(at: trailer + 1)
        if nextHeader == 59 { return .dummy }
        guard nextHeader == 4 || nextHeader == 41 else { return .badNextHeader }
        // What follows the packet by its own length is traffic flow confidentiality padding (RFC 4303 §2.7).
        guard let header = PacketHeader(arena.span, at: start, length: end - start) else {
            return .malformedDecrypted
        }
        guard header.isIPv6 == (nextHeader == 41) else { return .badNextHeader }
        guard inbound[slot].admits(header) else { return .selectorMismatch }
        let isWithin = inbound[slot].countVolume(octets: header.totalLength)
        if !isWithin || inbound[slot].isNearlyExhausted { reportExhaustion(slot) }
        guard isWithin else { return .volumeExhausted }
        var span = arena.mutableSpan
        let outer = openEntries[index].trafficClass
        let isSound = CongestionNotification.decapsulate(
            &span,
            at: start,
            header: header,
            outerTrafficClass: inbound[slot].copiesECN ? outer : 0
        )
        guard isSound else { return .invalidECN }
        if inbound[slot].takesDSCP {
            TrafficClassField.set(&span, at: start, isIPv6: header.isIPv6, to: outer, mask: 0xfc)
        }
        if header.ipProtocol == 6 {
            let size = SegmentSizeClamp.segmentSize(forMTU: outbound[slot].innerMTU, isIPv6: header.isIPv6)
            SegmentSizeClamp.apply(&span, at: start, header: header, maximum: size)
        }
        openEntries[index].offset = Int32(truncatingIfNeeded: start)
        openEntries[index].length = Int32(truncatingIfNeeded: header.totalLength)
        openEntries[index].state = .delivered
        return nil
    }

    /// A packet of the batch after `openBatch`.
    @inlinable public func opened(_ index: Int) -> InboundEntry { openEntries[index] }

    /// The number of the SA in a slot.
    public func saID(inSlot slot: Int) -> UInt32 { inbound[slot].id }

    /// Empties the inbound batch.
    public mutating func clearOpened() {
        openJobs.removeAll(keepingCapacity: true)
        openEntries.removeAll(keepingCapacity: true)
    }
}
