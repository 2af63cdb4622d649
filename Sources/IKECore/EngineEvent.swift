public import Cryptography
public import EAP
public import IKEMessages
public import IPPackets
public import IPsecTypes
public import Policy
public import Primitives

/// Why an SA or an attempt ended: a value that says what happened and which line decides.
public enum DownCause: Error, Hashable, Sendable, CustomStringConvertible {
    /// Our user asked for it.
    case localRequest
    /// The daemon stops.
    case shutdown
    /// The connection was changed or removed by a reload.
    case policyChanged
    /// The peer sent DELETE.
    case peerDeleted
    /// The peer started anew and said INITIAL_CONTACT.
    case replacedByInitialContact
    /// No answer to a request.
    case noAnswer(to: String, attempts: Int, seconds: Int64)
    /// The peer answered with an error; `hint` says what on our side it is about.
    case peerRefused(NotifyType, hint: String)
    /// No proposal of the peer is acceptable to us.
    case noProposalChosen(ProposalRefusal)
    /// No common traffic.
    case tsUnacceptable(offered: String, accepted: String, origin: ConfigurationOrigin)
    /// The peer did not prove what the policy asks for; the text says what differs.
    case authenticationFailed(String)
    /// EAP failed; the line that decides.
    case eap(EAPFailure, ConfigurationOrigin)
    /// No connection fits the peer's address or identity.
    case noConnection(String)
    /// The post-quantum pre-shared key that the policy asks for is missing; the text says where.
    case postquantumKey(String)
    /// We asked for a virtual address and the peer gave none.
    case noVirtualAddress(ConfigurationOrigin)
    /// The peer broke the protocol; the text says how.
    case protocolError(String)
    /// The half-open SA waited too long for its peer or gave way to a newer one.
    case halfOpenExpired
    /// The last CHILD_SA of the IKE_SA is gone.
    case lastChildGone
    /// Its lifetime is over; the text says why no replacement was made in time.
    case lifetimeOver(lastFailure: String?)
    /// Another IKE_SA with the same peer carries the same tunnels.
    case duplicate
    /// The sequence numbers or the volume of a CHILD_SA are used up.
    case exhausted
    /// Our outer address is no longer on any interface that is up.
    case localAddressGone(IPAddress)
    /// Nothing went through for as long as the policy allows.
    case inactive(seconds: Int64)
    /// Cryptography failed; never because of a key's value.
    case cryptography(CryptoError)

    /// One line.
    public var description: String {
        switch self {
        case .localRequest: "requested here"
        case .shutdown: "the daemon stops"
        case .policyChanged: "the configuration changed"
        case .peerDeleted: "deleted by the peer"
        case .replacedByInitialContact: "the peer started anew (INITIAL_CONTACT)"
        case .noAnswer(let request, let attempts, let seconds):
            "no answer to \(request) after \(attempts + 1) sendings in \(seconds) s"
        case .peerRefused(let type, let hint): "the peer answered \(type): \(hint)"
        case .noProposalChosen(let refusal): "NO_PROPOSAL_CHOSEN: \(refusal)"
        case .tsUnacceptable(let offered, let accepted, let origin):
            "TS_UNACCEPTABLE: the peer offered \(offered); \(origin) accepts \(accepted)"
        case .authenticationFailed(let what): "AUTHENTICATION_FAILED: \(what)"
        case .eap(let failure, let origin): "EAP failed: \(failure.text) (\(origin))"
        case .noConnection(let what): "no connection for this peer: \(what)"
        case .postquantumKey(let what): "post-quantum pre-shared key: \(what)"
        case .noVirtualAddress(let origin):
            "the peer gave none of the virtual addresses that \(origin) asks for: it has no pool for us, or it is used up"
        case .protocolError(let what): "the peer broke the protocol: \(what)"
        case .halfOpenExpired: "half-open for too long"
        case .lastChildGone: "its last CHILD_SA is gone"
        case .lifetimeOver(let failure):
            "its lifetime is over" + (failure.map { ", and the last rekey failed: \($0)" } ?? "")
        case .duplicate: "a second IKE_SA with the same peer and tunnels"
        case .exhausted: "sequence numbers or volume used up"
        case .localAddressGone(let address): "our address \(address) is gone"
        case .inactive(let seconds): "no traffic for \(seconds) s"
        case .cryptography(let error): "cryptography failed: \(error)"
        }
    }
}

/// What happened, for logs, `status` and vici events.
public enum EngineEvent: Sendable {
    /// An IKE_SA is established.
    case ikeUp(IKESASnapshot)
    /// An established IKE_SA ended.
    case ikeDown(IKESASnapshot, cause: DownCause)
    /// An IKE_SA goes by other addresses or ports, the peer's or ours.
    case ikeMoved(IKESASnapshot)
    /// A CHILD_SA is installed.
    case childUp(IKESASnapshot, ChildSASnapshot)
    /// A CHILD_SA ended.
    case childDown(IKESASnapshot, ChildSASnapshot, cause: DownCause)
    /// An attempt to establish ended without success.
    case attemptFailed(AttemptFailure)
    /// An IKE_SA is up but its CHILD_SA was refused.
    case childFailed(IKESASnapshot, tunnel: String?, cause: DownCause)
    /// An IKE_SA took over from another, with its CHILD_SAs.
    case ikeRekeyed(old: IKESASnapshot, new: IKESASnapshot)
    /// A CHILD_SA took over from another of its tunnel; the old one goes without a further event.
    case childRekeyed(IKESASnapshot, old: ChildSASnapshot, new: ChildSASnapshot)
    /// A rekey failed and the old SA carries on; `child` is nil for the IKE_SA, `retryAt` nil for no further try.
    case rekeyFailed(IKESASnapshot, child: ChildSASnapshot?, cause: DownCause, retryAt: Instant?)
    /// A probe of this size arrived and was answered, or was lost.
    case pathProbed(IKESASnapshot, octets: Int, arrived: Bool)
    /// An attempt moves on; for `initiate`'s log.
    case progress(connection: String, text: String)
}

