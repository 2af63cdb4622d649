public import IPPackets
public import IPsecTypes

/// Where a policy was written: every refusal names the line that decides.
public struct ConfigurationOrigin: Hashable, Sendable, CustomStringConvertible {
    /// The file's path, or `vici`.
    public let source: String
    /// The line, from 1; nil when the source has none.
    public let line: Int?

    /// The source of what was loaded over vici.
    public static let vici = "vici"

    /// Makes an origin.
    public init(source: String, line: Int? = nil) {
        self.source = source
        self.line = line
    }

    /// `file:line`.
    public var description: String { line.map { "\(source):\($0)" } ?? source }
}

/// Retransmission of requests (RFC 7296 §2.1, §2.4); by default a peer counts as dead after 41 s, near Azure's 45.
public struct RetransmissionPolicy: Hashable, Sendable {
    /// The first wait.
    public var initial: Duration
    /// Each wait is this many times the one before.
    public var base: Double
    /// Retransmissions before the peer counts as dead.
    public var tries: Int
    /// The longest single wait.
    public var limit: Duration

    /// Makes a policy.
    public init(
        initial: Duration = .seconds(1),
        base: Double = 1.8,
        tries: Int = 5,
        limit: Duration = .seconds(40)
    ) {
        self.initial = initial
        self.base = base
        self.tries = tries
        self.limit = limit
    }

    /// The wait after `attempt` retransmissions (0 after the first sending).
    public func timeout(attempt: Int) -> Duration {
        var wait = initial.fractionalMilliseconds
        for _ in 0..<max(0, attempt) { wait = min(wait * base, limit.fractionalMilliseconds) }
        return .milliseconds(Int64(wait.rounded()))
    }
}

extension Duration {
    fileprivate var fractionalMilliseconds: Double {
        Double(components.seconds) * 1000 + Double(components.attoseconds) / 1e15
    }
}

/// One IKE peer relation: an entry of the peer authorization database (RFC 4301 §4.4.3) with its tunnels.
public struct ConnectionPolicy: Sendable {
    /// Its name.
    public var name: String
    /// Our outer addresses; empty for any.
    public var localAddresses: [IPAddress]
    /// The peer's outer addresses.
    public var remoteAddress: RemoteAddress
    /// Our identity; nil means the outer address in use.
    public var localIdentity: Identity?
    /// The identity that the peer must prove; nil means its outer address when exactly one is configured, else any.
    public var remoteIdentity: Identity?
    /// The pre-shared keys; which one it is follows from the identities.
    public var sharedKeys: SharedKeyring
    /// How we prove who we are.
    public var localAuthentication = LocalAuthentication()
    /// What is accepted as proof of who the peer is.
    public var remoteAuthentication = RemoteAuthentication.sharedKey
    /// Our proofs after the first (RFC 4739).
    public var laterLocalRounds: [LocalRound] = []
    /// The peer's proofs after the first.
    public var laterRemoteRounds: [RemoteRound] = []
    /// What EAP methods prove us by.
    public var eapSecrets = EAPSecrets.none
    /// Certificates and keys for signatures.
    public var credentials = CredentialStore.empty
    /// IKE proposals in order of preference.
    public var proposals: [Proposal]
    /// The tunnels, by configuration order.
    public var tunnels: [TunnelPolicy]
    /// Pretend that a NAT is there, so that ESP travels in UDP.
    public var forcesEncapsulation: Bool
    /// Silence after which the peer's liveness is checked; nil is never.
    public var livenessDelay: Duration?
    /// Interval of NAT keepalives while we are behind a NAT (RFC 3948 §4).
    public var keepaliveInterval: Duration
    /// The post-quantum pre-shared key (RFC 8784); nil for none.
    public var postquantum: PostquantumPolicy?
    /// Virtual addresses that we ask the peer for as initiator (RFC 7296 §2.19); an unspecified one is any of its family.
    public var requestedAddresses: [IPAddress] = []
    /// Either end may move to other addresses without a new IKE_SA (RFC 4555).
    ///
    /// As initiator, we then speak to the port of NAT traversal from IKE_AUTH on although there is no NAT (§3.3): either end
    /// can move behind one later.
    public var mobike = false
    /// Whether an IKE_SA may be made without a CHILD_SA.
    public var childless = ChildlessPolicy.allow
    /// Whether IKE messages travel in fragments of ours.
    public var fragmentation = FragmentationPolicy.yes
    /// Another gateway, an address or a name, to which peers that begin here are sent (RFC 5685); nil for none.
    public var redirect: Identity?
    /// How long an IKE_SA lives.
    public var lifetime: SALifetime
    /// Retransmission of our requests.
    public var retransmission: RetransmissionPolicy
    /// Find out how large packets may be on the way to the peer.
    public var discoversPathMTU: Bool
    /// Try a rekey soon after the first setup, whose PFS nothing has negotiated yet.
    public var preflightsPFS: Bool
    /// What becomes of the older IKE_SAs of a peer when it makes a new one.
    public var uniqueness: Uniqueness
    /// Age at which a new IKE_SA, with a new proof of identity, begins to replace it, less the jitter of `lifetime`; nil is
    /// never.
    public var reauthentication: Duration?
    /// How often in a row an attempt to set it up is made before it is given up; 0 is for ever.
    public var keyingTries: Int
    /// Where it was written.
    public var origin: ConfigurationOrigin
    /// The lines that decide single questions, by key name (`ike-proposals`, `remote-id`, `psk-file`).
    public var keyOrigins: [String: ConfigurationOrigin]

