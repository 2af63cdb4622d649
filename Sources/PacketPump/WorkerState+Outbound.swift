import CLinux
import Cryptography
import ESP
import IPPackets
import Primitives

extension WorkerState {
    /// Where the device's packet starts in its arena; the virtio header stands before it.
    static let place = 64
    /// ESP octets after which a batch leaves: some super-packets, and a part of the second cache level.
    private static let flushThreshold = 256 << 10

    /// Takes packets from the device until it is dry or the budget is used, and sends them.
    mutating func drainDevice() {
        let now = PumpClock.now()
        for _ in 0..<Self.deviceBudget {
            let count = device.read(into: &staging, at: Self.place)
            guard count >= 0 else {
                // EAGAIN, or the device was taken away: then it would be readable for ever.
                if count != -11 { giveUpDevice() }
                break
            }
            guard count > 0 else {
                engine.drops.count(.badDeviceHeader)
                continue
            }
            take(count, now)
            if cursor >= Self.flushThreshold { flushOutbound(at: now) }
        }
        flushOutbound(at: now)
    }

    private mutating func giveUpDevice() {
        guard !isDeviceGone else { return }
        isDeviceGone = true
        engine.drops.count(.deviceReadFailed)
    }

    /// Decides on the packet of `count` octets that came from the device.
    mutating func take(_ count: Int, _ now: Instant) {
        guard let offload = OffloadHeader(staging.span, before: Self.place) else {
            return engine.drops.count(.badDeviceHeader)
        }
        guard let header = PacketHeader(staging.span, at: Self.place, length: count) else {
            return engine.drops.count(.malformedInner)
        }
        guard offload.kind == .whole else { return takeSuperPacket(header, offload, now) }
        if offload.needsChecksum {
            guard let summed = offload.checksummed(length: header.totalLength) else {
                return engine.drops.count(.badChecksumRequest)
            }
            let sum = staging.onesComplementSum(
                Self.place + summed.lowerBound..<Self.place + summed.upperBound
            )
            let value = ~sum
            // Zero means "no checksum" in UDP; the other zero of ones' complement is the same number.
            staging.store16(value == 0 ? 0xffff : value, at: Self.place + offload.checksumField)
        }
        send(header, now)
    }

    /// Sends the packet in the device's arena, whose header was read.
    private mutating func send(_ header: PacketHeader, _ now: Instant) {
        let length = header.totalLength
        switch engine.decide(header, length: length) {
        case .protect(let protection):
            place(header, length, protection, now)
        case .tooBig(let mtu):
            answerTooBig(header, mtu: mtu, now)
        case .toBeCut(let mtu):
            cut(header, mtu: mtu, now)
        case .trap(let tunnel):
            engine.hold(
                header,
                staging.octets(Self.place..<Self.place + length),
                tunnel: tunnel,
                at: now
            )
        case .elsewhere(let spi):
            clearOffload()
            passOn(count: length, toOwnerOf: spi)
        case .dropped:
            break
        }
    }

    /// The packet in the device's arena is one as it travels.
    private mutating func clearOffload() {
        var span = staging.mutableSpan
        OffloadHeader().write(to: &span, before: Self.place)
    }

    /// Copies the packet to the batch and frames it there.
    private mutating func place(
        _ header: PacketHeader,
        _ length: Int,
        _ protection: Protection,
        _ now: Instant
    ) {
        makeRoom(max(length, protection.paddedLength), now)
        let inner = cursor + protection.headerLength
        outgoing.copy(from: staging, Self.place..<Self.place + length, to: inner)
        // ESP packets lie without gaps, so that a run of them is one message.
        if let end = engine.frame(header, length: length, at: inner, in: &outgoing, protection) {
            cursor = end
        }
    }

    /// Sends what is ready when there is no place for a packet of `length` octets.
    private mutating func makeRoom(_ length: Int, _ now: Instant) {
        let needed = length + ESPEngine.largestOverhead
        if engine.isSealBatchFull || cursor + needed > outgoing.capacity { flushOutbound(at: now) }
    }

