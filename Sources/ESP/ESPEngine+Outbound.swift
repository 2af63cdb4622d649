public import Cryptography
public import IPPackets
public import Primitives

/// What is to be done with a packet that goes out.
public enum OutboundVerdict: Hashable, Sendable {
    /// It is to be placed and framed for this SA.
    case protect(Protection)
    /// It does not fit and was counted as dropped; its sender is to be told.
    case tooBig(mtu: Int)
    /// It is to be cut into pieces of at most `mtu` octets, which then go their own ways (RFC 4301 §7, §8.1).
    case toBeCut(mtu: Int)
    /// It is to be held for this tunnel.
    case trap(tunnel: UInt32)
    /// Another worker owns the SA, whose inbound SPI this is.
    case elsewhere(spi: UInt32)
    /// It was dropped and counted.
    case dropped
}

/// How a packet is to be protected.
public struct Protection: Hashable, Sendable {
    /// The slot of its SA.
    public let slot: Int
    /// Octets between the start of the ESP packet and the inner packet: SPI, sequence number and IV.
    public let headerLength: Int
    /// Octets that the inner packet takes at least, with what hides its length.
    public let paddedLength: Int
    /// True when it must pass although it may be larger than the path's MTU: the outer packet may be cut.
    public let mayBeCut: Bool
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

    @inlinable
    init(job: PacketJob, slot: Int, trafficClass: UInt8, mayBeCut: Bool) {
        self.job = job
        self.slot = slot
        self.trafficClass = trafficClass
        self.mayBeCut = mayBeCut
    }
}

extension ESPEngine {
    /// Octets that must be free behind it: padding, its length, next header and the longest ICV.
    public static let tailroom = 15 + 2 + 32
    /// Octets that ESP adds at most.
    public static let largestOverhead = 8 + 16 + tailroom
    /// The largest ESP packet that UDP over IPv4 can carry.
    static let largestDatagram = 65_507
    /// What every IPv6 link carries (RFC 8200 §5).
    private static let leastIPv6MTU = 1280

    /// Packets in the outbound batch.
    @inlinable public var sealCount: Int { sealJobs.count }
    /// True when `frame` may not be called before the batch went out.
    @inlinable public var isSealBatchFull: Bool { sealJobs.count >= Self.sealCapacity }

