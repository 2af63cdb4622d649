import CLinux
import Cryptography
import ESP
import IPPackets
import IPsecTypes
import Primitives

extension WorkerState {
    /// Takes datagrams from the socket until it is dry or the budget is used, and writes what they hold to
    /// the device.
    mutating func drainSocket(_ descriptor: Int32, _ kind: OuterKind) {
        let now = PumpClock.now()
        for round in 0..<Self.socketBudget {
            let count = incoming.receive(from: descriptor)
            guard count > 0 else {
                // Woken, or refused, for an error that waits.
                if round == 0 || count != -11 { drainErrors(kind, at: now) }
                return
            }
            for slot in 0..<count {
                if kind.isUDP { takeMessage(slot, kind, now) } else { takeRaw(slot, kind, now) }
            }
            deliver(kind, at: now)
            if !incoming.isFull { return }
        }
    }

    /// Takes the datagrams of a message: one, or a train of equal ones but for a shorter last one.
    private mutating func takeMessage(_ slot: Int, _ kind: OuterKind, _ now: Instant) {
        let datagram = incoming.datagram(slot)
        let start = incoming.offset(of: slot)
        let length = Int(datagram.length)
        guard datagram.is_truncated == 0, length <= DatagramBatch.room else {
            return engine.drops.count(.truncated)
        }
        guard datagram.segment > 0, length > Int(datagram.segment) else {
            return demultiplex(slot, start, length, kind, now)
        }
        var offset = start
        while offset < start + length {
            let count = min(Int(datagram.segment), start + length - offset)
            demultiplex(slot, offset, count, kind, now)
            offset += count
        }
    }

    /// Sorts a datagram by RFC 3948 §2: keepalive, IKE behind a marker of zeros, or ESP.
    ///
    /// A train is sorted by its first datagram alone, so the others may be anything.
    private mutating func demultiplex(
        _ slot: Int,
        _ offset: Int,
        _ length: Int,
        _ kind: OuterKind,
        _ now: Instant
    ) {
        let datagram = incoming.datagram(slot)
        if length == 1, incoming.arena.load8(at: offset) == 0xff { return engine.drops.count(.keepalive) }
        guard length >= 8 else { return engine.drops.count(.tooShort) }
        guard incoming.arena.load32(at: offset) != 0 else {
            guard strayLimit.allows(at: now) else { return engine.drops.count(.queueFull) }
            events.append(
                .strayIKE(
                    octets: incoming.arena.octets(offset + 4..<offset + length),
                    local: datagram.local.endpoint(port: port),
                    remote: datagram.remote.endpoint()
                )
            )
            return
        }
        takeESP(slot, offset..<offset + length, kind, now)
    }

    /// Takes a packet of a raw socket, which by IPv4 delivers the IP header too.
    private mutating func takeRaw(_ slot: Int, _ kind: OuterKind, _ now: Instant) {
        let datagram = incoming.datagram(slot)
        let offset = incoming.offset(of: slot)
        let length = Int(datagram.length)
        guard datagram.is_truncated == 0, length <= DatagramBatch.room else {
            return engine.drops.count(.truncated)
        }
        guard !kind.isIPv6 else { return takeESP(slot, offset..<offset + length, kind, now) }
        guard length >= 20 else { return engine.drops.count(.tooShort) }
        let headerLength = Int(incoming.arena.load8(at: offset) & 15) * 4
        guard headerLength >= 20, headerLength <= length else { return engine.drops.count(.tooShort) }
        takeESP(slot, offset + headerLength..<offset + length, kind, now)
    }

