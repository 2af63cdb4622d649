import Cryptography
import IPPackets
import IPsecTypes
public import Primitives

/// What an SA pair has carried.
public struct SACounters: Hashable, Sendable {
    /// Inner packets that came in.
    public var packetsIn: UInt64 = 0
    /// Their octets.
    public var octetsIn: UInt64 = 0
    /// Inner packets that went out.
    public var packetsOut: UInt64 = 0
    /// Their octets.
    public var octetsOut: UInt64 = 0
    /// When the last authentic packet came.
    public var lastIn: Instant?
    /// When the last packet went.
    public var lastOut: Instant?
    /// Packets with a wrong ICV.
    public var integrityFailures: UInt64 = 0
    /// Packets that were seen before or too old.
    public var replays: UInt64 = 0

    /// All zero.
    public init() {}
}

/// A hard limit by volume and the softer one before it.
struct VolumeGuard: Sendable {
    let octets: UInt64
    let packets: UInt64
    let softOctets: UInt64
    let softPackets: UInt64

    init(_ volume: SAVolume, soft: SAVolume) {
        octets = volume.octets ?? .max
        packets = volume.packets ?? .max
        softOctets = min(soft.octets ?? Self.soft(octets), octets)
        softPackets = min(soft.packets ?? Self.soft(packets), packets)
    }

    /// A tenth is left for the time that a rekey takes.
    static func soft(_ hard: UInt64) -> UInt64 { hard - hard / 10 }
}

/// The outbound half of an SA but for its cipher, in the engine's one array of them and never copied out of
/// it.
struct OutboundSA: Sendable {
    let id: UInt32
    let spi: UInt32
    /// False when another worker has its ciphers and its numbers.
    let isOwned: Bool
    let ivLength: Int
    let icvLength: Int
    let blockMask: Int
    /// The last number given to a packet.
    var sequence: UInt64 = 0
    /// No number above this is ever given (RFC 4303 §3.3.3).
    let lastSequence: UInt64
    let softSequence: UInt64
    let volume: VolumeGuard
    /// Where its packets go, and whether in UDP.
    var remote: AddressBits
    var isUDP: Bool
    /// What the path is believed to carry, and what of it is left for an inner packet.
    var pathMTU: Int
    var innerMTU: Int {
        didSet { paddedLength = padding.target(largest: innerMTU) }
    }
    /// Octets that inner packets are padded to.
    private(set) var paddedLength: Int
    private let padding: TrafficFlowPadding
    /// Bits of the inner traffic class that the outer header has.
    let trafficClassMask: UInt8
    /// Inner packets too large for the path are refused, or cut before encryption.
    let copiesDF: Bool
    var packets: UInt64 = 0
    var octets: UInt64 = 0
    var last: Instant?
    /// True after a replacement was asked for.
    var isSoftExhausted = false

    init(_ description: ChildSADescription, isOwned: Bool, pathMTU: Int, innerMTU: Int) {
        id = description.id
        self.isOwned = isOwned
        spi = description.outboundSPI.value
        ivLength = description.transform.ivLength
        icvLength = description.transform.icvLength
        blockMask = description.transform.blockLength - 1
        lastSequence = description.usesESN ? UInt64.max : UInt64(UInt32.max)
        softSequence = VolumeGuard.soft(lastSequence)
        volume = VolumeGuard(description.limit, soft: description.softLimit)
        remote = AddressBits(description.path.remote.address)
        isUDP = description.path.encapsulation.isUDP
        self.pathMTU = pathMTU
        self.innerMTU = innerMTU
        padding = description.padding
        trafficClassMask = description.copying.outboundMask
        copiesDF = description.copying.df
        paddedLength = description.padding.target(largest: innerMTU)
    }

    /// Counts a packet and gives it the next number, or says why there is none.
    mutating func takeSequence(octets count: Int) -> DropReason? {
        let carried = octets &+ UInt64(count)
        guard sequence < lastSequence else { return .sequenceExhausted }
        guard packets < volume.packets, carried <= volume.octets else { return .volumeExhausted }
        sequence += 1
        packets &+= 1
        octets = carried
        return nil
    }

