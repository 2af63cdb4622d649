import CLinux
import Cryptography
import IPPackets
import Primitives

/// One queue of the TUN device; packets carry a virtio header of ten octets.
struct TunDevice: Sendable {
    /// The largest packet: an IPv6 header and what its length field can say.
    static let largestPacket = 65_535 + 40

    let descriptor: OwnedDescriptor
    /// What the device leaves to us and takes from us.
    let offloads: Offloads

    /// Takes a descriptor that is read and written like a device's queue.
    init(_ descriptor: OwnedDescriptor, offloads: Offloads) {
        self.descriptor = descriptor
        self.offloads = offloads
    }

    /// Opens a queue of device `name`, made when absent, which stays after the last descriptor.
    init(name: String, offloads wanted: Offloads = .all) throws(PumpError) {
        let flags = CLINUX_IFF_TUN | CLINUX_IFF_NO_PI | CLINUX_IFF_MULTI_QUEUE | CLINUX_IFF_VNET_HDR
        let number = unsafe clinux_tun_open(name, UInt32(flags), 0)
        let descriptor = OwnedDescriptor(try PumpError.check(number, "open TUN \(name)"))
        self.descriptor = descriptor
        try PumpError.check(clinux_tun_set_persist(descriptor.number, 1), "keep TUN \(name)")
        let tcp = [CLINUX_TUN_CHECKSUM, CLINUX_TUN_TSO4, CLINUX_TUN_TSO6, CLINUX_TUN_TSO_ECN]
        let udp = tcp + [CLINUX_TUN_USO4, CLINUX_TUN_USO6]
        // The device has USO only beside TSO.
        let choices: [(Offloads, [Int])] = [([.tunTCP, .tunUDP], udp), (.tunTCP, tcp)]
        for (offloads, bits) in choices where wanted.isSuperset(of: offloads) {
            let value = bits.reduce(0) { $0 | $1 }
            guard clinux_tun_set_offload(descriptor.number, UInt32(value)) == 0 else { continue }
            self.offloads = offloads
            return
        }
        offloads = []
    }

    /// Reads a packet to `offset` and the header to the ten octets before; the packet's length, or negated
    /// errno.
    func read(into arena: inout PacketArena, at offset: Int) -> Int {
        let start = offset - OffloadHeader.length
        precondition(start >= 0 && offset + Self.largestPacket <= arena.capacity)
        let count = unsafe arena.withUnsafeBase { base in
            unsafe clinux_read(descriptor.number, base + start, OffloadHeader.length + Self.largestPacket)
        }
        return count < 0 ? count : max(0, count - OffloadHeader.length)
    }

    /// Writes a packet in parts, of which the first starts with the virtio header; true when it was taken.
    func write(_ arena: borrowing PacketArena, _ pieces: [clinux_piece]) -> Bool {
        for piece in pieces {
            precondition(Int(piece.offset) + Int(piece.length) <= arena.capacity)
        }
        return unsafe arena.withUnsafeBase { base in
            unsafe pieces.withUnsafeBufferPointer { pieces in
                unsafe clinux_write_pieces(
                    descriptor.number,
                    base,
                    pieces.baseAddress,
                    UInt32(pieces.count)
                ) >= 0
            }
        }
    }

    /// Writes a packet of ours.
    func write(_ packet: [UInt8]) -> Bool {
        let octets = [UInt8](repeating: 0, count: OffloadHeader.length) + packet
        return unsafe octets.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return false }
            return unsafe clinux_write(descriptor.number, base, bytes.count) == bytes.count
        }
    }
}

/// The clock of the data plane, the same as the control plane's: time since boot, suspension included.
enum PumpClock {
    static func now() -> Instant { Instant(sinceStart: .nanoseconds(clinux_boottime())) }
}

/// Lets a number of rare things through a second.
struct RateLimit {
    private let perSecond: Int
    private var used = 0
    private var second = Int64.min

    init(perSecond: Int) { self.perSecond = perSecond }

    mutating func allows(at now: Instant) -> Bool {
        let current = now.sinceStart.wholeSeconds
        if current != second {
            second = current
            used = 0
        }
        used += 1
        return used <= perSecond
    }
}