    /// Makes a connection.
    public init(
        name: String,
        localAddresses: [IPAddress],
        remoteAddress: RemoteAddress,
        localIdentity: Identity?,
        remoteIdentity: Identity?,
        sharedKeys: SharedKeyring,
        proposals: [Proposal],
        tunnels: [TunnelPolicy],
        forcesEncapsulation: Bool = false,
        livenessDelay: Duration? = .seconds(30),
        keepaliveInterval: Duration = .seconds(20),
        lifetime: SALifetime = .ikeDefault,
        retransmission: RetransmissionPolicy = RetransmissionPolicy(),
        discoversPathMTU: Bool = true,
        preflightsPFS: Bool = true,
        uniqueness: Uniqueness = .no,
        reauthentication: Duration? = nil,
        keyingTries: Int = 0,
        origin: ConfigurationOrigin,
        keyOrigins: [String: ConfigurationOrigin] = [:]
    ) {
        self.name = name
        self.localAddresses = localAddresses
        self.remoteAddress = remoteAddress
        self.localIdentity = localIdentity
        self.remoteIdentity = remoteIdentity
        self.sharedKeys = sharedKeys
        self.proposals = proposals
        self.tunnels = tunnels
        self.forcesEncapsulation = forcesEncapsulation
        self.livenessDelay = livenessDelay
        self.keepaliveInterval = keepaliveInterval
        self.lifetime = lifetime
        self.retransmission = retransmission
        self.discoversPathMTU = discoversPathMTU
        self.preflightsPFS = preflightsPFS
        self.uniqueness = uniqueness
        self.reauthentication = reauthentication
        self.keyingTries = keyingTries
        self.origin = origin
        self.keyOrigins = keyOrigins
    }

    /// True when a running IKE_SA of this policy is also one of `other`; where it was written does not count.
    public func isEquivalent(to other: ConnectionPolicy) -> Bool {
        name == other.name && localAddresses == other.localAddresses
            && remoteAddress.configured == other.remoteAddress.configured
            && localIdentity == other.localIdentity && remoteIdentity == other.remoteIdentity
            && hasSameKeys(as: other) && hasSamePostquantumKeys(as: other)
            && localAuthentication == other.localAuthentication
            && remoteAuthentication == other.remoteAuthentication
            && laterLocalRounds == other.laterLocalRounds && laterRemoteRounds == other.laterRemoteRounds
            && proposals == other.proposals
            && forcesEncapsulation == other.forcesEncapsulation && livenessDelay == other.livenessDelay
            && keepaliveInterval == other.keepaliveInterval
            && mobike == other.mobike && requestedAddresses == other.requestedAddresses
            && redirect == other.redirect
            && fragmentation == other.fragmentation && childless == other.childless
            && retransmission == other.retransmission
            && lifetime == other.lifetime && uniqueness == other.uniqueness
            && reauthentication == other.reauthentication && keyingTries == other.keyingTries
            && tunnels.elementsEqual(other.tunnels) { $0.isEquivalent(to: $1) }
    }

    private func hasSamePostquantumKeys(as other: ConnectionPolicy) -> Bool {
        guard let postquantum, let theirs = other.postquantum else {
            return postquantum == nil && other.postquantum == nil
        }
        return postquantum.isEquivalent(to: theirs, comparingKeys: !(isFromVici && other.isFromVici))
    }

    /// Keys of connections that were loaded over vici come and go on their own and end no IKE_SA.
    private func hasSameKeys(as other: ConnectionPolicy) -> Bool {
        isFromVici && other.isFromVici
            || sharedKeys == other.sharedKeys && eapSecrets == other.eapSecrets
                && credentials.isEquivalent(to: other.credentials)
    }

    /// True when it was loaded over vici, whose defaults are strongSwan's.
    public var isFromVici: Bool { origin.source == ConfigurationOrigin.vici }

    /// The line that decides `key`, or the connection's own.
    public func origin(of key: String) -> ConfigurationOrigin { keyOrigins[key] ?? origin }

    /// The identity that we prove from `address`: a pattern is none.
    public func effectiveLocalIdentity(at address: IPAddress) -> Identity {
        guard let localIdentity, !localIdentity.isPattern else { return .address(address) }
        return localIdentity
    }

    /// The identity that the peer must prove, maybe a pattern; nil is any that proves knowledge of the key.
    public var effectiveRemoteIdentity: Identity? {
        if let remoteIdentity { return remoteIdentity == .any ? nil : remoteIdentity }
        // As strongSwan has it: what is not configured is %any.
        if isFromVici { return nil }
        // Behind a name or in a list the peer may have another address tomorrow: the key alone decides.
        guard case .address(let address) = remoteAddress else { return nil }
        return .address(address)
    }
}
