import Cryptography
import ESP
import IKECore
import IPPackets
import IPsecTypes
import LinuxIO
import Policy
import Primitives
import Vici

/// Counters of one CHILD_SA as the data plane last told them.
struct ChildCounters: Equatable, Sendable {
    var packetsIn: UInt64 = 0
    var octetsIn: UInt64 = 0
    var packetsOut: UInt64 = 0
    var octetsOut: UInt64 = 0
    var lastIn: Instant?
    var lastOut: Instant?
}

/// What is known of one CHILD_SA beside its negotiation.
struct ChildDetails: Equatable, Sendable {
    var counters = ChildCounters()
    /// The outer ends as they are now.
    var path: OuterPath?
    /// What the path was found to carry.
    var pathMTU: Int?
    /// The number of its traffic, which a rekey keeps.
    var reqid: UInt32?
}

/// What is known of one connection beside its configuration.
struct ConnectionDetails: Sendable {
    /// By tunnel.
    var entries: [String: Supervisor.Entry] = [:]
    /// The names of its peer in the order of the configuration.
    var names: [(name: String, record: PeerNames.Record)] = []
}

/// Messages of `list-sas` and `list-conns` with strongSwan's keys in strongSwan's order.
enum ViciLists {
    /// The `list-sa` event of one IKE_SA.
    static func listSA(
        _ ike: IKESASnapshot,
        details: [UInt32: ChildDetails],
        at now: Instant
    ) -> ViciMessage {
        ViciMessage { message in
            message.section(ike.connection.isEmpty ? "(unnamed)" : ike.connection, ikeSA(ike, details, now))
        }
    }

    /// An IKE_SA under its connection's name, without children.
    static func ikeOnly(_ ike: IKESASnapshot, at now: Instant) -> ViciMessage {
        ViciMessage { message in
            message.section(ike.connection.isEmpty ? "(unnamed)" : ike.connection, ikeSA(ike, now))
        }
    }

    /// The `ike-rekey` event: both IKE_SAs without their children.
    static func ikeRekey(old: IKESASnapshot, new: IKESASnapshot, at now: Instant) -> ViciMessage {
        ViciMessage { message in
            message.section(old.connection) { section in
                section.section("old", ikeSA(old, now))
                section.section("new", ikeSA(new, now))
            }
        }
    }

    /// The `child-rekey` event: the IKE_SA, and under the tunnel's name both CHILD_SAs.
    static func childRekey(
        _ ike: IKESASnapshot,
        old: ChildSASnapshot,
        new: ChildSASnapshot,
        details: [UInt32: ChildDetails],
        at now: Instant
    ) -> ViciMessage {
        ViciMessage { message in
            var sa = ikeSA(ike, now)
            sa.section("child-sas") { list in
                list.section(old.tunnel) { section in
                    section.section("old", childSA(old, details[old.id], now))
                    section.section("new", childSA(new, details[new.id], now))
                }
            }
            message.section(ike.connection, sa)
        }
    }

    private static func ikeSA(
        _ ike: IKESASnapshot,
        _ details: [UInt32: ChildDetails],
        _ now: Instant
    ) -> ViciMessage {
        var sa = ikeSA(ike, now)
        // Ours alone, and before what scripts for strongSwan expect next to the CHILD_SAs.
        if !ike.nameServers.isEmpty { sa.list("local-dns", ike.nameServers.map { $0.description }) }
        if !ike.searchDomains.isEmpty { sa.list("local-domains", ike.searchDomains) }
        if !ike.virtualAddresses.isEmpty {
            sa.list("local-vips", ike.virtualAddresses.map { $0.description })
        }
        for (key, tasks) in [
            ("tasks-queued", ike.queuedTasks), ("tasks-active", ike.activeTasks),
            ("tasks-passive", ike.passiveTasks),
        ] where !tasks.isEmpty { sa.list(key, tasks) }
        sa.section("child-sas") { list in
            for child in ike.allChildren {
                list.section("\(child.tunnel)-\(child.id)", childSA(child, details[child.id], now))
            }
        }
        return sa
    }

    private static func ikeSA(_ ike: IKESASnapshot, _ now: Instant) -> ViciMessage {
        var sa = ViciMessage()
        sa.set("uniqueid", ike.id)
        sa.set("version", 2)
        // As in strongSwan an IKE_SA that is being replaced says so.
        let isRekeying = ike.state == .established && ike.activeTasks.contains("IKE_REKEY")
        sa.set("state", isRekeying ? "REKEYING" : ike.state.rawValue)
        sa.set("local-host", ike.local.address.description)
        sa.set("local-port", ike.local.port)
        sa.set("local-id", ike.localIdentity?.description ?? "%any")
        sa.set("remote-host", ike.remote.address.description)
        sa.set("remote-port", ike.remote.port)
        sa.set("remote-id", ike.remoteIdentity?.description ?? "%any")
        if ike.isInitiator { sa.set("initiator", flag: true) }
        sa.set("initiator-spi", Hex.encode(ike.initiatorSPI))
        sa.set("responder-spi", Hex.encode(ike.responderSPI))
        if ike.nat.isLocalBehindNAT { sa.set("nat-local", flag: true) }
        if ike.nat.isRemoteBehindNAT { sa.set("nat-remote", flag: true) }
        let isNAT = ike.nat.isLocalBehindNAT || ike.nat.isRemoteBehindNAT
        // We pretended that there is one, so that ESP travels in UDP.
        let isFake = !isNAT && ike.forcesEncapsulation
        if isFake { sa.set("nat-fake", flag: true) }
        if isNAT || isFake { sa.set("nat-any", flag: true) }
        if let proposal = ike.proposal { setAlgorithms(&sa, proposal) }
        if ike.mixesPostquantumKey { sa.set("ppk", flag: true) }
        guard ike.state == .established else { return sa }
        if let since = ike.establishedAt { sa.set("established", since.duration(to: now).wholeSeconds) }
        setTimes(&sa, rekeyAt: ike.rekeyAt, reauthAt: ike.reauthAt, expiresAt: ike.expiresAt, now)
        return sa
    }

