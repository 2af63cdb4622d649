public import Cryptography
import IPPackets
public import Primitives

/// What became of a packet that was to go out.
public enum OutboundVerdict: Hashable, Sendable {
    /// It is in the batch.
    case queued
    /// It does not fit; `reply` goes back to the sender.
    case tooBig(mtu: Int)
    /// It is to be cut into pieces of at most `mtu` octets, which are then to be prepared (RFC 4301 §7, §8.1).
    case toBeCut(mtu: Int)
    /// It waits for an SA.
    case held
    /// It was dropped and counted.
    case dropped
}

/// A packet of the outbound batch.
public struct SealedPacket: Hashable, Sendable {
    /// Where it is; to be sent only when its status is `.done`.
    public var job: PacketJob
    /// The slot of its SA.
    public var slot: Int
    /// DSCP and ECN of the outer header (RFC 4301 §5.1.2, RFC 6040 §4.1).
    public var trafficClass: UInt8
    /// True when it must pass although it may be larger than the path's MTU: the outer packet may be cut.
    public var mayBeCut: Bool
}

extension ESPEngine {
    /// Octets that must be free before an inner packet: SPI, sequence number and the longest IV.
    public static let headroom = 24
    /// Octets that must be free behind it: padding, its length, next header and the longest ICV.
    public static let tailroom = 15 + 2 + 32
    /// The largest ESP packet that UDP over IPv4 can carry.
    static let largestDatagram = 65_507
    /// What every IPv6 link carries (RFC 8200 §5).
    private static let leastIPv6MTU = 1280

    /// Packets in the outbound batch.
    public var sealCount: Int { sealJobs.count }
    /// True when `prepare` may not be called before the batch went out.
    public var isSealBatchFull: Bool { sealJobs.count >= Self.batchCapacity }

    /// Decides on the inner packet at `offset`; the batch takes it if it is to be protected.
    ///
    /// Then the header is written before it and the trailer behind it: the arena must have `headroom` and
    /// `tailroom` around it.
    public mutating func prepare(
        packetAt offset: Int,
        length: Int,
        in arena: inout PacketArena,
        at now: Instant
    ) -> OutboundVerdict {
        guard let header = PacketHeader(arena.span, at: offset, length: length) else {
            return drop(.malformedInner)
        }
        switch spd.action(for: header) {
        case .protect(let slot):
            return protect(header, at: offset, slot: slot, &arena)
        case .trap(let tunnel):
            return hold(header, arena.octets(offset..<offset + header.totalLength), tunnel, now)
        case .discard:
            return drop(.noSA)
        case .noPolicy:
            return drop(.noPolicy)
        }
    }

    private mutating func drop(_ reason: DropReason) -> OutboundVerdict {
        drops.count(reason)
        return .dropped
    }

    private mutating func hold(
        _ header: PacketHeader,
        _ octets: [UInt8],
        _ tunnel: UInt32,
        _ now: Instant
    ) -> OutboundVerdict {
        drops[.heldOverflow] += UInt64(held.add(octets, tunnel: tunnel, at: now))
        // One question a second is enough: the control plane has its own back-off.
        if let last = lastTrap[tunnel], last.duration(to: now) < .seconds(1) { return .held }
        lastTrap[tunnel] = now
        events.append(
            .trapped(
                tunnel: tunnel,
                source: header.source.address,
                destination: header.destination.address,
                ipProtocol: header.ipProtocol
            )
        )
        return .held
    }

