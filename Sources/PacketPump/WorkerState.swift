import CLinux
import Cryptography
import ESP
import IPPackets
import IPsecTypes
import Primitives

/// All that one worker owns: entered once a wake-up, never shared.
struct WorkerState: ~Copyable {
    /// Packets a turn takes from the device before the other source has its turn.
    static let deviceBudget = 64
    /// Calls of recvmmsg a turn makes on each socket.
    static let socketBudget = 4
    /// Datagrams a call of recvmmsg takes.
    static let receiveSlots = 32

    struct Path {
        var local = clinux_endpoint()
        var remote = clinux_endpoint()
        /// The end that the last authentic packet came from.
        var seen = clinux_endpoint()
        var isUDP = false
    }

    var engine: ESPEngine
    let device: TunDevice
    let socket4: OwnedDescriptor
    let socket6: OwnedDescriptor?
    let port: UInt16
    var outgoing: PacketArena
    var incoming: DatagramBatch
    var sends4: SendBatch
    var sends6: SendBatch
    /// By slot of the engine.
    var paths = [Path]()
    var events = [PumpEvent]()
    /// True after the device refused to be read.
    var isDeviceGone = false
    /// Where the next packet of the device may start.
    var cursor = 0
    var icmpLimit = RateLimit(perSecond: 100)
    var unknownLimit = RateLimit(perSecond: 10)
    var strayLimit = RateLimit(perSecond: 1000)

    init(device: TunDevice, socket4: OwnedDescriptor, socket6: OwnedDescriptor?, port: UInt16, innerMTU: Int?)
        throws(PumpError)
    {
        // What can fail first: a half-made value that cannot be copied cannot be taken back.
        let incoming = try DatagramBatch(slots: Self.receiveSlots)
        let sends4 = try SendBatch(capacity: ESPEngine.batchCapacity)
        let sends6 = try SendBatch(capacity: ESPEngine.batchCapacity)
        self.incoming = incoming
        self.sends4 = sends4
        self.sends6 = sends6
        engine = ESPEngine(maximumMTU: innerMTU)
        self.device = device
        self.socket4 = socket4
        self.socket6 = socket6
        self.port = port
        outgoing = PacketArena(capacity: 1 << 20)
        events.reserveCapacity(64)
    }

    mutating func install(_ description: ChildSADescription, sends: Bool) {
        let slot: Int
        do throws(ESPError) {
            slot = try engine.install(description, sends: sends)
        } catch {
            events.append(.installFailed(saID: description.id))
            return
        }
        while paths.count <= slot { paths.append(Path()) }
        setPath(slot, description.path)
        sendHeld(forSA: description.id)
    }

    mutating func useForSending(saID: UInt32) { engine.useForSending(saID: saID) }

    mutating func remove(saID: UInt32) { engine.remove(saID: saID) }

    mutating func updatePath(saID: UInt32, _ path: OuterPath) {
        guard let slot = engine.slot(ofSA: saID) else { return }
        engine.updatePath(saID: saID, path)
        setPath(slot, path)
    }

    private mutating func setPath(_ slot: Int, _ path: OuterPath) {
        let remote = clinux_endpoint(path.remote)
        let isUDP =
            switch path.encapsulation {
            case .udp: true
            case .none: false
            }
        paths[slot] = Path(local: clinux_endpoint(path.local), remote: remote, seen: remote, isUDP: isUDP)
    }

    mutating func setTunnels(_ tunnels: [DataPlaneTunnel]) {
        engine.setTunnels(
            tunnels.map {
                SPDEntry(
                    id: $0.id,
                    connection: $0.connection,
                    tunnel: $0.tunnel,
                    local: $0.local,
                    remote: $0.remote,
                    traps: $0.traps
                )
            }
        )
    }

    /// What is to be done once a second.
    mutating func tick() {
        engine.tick(at: PumpClock.now())
        // Dispatch does not tell that a device was deleted; reading it does.
        if !isDeviceGone { drainDevice() }
    }

    func counters() -> PumpCounters {
        var counters = PumpCounters()
        counters.perSA = engine.counters()
        counters.drops = DropReason.allCases.map { (reason: $0.name, count: engine.drops[$0]) }
        counters.held = engine.heldCount
        return counters
    }

    /// What is to be told since the last call; empty nearly always.
    mutating func takeEvents() -> [PumpEvent] {
        if engine.hasEvents { events += engine.takeEvents().map { PumpEvent($0) } }
        guard !events.isEmpty else { return [] }
        defer { events.removeAll(keepingCapacity: true) }
        return events
    }
}
