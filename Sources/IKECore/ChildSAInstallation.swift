public import IPsecTypes
public import Primitives

/// A CHILD_SA for the data plane together with the proof that its peer authenticated itself.
public struct ChildSAInstallation: Sendable {
    /// The SA pair.
    public let description: ChildSADescription
    /// Who is at the other end.
    public let peer: VerifiedPeer
    /// The IKE_SA that made it.
    public let ikeID: UInt32
    /// False while an older CHILD_SA of the tunnel sends until `.useForSending` (RFC 7296 §2.8).
    public let sendsAtOnce: Bool

    /// Makes an installation; needs a verified peer.
    public init(
        _ description: ChildSADescription,
        peer: VerifiedPeer,
        ikeID: UInt32,
        sendsAtOnce: Bool = true
    ) {
        self.description = description
        self.peer = peer
        self.ikeID = ikeID
        self.sendsAtOnce = sendsAtOnce
    }
}

/// The state of a CHILD_SA under strongSwan's names.
public enum ChildSAState: String, Hashable, Sendable {
    /// It carries its tunnel's traffic.
    case installed = "INSTALLED"
    /// It carries the traffic while another is being made in its place.
    case rekeying = "REKEYING"
    /// Another has taken over; the peer deletes it.
    case rekeyed = "REKEYED"
    /// Its deletion is under way.
    case deleting = "DELETING"
}

/// What is known of an installed CHILD_SA, keys aside.
public struct ChildSASnapshot: Sendable {
    /// Its number.
    public let id: UInt32
    /// The tunnel's name.
    public let tunnel: String
    /// What packets to us carry.
    public let inboundSPI: SPI
    /// What packets from us carry.
    public let outboundSPI: SPI
    /// The chosen proposal.
    public let proposal: Proposal
    /// Our side of the selectors.
    public let localSelectors: [TrafficSelector]
    /// The peer's side.
    public let remoteSelectors: [TrafficSelector]
    /// How ESP travels.
    public var encapsulation: Encapsulation
    /// When it was installed.
    public let installedAt: Instant
    /// When we begin to replace it; nil when we do not.
    public var rekeyAt: Instant?
    /// When it ends whatever comes.
    public var expiresAt: Instant?
    /// What becomes of it.
    public var state = ChildSAState.installed

    /// Makes a snapshot.
    public init(
        id: UInt32,
        tunnel: String,
        inboundSPI: SPI,
        outboundSPI: SPI,
        proposal: Proposal,
        localSelectors: [TrafficSelector],
        remoteSelectors: [TrafficSelector],
        encapsulation: Encapsulation,
        installedAt: Instant
    ) {
        self.id = id
        self.tunnel = tunnel
        self.inboundSPI = inboundSPI
        self.outboundSPI = outboundSPI
        self.proposal = proposal
        self.localSelectors = localSelectors
        self.remoteSelectors = remoteSelectors
        self.encapsulation = encapsulation
        self.installedAt = installedAt
    }
}