    private mutating func protect(
        _ header: PacketHeader,
        at offset: Int,
        slot: Int,
        _ arena: inout PacketArena
    ) -> OutboundVerdict {
        let total = header.totalLength
        let mtu = outbound[slot].innerMTU
        let ivLength = outbound[slot].ivLength
        let padLength = -(total + 2) & outbound[slot].blockMask
        let length = 8 + ivLength + total + padLength + 2 + outbound[slot].icvLength
        let mayBeCut = total > mtu
        if mayBeCut, let refusal = refuseLarge(header, length: length, mtu: mtu) { return refusal }
        if let refusal = takeSequence(slot, octets: total) { return drop(refusal) }
        if header.ipProtocol == 6 {
            var span = arena.mutableSpan
            let size = SegmentSizeClamp.segmentSize(forMTU: mtu, isIPv6: header.isIPv6)
            SegmentSizeClamp.apply(&span, at: offset, header: header, maximum: size)
        }
        let start = offset - 8 - ivLength
        arena.store32(outbound[slot].spi, at: start)
        arena.store32(UInt32(truncatingIfNeeded: outbound[slot].sequence), at: start + 4)
        // RFC 4303 §2.4: the pad octets count up from 1.
        var end = offset + total
        for value in 0..<padLength {
            arena.store8(UInt8(truncatingIfNeeded: value + 1), at: end)
            end += 1
        }
        arena.store8(UInt8(truncatingIfNeeded: padLength), at: end)
        arena.store8(header.isIPv6 ? 41 : 4, at: end + 1)
        sealJobs.append(
            PacketJob(
                offset: Int32(truncatingIfNeeded: start),
                length: Int32(truncatingIfNeeded: length),
                sequence: outbound[slot].sequence
            )
        )
        sealEntries.append(
            SealEntry(
                slot: Int32(truncatingIfNeeded: slot),
                trafficClass: header.trafficClass,
                mayBeCut: mayBeCut
            )
        )
        return .queued
    }

    /// What is to be done with a packet that does not fit the path, or nil when its outer packet may be cut.
    private mutating func refuseLarge(_ header: PacketHeader, length: Int, mtu: Int) -> OutboundVerdict? {
        if header.isIPv6, mtu < Self.leastIPv6MTU {
            // RFC 2473 §7.1: no IPv6 sender goes below 1280 octets, so the tunnel must carry them in pieces.
            if header.totalLength <= Self.leastIPv6MTU { return nil }
            drops.count(.tooBig)
            return .tooBig(mtu: Self.leastIPv6MTU)
        }
        if !header.dontFragment {
            // Pieces without ports must have an SA too; else the outer packet is cut.
            if case .protect = spd.action(for: header.ofLaterFragment) { return .toBeCut(mtu: mtu) }
            if length <= Self.largestDatagram { return nil }
        }
        drops.count(.tooBig)
        return .tooBig(mtu: mtu)
    }

    /// Counts the packet and gives it the next number, or says why there is none.
    private mutating func takeSequence(_ slot: Int, octets: Int) -> DropReason? {
        guard outbound[slot].sequence < outbound[slot].lastSequence else {
            reportExhaustion(slot)
            return .sequenceExhausted
        }
        let carried = outbound[slot].octets &+ UInt64(octets)
        guard outbound[slot].packets < outbound[slot].volume.packets, carried <= outbound[slot].volume.octets
        else {
            reportExhaustion(slot)
            return .volumeExhausted
        }
        outbound[slot].sequence += 1
        outbound[slot].packets &+= 1
        outbound[slot].octets = carried
        if outbound[slot].sequence >= outbound[slot].softSequence
            || outbound[slot].packets >= outbound[slot].volume.softPackets
            || carried >= outbound[slot].volume.softOctets
        {
            reportExhaustion(slot)
        }
        return nil
    }

    /// Asks for a replacement, once for both directions.
    mutating func reportExhaustion(_ slot: Int) {
        guard !outbound[slot].isSoftExhausted else { return }
        outbound[slot].isSoftExhausted = true
        events.append(.exhausted(saID: outbound[slot].id))
    }

    /// Seals the batch in place.
    public mutating func sealBatch(in arena: inout PacketArena, at now: Instant) {
        var start = 0
        while start < sealJobs.count {
            let slot = Int(sealEntries[start].slot)
            var end = start + 1
            while end < sealJobs.count, sealEntries[end].slot == sealEntries[start].slot { end += 1 }
            ciphers[slot]?.seal(&sealJobs, start..<end, &arena)
            outbound[slot].last = now
            for index in start..<end where sealJobs[index].status != .done { drops.count(.sealFailed) }
            start = end
        }
    }

    /// A packet of the batch.
    public func sealed(_ index: Int) -> SealedPacket {
        SealedPacket(
            job: sealJobs[index],
            slot: Int(sealEntries[index].slot),
            trafficClass: sealEntries[index].trafficClass,
            mayBeCut: sealEntries[index].mayBeCut
        )
    }

    /// Empties the outbound batch.
    public mutating func clearSealed() {
        sealJobs.removeAll(keepingCapacity: true)
        sealEntries.removeAll(keepingCapacity: true)
    }
}
