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
    /// Messages a call of recvmmsg takes.
    static let receiveSlots = 64

    /// The sockets that a worker reads and sends by.
    struct Sockets {
        var udp4: OwnedDescriptor
        var udp6: OwnedDescriptor?
        var raw4: OwnedDescriptor?
        var raw6: OwnedDescriptor?
    }

    struct Path {
        var local = clinux_endpoint()
        var remote = clinux_endpoint()
        /// The end that the last authentic packet in UDP came from.
        var seen = clinux_endpoint()
        var kind = OuterKind.udp4
    }

    var engine: ESPEngine
    /// Which worker it is, and the way to the others if there are any.
    let number: Int
    let crossing: Crossing?
    /// What sockets of this worker were told about packets of any.
    var errorsForOthers = [OuterError]()
    let device: TunDevice
    let port: UInt16
    /// What came from the device.
    var staging: PacketArena
    /// A super-packet whose pieces go their own ways.
    var original: PacketArena
    /// A packet that is being cut.
    var uncut: PacketArena
    /// ESP packets, one behind the other.
    var outgoing: PacketArena
    var incoming: DatagramBatch
    /// What is to be written to the device.
    var plan: Coalescer
    /// The inner packets of the plan, by its numbers.
    var planned = [clinux_piece]()
    /// The parts of a packet that is written.
    var pieces = [clinux_piece]()
    var udp4: OuterLink
    var udp6: OuterLink
    var raw4: OuterLink
    var raw6: OuterLink
    /// By slot of the engine.
    var paths = [Path]()
    var events = [PumpEvent]()
    private let usesMultiBuffer: Bool
    /// True after the device refused to be read.
    var isDeviceGone = false
    /// Where the next ESP packet starts.
    var cursor = 0
    var icmpLimit = RateLimit(perSecond: 100)
    var unknownLimit = RateLimit(perSecond: 10)
    var strayLimit = RateLimit(perSecond: 1000)
    var errorLimit = RateLimit(perSecond: 200)

    init(
        number: Int = 0,
        crossing: Crossing? = nil,
        device: TunDevice,
        sockets: Sockets,
        _ configuration: PumpConfiguration
    ) throws(PumpError) {
        // What can fail first: a half-made value that cannot be copied cannot be taken back.
        let offloads = configuration.offloads
        let incoming = try DatagramBatch(slots: Self.receiveSlots)
        let udp4 = try OuterLink(.udp4, sockets.udp4, offloads: offloads)
        let udp6 = try OuterLink(.udp6, sockets.udp6, offloads: offloads)
        let raw4 = try OuterLink(.raw4, sockets.raw4, offloads: offloads)
        let raw6 = try OuterLink(.raw6, sockets.raw6, offloads: offloads)
        self.incoming = incoming
        self.udp4 = udp4
        self.udp6 = udp6
        self.raw4 = raw4
        self.raw6 = raw6
        engine = ESPEngine(
            maximumMTU: configuration.innerMTU,
            allowsMultiBuffer: configuration.offloads.contains(.multiBuffer)
        )
        usesMultiBuffer =
            configuration.offloads.contains(.multiBuffer)
            && PacketBackends.choices.contains { $0.backend == .multiBuffer }
        self.number = number
        self.crossing = crossing
        self.device = device
        port = configuration.natTraversalPort
        outgoing = PacketArena(capacity: 1 << 20)
        staging = PacketArena(capacity: 1 << 17)
        original = PacketArena(capacity: 1 << 17)
        uncut = PacketArena(capacity: TunDevice.largestPacket)
        plan = Coalescer(
            capacity: ESPEngine.openCapacity,
            mergesTCP: device.offloads.contains(.tunTCP),
            mergesUDP: device.offloads.contains(.tunUDP)
        )
        planned.reserveCapacity(ESPEngine.openCapacity)
        pieces.reserveCapacity(Coalescer.longest)
        events.reserveCapacity(64)
    }

    /// The offloads in use now.
    var offloads: Offloads {
        var offloads = device.offloads
        if usesMultiBuffer { offloads.insert(.multiBuffer) }
        if udp4.sendsSegments || udp6.sendsSegments { offloads.insert(.sendSegments) }
        if udp4.receivesSegments || udp6.receivesSegments { offloads.insert(.receiveSegments) }
        return offloads
    }

    mutating func install(_ description: ChildSADescription, sends: Bool) {
        let slot: Int
        do throws(ESPError) {
            let owner = crossing?.owner(of: description.inboundSPI.value) ?? number
            slot = try engine.install(description, sends: sends, isOwned: owner == number)
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

    mutating func setPathMTU(saID: UInt32, octets: Int) { engine.setPathMTU(saID: saID, octets: octets) }

    mutating func updatePath(saID: UInt32, _ path: OuterPath) {
        guard let slot = engine.slot(ofSA: saID) else { return }
        engine.updatePath(saID: saID, path)
        setPath(slot, path)
    }

    private mutating func setPath(_ slot: Int, _ path: OuterPath) {
        var (local, remote) = (clinux_endpoint(path.local), clinux_endpoint(path.remote))
        let seen = remote
        let isUDP =
            switch path.encapsulation {
            case .udp: true
            case .none: false
            }
        // To a raw socket the port means the protocol.
        if !isUDP { (local.port, remote.port) = (0, 0) }
        let kind = OuterKind(isUDP: isUDP, isIPv6: remote.is_ipv6 != 0)
        paths[slot] = Path(local: local, remote: remote, seen: seen, kind: kind)
    }

    /// The socket of a kind, if there is one.
    func socket(_ kind: OuterKind) -> OwnedDescriptor? {
        switch kind {
        case .udp4: udp4.socket
        case .udp6: udp6.socket
        case .raw4: raw4.socket
        case .raw6: raw6.socket
        }
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

    /// The descriptors that it serves: the device, then the sockets.
    var descriptors: [Int32] {
        [device.descriptor.number] + OuterKind.allCases.compactMap { socket($0)?.number }
    }

    /// Serves those of `descriptors` whose bit is set.
    mutating func serve(_ ready: UInt32) {
        if ready & 1 != 0, !isDeviceGone { drainDevice() }
        var bit: UInt32 = 2
        for number in 0..<4 {
            guard let kind = OuterKind(rawValue: number), let socket = socket(kind) else { continue }
            if ready & bit != 0 { drainSocket(socket.number, kind) }
            bit <<= 1
        }
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
        counters.offloads = offloads
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