    private mutating func takeESP(_ slot: Int, _ range: Range<Int>, _ kind: OuterKind, _ now: Instant) {
        if engine.isOpenBatchFull { deliver(kind, at: now) }
        let datagram = incoming.datagram(slot)
        if passOn(range, trafficClass: UInt8(truncatingIfNeeded: datagram.traffic_class)) { return }
        let unknown = engine.receive(
            packetAt: range.lowerBound,
            length: range.count,
            token: slot,
            trafficClass: UInt8(truncatingIfNeeded: datagram.traffic_class),
            in: incoming.arena
        )
        guard let unknown, let spi = SPI(unknown), unknownLimit.allows(at: now) else { return }
        events.append(
            .unknownSPI(
                spi,
                local: datagram.local.endpoint(port: kind.isUDP ? port : 0),
                remote: datagram.remote.endpoint(port: kind.isUDP ? nil : 0)
            )
        )
    }

    mutating func deliver(_ kind: OuterKind, at now: Instant) {
        guard engine.openCount > 0 else { return }
        engine.openBatch(in: &incoming.arena, at: now)
        plan.clear()
        planned.removeAll(keepingCapacity: true)
        for index in 0..<engine.openCount {
            let entry = engine.opened(index)
            switch entry.state {
            case .pending, .dropped:
                break
            case .authentic:
                notePath(entry, kind)
            case .delivered:
                notePath(entry, kind)
                planned.append(clinux_piece(offset: UInt32(entry.offset), length: UInt32(entry.length)))
                Self.add(entry, to: &plan, incoming.arena)
            }
        }
        engine.clearOpened()
        writePlanned()
    }

    private static func add(
        _ entry: InboundEntry,
        to plan: inout Coalescer,
        _ arena: borrowing PacketArena
    ) {
        plan.add(arena.span, at: Int(entry.offset), length: Int(entry.length)) { arena.onesComplementSum($0) }
    }

    private static func finish(
        _ group: Coalescer.Group,
        of plan: borrowing Coalescer,
        in arena: inout PacketArena
    ) {
        var span = arena.mutableSpan
        plan.finish(group, in: &span)
    }

    /// Writes the plan's packets to the device, each group by one call.
    private mutating func writePlanned() {
        for index in 0..<plan.groups.count {
            let group = plan.groups[index]
            Self.finish(group, of: plan, in: &incoming.arena)
            pieces.removeAll(keepingCapacity: true)
            var first = planned[Int(group.first)]
            first.offset -= UInt32(OffloadHeader.length)
            first.length += UInt32(OffloadHeader.length)
            pieces.append(first)
            var next = plan.packet(after: group.first)
            while let index = next {
                var piece = planned[Int(index)]
                piece.offset += UInt32(group.headerLength)
                piece.length -= UInt32(group.headerLength)
                pieces.append(piece)
                next = plan.packet(after: index)
            }
            if !device.write(incoming.arena, pieces) {
                engine.drops[.deviceWriteFailed] += UInt64(group.count)
            }
        }
    }

    private mutating func notePath(_ entry: InboundEntry, _ kind: OuterKind) {
        let slot = Int(entry.slot)
        // An address that moves is a NAT's, and through a NAT ESP travels in UDP (RFC 7296 §2.23).
        guard entry.token >= 0, kind.isUDP, paths[slot].kind.isUDP else { return }
        let remote = incoming.datagram(Int(entry.token)).remote
        guard !remote.isSame(as: paths[slot].seen) else { return }
        paths[slot].seen = remote
        guard !remote.isSame(as: paths[slot].remote) else { return }
        events.append(.inboundFrom(saID: engine.saID(inSlot: slot), remote: remote.endpoint()))
    }

    /// Takes an ESP packet that came to another socket.
    mutating func receiveStray(_ octets: [UInt8], local: Endpoint, remote: Endpoint) {
        let offset = incoming.offset(of: 0)
        guard octets.count >= 8, octets.count <= DatagramBatch.room else {
            return engine.drops.count(.tooShort)
        }
        incoming.arena.write(octets, at: offset)
        let now = PumpClock.now()
        let unknown = engine.receive(packetAt: offset, length: octets.count, token: -1, in: incoming.arena)
        if let unknown, let spi = SPI(unknown), unknownLimit.allows(at: now) {
            events.append(.unknownSPI(spi, local: local, remote: remote))
        }
        deliver(.udp4, at: now)
    }
}
