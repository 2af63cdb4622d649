import CLinux
public import Dispatch
public import IPPackets
public import IPsecTypes
import Synchronization

/// The data plane: moves packets between the TUN device and ESP, in UDP or without.
///
/// Make the `IKESocketSet` of the same ports first: the kernel steers datagrams by the order in which the
/// sockets were bound. Events are reported on a worker's queue: the handler must neither block nor call
/// `stop` or `counters`.
public final class DataPlane: Sendable {
    /// Workers, each with a TUN queue and sockets of its own.
    private let workers: Mutex<[Worker]>
    private let droppedStrays = Atomic<UInt64>(0)

    /// Opens the device and binds the sockets; nothing is read before `start`.
    ///
    /// Without `rawESP`, SAs whose packets do not travel in UDP cannot send.
    public init(
        configuration: PumpConfiguration,
        rawESP: RawESPSockets? = nil,
        events: @escaping @Sendable (PumpEvent) -> Void
    ) throws(PumpError) {
        let count = Self.workers(wanted: configuration.workers)
        let crossing = count > 1 ? Crossing(workers: count) : nil
        let group = WorkerGroup()
        var made = [Worker]()
        for number in 0..<count {
            let device = try TunDevice(name: configuration.tunName, offloads: configuration.offloads)
            let sockets = try Self.sockets(number, of: count, configuration, rawESP)
            let state = try WorkerState(
                number: number,
                crossing: crossing,
                device: device,
                sockets: sockets,
                configuration
            )
            let worker = try Worker(
                number: number,
                state: state,
                relay: { from, error in group.relay(error, from: from) },
                report: events
            )
            crossing?.lanes[number].wake.withLock { wake in
                wake = { [weak worker] in worker?.perform { $0.drainCrossing() } }
            }
            made.append(worker)
        }
        group.set(made)
        workers = Mutex(made)
    }

    /// How many workers there are when nobody says: on two cores one, for the other has the kernel's work and the
    /// control plane's; of more, half.
    public static func workers(wanted: Int?) -> Int {
        let number = min(max(1, wanted ?? Int(clinux_processors()) / 2), 64)
        // SAs are dealt out by low bits of their SPIs.
        return 1 << (Int.bitWidth - 1 - number.leadingZeroBitCount)
    }

    /// The sockets of one worker, of which the kernel gives it what belongs to its SAs.
    private static func sockets(
        _ number: Int,
        of count: Int,
        _ configuration: PumpConfiguration,
        _ rawESP: RawESPSockets?
    ) throws(PumpError) -> WorkerState.Sockets {
        // RFC 4301 §8: the DF bit is set and the path's MTU is learnt for each SA, from errors that show that
        // they answer a packet of ours (§8.2), and from probes.
        let socket4 = try OuterSocket.open(
            port: configuration.natTraversalPort,
            isIPv6: false,
            mark: configuration.mark,
            buffer: configuration.socketBuffer,
            sharesPort: true,
            dontFragment: true
        )
        let socket6 = try OuterSocket.openIPv6(
            port: configuration.natTraversalPort,
            mark: configuration.mark,
            buffer: configuration.socketBuffer,
            sharesPort: true,
            dontFragment: true
        )
        for socket in [socket4, socket6].compactMap({ $0 }) {
            try PumpError.check(clinux_steer_esp(socket.number, UInt32(count)), "steer ESP")
        }
        var raw4 = rawESP?.socket4
        var raw6 = rawESP?.socket6
        if number > 0 {
            raw4 = try raw4.map { (_) throws(PumpError) in try rawSocket(isIPv6: false, configuration) }
            raw6 = try raw6.map { (_) throws(PumpError) in try rawSocket(isIPv6: true, configuration) }
        }
        if count > 1 {
            for (socket, isIPv6) in [(raw4, Int32(0)), (raw6, Int32(1))] {
                guard let socket else { continue }
                try PumpError.check(
                    clinux_filter_raw_esp(socket.number, isIPv6, UInt32(number), UInt32(count)),
                    "filter raw ESP"
                )
            }
        }
        return WorkerState.Sockets(udp4: socket4, udp6: socket6, raw4: raw4, raw6: raw6)
    }

