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
    /// ESP packets in one message: what every kernel with UDP_SEGMENT takes.
    static let segmentsPerMessage = 64
    /// Octets in one message, for IPv4 and IPv6.
    static let octetsPerMessage = 65_000
    /// Refusals after which a device is taken for one that cannot do it.
    private static let patience = 8

    let kind: OuterKind
    let socket: OwnedDescriptor?
    /// True when a message may hold several packets.
    private(set) var sendsSegments: Bool
    /// True when a train of packets arrives as one message.
    let receivesSegments: Bool
    private var whole: SendBatch
    /// Packets that may be cut on the way.
    private var cuttable: SendBatch
    private var refusals = 0

    init(_ kind: OuterKind, _ socket: OwnedDescriptor?, offloads: Offloads) throws(PumpError) {
        let whole = try SendBatch(capacity: socket == nil ? 1 : ESPEngine.sealCapacity)
        let cuttable = try SendBatch(capacity: socket == nil ? 1 : ESPEngine.sealCapacity)
        self.kind = kind
        self.socket = socket
        self.whole = whole
        self.cuttable = cuttable
        guard let socket, kind.isUDP else {
            (sendsSegments, receivesSegments) = (false, false)
            return
        }
        sendsSegments =
            offloads.contains(.sendSegments) && clinux_probe_send_segments(socket.number) == 0
        receivesSegments =
            offloads.contains(.receiveSegments) && clinux_set_receive_segments(socket.number, 1) == 0
    }

    /// Adds a packet, or a run of packets of `segment` octets of which the last may be shorter; or says why
    /// they cannot leave.
    mutating func add(
        _ arena: borrowing PacketArena,
        _ range: Range<Int>,
        segment: Int,
        _ packet: SealedPacket,
        from local: clinux_endpoint,
        to remote: clinux_endpoint
    ) -> DropReason? {
        guard socket != nil else { return .noSocket }
        let isAdded =
            packet.mayBeCut
            ? cuttable.add(arena, range, segment, from: local, to: remote, trafficClass: packet.trafficClass)
            : whole.add(arena, range, segment, from: local, to: remote, trafficClass: packet.trafficClass)
        // The batch holds as many as the engine's, and both are emptied together.
        return isAdded ? nil : .queueFull
    }

    /// Sends all; true when the error queue may say why some did not go.
    mutating func flush(_ drops: inout DropCounters) -> Bool {
        guard let socket else { return false }
        var errors: UInt32 = 0
        if !whole.isEmpty { errors = count(whole.flush(socket.number), &drops) }
        if !cuttable.isEmpty {
            // Few packets are cut: two calls more do not matter.
            clinux_set_dont_fragment(socket.number, kind.isIPv6 ? 1 : 0, 0)
            errors += count(cuttable.flush(socket.number), &drops)
            clinux_set_dont_fragment(socket.number, kind.isIPv6 ? 1 : 0, 1)
        }
        return errors > 0
    }

    private mutating func count(_ result: clinux_flush_result, _ drops: inout DropCounters) -> UInt32 {
        if result.refused > 0 { drops[.sendFailed] += UInt64(result.refused) }
        if result.blocked > 0 { drops[.sendBlocked] += UInt64(result.blocked) }
        if result.unsegmented > 0 { noteRefusal(result) }
        return result.errors
    }

    /// A message that went packet by packet: once is a path's matter, again and again the device's.
    private mutating func noteRefusal(_ result: clinux_flush_result) {
        // A packet that does not fit is refused singly as well.
        guard result.refused == 0 else { return }
        refusals += 1
        if refusals >= Self.patience { sendsSegments = false }
    }
}
