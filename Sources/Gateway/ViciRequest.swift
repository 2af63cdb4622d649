public import LinuxIO
public import Vici

/// A command that came over vici and its way back.
public struct ViciRequest: Sendable {
    /// The name of the command, one of those that the server was given.
    public let command: String
    /// The arguments.
    public let message: ViciMessage
    /// The descriptor that the client passed with the command, if it did.
    public var descriptor: FileDescriptorOwner?
    /// True once the client has left; what runs for it alone ends then.
    public var isAbandoned: @Sendable () -> Bool = { false }
    /// Answers the command; must be called once, from any queue.
    ///
    /// Later calls have no effect.
    public let reply: @Sendable (ViciMessage) -> Void
    /// Sends an event to this client before the answer, if it registered for it.
    public let stream: @Sendable (_ event: String, _ message: ViciMessage) -> Void
    /// Sends `count` events, each made (`frame`) when there is room for it, and then the answer: for lists of any
    /// length.
    public let streamAll:
        @Sendable (
            _ event: String, _ count: Int, _ make: @escaping @Sendable (Int) -> [UInt8]?,
            _ answer: ViciMessage
        ) -> Void

    /// Makes a request; the closures lead to its client.
    public init(
        command: String,
        message: ViciMessage,
        reply: @escaping @Sendable (ViciMessage) -> Void,
        stream: @escaping @Sendable (_ event: String, _ message: ViciMessage) -> Void,
        streamAll:
            @escaping @Sendable (
                _ event: String, _ count: Int, _ make: @escaping @Sendable (Int) -> [UInt8]?,
                _ answer: ViciMessage
            ) -> Void
    ) {
        self.command = command
        self.message = message
        self.reply = reply
        self.stream = stream
        self.streamAll = streamAll
    }

    /// An event as it goes on the wire, or nil if it does not fit into a packet.
    public static func frame(_ event: String, _ message: ViciMessage) -> [UInt8]? {
        try? ViciPacket.event(event, message).framed()
    }
}

/// What a `ViciServer` has seen.
public struct ViciServerCounters: Equatable, Sendable {
    /// Clients that are connected now.
    public var clients = 0
    /// Clients that were let in since the start.
    public var accepted = 0
    /// Clients that were disconnected because they broke the protocol.
    public var malformed = 0
    /// Connections that were refused: too many, or a peer without the right.
    public var refused = 0
    /// Clients that were disconnected because they did not read.
    public var overflowed = 0
    /// Events that were dropped because they were too many or too large.
    public var droppedEvents = 0
    /// Log lines that were dropped because their reader was slow.
    public var droppedLogLines = 0
}
