import Cryptography
import DequeModule
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// The peer authenticated itself: the IKE_SA carries CHILD_SAs and INFORMATIONAL exchanges.
///
/// Making one takes a `VerifiedPeer`, which only the check of an AUTH payload can make.
struct Established {
    let connection: ConnectionPolicy
    let peer: VerifiedPeer
    let localIdentity: Identity
    var channel: SecureChannel
    let nat: NATDetection
    let encapsulation: Encapsulation
    let establishedAt: Instant
    var children: [ChildSA] = []

    /// The message ID of our next request.
    var nextRequestID: UInt32
    /// The message ID of the peer's next request; the window is 1 (RFC 7296 §2.3).
    var expectedRequestID: UInt32
    var cached: CachedResponse?
    var outstanding: (request: OutstandingRequest, task: Task)?
    var waiting: Deque<Task> = []
    /// When the peer last proved to be alive.
    var lastInbound: Instant
    /// When we last sent anything on this path.
    var lastOutbound: Instant
    /// The peer's CREATE_CHILD_SA that is being computed.
    var pendingAnswer: PendingAnswer?
    /// Why this IKE_SA is being deleted by us.
    var closing: DownCause?

    /// What a request of ours is for.
    enum Task {
        /// An empty INFORMATIONAL (RFC 7296 §2.4).
        case livenessCheck
        /// DELETE of CHILD_SAs by our inbound SPIs.
        case deleteChildren([SPI])
        /// DELETE of this IKE_SA.
        case deleteIKE
    }

    static let maximumWaiting = 64

    init(
        connection: ConnectionPolicy,
        peer: VerifiedPeer,
        localIdentity: Identity,
        channel: SecureChannel,
        nat: NATDetection,
        encapsulation: Encapsulation,
        nextRequestID: UInt32,
        expectedRequestID: UInt32,
        at now: Instant
    ) {
        self.connection = connection
        self.peer = peer
        self.localIdentity = localIdentity
        self.channel = channel
        self.nat = nat
        self.encapsulation = encapsulation
        self.nextRequestID = nextRequestID
        self.expectedRequestID = expectedRequestID
        establishedAt = now
        lastInbound = now
        lastOutbound = now
    }

    func snapshot(_ common: SACommon) -> IKESASnapshot {
        var snapshot = common.snapshot(
            connection: connection.name,
            state: closing == nil ? .established : .deleting
        )
        snapshot.localIdentity = localIdentity
        snapshot.remoteIdentity = peer.identity
        snapshot.proposal = channel.suite.proposal
        snapshot.nat = nat
        snapshot.establishedAt = establishedAt
        snapshot.children = children.map { $0.snapshot }
        return snapshot
    }

    /// Sends a response and remembers it for retransmissions of the request.
    mutating func respond(
        _ payloads: [Payload],
        to datagram: IKEDatagram,
        exchange: ExchangeType,
        messageID: UInt32,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let header = common.header(exchange, messageID: messageID, isResponse: true)
        guard let octets = channel.seal(payloads, header: header, entropy: &context.entropy) else {
            return close(.protocolError("a response could not be written"), common, &context)
        }
        cached = CachedResponse(to: datagram.octets, octets)
        lastOutbound = context.now
        context.emit(
            .transmit(IKEDatagram(octets: octets, local: datagram.local, remote: datagram.remote))
        )
        return .move(.established(self))
    }

    /// Ends the IKE_SA without a word to the peer; reports what goes down.
    mutating func close(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) -> Transition
    {
        if let pendingAnswer { abandon(pendingAnswer.subject, &context) }
        pendingAnswer = nil
        removeAllChildren(cause, common, &context)
        context.report(.ikeDown(snapshot(common), cause: closing ?? cause))
        return .close
    }

    mutating func removeAllChildren(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) {
        let all = children
        children = []
        for child in all { release(child, cause, common, &context) }
    }

    /// Takes one CHILD_SA from the data plane.
    func release(_ child: ChildSA, _ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) {
        context.emit(.remove(childID: child.snapshot.id))
        context.release(child.snapshot.inboundSPI)
        context.report(.childDown(snapshot(common), child.snapshot, cause: cause))
    }
}
