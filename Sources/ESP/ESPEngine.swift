public import Cryptography
public import IPPackets
public import IPsecTypes
public import Primitives

/// Why an SA could not be installed.
public enum ESPError: Error, Hashable, Sendable {
    /// An SA with this number is installed.
    case duplicateID(UInt32)
    /// An SA with this inbound SPI is installed.
    case duplicateSPI(SPI)
    /// The cipher refused its keys.
    case cryptography(CryptoError)
}

/// What the control plane must hear of.
public enum ESPEvent: Hashable, Sendable {
    /// A packet waits for an SA of this tunnel.
    case trapped(tunnel: UInt32, source: IPAddress, destination: IPAddress, ipProtocol: UInt8)
    /// The first authentic packet of an SA came.
    case firstInbound(saID: UInt32)
    /// Packets with a wrong ICV came, since the last such event.
    case integrityFailures(saID: UInt32, count: UInt64)
    /// An SA asks for a replacement: it is near the end of its sequence numbers or of its volume.
    case exhausted(saID: UInt32)
    /// The path of an SA carries less than was believed; its path MTU is `mtu` now.
    case pathTooBig(saID: UInt32, mtu: Int)
}

/// What is kept of a packet of the outbound batch beside its job.
@usableFromInline
struct SealEntry {
    @usableFromInline var slot: Int32
    @usableFromInline var trafficClass: UInt8
    @usableFromInline var mayBeCut: Bool
}

/// The state of one worker: its SAs, the policy, and the batches under way.
///
/// Packets stay in the worker's arenas; the engine moves no octet but headers and trailers. A batch is
/// framed packet by packet, then sealed or opened at once, so that each SA's cipher is entered once for a
/// run of packets.
public struct ESPEngine: ~Copyable {
    /// Packets that an outbound batch can hold.
    public static let sealCapacity = 256
    /// Packets that an inbound batch can hold.
    public static let openCapacity = 1024

    // The security association database: parallel arrays by slot, and the SPI's way to a slot.
    var spis = SPITable()
    var outbound = [OutboundSA]()
    var inbound = [InboundSA]()
    var ciphers = [CipherPair?]()
    private var freeSlots = [Int]()
    private var slotOfID = [UInt32: Int]()

    var spd = SPDCache()
    private var tunnels = [UInt32: SPDEntry]()
    var held = HeldPackets()
    var lastTrap = [UInt32: Instant]()
    let maximumMTU: Int
    private let allowsMultiBuffer: Bool
    var hasUnreportedFailures = false

    /// What was dropped.
    public var drops = DropCounters()
    /// What happened since `takeEvents()`.
    var events = [ESPEvent]()

    @usableFromInline var sealJobs = [PacketJob]()
    @usableFromInline var sealEntries = [SealEntry]()
    @usableFromInline var openJobs = [PacketJob]()
    @usableFromInline var openEntries = [InboundEntry]()

    /// An engine without SAs; no inner packet may exceed `maximumMTU`, whatever the path would allow.
    ///
    /// Without `allowsMultiBuffer` OpenSSL protects all packets.
    public init(maximumMTU: Int? = nil, allowsMultiBuffer: Bool = true) {
        self.maximumMTU = maximumMTU ?? 65_535
        self.allowsMultiBuffer = allowsMultiBuffer
        sealJobs.reserveCapacity(Self.sealCapacity)
        sealEntries.reserveCapacity(Self.sealCapacity)
        openJobs.reserveCapacity(Self.openCapacity)
        openEntries.reserveCapacity(Self.openCapacity)
    }

