import Cryptography
import DequeModule
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// What all states share while an input is handled: the time, chance, numbers to give out, and the outputs.
struct EngineContext {
    let configuration: EngineConfiguration
    var now = Instant.zero
    var entropy: any EntropySource
    var outputs = Deque<EngineOutput>()
    var policies = PolicyTable([])
    var halfOpen: HalfOpenTable
    /// Parts of messages that are not complete.
    var fragments: FragmentTable
    var drops: [IKEDropReason: UInt64] = [:]
    /// How many datagrams were dropped, whatever the reason.
    private(set) var dropped: UInt64 = 0
    /// Messages and rekeys.
    var counters = IKECounters()
    /// Messages of the IKE_SA at hand that were sent and are not in `counters` yet.
    var sent: [IKECounter] = []
    /// The IKE_SA at hand.
    var subject: (id: UInt32, connection: String?)?
    /// IKE_SAs that changed since the last look, by number; nil for those that are gone.
    var changes: [UInt32: IKESPI?] = [:]
    /// Identities whose other IKE_SAs are obsolete since a peer said INITIAL_CONTACT.
    var initialContacts: [InitialContact] = []
    /// IKE_SAs that replace others and wait to be entered.
    var successors: [IKESA] = []
    /// What IKE_SAs want of each other.
    var handovers: [Handover] = []
    /// Tunnels that the IKE_SA of their connection cannot carry: the next attempt makes a new one.
    var needsFreshIKE: Set<Tunnel> = []
    /// Addresses on our interfaces that are up.
    var localAddresses: [IPAddress] = []
    /// The virtual addresses that the last IKE_SA of a connection had; asked for again.
    var virtualAddresses: [String: [IPAddress]] = [:]
    /// Redirects of late.
    var redirects = Redirects()
    /// IKE_SAs to be begun in place of such as cannot be rekeyed.
    var replacements: [Replacement] = []
    /// CHILD_SAs whose IKE_SA is over and whose last packets may still be under way.
    var retired: [RetiredChild] = []
    /// Answers to strangers, one every tenth of a second.
    var nextUnknownSPIReply: Instant = .zero
    /// Which IKE_SAs are there between which identities.
    var contacts = Contacts()
    /// New IKE_SAs whose peers shall have no other (unique = replace).
    var supersessions: [IKESPI] = []
    /// How many IKE_SAs of a connection are established.
    var establishedCounts: [String: Int] = [:]

    /// Tunnels that wait for an IKE_SA of ours that is being made.
    private var followers: [IKESPI: [String]] = [:]
    private var jobOwners: [UInt64: IKESPI] = [:]
    private var inboundSPIs: Set<SPI> = []
    private var lastID: UInt32 = 0
    private var lastChildID: UInt32 = 0
    private var lastJobID: UInt64 = 0

    /// Names a tunnel.
    struct Tunnel: Hashable {
        let connection: String
        let name: String
    }

    /// A tunnel for a new IKE_SA, and where its old one leads.
    struct Replacement {
        let connection: String
        let tunnel: String
        let local: Endpoint
        let remote: Endpoint
    }

    /// A peer that has no other IKE_SA than `keep` (RFC 7296 §2.4).
    struct InitialContact {
        let pair: Contacts.Pair
        let keep: IKESPI
        /// When the peer began to make it: what came up later it could not know of.
        let since: Instant
    }

    init(configuration: EngineConfiguration, entropy: any EntropySource) {
        self.configuration = configuration
        self.entropy = entropy
        halfOpen = HalfOpenTable(limits: configuration.halfOpen)
        fragments = FragmentTable(limits: configuration.fragments)
    }

    mutating func emit(_ output: EngineOutput) { outputs.append(output) }

    /// Sends a message for the first time, in as many datagrams as it has.
    mutating func send(_ message: OutgoingMessage, from local: Endpoint, to remote: Endpoint) {
        if let counter = IKECounter(message: message.first, isOutgoing: true) { sent.append(counter) }
        note(message, isRepeated: false, from: local, to: remote)
        put(message, from: local, to: remote)
    }

    /// Sends a message again.
    mutating func transmit(_ message: OutgoingMessage, from local: Endpoint, to remote: Endpoint) {
        note(message, isRepeated: true, from: local, to: remote)
        put(message, from: local, to: remote)
    }

