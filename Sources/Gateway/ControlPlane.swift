import Cryptography
import DequeModule
import Dispatch
public import GatewayConfiguration
import IKECore
import IKEv2
public import IPPackets
import IPsecTypes
public import LinuxIO
public import Logging
import PacketPump
import Policy
import Primitives
import SwanctlConfiguration
import Vici

/// The control plane: one serial queue that owns every IKE_SA, the supervisor, the routes and the vici server.
///
/// It carries out what the engine puts out and feeds it what sockets, timers, workers and users tell.
public actor ControlPlane: DispatchQueueActor {
    /// What the command line gave.
    public struct Options: Sendable {
        /// The configuration file; nil for a gateway that gets its connections over vici alone.
        public var configurationPath: String?
        /// The vici sockets, instead of those in the configuration.
        public var viciPaths: [String]
        /// Where vici clients hear what is logged.
        public var logFeed: LogFeed?
        /// How a peer's name is looked up, on a queue where it may wait.
        public var lookup: @Sendable (String) throws(NameLookupError) -> [IPAddress]

        /// Makes options.
        public init(
            configurationPath: String?,
            viciPaths: [String] = [],
            logFeed: LogFeed? = nil,
            lookup: @escaping @Sendable (String) throws(NameLookupError) -> [IPAddress] = NameLookup.addresses
        ) {
            self.configurationPath = configurationPath
            self.viciPaths = viciPaths
            self.logFeed = logFeed
            self.lookup = lookup
        }
    }

    /// A tunnel that is installed in the data plane.
    struct InstalledChild {
        let key: TunnelKey
        var path: OuterPath
        var ikeID: UInt32
        let installedAt: Instant
    }

    /// Runs the actor on the control queue.
    public let executor: DispatchQueueExecutor
    let options: Options
    let logger: Logger
    let notifier = SystemdNotifier()
    let startedAt = MonotonicClock.now()
    let startedAtWallClock = MonotonicClock.wallClockSeconds()

    /// What runs: the gateway, with the connections of the file and those loaded over vici.
    var description: GatewayDescription
    /// The connections of the file alone.
    var fileConnections: [ConnectionPolicy]
    /// What came over vici.
    var loaded = LoadedConfiguration()
    /// Since when something is loaded that is not carried out yet.
    var loadedSince: Instant?
    /// What is loaded has not reached the engine.
    var isEngineStale = false
    var loadTimer: DeadlineTimer?
    /// By name: where they stand in `description`.
    var connectionIndex: [String: Int] = [:]
    /// What vici clients read.
    let board = StatusBoard()
    var engine: IKEv2Engine
    var supervisor: Supervisor
    var throttle = LogThrottle()
    var lock: InstanceLock?
    var routes: RouteManager?
    /// What was fetched about certificates.
    let revocationCache = RevocationCache { MonotonicClock.wallClockSeconds() }
    var sockets: IKESocketSet?
    var dataPlane: DataPlane?
    /// Why ESP can travel in UDP alone.
    var rawESPFailure: PumpError?
    var pool: ComputePool?
    var vici: ViciServer?
    var timer: DeadlineTimer?
    var ticker: DeadlineTimer?
    var pumpMailbox: Mailbox<PumpEvent>?

    var children: [UInt32: InstalledChild] = [:]
    var counters: [UInt32: ChildCounters] = [:]
    /// What CHILD_SAs carried that are gone.
    var pastVolume = ChildCounters()
    var pumpDrops: [(reason: String, count: UInt64)] = []
    var pumpOffloads = Offloads()
    var pumpWorkers = 0
    var leaksPrevented: UInt64 = 0
    var leaksReadAt: Instant?
    /// How late the control queue was at worst.
    var longestDelay = Duration.zero
    var filter: NoLeakFilter?
    var isFiltering = false
    let filterQueue = DispatchQueue(label: "causeway.filter", qos: .utility)
    var tunnelIDs: [TunnelKey: UInt32] = [:]
    var tunnelNames: [UInt32: TunnelKey] = [:]
    var pending: [PendingCommand] = []
    var uselessIKEs: [UInt32] = []
    var names = PeerNames()
    var connectionsByName: [String: [String]] = [:]
    var heldAttempts: [HeldAttempt] = []
    var rotation = AddressRotation()
    var network = NetworkView()
    /// IKE_SAs that may move, whose address is gone, and which have no other one yet.
    var stranded: Set<UInt32> = []
    var networkReader: Netlink?
    var networkMonitor: NetlinkMonitor?
    var networkTimer: DeadlineTimer?
    var networkChanges: NetlinkMonitor.Changes = []
    var lastReview: Instant?
    var lastRouteReview: Instant?
    var lastTick: Instant?
    var tickDue: Instant?
    /// By IKE_SA.
    var paths: [UInt32: PathMTUSearch] = [:]
    /// By CHILD_SA: what the data plane was told last.
    var pathMTUs: [UInt32: Int] = [:]
    /// What was known of CHILD_SAs that were removed just now, for the event that follows.
    var departed: [UInt32: ChildDetails] = [:]
    var preflight: PFSPreflight
    let updown: UpdownRunner
    var updownLedger = UpdownLedger()
    /// Silence after which CHILD_SAs end, by number.
    var inactivityLimits: [UInt32: Duration] = [:]
    /// What was said with each peer of late.
    var transcripts = TranscriptStore()
    /// Who writes IKE messages down.
    var captures = CaptureSet()
    var stateFile: StateFile?
    var questions: Deque<UInt32> = []
    var questionIDs: Set<UInt32> = []
    var questionsLeft = 0
    var isCounting = false
    var lastWatchdog = Instant.zero
    var stopping: Stopping?

    /// An orderly stop under way.
    struct Stopping {
        let deadline: Instant
        let completion: @Sendable (Int32) -> Void
    }

    /// Threads for slow cryptography.
    static let computeWidth = 2

    nonisolated var queue: DispatchQueue { executor.queue }

    /// A control plane that does nothing before `start`.
    public init(_ description: GatewayDescription, options: Options, logger: Logger) {
        executor = DispatchQueueExecutor(
            queue: DispatchQueue(label: "causeway.control", qos: .userInteractive)
        )
        self.description = description
        fileConnections = description.connections
        self.options = options
        self.logger = logger
        engine = IKEv2Engine(
            configuration: EngineConfiguration(
                ikePort: description.ikePort,
                natTraversalPort: description.natTraversalPort
            ),
            entropy: SystemEntropy(),
            at: startedAt
        )
        supervisor = Supervisor(entropy: SystemEntropy())
        preflight = PFSPreflight(entropy: SystemEntropy())
        updown = UpdownRunner(logger: logger)
    }

    /// Opens everything, sets up the kernel's side and begins to work.
    ///
    /// - Throws: what the gateway cannot do without.
    public func start() throws {
        try SelfTest.run(DefaultProposals.selfTestSubjects)
        let paths = options.viciPaths.isEmpty ? description.viciPaths : options.viciPaths
        if let path = paths.first, let slash = path.lastIndex(of: "/") {
            lock = try InstanceLock(path: "\(path[...slash])\(description.name).lock")
        }
        let control = queue
        let cache = revocationCache
        pool = ComputePool(
            width: Self.computeWidth,
            cache: cache,
            fetcher: RevocationFetcher(cache: cache, mark: description.mark, logger: logger)
        ) { [weak self] result in
            control.async { [weak self] in self?.assumeIsolated { $0.feed(.computed(result)) } }
        }
        try makeTimers()
        let mailbox = Mailbox<PumpEvent>(limit: 4096, queue: control) { [weak self] events in
            self?.assumeIsolated { $0.receive(events) }
        }
        pumpMailbox = mailbox
        // Before IKE: from now on the kernel answers no ESP packet by "protocol unreachable".
        let rawESP = RawESPSockets(mark: description.mark)
        rawESPFailure = rawESP.failure
        let sockets = try IKESocketSet(
            ikePort: description.ikePort,
            natTraversalPort: description.natTraversalPort,
            mark: description.mark,
            queue: control
        ) { [weak self] datagram in
            self?.assumeIsolated { plane in
                plane.feed(
                    .datagram(
                        IKEDatagram(octets: datagram.octets, local: datagram.local, remote: datagram.remote)
                    )
                )
            }
        }
        self.sockets = sockets
        let routes = try RouteManager(description)
        self.routes = routes
        indexConnections()
        applyFilterNow()
        for warning in try routes.apply(description) { logger.warning("\(warning)") }
        let dataPlane = try DataPlane(
            configuration: pumpConfiguration(),
            rawESP: rawESP
        ) { event in mailbox.post(event) }
        self.dataPlane = dataPlane
        sockets.setStrayESPHandler { octets, local, remote in
            dataPlane.strayESP(octets: octets, local: local, remote: remote)
        }
        sockets.setErrorHandler { dataPlane.outerError($0) }
        applyPolicies()
        recallPolicies()
        dataPlane.start()
        try startVici()
        do throws(LinuxError) { try watchNetwork() } catch {
            logger.warning("changes of the network are not seen: \(error)")
        }
        ticker?.arm(at: MonotonicClock.now())
        logger.notice(
            "gateway \(description.name) is up: \(description.connections.count) connections",
            metadata: ["event": "started"]
        )
        try notifier.ready(status: "\(description.connections.count) connections")
        runSupervisor()
    }

    private func makeTimers() throws {
        timer = try DeadlineTimer(queue: queue) { [weak self] in
            self?.assumeIsolated { $0.deadlineReached() }
        }
        loadTimer = try DeadlineTimer(queue: queue) { [weak self] in
            self?.assumeIsolated { $0.loadTimerFired() }
        }
        ticker = try DeadlineTimer(queue: queue) { [weak self] in self?.assumeIsolated { $0.tick() } }
    }

    /// Hands connections and tunnels to engine, data plane and supervisor.
    func applyPolicies() {
        let now = MonotonicClock.now()
        connectionsByName = [:]
        for connection in description.connections {
            for name in connection.remoteAddress.names {
                connectionsByName[name, default: []].append(connection.name)
            }
        }
        names.setNames(connectionsByName.keys)
        transcripts.keep(Set(description.connections.map { $0.name }))
        rotation.keep(Set(description.connections.map { $0.name }))
        warnOfForcedEncapsulation()
        engine.handle(.setPolicies(answeredConnections), at: now)
        let tunnels = description.connections.flatMap { connection in
            connection.tunnels.map { SupervisedTunnel($0, of: connection) }
        }
        supervisor.setTunnels(tunnels, at: now)
        applyFilter()
        setDataPlaneTunnels()
    }

    /// Tells the data plane which tunnels there are and whose packets bring them up.
    func setDataPlaneTunnels() {
        var entries: [DataPlaneTunnel] = []
        for connection in description.connections {
            for tunnel in connection.tunnels where !tunnel.isFurther {
                let key = TunnelKey(connection: connection.name, tunnel: tunnel.name)
                entries.append(
                    DataPlaneTunnel(
                        id: tunnelID(key),
                        connection: connection.name,
                        tunnel: tunnel.name,
                        local: tunnel.local,
                        remote: tunnel.remote,
                        traps: supervisor.traps(key)
                    )
                )
            }
        }
        dataPlane?.setTunnels(entries)
    }

    func indexConnections() {
        connectionIndex = Dictionary(
            description.connections.enumerated().map { ($1.name, $0) },
            uniquingKeysWith: { first, _ in first }
        )
    }

    /// ESP without UDP needs a raw socket; without one the connections that ask for it travel in UDP.
    func carried(_ connections: [ConnectionPolicy]) -> [ConnectionPolicy] {
        guard rawESPFailure != nil else { return connections }
        return connections.map { connection in
            var forced = connection
            forced.forcesEncapsulation = true
            return forced
        }
    }

    private func warnOfForcedEncapsulation() {
        guard let rawESPFailure else { return }
        for connection in description.connections where !connection.forcesEncapsulation {
            logger.warning(
                """
                \(connection.name): ESP travels in UDP although encap is false: \(rawESPFailure) \
                (CAP_NET_RAW is needed)
                """
            )
        }
    }

    private func tunnelID(_ key: TunnelKey) -> UInt32 {
        if let id = tunnelIDs[key] { return id }
        let id = UInt32(truncatingIfNeeded: tunnelIDs.count + 1)
        tunnelIDs[key] = id
        tunnelNames[id] = key
        return id
    }
}