    /// Decides on an inner packet, or on pieces of it of at most `length` octets.
    public mutating func decide(_ header: PacketHeader, length: Int) -> OutboundVerdict {
        switch spd.action(for: header) {
        case .protect(let slot):
            return protect(header, length: length, slot: slot)
        case .trap(let tunnel):
            return .trap(tunnel: tunnel)
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

    /// Holds a packet until its tunnel has an SA, and asks for one.
    public mutating func hold(
        _ header: PacketHeader,
        _ octets: [UInt8],
        tunnel: UInt32,
        at now: Instant
    ) {
        drops[.heldOverflow] += UInt64(held.add(octets, tunnel: tunnel, at: now))
        // One question a second is enough: the control plane has its own back-off.
        if let last = lastTrap[tunnel], last.duration(to: now) < .seconds(1) { return }
        lastTrap[tunnel] = now
        events.append(
            .trapped(
                tunnel: tunnel,
                source: header.source.address,
                destination: header.destination.address,
                ipProtocol: header.ipProtocol
            )
        )
    }

    private mutating func protect(_ header: PacketHeader, length: Int, slot: Int) -> OutboundVerdict {
        guard outbound[slot].isOwned else { return .elsewhere(spi: inbound[slot].spi) }
        let mtu = outbound[slot].innerMTU
        let mayBeCut = length > mtu
        if mayBeCut, let refusal = refuseLarge(header, length: length, slot: slot) { return refusal }
        return .protect(
            Protection(
                slot: slot,
                headerLength: 8 + outbound[slot].ivLength,
                paddedLength: outbound[slot].paddedLength,
                mayBeCut: mayBeCut
            )
        )
    }

    /// Frames the inner packet of `length` octets at `offset`, which has the header or is a piece of what has
    /// it, and adds it to the batch; the result is where its ESP packet ends, or nil when it was dropped.
    ///
    /// The header is written before it and the trailer behind it: `headerLength` and `tailroom` octets, and those up to
    /// `paddedLength`.
    public mutating func frame(
        _ header: PacketHeader,
        length total: Int,
        at offset: Int,
        in arena: inout PacketArena,
        _ protection: Protection
    ) -> Int? {
        let slot = protection.slot
        let refusal = outbound[slot].takeSequence(octets: total)
        if refusal != nil || outbound[slot].isNearlyExhausted { reportExhaustion(slot) }
        if let refusal {
            drops.count(refusal)
            return nil
        }
        // No super-packet is a SYN.
        if header.ipProtocol == 6, total == header.totalLength {
            var span = arena.mutableSpan
            let size = SegmentSizeClamp.segmentSize(forMTU: outbound[slot].innerMTU, isIPv6: header.isIPv6)
            SegmentSizeClamp.apply(&span, at: offset, header: header, maximum: size)
        }
        let start = offset - protection.headerLength
        arena.store32(outbound[slot].spi, at: start)
        arena.store32(UInt32(truncatingIfNeeded: outbound[slot].sequence), at: start + 4)
        // RFC 4303 §2.7: the receiver knows the packet's end by the packet's own length.
        let padded = max(total, protection.paddedLength)
        if padded > total { arena.zero(offset + total..<offset + padded) }
        let padLength = -(padded + 2) & outbound[slot].blockMask
        // RFC 4303 §2.4: the pad octets count up from 1.
        var end = offset + padded
        for value in 0..<padLength {
            arena.store8(UInt8(truncatingIfNeeded: value + 1), at: end)
            end += 1
        }
        arena.store8(UInt8(truncatingIfNeeded: padLength), at: end)
        arena.store8(header.isIPv6 ? 41 : 4, at: end + 1)
        end += 2 + outbound[slot].icvLength
        sealJobs.append(
            PacketJob(
                offset: Int32(truncatingIfNeeded: start),
                length: Int32(truncatingIfNeeded: end - start),
                sequence: outbound[slot].sequence
            )
        )
        sealEntries.append(
            SealEntry(
                slot: Int32(truncatingIfNeeded: slot),
                trafficClass: header.trafficClass & outbound[slot].trafficClassMask,
                mayBeCut: protection.mayBeCut
            )
        )
        return end
    }

    /// Octets of the ESP packet around an inner one of `total` octets.
    private func packetLength(_ slot: Int, _ total: Int) -> Int {
        let sa = outbound[slot]
        return 8 + sa.ivLength + total + (-(total + 2) & sa.blockMask) + 2 + sa.icvLength
    }

    /// What is to be done with a packet that does not fit the path, or nil when its outer packet may be cut.
    private mutating func refuseLarge(_ header: PacketHeader, length: Int, slot: Int) -> OutboundVerdict? {
        let mtu = outbound[slot].innerMTU
        if !outbound[slot].copiesDF, packetLength(slot, length) <= Self.largestDatagram { return nil }
        if header.isIPv6, mtu < Self.leastIPv6MTU {
            // RFC 2473 §7.1: no IPv6 sender goes below 1280 octets, so the tunnel must carry them in pieces.
            if length <= Self.leastIPv6MTU { return nil }
            drops.count(.tooBig)
            return .tooBig(mtu: Self.leastIPv6MTU)
        }
        if !header.dontFragment {
            // Pieces without ports must have an SA too; else the outer packet is cut.
            if case .protect = spd.action(for: header.ofLaterFragment) { return .toBeCut(mtu: mtu) }
            if packetLength(slot, length) <= Self.largestDatagram { return nil }
        }
        drops.count(.tooBig)
        return .tooBig(mtu: mtu)
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
    @inlinable
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
