import CLinux
import Cryptography
import ESP
import IPPackets
import Primitives

extension WorkerState {
    /// Octets before a packet in the arena: the ESP header and IV, before them the virtio header of the next
    /// use.
    private static let headroom = 48

    /// Takes packets from the device until it is dry or the budget is used, and sends them.
    mutating func drainDevice() {
        let now = PumpClock.now()
        for _ in 0..<Self.deviceBudget {
            let start = room(at: now)
            let count = device.read(into: &outgoing, at: start)
            guard count >= 0 else {
                // EAGAIN, or the device was taken away: then it would be readable for ever.
                if count != -11 { giveUpDevice() }
                break
            }
            guard count > 0 else {
                engine.drops.count(.badDeviceHeader)
                continue
            }
            take(start, count, now)
        }
        flushOutbound(at: now)
    }

    private mutating func giveUpDevice() {
        guard !isDeviceGone else { return }
        isDeviceGone = true
        engine.drops.count(.deviceReadFailed)
    }

    /// The place for the next packet; what is ready goes out first when there is none.
    private mutating func room(at now: Instant) -> Int {
        let needed = Self.headroom + TunDevice.largestPacket + ESPEngine.tailroom
        if engine.isSealBatchFull || cursor + needed > outgoing.capacity { flushOutbound(at: now) }
        return cursor + Self.headroom
    }

    /// Decides on the packet at `start`, which came with a virtio header.
    private mutating func take(_ start: Int, _ count: Int, _ now: Instant) {
        let header = VirtioHeader(outgoing, before: start)
        guard !header.isSuperPacket else { return engine.drops.count(.offloadUnsupported) }
        if header.needsChecksum {
            var span = outgoing.mutableSpan
            let isDone = InternetChecksum.finish(
                &span,
                packet: start..<start + count,
                start: header.checksumStart,
                field: header.checksumStart + header.checksumOffset
            )
            guard isDone else { return engine.drops.count(.badChecksumRequest) }
        }
        prepare(start, count, now)
    }

    private mutating func prepare(_ start: Int, _ count: Int, _ now: Instant) {
        switch engine.prepare(packetAt: start, length: count, in: &outgoing, at: now) {
        case .queued:
            // The next packet starts on a line of its own.
            cursor = (start + count + ESPEngine.tailroom + 63) & ~63
        case .tooBig(let mtu):
            answerTooBig(start, count, mtu: mtu, now)
        case .toBeCut(let mtu):
            cut(start, count, mtu: mtu, now)
        case .held, .dropped:
            break
        }
    }

    /// Sends the packet at `start` in pieces.
    private mutating func cut(_ start: Int, _ count: Int, mtu: Int, _ now: Instant) {
        // The pieces may need the place of the packet.
        Self.copy(outgoing, start..<start + count, to: &whole)
        guard let header = PacketHeader(whole.span, at: 0, length: count),
            var pieces = IPv4Fragments(header, in: whole.span, at: 0, mtu: mtu)
        else { return engine.drops.count(.tooBig) }
        while !pieces.isDone {
            let start = room(at: now)
            guard let length = Self.writeNext(&pieces, from: whole, to: &outgoing, at: start) else { return }
            switch engine.prepare(packetAt: start, length: length, in: &outgoing, at: now) {
            case .queued:
                cursor = (start + length + ESPEngine.tailroom + 63) & ~63
            case .tooBig, .toBeCut:
                // Pieces without ports may go by an SA that carries less.
                engine.drops.count(.tooBig)
            case .held, .dropped:
                break
            }
        }
    }

    private static func copy(
        _ source: borrowing PacketArena,
        _ range: Range<Int>,
        to target: inout PacketArena
    ) {
        target.write(source.span.extracting(range), at: 0)
    }

    private static func writeNext(
        _ pieces: inout IPv4Fragments,
        from source: borrowing PacketArena,
        to target: inout PacketArena,
        at start: Int
    ) -> Int? {
        var span = target.mutableSpan
        return pieces.writeNext(from: source.span, to: &span, at: start)
    }

    private mutating func answerTooBig(_ start: Int, _ count: Int, mtu: Int, _ now: Instant) {
        guard icmpLimit.allows(at: now),
            let header = PacketHeader(outgoing.span, at: start, length: count),
            let reply = ICMPError.packetTooBig(for: header, in: outgoing.span, at: start, mtu: mtu)
        else { return }
        if !device.write(reply) { engine.drops.count(.deviceWriteFailed) }
    }

    /// Sends what was held for the tunnel of a new SA.
    mutating func sendHeld(forSA saID: UInt32) {
        let now = PumpClock.now()
        for packet in engine.takeHeld(forSA: saID) {
            let start = room(at: now)
            outgoing.write(packet, at: start)
            prepare(start, packet.count, now)
        }
        flushOutbound(at: now)
    }

    /// Seals and sends the batch.
    private mutating func flushOutbound(at now: Instant) {
        cursor = 0
        guard engine.sealCount > 0 else { return }
        engine.sealBatch(in: &outgoing, at: now)
        for index in 0..<engine.sealCount {
            let packet = engine.sealed(index)
            guard packet.job.status == .done else { continue }
            let path = paths[packet.slot]
            let refusal =
                switch path.kind {
                case .udp4: udp4.add(outgoing, packet, from: path.local, to: path.remote)
                case .udp6: udp6.add(outgoing, packet, from: path.local, to: path.remote)
                case .raw4: raw4.add(outgoing, packet, from: path.local, to: path.remote)
                case .raw6: raw6.add(outgoing, packet, from: path.local, to: path.remote)
                }
            if let refusal { engine.drops.count(refusal) }
        }
        engine.clearSealed()
        if udp4.flush(&engine.drops) { drainErrors(.udp4, at: now) }
        if udp6.flush(&engine.drops) { drainErrors(.udp6, at: now) }
        if raw4.flush(&engine.drops) { drainErrors(.raw4, at: now) }
        if raw6.flush(&engine.drops) { drainErrors(.raw6, at: now) }
    }
}
