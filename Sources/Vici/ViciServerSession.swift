public import Primitives

/// The daemon's side of one vici connection: octets in, inputs out; answers in, octets out.
///
/// It does no I/O. The protocol has no sequence numbers, so one command runs at a time: `next` gives nothing
/// while an answer is owed.
public struct ViciServerSession: Sendable {
    /// What the other side asked for.
    public enum Input: Equatable, Sendable {
        /// A command; it is owed exactly one `response` or `unknownCommand`.
        case request(String, ViciMessage)
        /// A registration; it is owed `eventConfirm` or `eventUnknown`.
        case register(String)
        /// The end of a registration; it is owed `eventConfirm` or `eventUnknown`.
        case unregister(String)
        /// The other side broke the protocol. Nothing follows; the connection is to be closed.
        case malformed(WireError)
    }

    private enum State {
        /// Waits for a packet. Can transition to: `.answering`, `.registering`, `.failed`.
        case idle
        /// A command runs. Can transition to: `.idle`.
        case answering
        /// A registration waits for its answer. Can transition to: `.idle`.
        case registering(event: String, wanted: Bool)
        /// The protocol was broken. Final.
        case failed
    }

    private var buffer = ViciFrameBuffer()
    private var state = State.idle
    private var failure: WireError?
    /// The events that were asked for and confirmed.
    public private(set) var events: Set<String> = []

    /// Starts a connection on which nothing was received.
    public init() {}

    /// True while an answer is owed; the driver stops reading so that the buffer stays within its bound.
    public var isBusy: Bool {
        switch state {
        case .answering, .registering: true
        case .idle, .failed: false
        }
    }

    /// Octets received and not handled.
    public var bufferedOctets: Int { buffer.count }

    /// Takes what came from the stream.
    public mutating func receive(_ octets: [UInt8]) {
        if case .failed = state { return }
        do throws(WireError) {
            try buffer.append(octets)
        } catch {
            fail(error)
        }
    }

    /// The next thing asked for, or nil while more octets are needed or an answer is owed.
    public mutating func next() -> Input? {
        if let failure, case .failed = state {
            self.failure = nil
            return .malformed(failure)
        }
        guard case .idle = state else { return nil }
        do throws(WireError) {
            guard let packet = try buffer.next() else { return nil }
            return accept(packet)
        } catch {
            state = .failed
            return .malformed(error)
        }
    }

    /// The octets of an answer to the running command.
    public mutating func response(_ message: ViciMessage) throws(WireError) -> [UInt8] {
        let octets = try ViciPacket.response(message).framed()
        finishCommand()
        return octets
    }

    /// The octets that say that the command is not known.
    public mutating func unknownCommand() throws(WireError) -> [UInt8] {
        finishCommand()
        return try ViciPacket.unknownCommand.framed()
    }

    /// The octets that confirm the registration or its end, which takes effect now.
    public mutating func eventConfirm() throws(WireError) -> [UInt8] {
        if case .registering(let event, let wanted) = state {
            if wanted { events.insert(event) } else { events.remove(event) }
            state = .idle
        }
        return try ViciPacket.confirm.framed()
    }

    /// The octets that say that the event is not known.
    public mutating func eventUnknown() throws(WireError) -> [UInt8] {
        if case .registering = state { state = .idle }
        return try ViciPacket.unknownEvent.framed()
    }

    /// The octets of an event, or nil if the other side did not ask for it.
    public func event(_ name: String, _ message: ViciMessage) throws(WireError) -> [UInt8]? {
        guard events.contains(name) else { return nil }
        return try ViciPacket.event(name, message).framed()
    }

    private mutating func accept(_ packet: ViciPacket) -> Input {
        switch packet {
        case .request(let command, let message):
            state = .answering
            return .request(command, message)
        case .register(let event):
            state = .registering(event: event, wanted: true)
            return .register(event)
        case .unregister(let event):
            state = .registering(event: event, wanted: false)
            return .unregister(event)
        case .response, .unknownCommand, .confirm, .unknownEvent, .event:
            state = .failed
            return .malformed(WireError(.invalidValue("packet type from a client"), at: 0))
        }
    }

    private mutating func finishCommand() {
        if case .answering = state { state = .idle }
    }

    private mutating func fail(_ error: WireError) {
        failure = error
        state = .failed
    }
}
