import Dispatch
import GatewayConfiguration
import IKECore
import IKEMessages
import IPPackets
import LinuxIO
import Logging
import Primitives
import Synchronization
import Vici

/// The captures of IKE messages that run: each writes to the descriptor that a vici client passed.
///
/// What is written down is each datagram as it was on the wire and, as its comment, what is inside it, decrypted, or why
/// it was dropped. Keys never are.
struct CaptureSet {
    /// The most that run at a time.
    static let limit = 4

    private var running: [Capture] = []
    private var droppedBefore: UInt64 = 0
    /// The datagram at hand, until a record of it came.
    private var untold: IKEDatagram?
    /// The port whose datagrams carry the non-ESP marker.
    var markedPort: UInt16 = 4500

    var isActive: Bool { !running.isEmpty }
    var count: Int { running.count }

    /// Packets that were not written because a reader was slow.
    var dropped: UInt64 { running.reduce(droppedBefore) { $0 + $1.dropped } }

    mutating func add(_ capture: Capture) { running.append(capture) }

    /// Ends what is complete, and what nobody waits for.
    mutating func endFinished(at now: Instant) {
        // Each is asked once: its queue may find meanwhile that it cannot write.
        let over = running.filter { $0.isFinished(at: now) }
        for capture in over {
            droppedBefore += capture.dropped
            capture.finish()
        }
        running.removeAll { capture in over.contains { $0 === capture } }
    }

    /// A datagram arrived.
    mutating func begin(_ datagram: IKEDatagram) {
        if isActive { untold = datagram }
    }

    /// The datagram at hand was handled: if no record of it came, this is what became of it.
    mutating func end(droppedFor reason: IKEDropReason?) {
        guard let datagram = untold else { return }
        untold = nil
        let comment = reason.map { "dropped: \($0.rawValue)" } ?? "a fragment, or taken without effect"
        write(datagram.octets, isOutgoing: false, datagram.local, datagram.remote, nil, comment)
    }

    /// A message was sent, or taken.
    mutating func note(_ record: MessageRecord) {
        if !record.isOutgoing { untold = nil }
        let name = record.connection.map { " (\($0))" } ?? ""
        let what = "\(record.title)\(record.isRepeated ? ", again" : "")\(name): \(record.contents)"
        for (index, octets) in record.datagrams.enumerated() {
            let part =
                record.datagrams.count > 1 ? "fragment \(index + 1) of \(record.datagrams.count) of " : ""
            write(octets, isOutgoing: record.isOutgoing, record.local, record.remote, record, part + what)
        }
    }

    private func write(
        _ octets: [UInt8],
        isOutgoing: Bool,
        _ local: Endpoint,
        _ remote: Endpoint,
        _ record: MessageRecord?,
        _ comment: String
    ) {
        let datagram = CapturedDatagram(
            octets: octets,
            source: isOutgoing ? local : remote,
            destination: isOutgoing ? remote : local,
            hasMarker: local.port == markedPort
        )
        for capture in running where capture.wants(record?.connection, remote.address) {
            capture.write(datagram, comment: comment)
        }
    }
}

/// One capture.
final class Capture: Sendable {
    /// What is captured, and for how long.
    struct Filter: Sendable {
        var connection: String?
        var peer: IPAddress?
        var packets: UInt64
        var octets: UInt64
        var endsAt: Instant?
    }

    private struct State {
        var packets: UInt64 = 0
        var octets: UInt64 = 0
        var waiting = 0
        var dropped: UInt64 = 0
        var hasFailed = false
        var isOver = false
    }

    /// Octets that wait for a slow reader at most.
    private static let waitingOctets = 4 * 1024 * 1024

    private let filter: Filter
    private let descriptor: FileDescriptorOwner
    private let request: ViciRequest
    private let queue = DispatchQueue(label: "causeway.capture", qos: .utility)
    private let state = Mutex(State())