    /// Seconds until the replacement begins and until the end.
    private static func setTimes(
        _ sa: inout ViciMessage,
        rekeyAt: Instant?,
        reauthAt: Instant? = nil,
        expiresAt: Instant?,
        _ now: Instant
    ) {
        if let rekeyAt { sa.set("rekey-time", max(0, now.duration(to: rekeyAt).wholeSeconds)) }
        if let reauthAt { sa.set("reauth-time", max(0, now.duration(to: reauthAt).wholeSeconds)) }
        if let expiresAt { sa.set("life-time", max(0, now.duration(to: expiresAt).wholeSeconds)) }
    }

    private static func setAlgorithms(_ sa: inout ViciMessage, _ proposal: Proposal) {
        if let encryption = proposal.transform(of: .encryption) {
            sa.set("encr-alg", AlgorithmTable.entry(for: encryption)?.name ?? "\(encryption.id)")
            if let bits = encryption.keyBits { sa.set("encr-keysize", bits) }
        }
        if let integrity = proposal.transform(of: .integrity) { sa.set("integ-alg", integrity.description) }
        if let prf = proposal.transform(of: .prf) { sa.set("prf-alg", prf.description) }
        if let group = proposal.transform(of: .keyExchange) { sa.set("dh-group", group.description) }
        for (index, type) in TransformType.additionalKeyExchanges.enumerated() {
            guard let group = proposal.transform(of: type), group.id != 0 else { continue }
            sa.set("ake\(index + 1)", AlgorithmTable.entry(for: group)?.name ?? "\(group.id)")
        }
        if proposal.transform(of: .esn) == .esn { sa.set("esn", 1) }
    }

    private static func childSA(
        _ child: ChildSASnapshot,
        _ details: ChildDetails?,
        _ now: Instant
    ) -> ViciMessage {
        let counters = details?.counters ?? ChildCounters()
        var sa = ViciMessage()
        sa.set("name", child.tunnel)
        sa.set("uniqueid", child.id)
        sa.set("reqid", details?.reqid ?? child.id)
        sa.set("state", child.state.rawValue)
        sa.set("mode", "TUNNEL")
        sa.set("protocol", "ESP")
        if child.encapsulation == .udp { sa.set("encap", flag: true) }
        sa.set("spi-in", child.inboundSPI.description)
        sa.set("spi-out", child.outboundSPI.description)
        setAlgorithms(&sa, child.proposal)
        sa.set("bytes-in", counters.octetsIn)
        sa.set("packets-in", counters.packetsIn)
        if let last = counters.lastIn { sa.set("use-in", last.duration(to: now).wholeSeconds) }
        sa.set("bytes-out", counters.octetsOut)
        sa.set("packets-out", counters.packetsOut)
        if let last = counters.lastOut { sa.set("use-out", last.duration(to: now).wholeSeconds) }
        setTimes(&sa, rekeyAt: child.rekeyAt, expiresAt: child.expiresAt, now)
        sa.set("install-time", child.installedAt.duration(to: now).wholeSeconds)
        // As strongSwan lists them, with the names of services.
        let text = { (selector: TrafficSelector) in
            selector.text { ServiceNames.name(port: $0, ipProtocol: $1) }
        }
        sa.list("local-ts", child.localSelectors.map(text))
        sa.list("remote-ts", child.remoteSelectors.map(text))
        if let details { setPath(&sa, child, details) }
        return sa
    }

    /// Where its packets go and how large they may be: keys of ours, behind strongSwan's.
    static func setPath(_ sa: inout ViciMessage, _ child: ChildSASnapshot, _ details: ChildDetails) {
        guard let path = details.path else { return }
        sa.set("path-local", path.local.description)
        sa.set("path-remote", path.remote.description)
        if let octets = details.pathMTU { sa.set("path-mtu", octets) }
        guard let transform = child.proposal.cipherTransform else { return }
        let inner = TunnelMTU.innerMTU(
            path: details.pathMTU ?? ESPEngine.defaultPathMTU,
            outerIsIPv6: path.remote.address.bitWidth == 128,
            encapsulation: path.encapsulation,
            transform: transform
        )
        sa.set("inner-mtu", inner)
    }
}