    private mutating func put(_ message: OutgoingMessage, from local: Endpoint, to remote: Endpoint) {
        for octets in message.datagrams {
            emit(
                .transmit(
                    IKEDatagram(
                        octets: octets,
                        local: local,
                        remote: remote,
                        forbidsFragmentation: message.forbidsFragmentation
                    )
                )
            )
        }
    }

    private mutating func note(
        _ message: OutgoingMessage,
        isRepeated: Bool,
        from local: Endpoint,
        to remote: Endpoint
    ) {
        var record = MessageRecord(
            ikeID: subject?.id,
            connection: subject?.connection,
            isOutgoing: true,
            local: local,
            remote: remote,
            header: message.source.header,
            payloads: message.source.payloads,
            datagrams: message.datagrams
        )
        record.isRepeated = isRepeated
        emit(.message(record))
    }

    /// Tells of a message from the peer that was read.
    mutating func took(_ payloads: [Payload], _ header: IKEHeader, _ datagram: IKEDatagram) {
        emit(
            .message(
                MessageRecord(
                    ikeID: subject?.id,
                    connection: subject?.connection,
                    isOutgoing: false,
                    local: datagram.local,
                    remote: datagram.remote,
                    header: header,
                    payloads: payloads,
                    datagrams: [datagram.octets]
                )
            )
        )
    }

    mutating func report(_ event: EngineEvent) {
        switch event {
        case .ikeRekeyed(let old, let new):
            counters.count(new.isInitiator ? .ikeRekeyInitiated : .ikeRekeyAnswered, of: old.connection)
        case .childRekeyed(let ike, _, _): counters.count(.childRekey, of: ike.connection)
        case .ikeUp, .ikeDown, .ikeMoved, .childUp, .childDown, .attemptFailed, .childFailed, .rekeyFailed,
            .pathProbed, .progress:
            break
        }
        outputs.append(.event(event))
    }

    mutating func count(_ reason: IKEDropReason) {
        drops[reason, default: 0] &+= 1
        dropped &+= 1
        switch reason {
        case .malformed, .version, .criticalPayload: counters.count(.invalid, of: nil)
        case .unknownSPI: counters.count(.invalidSPI, of: nil)
        case .notAuthentic, .messageID, .unexpected, .noConnection, .cookie, .halfOpenEvicted, .limit: break
        }
    }

    /// Enters what was sent since the last call.
    mutating func settleCounters(of connection: String?) {
        for counter in sent { counters.count(counter, of: connection) }
        sent.removeAll(keepingCapacity: true)
    }

    mutating func newID() -> UInt32 {
        lastID &+= 1
        return lastID
    }

    mutating func newChildID() -> UInt32 {
        lastChildID &+= 1
        return lastChildID
    }

    /// Gives work away; the answer finds its IKE_SA by the job's number.
    mutating func compute(_ work: ComputeJob.Work, for common: SACommon) -> UInt64 {
        lastJobID &+= 1
        jobOwners[lastJobID] = common.localSPI
        emit(.compute(ComputeJob(id: lastJobID, peer: common.remote.address, work: work)))
        return lastJobID
    }

    mutating func takeOwner(ofJob id: UInt64) -> IKESPI? { jobOwners.removeValue(forKey: id) }

    /// Lets a tunnel wait for the IKE_SA that an attempt is making.
    mutating func follow(_ spi: IKESPI, tunnel: String) {
        guard followers[spi]?.contains(tunnel) != true else { return }
        followers[spi, default: []].append(tunnel)
    }

    mutating func takeFollowers(of spi: IKESPI) -> [String] { followers.removeValue(forKey: spi) ?? [] }

    /// A random SPI for an IKE_SA of ours: 64 bits of chance, which never meet twice in a gateway's life.
    mutating func newIKESPI() -> IKESPI {
        while true {
            if let spi = IKESPI(entropy.nextUInt64()) { return spi }
        }
    }

    /// A random SPI for packets to us, which no other live SA has; with a `resource` one that leads to its worker.
    mutating func newInboundSPI(for resource: ChildResource? = nil) -> SPI {
        let (bits, mask) = resource?.steering ?? (0, 0)
        while true {
            let number = entropy.nextUInt32() & ~mask | bits
            if let spi = SPI(number), inboundSPIs.insert(spi).inserted { return spi }
        }
    }

    func isOurs(_ spi: SPI) -> Bool { inboundSPIs.contains(spi) }

    mutating func release(_ spi: SPI) { inboundSPIs.remove(spi) }
}