    init(_ filter: Filter, to descriptor: FileDescriptorOwner, for request: ViciRequest, header: [UInt8]) {
        self.filter = filter
        self.descriptor = descriptor
        self.request = request
        put(header)
    }

    var dropped: UInt64 { state.withLock { $0.dropped } }

    func isFinished(at now: Instant) -> Bool {
        if request.isAbandoned() { return true }
        if let end = filter.endsAt, end <= now { return true }
        return state.withLock { $0.isOver || $0.hasFailed }
    }

    /// A message that is not known to belong to a connection is wanted only by who did not name one.
    func wants(_ connection: String?, _ peer: IPAddress) -> Bool {
        (filter.connection ?? connection) == connection && (filter.peer ?? peer) == peer
    }

    func write(_ datagram: CapturedDatagram, comment: String) {
        let nanoseconds = MonotonicClock.wallClockNanoseconds()
        guard let octets = CaptureFormat.packet(datagram, comment: comment, nanoseconds: nanoseconds) else {
            return
        }
        let isAdmitted = state.withLock { state in
            guard !state.isOver, !state.hasFailed else { return false }
            guard state.waiting + octets.count <= Self.waitingOctets else {
                state.dropped += 1
                return false
            }
            state.packets += 1
            state.octets += UInt64(octets.count)
            state.isOver = state.packets >= filter.packets || state.octets >= filter.octets
            return true
        }
        if isAdmitted { put(octets) }
    }

    /// Answers the client once all is written.
    func finish() {
        state.withLock { $0.isOver = true }
        queue.async { [self] in
            let state = state.withLock { $0 }
            request.reply(
                ViciMessage { message in
                    message.set("success", flag: !state.hasFailed)
                    if state.hasFailed { message.set("errmsg", "the capture could not be written") }
                    message.set("packets", state.packets)
                    message.set("bytes", state.octets)
                    message.set("dropped", state.dropped)
                }
            )
        }
    }

    private func put(_ octets: [UInt8]) {
        state.withLock { $0.waiting += octets.count }
        queue.async { [self] in
            let hasFailed = state.withLock { $0.hasFailed }
            let isWritten = !hasFailed && descriptor.writeAll(octets)
            state.withLock { state in
                state.waiting -= octets.count
                if !isWritten { state.hasFailed = true }
            }
        }
    }
}

extension ControlPlane {
    private static let capturedPackets: UInt64 = 100_000
    private static let capturedOctets: UInt64 = 64 * 1024 * 1024

    /// Answers `capture` when the capture is over: writes IKE messages into the descriptor that came with the command.
    func capture(_ request: ViciRequest) {
        let message = request.message
        guard let descriptor = request.descriptor else {
            return request.reply(.failure("no descriptor came with the command (SCM_RIGHTS)"))
        }
        if let name = message.string("connection"), connection(named: name) == nil {
            return request.reply(.failure("there is no connection '\(name)'"))
        }
        let peer = message.string("peer").map { ($0, IPAddress($0)) }
        if let (text, address) = peer, address == nil {
            return request.reply(.failure("'\(text)' is no IP address"))
        }
        let now = MonotonicClock.now()
        captures.endFinished(at: now)
        guard captures.count < CaptureSet.limit else {
            return request.reply(.failure("\(CaptureSet.limit) captures run already"))
        }
        let seconds = message.number("seconds", as: UInt32.self)
        let filter = Capture.Filter(
            connection: message.string("connection"),
            peer: peer?.1,
            packets: message.number("packets", as: UInt64.self) ?? Self.capturedPackets,
            octets: message.number("bytes", as: UInt64.self) ?? Self.capturedOctets,
            endsAt: seconds.map { now.advanced(by: .seconds(Int64($0))) }
        )
        captures.markedPort = description.natTraversalPort
        let header = CaptureFormat.header(
            application: "causewayd \(SystemVersion.number)",
            interface: "ike-\(description.name)"
        )
        captures.add(Capture(filter, to: descriptor, for: request, header: header))
        logger.info("a vici client captures IKE messages", metadata: ["event": "capture"])
    }
}
