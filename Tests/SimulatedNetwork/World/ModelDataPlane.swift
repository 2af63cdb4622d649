import Cryptography
import IKECore
import IPPackets
import IPsecTypes
import Primitives

/// What a data plane knows of one SA pair.
struct ModelSA: Sendable {
    let id: UInt32
    let ikeID: UInt32
    let tunnel: String
    /// What it has in common with others for the same traffic, whose numbers the ends need not agree on.
    let group: String
    let inboundSPI: SPI
    let outboundSPI: SPI
    /// Stands for the keys: equal keys have equal fingerprints.
    let inboundKeys: UInt64
    let outboundKeys: UInt64
    var path: OuterPath
    var packetsIn = 0
    var packetsOut = 0

    init(_ installation: ChildSAInstallation) {
        let sa = installation.description
        id = sa.id
        ikeID = installation.ikeID
        tunnel = sa.tunnel
        group = sa.group
        inboundSPI = sa.inboundSPI
        outboundSPI = sa.outboundSPI
        inboundKeys = Self.fingerprint(sa.inboundKeys)
        outboundKeys = Self.fingerprint(sa.outboundKeys)
        path = sa.path
    }

    /// True when `other`, at the other end, is the same pair seen from there.
    func mirrors(_ other: ModelSA) -> Bool {
        group == other.group && inboundSPI == other.outboundSPI && outboundSPI == other.inboundSPI
            && inboundKeys == other.outboundKeys && outboundKeys == other.inboundKeys
            && inboundKeys != outboundKeys && path.encapsulation == other.path.encapsulation
    }

    /// FNV-1a.
    private static func fingerprint(_ keys: SAKeys) -> UInt64 {
        let octets = keys.encryption.exposedForTesting() + (keys.integrity?.exposedForTesting() ?? [])
        return octets.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
}

/// An ESP packet without content.
struct ModelPacket: Sendable {
    let from: Side
    let tunnel: Int
    let sentAt: Int64
    let spi: SPI
    let keys: UInt64
    var source: Endpoint
    var destination: Endpoint
    let encapsulation: Encapsulation
    /// A duplicate that the network made; its fate does not count.
    var isCopy = false
}

/// The SAs of one gateway's data plane, and which one each tunnel sends by.
struct ModelDataPlane: Sendable {
    private(set) var sas: [UInt32: ModelSA] = [:]
    /// SAs that may send, the one in use last; when it is removed, the one before it takes its place.
    private var senders: [String: [UInt32]] = [:]
    /// SAs that may not send yet: the newest does when no other can.
    private var standby: [String: [UInt32]] = [:]
    private var inbound: [SPI: UInt32] = [:]
    private var heard: Set<UInt32> = []
    /// Orders that no right engine gives.
    private(set) var faults: [String] = []

    var count: Int { sas.count }

    mutating func install(_ installation: ChildSAInstallation) {
        let sa = ModelSA(installation)
        if sas[sa.id] != nil { faults.append("CHILD_SA {\(sa.id)} is installed twice") }
        if let owner = inbound[sa.inboundSPI] {
            faults.append("inbound SPI \(sa.inboundSPI) of {\(sa.id)} belongs to {\(owner)}")
        }
        sas[sa.id] = sa
        inbound[sa.inboundSPI] = sa.id
        if installation.sendsAtOnce {
            senders[sa.tunnel, default: []].append(sa.id)
        } else {
            standby[sa.tunnel, default: []].append(sa.id)
        }
    }

    mutating func useForSending(_ id: UInt32) {
        guard let sa = sas[id] else {
            faults.append("sending by {\(id)}, which is not installed")
            return
        }
        standby[sa.tunnel]?.removeAll { $0 == id }
        senders[sa.tunnel, default: []].removeAll { $0 == id }
        senders[sa.tunnel, default: []].append(id)
    }

    mutating func remove(_ id: UInt32) {
        guard let sa = sas.removeValue(forKey: id) else {
            faults.append("removing {\(id)}, which is not installed")
            return
        }
        inbound[sa.inboundSPI] = nil
        heard.remove(id)
        standby[sa.tunnel]?.removeAll { $0 == id }
        senders[sa.tunnel]?.removeAll { $0 == id }
        if senders[sa.tunnel]?.isEmpty ?? true, let heir = standby[sa.tunnel]?.last { useForSending(heir) }
    }

    mutating func move(_ id: UInt32, to path: OuterPath) {
        if sas[id] == nil { faults.append("moving {\(id)}, which is not installed") }
        sas[id]?.path = path
    }

    /// The one of the tunnel itself, else one that stands beside it.
    func sender(of tunnel: String) -> ModelSA? {
        if let own = senders[tunnel]?.last.flatMap({ sas[$0] }) { return own }
        let further = senders.values.compactMap { $0.last.flatMap { sas[$0] } }
        return further.filter { $0.group == tunnel }.min { $0.id < $1.id }
    }

    /// The next packet of a tunnel, or nil while nothing may send.
    mutating func packet(_ tunnel: Int, from side: Side, at now: Int64) -> ModelPacket? {
        guard let sa = sender(of: PolicyShape.tunnelName(tunnel)) else { return nil }
        sas[sa.id]?.packetsOut += 1
        return ModelPacket(
            from: side,
            tunnel: tunnel,
            sentAt: now,
            spi: sa.outboundSPI,
            keys: sa.outboundKeys,
            source: sa.path.local,
            destination: sa.path.remote,
            encapsulation: sa.path.encapsulation
        )
    }

    /// What an arriving packet means to the control plane.
    struct Acceptance {
        let id: UInt32
        let isFirst: Bool
        /// The packet came from elsewhere than we send to.
        let movedTo: Endpoint?
    }

    /// Nil when no SA accepts the packet.
    mutating func accept(_ packet: ModelPacket) -> Acceptance? {
        guard let id = inbound[packet.spi], let sa = sas[id], sa.inboundKeys == packet.keys else {
            return nil
        }
        sas[id]?.packetsIn += 1
        let hasMoved = sa.path.encapsulation == .udp && sa.path.remote != packet.source
        return Acceptance(
            id: id,
            isFirst: heard.insert(id).inserted,
            movedTo: hasMoved ? packet.source : nil
        )
    }
}
