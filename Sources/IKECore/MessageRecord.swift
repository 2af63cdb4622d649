public import IKEMessages
public import IPPackets

/// An IKE message that was sent or taken, for transcripts and captures.
public struct MessageRecord: Sendable {
    /// The IKE_SA that it belongs to; nil for answers to strangers that left nothing behind.
    public var ikeID: UInt32?
    /// The connection, if it was known when the message was handled.
    public var connection: String?
    /// True for a message of ours.
    public var isOutgoing: Bool
    /// True for a message of ours that was sent before.
    public var isRepeated = false
    /// Our end.
    public var local: Endpoint
    /// The peer's end.
    public var remote: Endpoint
    /// Its header.
    public var header: IKEHeader
    /// What it says, decrypted.
    public var payloads: [Payload]
    /// What went on the wire: one datagram or, of a message of ours, its fragments (RFC 7383).
    public var datagrams: [[UInt8]]

    /// Makes a record.
    public init(
        ikeID: UInt32?,
        connection: String?,
        isOutgoing: Bool,
        local: Endpoint,
        remote: Endpoint,
        header: IKEHeader,
        payloads: [Payload],
        datagrams: [[UInt8]]
    ) {
        self.ikeID = ikeID
        self.connection = connection
        self.isOutgoing = isOutgoing
        self.local = local
        self.remote = remote
        self.header = header
        self.payloads = payloads
        self.datagrams = datagrams
    }
}