    /// Installs an SA pair and gives its slot.
    ///
    /// If it `sends`, it is used for sending from now on, before older ones of its tunnel; else not before
    /// `useForSending`, or until no other SA takes the traffic (RFC 7296 §2.8). Unless it `isOwned`, another worker
    /// has its ciphers and numbers, and its traffic is found here only to be handed over.
    @discardableResult
    public mutating func install(
        _ description: ChildSADescription,
        sends: Bool = true,
        isOwned: Bool = true
    ) throws(ESPError) -> Int {
        guard slotOfID[description.id] == nil else { throw .duplicateID(description.id) }
        guard spis.slot(of: description.inboundSPI.value) == nil else {
            throw .duplicateSPI(description.inboundSPI)
        }
        let pair: CipherPair
        do throws(CryptoError) {
            pair = try CipherPair(description, isOwned: isOwned, allowsMultiBuffer: allowsMultiBuffer)
        } catch {
            throw .cryptography(error)
        }
        let pathMTU = knownPathMTU(description.path)
        let sender = OutboundSA(
            description,
            isOwned: isOwned,
            pathMTU: pathMTU,
            innerMTU: innerMTU(pathMTU, description.path, description.transform)
        )
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
            outbound[slot] = sender
            inbound[slot] = InboundSA(description)
            ciphers[slot] = pair
        } else {
            slot = ciphers.count
            outbound.append(sender)
            inbound.append(InboundSA(description))
            ciphers.append(pair)
        }
        slotOfID[description.id] = slot
        if isOwned { spis.insert(description.inboundSPI.value, slot: slot) }
        spd.insert(
            slot: slot,
            tunnel: TunnelName(
                connection: description.connection,
                tunnel: description.tunnel,
                group: description.group
            ),
            sends: sends,
            isOwned: isOwned,
            local: description.localSelectors,
            remote: description.remoteSelectors
        )
        return slot
    }

    /// Sends by this SA from now on, in place of all others that its tunnel has now.
    public mutating func useForSending(saID: UInt32) {
        guard let slot = slotOfID[saID] else { return }
        spd.useForSending(slot: slot)
    }

    /// Removes an SA pair and gives the slot that it had.
    @discardableResult
    public mutating func remove(saID: UInt32) -> Int? {
        guard let slot = slotOfID.removeValue(forKey: saID) else { return nil }
        spis.remove(inbound[slot].spi)
        spd.remove(.sa(slot: slot))
        ciphers[slot] = nil
        freeSlots.append(slot)
        return slot
    }

    /// The slot of an installed SA.
    public func slot(ofSA saID: UInt32) -> Int? { slotOfID[saID] }

    /// Takes note of other outer ends: what was learnt of the path is forgotten.
    public mutating func updatePath(saID: UInt32, _ path: OuterPath) {
        guard let slot = slotOfID[saID], let pair = ciphers[slot] else { return }
        guard
            pair.path.remote.address != path.remote.address || pair.path.encapsulation != path.encapsulation
                || pair.path.local.address != path.local.address
        else { return }
        pair.path = path
        outbound[slot].remote = AddressBits(path.remote.address)
        outbound[slot].isUDP = path.encapsulation.isUDP
        setPathMTU(slot, Self.defaultPathMTU)
    }

    /// Replaces all tunnels; what is held for a tunnel that is gone stays until it expires.
    public mutating func setTunnels(_ entries: [SPDEntry]) {
        for id in tunnels.keys.sorted() { spd.remove(.tunnel(id)) }
        tunnels.removeAll()
        for entry in entries {
            guard tunnels.updateValue(entry, forKey: entry.id) == nil else { continue }
            spd.insert(entry)
        }
        lastTrap = lastTrap.filter { tunnels[$0.key] != nil }
    }

    /// Packets that were held for the tunnel of this SA: they are to be decided on again.
    public mutating func takeHeld(forSA saID: UInt32) -> [[UInt8]] {
        guard held.count > 0, let slot = slotOfID[saID], let pair = ciphers[slot] else { return [] }
        var result = [[UInt8]]()
        for entry in tunnels.values.sorted(by: { $0.id < $1.id })
        where entry.connection == pair.connection && entry.tunnel == pair.tunnel {
            lastTrap[entry.id] = nil
            result += held.take(entry.id)
        }
        return result
    }

    /// Drops what was held too long and reports failures: to be called about once a second.
    public mutating func tick(at now: Instant) {
        drops[.heldExpired] += UInt64(held.expire(at: now))
        guard hasUnreportedFailures else { return }
        hasUnreportedFailures = false
        for slot in slotOfID.values.sorted() {
            let count = inbound[slot].integrityFailures - inbound[slot].reportedFailures
            guard count > 0 else { continue }
            inbound[slot].reportedFailures = inbound[slot].integrityFailures
            events.append(.integrityFailures(saID: inbound[slot].id, count: count))
        }
    }

    /// True when `takeEvents()` has any.
    public var hasEvents: Bool { !events.isEmpty }

    /// What happened since the last call.
    public mutating func takeEvents() -> [ESPEvent] {
        defer { events.removeAll(keepingCapacity: true) }
        return events
    }

    /// Packets that are held.
    public var heldCount: Int { held.count }

    /// What each SA has carried, by number.
    public func counters() -> [UInt32: SACounters] {
        slotOfID.filter { outbound[$0.value].isOwned }.mapValues { slot in
            var counters = SACounters()
            counters.packetsIn = inbound[slot].packets
            counters.octetsIn = inbound[slot].octets
            counters.lastIn = inbound[slot].last
            counters.integrityFailures = inbound[slot].integrityFailures
            counters.replays = inbound[slot].replays
            counters.packetsOut = outbound[slot].packets
            counters.octetsOut = outbound[slot].octets
            counters.lastOut = outbound[slot].last
            return counters
        }
    }
}