    private static func rawSocket(
        isIPv6: Bool,
        _ configuration: PumpConfiguration
    ) throws(PumpError) -> OwnedDescriptor {
        try OuterSocket.openRawESP(
            isIPv6: isIPv6,
            mark: configuration.mark,
            buffer: configuration.socketBuffer
        )
    }

    deinit { stop() }

    private var current: [Worker] { workers.withLock { $0 } }

    /// Begins to read.
    public func start() {
        for worker in current { worker.start() }
    }

    /// Ends for good: waits until no worker runs and closes the sockets.
    ///
    /// The TUN device stays.
    public func stop() {
        let stopped = workers.withLock { workers in
            defer { workers = [] }
            return workers
        }
        for worker in stopped { worker.stop() }
    }

    /// Installs an SA pair, behind all calls before; unless `sends`, it only receives until `useForSending`.
    public func install(_ sa: ChildSADescription, sends: Bool = true) {
        for worker in current { worker.perform { $0.install(sa, sends: sends) } }
    }

    /// Calls `body` on `queue` once every worker has carried out all calls before.
    public func whenCaughtUp(on queue: DispatchQueue, _ body: @escaping @Sendable () -> Void) {
        let group = DispatchGroup()
        for worker in current {
            group.enter()
            worker.perform { _ in group.leave() }
        }
        group.notify(queue: queue, execute: body)
    }

    /// Sends by this SA from then on, in place of those that its tunnel has until then.
    public func useForSending(saID: UInt32) {
        for worker in current { worker.perform { $0.useForSending(saID: saID) } }
    }

    /// Removes an SA pair.
    public func remove(saID: UInt32) {
        for worker in current { worker.perform { $0.remove(saID: saID) } }
    }

    /// Replaces what is to be done with traffic that no SA takes.
    public func setTunnels(_ tunnels: [DataPlaneTunnel]) {
        for worker in current { worker.perform { $0.setTunnels(tunnels) } }
    }

    /// Sends an SA's packets to other outer ends from now on.
    public func updatePath(saID: UInt32, path: OuterPath) {
        for worker in current { worker.perform { $0.updatePath(saID: saID, path) } }
    }

    /// Sets what an SA's path carries, the outer header included: as it was probed, or as it is known.
    public func setPathMTU(saID: UInt32, octets: Int) {
        for worker in current { worker.perform { $0.setPathMTU(saID: saID, octets: octets) } }
    }

    /// Takes an error about an ESP packet that came to the IKE socket.
    public func outerError(_ error: OuterError) {
        for worker in current { worker.perform { $0.receiveError(error) } }
    }

    /// Takes an ESP packet that came to the IKE socket; some are dropped when too many wait.
    public func strayESP(octets: [UInt8], local: Endpoint, remote: Endpoint) {
        let workers = current
        guard octets.count >= 4, !workers.isEmpty else { return }
        let spi = octets.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        let worker = workers[Int(spi) & (workers.count - 1)]
        if !worker.receiveStray(octets, local: local, remote: remote) {
            droppedStrays.wrappingAdd(1, ordering: .relaxed)
        }
    }

    /// What was counted; waits for the workers' queues, so for milliseconds at most.
    public func counters() -> PumpCounters {
        var counters = PumpCounters()
        for worker in current { counters.add(worker.counters()) }
        let strays = droppedStrays.load(ordering: .relaxed)
        for index in counters.drops.indices where counters.drops[index].reason == "queueFull" {
            counters.drops[index].count += strays
        }
        return counters
    }
}

/// The workers by number, for what one tells the others.
private final class WorkerGroup: Sendable {
    private let workers = Mutex<[@Sendable (OuterError) -> Void]>([])

    func set(_ all: [Worker]) {
        let receivers = all.map { worker in
            { @Sendable [weak worker] (error: OuterError) in
                worker?.perform { $0.receiveError(error) } ?? ()
            }
        }
        workers.withLock { $0 = receivers }
    }

    func relay(_ error: OuterError, from number: Int) {
        let receivers = workers.withLock { $0 }
        for index in receivers.indices where index != number { receivers[index](error) }
    }
}
