public import IPPackets
public import IPsecTypes

/// One CHILD_SA definition of a connection.
public struct TunnelPolicy: Sendable {
    /// Its name.
    public var name: String
    /// Selectors of our side, as configured.
    public var localSelectors: [ConfiguredSelector]
    /// Selectors of the peer's side, as configured.
    public var remoteSelectors: [ConfiguredSelector]
    /// ESP proposals in order of preference.
    public var proposals: [Proposal]
    /// When it is brought up, and what keeps it up.
    public var persistence: Persistence
    /// Bits of the anti-replay window.
    public var replayWindow: Int
    /// How lengths of inner packets are hidden from whoever sees the outer ones.
    public var padding = TrafficFlowPadding.none
    /// What inner and outer headers take from each other.
    public var copying = HeaderCopying()
    /// How long a CHILD_SA lives.
    public var lifetime: SALifetime
    /// Volume at which its replacement begins.
    public var rekeyVolume: SAVolume
    /// Hard limits by volume.
    public var limit: SAVolume
    /// Silence in both directions after which a CHILD_SA is deleted; nil is never.
    public var inactivity: Duration?
    /// Updown scripts are to let this machine itself be reached through the tunnel.
    public var grantsHostAccess = false
    /// The program to run when it goes up and down; nil is none.
    public var updown: String?
    /// Its precedence among tunnels whose selectors overlap, the lowest first; nil leaves that to the selectors.
    public var priority: Int?
    /// Which of several CHILD_SAs with the same selectors it is; nil where there is one alone.
    public var resource: ChildResource?
    /// Where it was written.
    public var origin: ConfigurationOrigin

    /// Makes a tunnel of fixed selectors.
    public init(
        name: String,
        local: [TrafficSelector],
        remote: [TrafficSelector],
        proposals: [Proposal],
        start: StartMode,
        replayWindow: Int = 1024,
        lifetime: SALifetime = .childDefault,
        rekeyVolume: SAVolume = SAVolume(),
        limit: SAVolume = SAVolume(),
        origin: ConfigurationOrigin
    ) {
        self.init(
            name: name,
            localSelectors: local.map { .fixed($0) },
            remoteSelectors: remote.map { .fixed($0) },
            proposals: proposals,
            persistence: Persistence(start),
            replayWindow: replayWindow,
            lifetime: lifetime,
            rekeyVolume: rekeyVolume,
            limit: limit,
            origin: origin
        )
    }

    /// Makes a tunnel.
    public init(
        name: String,
        localSelectors: [ConfiguredSelector],
        remoteSelectors: [ConfiguredSelector],
        proposals: [Proposal],
        persistence: Persistence,
        replayWindow: Int = 1024,
        lifetime: SALifetime = .childDefault,
        rekeyVolume: SAVolume = SAVolume(),
        limit: SAVolume = SAVolume(),
        updown: String? = nil,
        priority: Int? = nil,
        origin: ConfigurationOrigin
    ) {
        self.name = name
        self.localSelectors = localSelectors
        self.remoteSelectors = remoteSelectors
        self.proposals = proposals
        self.persistence = persistence
        self.replayWindow = replayWindow
        self.lifetime = lifetime
        self.rekeyVolume = rekeyVolume
        self.limit = limit
        self.updown = updown
        self.priority = priority
        self.origin = origin
    }
}

extension TunnelPolicy {
    /// The fixed selectors of our side: what is known without an IKE_SA.
    public var local: [TrafficSelector] {
        get { localSelectors.compactMap { $0.fixed } }
        set { localSelectors = newValue.map { .fixed($0) } }
    }

    /// The fixed selectors of the peer's side.
    public var remote: [TrafficSelector] {
        get { remoteSelectors.compactMap { $0.fixed } }
        set { remoteSelectors = newValue.map { .fixed($0) } }
    }

    /// The selectors of our side while these are our addresses: virtual ones, or else the outer one.
    public func local(at addresses: [IPAddress]) -> [TrafficSelector] {
        localSelectors.flatMap { $0.resolved(at: addresses) }
    }

    /// The selectors of the peer's side while these are its addresses.
    public func remote(at addresses: [IPAddress]) -> [TrafficSelector] {
        remoteSelectors.flatMap { $0.resolved(at: addresses) }
    }

    /// Its selectors as configured: `10.1.0.0/16 === dynamic`.
    public var selectorText: String {
        let text = { (selectors: [ConfiguredSelector]) in
            selectors.prefix(16).map { $0.description }.joined(separator: ",")
        }
        return "\(text(localSelectors)) === \(text(remoteSelectors))"
    }

    /// When it is brought up, in the words of gateway.yaml.
    public var start: StartMode {
        get { persistence.onLoad.mode }
        set { persistence = Persistence(newValue) }
    }
}

extension TunnelPolicy {
    /// True when a running CHILD_SA of this policy is also one of `other`.
    public func isEquivalent(to other: TunnelPolicy) -> Bool {
        name == other.name && localSelectors == other.localSelectors
            && remoteSelectors == other.remoteSelectors && proposals == other.proposals
            && persistence == other.persistence && updown == other.updown && priority == other.priority
            && replayWindow == other.replayWindow && padding == other.padding && copying == other.copying
            && limit == other.limit && inactivity == other.inactivity
            && grantsHostAccess == other.grantsHostAccess
            && lifetime == other.lifetime && rekeyVolume == other.rekeyVolume
    }
}