    /// Cuts a super-packet into the packets that it stands for.
    private mutating func takeSuperPacket(_ header: PacketHeader, _ offload: OffloadHeader, _ now: Instant) {
        guard let whole = SuperPacket(header, offload, in: staging.span, at: Self.place) else {
            return engine.drops.count(.offloadUnsupported)
        }
        switch engine.decide(header, length: whole.largestPiece) {
        case .protect(let protection):
            for piece in 0..<whole.count { place(piece, of: whole, header, protection, now) }
        case .tooBig(let mtu):
            // The answer quotes a packet that the sender knows.
            engine.drops[.tooBig] += UInt64(whole.count - 1)
            finishInPlace(0, of: whole, whole.payload(of: 0).count)
            guard let header = PacketHeader(staging.span, at: Self.place, length: whole.largestPiece) else {
                return
            }
            answerTooBig(header, mtu: mtu, now)
        case .toBeCut, .trap:
            sendSingly(whole, header, now)
        case .elsewhere(let spi):
            passOn(count: header.totalLength, toOwnerOf: spi)
        case .dropped:
            break
        }
    }

    /// Copies a piece of a super-packet to the batch and frames it there.
    private mutating func place(
        _ piece: Int,
        of whole: SuperPacket,
        _ header: PacketHeader,
        _ protection: Protection,
        _ now: Instant
    ) {
        let payload = whole.payload(of: piece)
        let length = whole.headerLength + payload.count
        makeRoom(max(length, protection.paddedLength), now)
        let inner = cursor + protection.headerLength
        outgoing.copy(from: staging, Self.place..<Self.place + whole.headerLength, to: inner)
        let source = Self.place + payload.lowerBound..<Self.place + payload.upperBound
        let sum = outgoing.copySumming(from: staging, source, to: inner + whole.headerLength)
        var span = outgoing.mutableSpan
        whole.finish(piece, payloadSum: sum, in: &span, at: inner)
        if let end = engine.frame(header, length: length, at: inner, in: &outgoing, protection) {
            cursor = end
        }
    }

    /// The slow way: each piece is decided on like a packet of the device, whose place it takes.
    private mutating func sendSingly(_ whole: SuperPacket, _ header: PacketHeader, _ now: Instant) {
        original.copy(from: staging, Self.place..<Self.place + header.totalLength, to: Self.place)
        for piece in 0..<whole.count {
            let payload = whole.payload(of: piece)
            let start = Self.place + whole.headerLength
            staging.copy(from: original, Self.place..<start, to: Self.place)
            let source = Self.place + payload.lowerBound..<Self.place + payload.upperBound
            staging.copy(from: original, source, to: start)
            finishInPlace(piece, of: whole, payload.count)
            let length = whole.headerLength + payload.count
            guard let header = PacketHeader(staging.span, at: Self.place, length: length) else { return }
            send(header, now)
        }
    }

    /// Makes the headers in the device's arena those of a piece, whose payload follows them.
    private mutating func finishInPlace(_ piece: Int, of whole: SuperPacket, _ payloadCount: Int) {
        let start = Self.place + whole.headerLength
        let sum = staging.onesComplementSum(start..<start + payloadCount)
        var span = staging.mutableSpan
        whole.finish(piece, payloadSum: sum, in: &span, at: Self.place)
    }

    /// Sends the packet in the device's arena in pieces (RFC 791 §3.2).
    private mutating func cut(_ header: PacketHeader, mtu: Int, _ now: Instant) {
        uncut.copy(from: staging, Self.place..<Self.place + header.totalLength, to: 0)
        guard var pieces = IPv4Fragments(header, in: uncut.span, at: 0, mtu: mtu) else {
            return engine.drops.count(.tooBig)
        }
        while !pieces.isDone {
            guard let length = Self.writeNext(&pieces, from: uncut, to: &staging),
                let header = PacketHeader(staging.span, at: Self.place, length: length)
            else { return }
            switch engine.decide(header, length: length) {
            case .protect(let protection):
                place(header, length, protection, now)
            case .toBeCut:
                // Pieces without ports may go by an SA that carries less.
                engine.drops.count(.tooBig)
            case .trap(let tunnel):
                engine.hold(header, staging.octets(Self.place..<Self.place + length), tunnel: tunnel, at: now)
            case .elsewhere(let spi):
                clearOffload()
                passOn(count: length, toOwnerOf: spi)
            case .tooBig, .dropped:
                break
            }
        }
    }

