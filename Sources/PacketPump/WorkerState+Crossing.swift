import CLinux
import Cryptography
import ESP
import IPPackets
import IPsecTypes
import Primitives
import Synchronization

extension WorkerState {
    /// Hands the packet in the device's arena to the worker that owns its SA.
    mutating func passOn(count: Int, toOwnerOf spi: UInt32) {
        guard let crossing, crossing.owner(of: spi) != number else { return engine.drops.count(.noSA) }
        let octets = OffloadHeader.length + count
        let entry = Crossing.Entry(kind: .devicePacket, octets: octets, trafficClass: 0)
        let start = Self.place - OffloadHeader.length
        if !crossing.push(entry, from: staging, at: start, to: crossing.owner(of: spi)) {
            engine.drops.count(.queueFull)
        }
    }

    /// Hands an ESP packet to the worker that owns its SA; false when that is this one.
    mutating func passOn(_ range: Range<Int>, trafficClass: UInt8) -> Bool {
        guard let crossing, range.count >= 8 else { return false }
        let owner = crossing.owner(of: incoming.arena.load32(at: range.lowerBound))
        guard owner != number else { return false }
        let entry = Crossing.Entry(kind: .esp, octets: range.count, trafficClass: trafficClass)
        if !crossing.push(entry, from: incoming.arena, at: range.lowerBound, to: owner) {
            engine.drops.count(.queueFull)
        }
        return true
    }

    /// Takes what other workers handed over.
    mutating func drainCrossing() {
        guard let crossing else { return }
        let now = PumpClock.now()
        let lane = crossing.lanes[number]
        while true {
            let taken = Self.pop(
                .devicePacket,
                lane,
                &staging,
                Self.place - OffloadHeader.length,
                TunDevice.largestPacket + OffloadHeader.length
            )
            if let taken {
                take(taken.octets - OffloadHeader.length, now)
                continue
            }
            guard receiveCrossed(lane, now) > 0 else { break }
        }
        flushOutbound(at: now)
    }

    /// Takes ESP packets, one behind the other in the arena; the result is how many.
    private mutating func receiveCrossed(_ lane: Crossing.Lane, _ now: Instant) -> Int {
        var offset = incoming.offset(of: 0)
        var count = 0
        while !engine.isOpenBatchFull, offset + DatagramBatch.room <= incoming.arena.capacity,
            let entry = Self.pop(.esp, lane, &incoming.arena, offset, DatagramBatch.room)
        {
            let spi = engine.receive(
                packetAt: offset,
                length: entry.octets,
                token: -1,
                trafficClass: entry.trafficClass,
                in: incoming.arena
            )
            // Between the packets there is room for the device's header.
            if spi == nil { offset += (entry.octets + DatagramBatch.headroom + 63) & ~63 }
            count += 1
        }
        deliver(.udp4, at: now)
        return count
    }

    private static func pop(
        _ kind: Crossing.Kind,
        _ lane: Crossing.Lane,
        _ arena: inout PacketArena,
        _ offset: Int,
        _ room: Int
    ) -> Crossing.Entry? {
        var result: Crossing.Entry?
        lane.ring.withLock { (ring: inout Crossing.Ring) in
            result = ring.pop(kind, to: &arena, at: offset, room: room)
        }
        return result
    }
}
