import CLinux
import Cryptography
import IPPackets
import Synchronization

/// Packets that came to one worker and belong to another: a bounded queue of octets for each.
///
/// The device's queues know nothing of SAs, and a train of datagrams is steered by its first one.
final class Crossing: Sendable {
    /// What crosses.
    enum Kind: UInt8 {
        /// A packet of the device with its virtio header.
        case devicePacket
        /// An ESP packet.
        case esp
    }

    /// What is kept of a packet beside its octets.
    struct Entry {
        var kind: Kind
        var octets: Int
        var trafficClass: UInt8
    }

    /// Octets that may wait for one worker.
    static let capacity = 1 << 20

    /// A ring of entries, each a header of eight octets and the packet, held to multiples of eight; neither part is
    /// ever wrapped around the end.
    struct Ring: ~Copyable {
        private static let headerLength = 8
        private var arena = PacketArena(capacity: Crossing.capacity)
        private var head = 0
        private var tail = 0
        /// Where the ring ends for now: what did not fit behind the last entry begins at the start.
        private var end = Crossing.capacity
        private(set) var count = 0

        /// Adds a packet; false when there is no room.
        mutating func push(_ entry: Entry, from source: borrowing PacketArena, at offset: Int) -> Bool {
            let needed = (Self.headerLength + entry.octets + 7) & ~7
            if count == 0 { (head, tail, end) = (0, 0, Crossing.capacity) }
            if tail >= head, count == 0 || tail > head {
                if tail + needed > Crossing.capacity {
                    guard needed < head else { return false }
                    end = tail
                    tail = 0
                }
            } else if tail + needed > head {
                return false
            }
            arena.store8(entry.kind.rawValue, at: tail)
            arena.store8(entry.trafficClass, at: tail + 1)
            arena.store32(UInt32(truncatingIfNeeded: entry.octets), at: tail + 4)
            arena.copy(from: source, offset..<offset + entry.octets, to: tail + Self.headerLength)
            tail += needed
            count += 1
            return true
        }

        /// The next packet, if it is of this kind and no larger than `room`, copied to `offset`.
        mutating func pop(
            _ kind: Kind,
            to target: inout PacketArena,
            at offset: Int,
            room: Int
        ) -> Entry? {
            guard count > 0 else { return nil }
            if head == end { (head, end) = (0, Crossing.capacity) }
            guard let found = Kind(rawValue: arena.load8(at: head)), found == kind else { return nil }
            let octets = Int(arena.load32(at: head + 4))
            guard octets <= room else { return nil }
            let trafficClass = arena.load8(at: head + 1)
            let start = head + Self.headerLength
            target.copy(from: arena, start..<start + octets, to: offset)
            head += (Self.headerLength + octets + 7) & ~7
            count -= 1
            return Entry(kind: found, octets: octets, trafficClass: trafficClass)
        }
    }

    /// One worker's end.
    final class Lane: Sendable {
        let ring = Mutex(Ring())
        /// Called when the ring was empty before.
        let wake = Mutex<(@Sendable () -> Void)?>(nil)
    }

    /// By the workers' numbers; their count is a power of two.
    let lanes: [Lane]

    init(workers: Int) { lanes = (0..<workers).map { _ in Lane() } }

    /// The worker that owns the SA with this inbound SPI.
    func owner(of spi: UInt32) -> Int { Int(spi & UInt32(lanes.count - 1)) }

    /// Hands a packet over; false when the worker's queue is full.
    func push(_ entry: Entry, from arena: borrowing PacketArena, at offset: Int, to worker: Int) -> Bool {
        let lane = lanes[worker]
        var (isTaken, wasEmpty) = (false, false)
        lane.ring.withLock { (ring: inout Ring) in
            wasEmpty = ring.count == 0
            isTaken = ring.push(entry, from: arena, at: offset)
        }
        if isTaken, wasEmpty { lane.wake.withLock { $0 }?() }
        return isTaken
    }
}