    private static func writeNext(
        _ pieces: inout IPv4Fragments,
        from source: borrowing PacketArena,
        to target: inout PacketArena
    ) -> Int? {
        var span = target.mutableSpan
        return pieces.writeNext(from: source.span, to: &span, at: place)
    }

    private mutating func answerTooBig(_ header: PacketHeader, mtu: Int, _ now: Instant) {
        guard icmpLimit.allows(at: now),
            let reply = ICMPError.packetTooBig(for: header, in: staging.span, at: Self.place, mtu: mtu)
        else { return }
        if !device.write(reply) { engine.drops.count(.deviceWriteFailed) }
    }

    /// Sends what was held for the tunnel of a new SA.
    mutating func sendHeld(forSA saID: UInt32) {
        let now = PumpClock.now()
        for packet in engine.takeHeld(forSA: saID) {
            staging.write(packet, at: Self.place)
            guard let header = PacketHeader(staging.span, at: Self.place, length: packet.count) else {
                continue
            }
            send(header, now)
        }
        flushOutbound(at: now)
    }

    /// Seals and sends the batch.
    mutating func flushOutbound(at now: Instant) {
        cursor = 0
        guard engine.sealCount > 0 else { return }
        engine.sealBatch(in: &outgoing, at: now)
        var index = 0
        while index < engine.sealCount {
            let packet = engine.sealed(index)
            guard packet.job.status == .done else {
                index += 1
                continue
            }
            let path = paths[packet.slot]
            let run = run(from: index, packet, path.kind)
            let start = Int(packet.job.offset)
            let range = start..<start + run.octets
            let segment = run.count > 1 ? Int(packet.job.length) : 0
            let refusal =
                switch path.kind {
                case .udp4:
                    udp4.add(outgoing, range, segment: segment, packet, from: path.local, to: path.remote)
                case .udp6:
                    udp6.add(outgoing, range, segment: segment, packet, from: path.local, to: path.remote)
                case .raw4:
                    raw4.add(outgoing, range, segment: segment, packet, from: path.local, to: path.remote)
                case .raw6:
                    raw6.add(outgoing, range, segment: segment, packet, from: path.local, to: path.remote)
                }
            if let refusal { engine.drops[refusal] += UInt64(run.count) }
            index += run.count
        }
        engine.clearSealed()
        if udp4.flush(&engine.drops) { drainErrors(.udp4, at: now) }
        if udp6.flush(&engine.drops) { drainErrors(.udp6, at: now) }
        if raw4.flush(&engine.drops) { drainErrors(.raw4, at: now) }
        if raw6.flush(&engine.drops) { drainErrors(.raw6, at: now) }
    }

    /// The packets from `index` on that can be one message: of one SA, marked alike, one behind the other, of one
    /// size but for a shorter last one.
    private func run(from index: Int, _ first: SealedPacket, _ kind: OuterKind) -> (count: Int, octets: Int) {
        let length = first.job.length
        var (count, octets) = (1, Int(length))
        let isCut =
            switch kind {
            case .udp4: udp4.sendsSegments
            case .udp6: udp6.sendsSegments
            case .raw4, .raw6: false
            }
        guard isCut, !first.mayBeCut else { return (count, octets) }
        while count < OuterLink.segmentsPerMessage, index + count < engine.sealCount {
            let next = engine.sealed(index + count)
            let size = Int(next.job.length)
            guard next.job.status == .done, next.slot == first.slot, !next.mayBeCut,
                next.trafficClass == first.trafficClass, next.job.length <= length,
                Int(next.job.offset) == Int(first.job.offset) + octets,
                octets + size <= OuterLink.octetsPerMessage
            else { break }
            count += 1
            octets += size
            if next.job.length < length { break }
        }
        return (count, octets)
    }
}
