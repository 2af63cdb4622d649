import CLinux
import Cryptography
import ESP

/// The ways to the outside: one socket each.
enum OuterKind: Int, CaseIterable {
    case udp4
    case udp6
    case raw4
    case raw6

    init(isUDP: Bool, isIPv6: Bool) {
        self = isUDP ? isIPv6 ? .udp6 : .udp4 : isIPv6 ? .raw6 : .raw4
    }

    var isUDP: Bool {
        switch self {
        case .udp4, .udp6: true
        case .raw4, .raw6: false
        }
    }

    var isIPv6: Bool {
        switch self {
        case .udp4, .raw4: false
        case .udp6, .raw6: true
        }
    }
}

/// A socket of the outer side with the packets that are to leave by it.
struct OuterLink: ~Copyable {
    let kind: OuterKind
    let socket: OwnedDescriptor?
    /// Readable when the socket is, or has an error to tell.
    let watched: OwnedDescriptor?
    private var whole: SendBatch
    /// Packets that may be cut on the way.
    private var cuttable: SendBatch

    init(_ kind: OuterKind, _ socket: OwnedDescriptor?) throws(PumpError) {
        let whole = try SendBatch(capacity: socket == nil ? 1 : ESPEngine.batchCapacity)
        let cuttable = try SendBatch(capacity: socket == nil ? 1 : ESPEngine.batchCapacity)
        let watched = try socket.map { (socket) throws(PumpError) in try OuterSocket.watch(socket) }
        self.watched = watched
        self.kind = kind
        self.socket = socket
        self.whole = whole
        self.cuttable = cuttable
    }

    /// Adds a packet, or says why it cannot leave.
    mutating func add(
        _ arena: borrowing PacketArena,
        _ packet: SealedPacket,
        from local: clinux_endpoint,
        to remote: clinux_endpoint
    ) -> DropReason? {
        guard socket != nil else { return .noSocket }
        let start = Int(packet.job.offset)
        let range = start..<start + Int(packet.job.length)
        let isAdded =
            packet.mayBeCut
            ? cuttable.add(arena, range, from: local, to: remote, trafficClass: packet.trafficClass)
            : whole.add(arena, range, from: local, to: remote, trafficClass: packet.trafficClass)
        // The batch holds as many as the engine's, and both are emptied together.
        return isAdded ? nil : .queueFull
    }

    /// Sends all; true when the error queue may say why some did not go.
    mutating func flush(_ drops: inout DropCounters) -> Bool {
        guard let socket else { return false }
        var errors: UInt32 = 0
        if !whole.isEmpty { errors = Self.count(whole.flush(socket.number), &drops) }
        if !cuttable.isEmpty {
            // Few packets are cut: two calls more do not matter.
            clinux_set_dont_fragment(socket.number, kind.isIPv6 ? 1 : 0, 0)
            errors += Self.count(cuttable.flush(socket.number), &drops)
            clinux_set_dont_fragment(socket.number, kind.isIPv6 ? 1 : 0, 1)
        }
        return errors > 0
    }

    private static func count(_ result: clinux_flush_result, _ drops: inout DropCounters) -> UInt32 {
        if result.refused > 0 { drops[.sendFailed] += UInt64(result.refused) }
        if result.blocked > 0 { drops[.sendBlocked] += UInt64(result.blocked) }
        return result.errors
    }
}