    /// True when it is time for a replacement, or past it.
    var isNearlyExhausted: Bool {
        sequence >= softSequence || packets >= volume.softPackets || octets >= volume.softOctets
    }
}

/// The inbound half of an SA but for its cipher.
struct InboundSA: Sendable {
    let id: UInt32
    let spi: UInt32
    let ivLength: Int
    let icvLength: Int
    var window: ReplayWindow
    let local: [SelectorRule]
    let remote: [SelectorRule]
    let volume: VolumeGuard
    /// Marks of congestion on the outer header go on to the inner one.
    let copiesECN: Bool
    /// The outer header's DSCP goes on to the inner one.
    let takesDSCP: Bool
    var packets: UInt64 = 0
    var octets: UInt64 = 0
    var last: Instant?
    var integrityFailures: UInt64 = 0
    var reportedFailures: UInt64 = 0
    var replays: UInt64 = 0

    init(_ description: ChildSADescription) {
        id = description.id
        spi = description.inboundSPI.value
        ivLength = description.transform.ivLength
        icvLength = description.transform.icvLength
        window = ReplayWindow(size: description.replayWindow, usesESN: description.usesESN)
        local = description.localSelectors.map { SelectorRule($0) }
        remote = description.remoteSelectors.map { SelectorRule($0) }
        copiesECN = description.copying.ecn
        takesDSCP = description.copying.takesDSCP
        volume = VolumeGuard(description.limit, soft: description.softLimit)
    }

    /// Counts a packet; false for one beyond the limit.
    mutating func countVolume(octets count: Int) -> Bool {
        let carried = octets &+ UInt64(count)
        guard packets < volume.packets, carried <= volume.octets else { return false }
        packets &+= 1
        octets = carried
        return true
    }

    /// True when it is time for a replacement, or past it.
    var isNearlyExhausted: Bool { packets >= volume.softPackets || octets >= volume.softOctets }

    /// RFC 4301 §5.2: what came out of the SA must be what the SA is for.
    func admits(_ header: PacketHeader) -> Bool {
        for index in remote.indices where remote[index].matchesSource(of: header) {
            for other in local.indices where local[other].matchesDestination(of: header) { return true }
            return false
        }
        return false
    }
}

/// The keyed contexts of an SA: a class, since arrays hold nothing that cannot be copied.
///
/// Entered once a batch.
final class CipherPair {
    private var sealing: PacketCipher?
    private var opening: PacketCipher?
    var path: OuterPath
    let connection: String
    let tunnel: String
    let transform: CipherTransform

    /// Keys the contexts, or makes only the rest for a worker that does not own the SA.
    init(_ description: ChildSADescription, isOwned: Bool, allowsMultiBuffer: Bool) throws(CryptoError) {
        path = description.path
        connection = description.connection
        tunnel = description.tunnel
        transform = description.transform
        guard isOwned else {
            sealing = nil
            opening = nil
            return
        }
        let backend = PacketBackends.backend(
            for: description.transform,
            allowsMultiBuffer: allowsMultiBuffer
        )
        sealing = try PacketCipher(
            description.transform,
            encryptionKey: description.outboundKeys.encryption,
            integrityKey: description.outboundKeys.integrity,
            esn: description.usesESN,
            direction: .seal,
            backend: backend
        )
        opening = try PacketCipher(
            description.transform,
            encryptionKey: description.inboundKeys.encryption,
            integrityKey: description.inboundKeys.integrity,
            esn: description.usesESN,
            direction: .open,
            backend: backend
        )
    }

    func seal(_ jobs: inout [PacketJob], _ range: Range<Int>, _ arena: inout PacketArena) {
        sealing?.seal(&jobs, range: range, in: &arena)
    }

    func open(_ jobs: inout [PacketJob], _ range: Range<Int>, _ arena: inout PacketArena) {
        opening?.open(&jobs, range: range, in: &arena)
    }
}
