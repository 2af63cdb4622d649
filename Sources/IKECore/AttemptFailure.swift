public import IPPackets

/// An attempt to establish an IKE_SA that ended without success.
public struct AttemptFailure: Sendable {
    /// The number of the IKE_SA that was to be; nil if none was begun.
    public var ikeID: UInt32?
    /// The connection's name; nil when no policy fitted.
    public var connection: String?
    /// The tunnel that was asked for; nil when the peer asked.
    public var tunnel: String?
    /// True when it was our attempt.
    public var isInitiator: Bool
    /// The peer's end.
    public var remote: Endpoint
    /// Why it failed.
    public var cause: DownCause

    /// Makes a failure.
    public init(
        ikeID: UInt32? = nil,
        connection: String?,
        tunnel: String?,
        isInitiator: Bool,
        remote: Endpoint,
        cause: DownCause
    ) {
        self.ikeID = ikeID
        self.connection = connection
        self.tunnel = tunnel
        self.isInitiator = isInitiator
        self.remote = remote
        self.cause = cause
    }
}
