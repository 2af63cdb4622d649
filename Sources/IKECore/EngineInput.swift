public import IPPackets
public import IPsecTypes
public import Policy
public import Primitives

/// A UDP datagram of IKE, without the non-ESP marker of port 4500.
public struct IKEDatagram: Hashable, Sendable {
    /// The IKE message.
    public var octets: [UInt8]
    /// Our end: the address that the peer spoke to, or that we speak from.
    public var local: Endpoint
    /// The peer's end.
    public var remote: Endpoint
    /// Send it with DF and never in fragments: it measures the path.
    public var forbidsFragmentation: Bool

    /// Makes a datagram.
    public init(octets: [UInt8], local: Endpoint, remote: Endpoint, forbidsFragmentation: Bool = false) {
        self.octets = octets
        self.local = local
        self.remote = remote
        self.forbidsFragmentation = forbidsFragmentation
    }
}

/// What an engine is told; it has no clock, socket or chance of its own.
public enum EngineInput: Sendable {
    /// A datagram arrived.
    case datagram(IKEDatagram)
    /// A compute job is done.
    case computed(ComputeResult)
    /// `deadline` has come.
    case timeout
    /// Bring up this tunnel of a connection: in an IKE_SA that is there, else in a new one from `local` to `remote`.
    case initiate(connection: String, tunnel: String, local: Endpoint, remote: Endpoint)
    /// Follow a `.redirect`, from `local` to the gateway's address.
    case follow(Redirection, local: Endpoint, remote: Endpoint)
    /// Send the peer of an IKE_SA to another gateway (RFC 5685 §5).
    case redirect(ikeID: UInt32, to: RedirectGateway)
    /// These addresses are on interfaces of ours that are up.
    case localAddresses([IPAddress])
    /// Go on from this address of ours, if the peer lets us move (RFC 4555).
    case roam(ikeID: UInt32, local: IPAddress)
    /// Delete an IKE_SA and its CHILD_SAs, telling the peer.
    case terminateIKE(id: UInt32, cause: DownCause)
    /// End an IKE_SA without waiting for the peer's answer; it is told if it was not yet.
    case destroyIKE(id: UInt32, cause: DownCause)
    /// Delete one CHILD_SA, telling the peer.
    case terminateChild(id: UInt32, cause: DownCause)
    /// Replace an IKE_SA by a new one now (RFC 7296 §2.18).
    case rekeyIKE(id: UInt32)
    /// Make a new IKE_SA with a new proof of identity in place of an IKE_SA now, and delete the old one after that.
    case reauthenticate(ikeID: UInt32)
    /// Replace a CHILD_SA by a new one now.
    case rekeyChild(id: UInt32)
    /// A CHILD_SA is near its volume or the end of its sequence numbers: replace it, and soon again if that fails.
    case childNearLimit(id: UInt32)
    /// Ask the peer of an IKE_SA whether it is there, unless a question is under way.
    case checkLiveness(ikeID: UInt32)
    /// Find out whether an IP packet of this many octets reaches the peer of an IKE_SA; answered by `.pathProbed`.
    case probePath(ikeID: UInt32, octets: Int)
    /// The first authentic packet of a CHILD_SA came.
    case firstInbound(childID: UInt32)
    /// An ESP packet with an SPI that we do not have came from this address.
    case unknownESP(SPI, from: IPAddress)
    /// The policies are these now; running SAs keep the ones they were made with.
    case setPolicies([ConnectionPolicy])
    /// Authentic ESP packets of these CHILD_SAs arrived last at these instants.
    case activity([UInt32: Instant])
    /// An authentic ESP packet of a CHILD_SA came from another outer address or port.
    case childMoved(id: UInt32, remote: Endpoint)
}

/// What an engine wants done.
public enum EngineOutput: Sendable {
    /// Send a datagram.
    case transmit(IKEDatagram)
    /// Send a NAT keepalive, one octet 0xff (RFC 3948 §2.3).
    case keepalive(local: Endpoint, remote: Endpoint)
    /// Carry out slow cryptography elsewhere and answer with `.computed`.
    case compute(ComputeJob)
    /// A peer sends us elsewhere: find the address, and answer with `.follow`.
    case redirect(Redirection)
    /// Hand a CHILD_SA to the data plane. Only a verified peer has one.
    case install(ChildSAInstallation)
    /// Send by this CHILD_SA from now on, in place of an older one of its tunnel.
    case useForSending(childID: UInt32)
    /// Take a CHILD_SA from the data plane.
    case remove(childID: UInt32)
    /// The outer path of a CHILD_SA changed.
    case move(childID: UInt32, path: OuterPath)
    /// A message was sent or taken; nothing has to be done.
    case message(MessageRecord)
    /// Something that is logged, shown and reported.
    case event(EngineEvent)
}
