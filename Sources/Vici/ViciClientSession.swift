public import Primitives

/// A client's side of one vici connection: requests in, octets out; octets in, answers out.
///
/// It does no I/O.
public struct ViciClientSession: Sendable {
    /// What the daemon sent.
    public enum Input: Equatable, Sendable {
        /// The answer to the running command.
        case response(ViciMessage)
        /// The daemon does not know the command.
        case unknownCommand
        /// The registration or its end is done.
        case confirm
        /// The daemon does not know the event.
        case unknownEvent
        /// Something happened; can come at any time.
        case event(String, ViciMessage)
        /// The daemon broke the protocol. Nothing follows; the connection is to be closed.
        case malformed(WireError)
    }

    private enum State {
        /// Nothing is owed. Can transition to: `.command`, `.registration`, `.failed`.
        case idle
        /// The answer to a command is owed. Can transition to: `.idle`, `.failed`.
        case command
        /// The answer to a registration is owed. Can transition to: `.idle`, `.failed`.
        case registration
        /// The protocol was broken. Final.
        case failed
    }

    private var buffer = ViciFrameBuffer()
    private var state = State.idle
    private var failure: WireError?

    /// Starts a connection on which nothing was sent.
    public init() {}

    /// True while the daemon owes an answer; nothing else may be asked before it came.
    public var isWaiting: Bool {
        switch state {
        case .command, .registration: true
        case .idle, .failed: false
        }
    }

    /// The octets of a command.
    public mutating func request(_ command: String, _ message: ViciMessage) throws(WireError) -> [UInt8] {
        try start(.request(command: command, message), then: .command)
    }

    /// The octets that ask for the events of a name.
    public mutating func register(_ event: String) throws(WireError) -> [UInt8] {
        try start(.register(event: event), then: .registration)
    }

    /// The octets that end a registration.
    public mutating func unregister(_ event: String) throws(WireError) -> [UInt8] {
        try start(.unregister(event: event), then: .registration)
    }

    /// Takes what came from the stream.
    public mutating func receive(_ octets: [UInt8]) {
        if case .failed = state { return }
        do throws(WireError) {
            try buffer.append(octets)
        } catch {
            failure = error
            state = .failed
        }
    }

    /// The next thing that the daemon sent, or nil while more octets are needed.
    public mutating func next() -> Input? {
        if case .failed = state {
            defer { failure = nil }
            return failure.map { .malformed($0) }
        }
        do throws(WireError) {
            guard let packet = try buffer.next() else { return nil }
            return try accept(packet)
        } catch {
            state = .failed
            return .malformed(error)
        }
    }

    private mutating func start(_ packet: ViciPacket, then next: State) throws(WireError) -> [UInt8] {
        guard case .idle = state else {
            throw WireError(.invalidValue("second request before the answer to the first"), at: 0)
        }
        let octets = try packet.framed()
        state = next
        return octets
    }

    private mutating func accept(_ packet: ViciPacket) throws(WireError) -> Input {
        switch (packet, state) {
        case (.event(let name, let message), _):
            return .event(name, message)
        case (.response(let message), .command):
            state = .idle
            return .response(message)
        case (.unknownCommand, .command):
            state = .idle
            return .unknownCommand
        case (.confirm, .registration):
            state = .idle
            return .confirm
        case (.unknownEvent, .registration):
            state = .idle
            return .unknownEvent
        case (.request, _), (.register, _), (.unregister, _), (.response, _), (.unknownCommand, _),
            (.confirm, _), (.unknownEvent, _):
            throw WireError(.invalidValue("packet type from a daemon"), at: 0)
        }
    }
}
