import CLinux
import Cryptography
import ESP
import IPPackets
import IPsecTypes
import Primitives

extension WorkerState {
    /// Takes datagrams from the socket until it is dry or the budget is used, and writes what they hold to
    /// the device.
    mutating func drainSocket(_ descriptor: Int32) {
        let now = PumpClock.now()
        for _ in 0..<Self.socketBudget {
            let count = incoming.receive(from: descriptor)
            guard count > 0 else { return }
            for slot in 0..<count { demultiplex(slot, now) }
            deliver(at: now)
            if count < Self.receiveSlots { return }
        }
    }

    /// Sorts a datagram by RFC 3948 §2: keepalive, IKE behind a marker of zeros, or ESP.
    private mutating func demultiplex(_ slot: Int, _ now: Instant) {
        let datagram = incoming.datagram(slot)
        let offset = incoming.offset(of: slot)
        let length = Int(datagram.length)
        guard datagram.is_truncated == 0, length <= DatagramBatch.room else {
            return engine.drops.count(.truncated)
        }
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
        let unknown = engine.receive(packetAt: offset, length: length, token: slot, in: incoming.arena)
        guard let unknown, let spi = SPI(unknown), unknownLimit.allows(at: now) else { return }
        events.append(.unknownSPI(spi, from: datagram.remote.endpoint()))
    }

    private mutating func deliver(at now: Instant) {
        guard engine.openCount > 0 else { return }
        engine.openBatch(in: &incoming.arena, at: now)
        for index in 0..<engine.openCount {
            let entry = engine.opened(index)
            switch entry.state {
            case .pending, .dropped:
                break
            case .authentic:
                notePath(entry)
            case .delivered:
                notePath(entry)
                let range = Int(entry.offset)..<Int(entry.offset) + Int(entry.length)
                if !device.write(&incoming.arena, range) { engine.drops.count(.deviceWriteFailed) }
            }
        }
        engine.clearOpened()
    }

    private mutating func notePath(_ entry: InboundEntry) {
        guard entry.token >= 0 else { return }
        let slot = Int(entry.slot)
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
            events.append(.unknownSPI(spi, from: remote))
        }
        deliver(at: now)
    }
}
