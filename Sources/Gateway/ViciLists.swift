import Cryptography
import ESP
import IKECore
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Vici

/// Counters of one CHILD_SA as the data plane last told them.
struct ChildCounters: Sendable {
    var packetsIn: UInt64 = 0
    var octetsIn: UInt64 = 0
    var packetsOut: UInt64 = 0
    var octetsOut: UInt64 = 0
    var lastIn: Instant?
    var lastOut: Instant?
}

/// What is known of one CHILD_SA beside its negotiation.
struct ChildDetails: Sendable {
    var counters = ChildCounters()
    /// The outer ends as they are now.
    var path: OuterPath?
    /// What the path was found to carry.
    var pathMTU: Int?
    /// The number of its tunnel, which a rekey keeps.
    var tunnelID: UInt32?
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
        sa.section("child-sas") { list in
            for child in ike.children {
                list.section("\(child.tunnel)-\(child.id)", childSA(child, details[child.id], now))
            }
        }
        return sa
    }

    private static func ikeSA(_ ike: IKESASnapshot, _ now: Instant) -> ViciMessage {
        var sa = ViciMessage()
        sa.set("uniqueid", ike.id)
        sa.set("version", 2)
        sa.set("state", ike.state.rawValue)
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
        if ike.nat.isLocalBehindNAT || ike.nat.isRemoteBehindNAT { sa.set("nat-any", flag: true) }
        if let proposal = ike.proposal { setAlgorithms(&sa, proposal) }
        if let since = ike.establishedAt { sa.set("established", since.duration(to: now).wholeSeconds) }
        setTimes(&sa, rekeyAt: ike.rekeyAt, expiresAt: ike.expiresAt, now)
        return sa
    }

    /// Seconds until the replacement begins and until the end.
    private static func setTimes(
        _ sa: inout ViciMessage,
        rekeyAt: Instant?,
        expiresAt: Instant?,
        _ now: Instant
    ) {
        if let rekeyAt { sa.set("rekey-time", max(0, now.duration(to: rekeyAt).wholeSeconds)) }
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
        sa.set("reqid", details?.tunnelID ?? child.id)
        sa.set("state", "INSTALLED")
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
        sa.list("local-ts", child.localSelectors.map { $0.description })
        sa.list("remote-ts", child.remoteSelectors.map { $0.description })
        if let details { setPath(&sa, child, details) }
        return sa
    }

    /// Where its packets go and how large they may be: keys of ours, behind strongSwan's.
    private static func setPath(_ sa: inout ViciMessage, _ child: ChildSASnapshot, _ details: ChildDetails) {
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

    /// The `list-conn` event of one connection.
    static func listConnection(
        _ connection: ConnectionPolicy,
        _ details: ConnectionDetails,
        at now: Instant
    ) -> ViciMessage {
        var conn = ViciMessage()
        let local = connection.localAddresses.map { $0.description }
        conn.list("local_addrs", local.isEmpty ? ["%any"] : local)
        conn.list("remote_addrs", connection.remoteAddress.hostTexts)
        conn.set("version", "IKEv2")
        conn.set("reauth_time", 0)
        conn.set("rekey_time", connection.lifetime.rekey?.wholeSeconds ?? 0)
        conn.set("unique", "UNIQUE_REPLACE")
        if let delay = connection.livenessDelay { conn.set("dpd_delay", delay.wholeSeconds) }
        conn.section("local-1") { section in
            section.set("class", "pre-shared key")
            if let id = connection.localIdentity { section.set("id", id.description) }
        }
        conn.section("remote-1") { section in
            section.set("class", "pre-shared key")
            if let id = connection.effectiveRemoteIdentity { section.set("id", id.description) }
        }
        conn.section("children") { children in
            for tunnel in connection.tunnels {
                children.section(tunnel.name, child(tunnel, details.entries[tunnel.name], now))
            }
        }
        conn.set("origin", connection.origin.description)
        if !details.names.isEmpty { conn.section("names", names(details.names, now)) }
        let causes = connection.tunnels.compactMap { details.entries[$0.name]?.lastCause }
        if let cause = causes.first { conn.set("last-error", cause) }
        return ViciMessage { $0.section(connection.name, conn) }
    }

    /// What each name of the peer stands for, or why it cannot be looked up.
    private static func names(_ names: [(name: String, record: PeerNames.Record)], _ now: Instant)
        -> ViciMessage
    {
        ViciMessage { message in
            for (name, record) in names {
                message.section(name) { section in
                    section.list("addresses", record.addresses.map { $0.description })
                    if let settled = record.settledAt {
                        section.set("age", max(0, settled.duration(to: now).wholeSeconds))
                    }
                    if let failure = record.failure { section.set("error", failure) }
                }
            }
        }
    }

    private static func child(
        _ tunnel: Policy.TunnelPolicy,
        _ entry: Supervisor.Entry?,
        _ now: Instant
    ) -> ViciMessage {
        ViciMessage { section in
            section.set("mode", "TUNNEL")
            section.set("rekey_time", tunnel.lifetime.rekey?.wholeSeconds ?? 0)
            section.set("rekey_bytes", tunnel.rekeyVolume.octets ?? 0)
            section.set("rekey_packets", tunnel.rekeyVolume.packets ?? 0)
            section.set("start", tunnel.start.rawValue)
            section.list("local-ts", tunnel.local.map { $0.description })
            section.list("remote-ts", tunnel.remote.map { $0.description })
            guard let entry else { return }
            if let cause = entry.lastCause { section.set("last-error", cause) }
            if entry.failures > 0 { section.set("failures", entry.failures) }
            if case .waiting(let instant) = entry.phase {
                section.set("next-attempt", max(0, now.duration(to: instant).wholeSeconds))
            }
        }
    }
}
