import CLinux
import Cryptography
import Primitives

/// One queue of the TUN device; packets carry a virtio header of ten octets.
struct TunDevice: Sendable {
    /// Octets of the virtio header.
    static let headerLength = 10
    /// The largest packet, that a super-packet with offloads will be too.
    static let largestPacket = 65_535

    let descriptor: OwnedDescriptor

    /// Opens a queue of device `name`, made when absent, which stays after the last descriptor.
    init(name: String) throws(PumpError) {
        let flags = CLINUX_IFF_TUN | CLINUX_IFF_NO_PI | CLINUX_IFF_MULTI_QUEUE | CLINUX_IFF_VNET_HDR
        let number = unsafe clinux_tun_open(name, UInt32(flags), 0)
        descriptor = OwnedDescriptor(try PumpError.check(number, "open TUN \(name)"))
        try PumpError.check(clinux_tun_set_persist(descriptor.number, 1), "keep TUN \(name)")
    }

    /// Reads a packet to `offset` and the header to the ten octets before; the packet's length, or negated
    /// errno.
    func read(into arena: inout PacketArena, at offset: Int) -> Int {
        let start = offset - Self.headerLength
        precondition(start >= 0 && offset + Self.largestPacket <= arena.capacity)
        let count = unsafe arena.withUnsafeBase { base in
            unsafe clinux_read(descriptor.number, base + start, Self.headerLength + Self.largestPacket)
        }
        return count < 0 ? count : max(0, count - Self.headerLength)
    }

    /// Writes the packet at `range`; the ten octets before it are overwritten.
    func write(_ arena: inout PacketArena, _ range: Range<Int>) -> Bool {
        let start = range.lowerBound - Self.headerLength
        precondition(start >= 0 && range.upperBound <= arena.capacity)
        arena.zero(start..<range.lowerBound)
        let count = range.upperBound - start
        return unsafe arena.withUnsafeBase { base in
            unsafe clinux_write(descriptor.number, base + start, count) == count
        }
    }

    /// Writes a packet of ours.
    func write(_ packet: [UInt8]) -> Bool {
        let octets = [UInt8](repeating: 0, count: Self.headerLength) + packet
        return unsafe octets.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return false }
            return unsafe clinux_write(descriptor.number, base, bytes.count) == bytes.count
        }
    }
}

/// The header before each packet of the device (struct virtio_net_hdr; its numbers are in the machine's
/// order).
struct VirtioHeader {
    let needsChecksum: Bool
    let isSuperPacket: Bool
    let checksumStart: Int
    let checksumOffset: Int

    init(_ arena: borrowing PacketArena, before packet: Int) {
        let start = packet - TunDevice.headerLength
        needsChecksum = arena.load8(at: start) & 1 != 0
        // GSO type, without the bit for ECN.
        isSuperPacket = arena.load8(at: start + 1) & 0x7f != 0
        checksumStart = Int(UInt16(littleEndian: arena.load16(at: start + 6).byteSwapped))
        checksumOffset = Int(UInt16(littleEndian: arena.load16(at: start + 8).byteSwapped))
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
