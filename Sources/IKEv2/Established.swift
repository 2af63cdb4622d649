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
    var nat: NATDetection
    var encapsulation: Encapsulation
    /// Nil unless both ends let each other move.
    var mobility: Mobility?
    /// What the response to the peer's request says of addresses.
    var addressAnswer: [Payload] = []
    /// A post-quantum pre-shared key is mixed into the keys.
    var mixesPPK = false
    /// What the peer gave us of its network.
    var virtual = VirtualAddresses()
    let establishedAt: Instant
    /// The lower nonce of the exchange that made it: duplicates and collisions are settled by it.
    let lowestNonce: [UInt8]
    var children: [ChildSA] = []
    /// Deleted CHILD_SAs that still receive for a moment.
    var retired: [RetiredChild] = []

    /// The message ID of our next request.
    var nextRequestID: UInt32
    /// The message ID of the peer's next request; the window is 1 (RFC 7296 §2.3).
    var expectedRequestID: UInt32
    var cached: CachedResponse?
    /// The exchange of ours that is under way.
    var active: OwnExchange?
    var waiting: Deque<OwnExchange.Task> = []
    /// False while the peer has perhaps not got the response that made this IKE_SA.
    var isKnownToPeer = true
    /// When the peer last proved to be alive.
    var lastInbound: Instant
    /// When we last sent anything on this path.
    var lastOutbound: Instant
    /// The peer's CREATE_CHILD_SA that is being computed.
    var pendingAnswer: PendingAnswer?
    /// The peer's CREATE_CHILD_SA that was answered and takes further key exchanges.
    var awaitedFollowUp: PendingAnswer?
    /// Tunnels that ours gave way for, because the peer was making the same.
    var owedTunnels: [String] = []
    /// Why this IKE_SA is being deleted by us.
    var closing: DownCause?

    /// CHILD_SAs that are gone but whose DELETE the peer has not answered: outbound SPI to inbound SPI.
    var closingChildren: [SPI: SPI] = [:]

    /// The IKE_SA that has taken over from this one.
    var successor: IKESPI?
    /// The IKE_SAs that this one took over from, the last one first: more than one while deletions take their time.
    var predecessors: [IKESPI] = []
    /// True between the exchange that made this IKE_SA and the moment it takes over: a collision may decide
    /// otherwise.
    var awaitsHandover = false
    /// Made only to be deleted: a collision went the other way.
    var isSilent = false
    /// When its replacement begins.
    var rekeyAt: Instant?
    /// When it ends whatever comes.
    let expiresAt: Instant?
    /// When a new IKE_SA with a new proof of identity begins to replace it.
    var reauthAt: Instant?
    /// A new IKE_SA is being made, or is there, to take its place.
    var isReauthenticating = false
    /// The peer sent us to another gateway.
    var isRedirected = false
    /// The peer goes where we send it.
    var followsRedirects = false
    /// Rekeys of it that failed in a row.
    var failures = 0
    /// A new IKE_SA was asked for, because rekeys fail.
    var isReplacementAsked = false
    /// When it ends if the peer has not deleted it as it should.
    var abandonedAt: Instant?
    /// The peer has deleted this IKE_SA, and a rekey of ours is still to be settled.
    var isDeletedByPeer = false
    /// When INVALID_SPI may be sent again.
    var nextInvalidSPI: Instant = .zero

    static let maximumWaiting = 64
    /// More rekeys than can follow each other before the first one's deletion is given up.
    static let maximumPredecessors = 8
    /// How long what the peer has to delete is waited for.
    static let abandonment = Duration.seconds(60)

    init(
        connection: ConnectionPolicy,
        peer: VerifiedPeer,
        localIdentity: Identity,
        channel: SecureChannel,
        nat: NATDetection,
        encapsulation: Encapsulation,
        nonces: (initiator: [UInt8], responder: [UInt8]),
        nextRequestID: UInt32,
        expectedRequestID: UInt32,
        _ context: inout EngineContext
    ) {
        self.connection = connection
        self.peer = peer
        self.localIdentity = localIdentity
        self.channel = channel
        self.nat = nat
        self.encapsulation = encapsulation
        self.nextRequestID = nextRequestID
        self.expectedRequestID = expectedRequestID
        let now = context.now
        lowestNonce = Collisions.lowest(nonces)
        establishedAt = now
        rekeyAt = connection.lifetime.rekeyInstant(from: now, fraction: context.entropy.fraction())
        expiresAt = connection.lifetime.expiry(from: now)
        if let age = connection.reauthentication {
            let jitter = min(connection.lifetime.jitter, age) * context.entropy.fraction()
            reauthAt = now.advanced(by: max(age - jitter, .seconds(1)))
        }
        lastInbound = now
        lastOutbound = now
    }

    func snapshot(_ common: SACommon) -> IKESASnapshot {
        var snapshot = common.snapshot(
            connection: connection.name,
            state: closing == nil && successor == nil ? .established : .deleting
        )
        snapshot.localIdentity = localIdentity
        snapshot.remoteIdentity = peer.identity
        snapshot.proof = peer.method
        snapshot.proposal = channel.suite.proposal
        snapshot.nat = nat
        snapshot.isMobile = mobility != nil
        snapshot.mixesPostquantumKey = mixesPPK
        snapshot.virtualAddresses = virtual.addresses
        snapshot.nameServers = virtual.nameServers
        snapshot.searchDomains = virtual.domains
        snapshot.forcesEncapsulation = connection.forcesEncapsulation
        snapshot.establishedAt = establishedAt
        snapshot.rekeyAt = closing == nil ? rekeyAt : nil
        snapshot.expiresAt = expiresAt
        snapshot.reauthAt = closing == nil ? reauthAt : nil
        snapshot.children = children.filter { $0.isCurrent }.map { child in
            var listed = child.snapshot
            if active?.task == .rekeyChild(id: child.id) { listed.state = .rekeying }
            return listed
        }
        snapshot.replacedChildren = children.filter { !$0.isCurrent }.map { child in
            var listed = child.snapshot
            listed.state = child.role == .deleting ? .deleting : .rekeyed
            return listed
        }
        snapshot.queuedTasks = waiting.map { $0.listedName }
        if let active { snapshot.activeTasks = [active.task.listedName] }
        if let pendingAnswer { snapshot.passiveTasks = [pendingAnswer.listedName] }
        return snapshot
    }

    /// What we are doing, for the question whether a request of the peer crosses it.
    var ownWork: Collisions.OwnWork {
        var work = Collisions.OwnWork()
        work.isClosing = closing != nil
        work.isReplaced = successor != nil
        work.isAnswering = pendingAnswer != nil
        if let active, active.isOut {
            work.isFollowingUp = active.isFollowingUp
            switch active.task {
            case .rekeyIKE: work.isRekeyingIKE = true
            case .createChild, .rekeyChild, .deleteChildren: work.isChangingChildren = true
            case .livenessCheck, .probePath, .invalidSPI, .redirect, .updateAddresses, .announceAddresses,
                .checkPath, .deleteIKE:
                break
            }
        }
        return work
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
        guard let message = channel.seal(payloads, header: header, entropy: &context.entropy) else {
            return close(.protocolError("a response could not be written"), common, &context)
        }
        cached = CachedResponse(to: datagram.octets, message)
        lastOutbound = context.now
        context.send(message, from: replySource(datagram, common, context), to: datagram.remote)
        return .move(.established(self))
    }

    /// Ends the IKE_SA without a word to the peer; reports what goes down.
    mutating func close(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) -> Transition
    {
        let cause = closing ?? cause
        if let pendingAnswer { abandon(pendingAnswer.subject, &context) }
        pendingAnswer = nil
        forgetFollowUp(&context)
        abandonExchanges(cause, common, &context)
        reportOwed(cause, common, &context)
        removeAllChildren(cause, common, &context)
        // One that was replaced, or never took over, goes without a word: its traffic is elsewhere.
        if successor == nil, !awaitsHandover, !isSilent {
            context.report(.ikeDown(snapshot(common), cause: cause))
        }
        return .close
    }

    mutating func removeAllChildren(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) {
        let all = children
        children = []
        for child in all { release(child, cause, common, &context) }
        if cause == .duplicate {
            // The peer's answer to our DELETE may overtake what it sent before.
            let until = context.now.advanced(by: RetiredChild.grace)
            context.retired += retired.map {
                RetiredChild(snapshot: $0.snapshot, until: min($0.until, until))
            }
        } else {
            for child in retired { Self.remove(child.snapshot, &context) }
        }
        retired = []
    }

    /// Takes one CHILD_SA from the data plane.
    func release(_ child: ChildSA, _ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) {
        Self.remove(child.snapshot, &context)
        if child.isCurrent { context.report(.childDown(snapshot(common), child.snapshot, cause: cause)) }
    }

    static func remove(_ child: ChildSASnapshot, _ context: inout EngineContext) {
        context.emit(.remove(childID: child.id))
        context.release(child.inboundSPI)
    }
}