/// The state of an IKE_SA under strongSwan's names.
public enum IKESAState: String, Hashable, Sendable {
    /// Being negotiated.
    case connecting = "CONNECTING"
    /// Usable.
    case established = "ESTABLISHED"
    /// Being deleted.
    case deleting = "DELETING"
}

/// What is known of an IKE_SA, keys aside.
public struct IKESASnapshot: Sendable {
    /// Its number in this process.
    public var id: UInt32
    /// The connection's name; empty until a responder knows it.
    public var connection: String
    /// Its state.
    public var state: IKESAState
    /// True when we initiated it.
    public var isInitiator: Bool
    /// The initiator's SPI.
    public var initiatorSPI: UInt64
    /// The responder's SPI, 0 until known.
    public var responderSPI: UInt64
    /// Our end.
    public var local: Endpoint
    /// The peer's end.
    public var remote: Endpoint
    /// Our identity.
    public var localIdentity: Identity?
    /// The peer's, proved one.
    public var remoteIdentity: Identity?
    /// How it was proved.
    public var proof: VerifiedPeer.Method?
    /// The chosen proposal.
    public var proposal: Proposal?
    /// What NAT detection found.
    public var nat: NATDetection
    /// We pretend to be behind a NAT, so that ESP travels in UDP.
    public var forcesEncapsulation = false
    /// A post-quantum pre-shared key is mixed into its keys.
    public var mixesPostquantumKey = false
    /// Virtual addresses that the peer gave us.
    public var virtualAddresses: [IPAddress] = []
    /// Name servers that the peer gave us.
    public var nameServers: [IPAddress] = []
    /// The domains that these are for; empty for all.
    public var searchDomains: [String] = []
    /// Either end may move to other addresses (MOBIKE).
    public var isMobile = false
    /// When it was established.
    public var establishedAt: Instant?
    /// When we begin to replace it; nil when we do not.
    public var rekeyAt: Instant?
    /// When it ends whatever comes.
    public var expiresAt: Instant?
    /// When a new IKE_SA with a new proof of identity begins to replace it; nil is never.
    public var reauthAt: Instant?
    /// Its CHILD_SAs.
    public var children: [ChildSASnapshot]
    /// CHILD_SAs that others have replaced and that are not deleted yet.
    public var replacedChildren: [ChildSASnapshot] = []
    /// Exchanges of ours that wait, by strongSwan's names for its tasks.
    public var queuedTasks: [String] = []
    /// Exchanges of ours that are under way.
    public var activeTasks: [String] = []
    /// Exchanges of the peer's that are being answered.
    public var passiveTasks: [String] = []

    /// Those that carry traffic and those that others have replaced.
    public var allChildren: [ChildSASnapshot] { children + replacedChildren }

    /// Makes a snapshot.
    public init(
        id: UInt32,
        connection: String,
        state: IKESAState,
        isInitiator: Bool,
        initiatorSPI: UInt64,
        responderSPI: UInt64,
        local: Endpoint,
        remote: Endpoint,
        localIdentity: Identity? = nil,
        remoteIdentity: Identity? = nil,
        proposal: Proposal? = nil,
        nat: NATDetection = NATDetection(),
        establishedAt: Instant? = nil,
        children: [ChildSASnapshot] = []
    ) {
        self.id = id
        self.connection = connection
        self.state = state
        self.isInitiator = isInitiator
        self.initiatorSPI = initiatorSPI
        self.responderSPI = responderSPI
        self.local = local
        self.remote = remote
        self.localIdentity = localIdentity
        self.remoteIdentity = remoteIdentity
        self.proposal = proposal
        self.nat = nat
        self.establishedAt = establishedAt
        self.children = children
    }
}

/// Why a datagram was dropped without effect; each has a counter.
public enum IKEDropReason: String, Hashable, Sendable, CaseIterable {
    /// No header, a wrong length, payloads that cannot be read.
    case malformed = "ike-malformed"
    /// A major version that we do not speak.
    case version = "ike-version"
    /// An IKE_SA that we do not have.
    case unknownSPI = "ike-unknown-spi"
    /// The integrity check failed.
    case notAuthentic = "ike-not-authentic"
    /// A message ID outside of the window.
    case messageID = "ike-message-id"
    /// A message that its state does not expect.
    case unexpected = "ike-unexpected"
    /// A critical payload that we do not know.
    case criticalPayload = "ike-critical-payload"
    /// No connection fits the peer.
    case noConnection = "ike-no-connection"
    /// Answered with a COOKIE.
    case cookie = "ike-cookie-sent"
    /// A half-open SA gave way.
    case halfOpenEvicted = "ike-half-open-evicted"
    /// A bound of ours was reached.
    case limit = "ike-limit"
}
