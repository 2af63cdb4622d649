import Cryptography
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

/// Messages of `list-sas` and `list-conns` with strongSwan's keys in strongSwan's order.
enum ViciLists {
    /// The `list-sa` event of one IKE_SA.
    static func listSA(
        _ ike: IKESASnapshot,
        counters: [UInt32: ChildCounters],
        at now: Instant
    ) -> ViciMessage {
        ViciMessage { message in
            message.section(ike.connection.isEmpty ? "(unnamed)" : ike.connection, ikeSA(ike, counters, now))
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
        counters: [UInt32: ChildCounters],
        at now: Instant
    ) -> ViciMessage {
        ViciMessage { message in
            var sa = ikeSA(ike, now)
            sa.section("child-sas") { list in
                list.section(old.tunnel) { section in
                    section.section("old", childSA(old, counters[old.id], now))
                    section.section("new", childSA(new, counters[new.id], now))
                }
            }
            message.section(ike.connection, sa)
        }
    }

    private static func ikeSA(
        _ ike: IKESASnapshot,
        _ counters: [UInt32: ChildCounters],
        _ now: Instant
    ) -> ViciMessage {
        var sa = ikeSA(ike, now)
        sa.section("child-sas") { list in
            for child in ike.children {
                list.section("\(child.tunnel)-\(child.id)", childSA(child, counters[child.id], now))
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
        _ counters: ChildCounters?,
        _ now: Instant
    ) -> ViciMessage {
        let counters = counters ?? ChildCounters()
        var sa = ViciMessage()
        sa.set("name", child.tunnel)
        sa.set("uniqueid", child.id)
        sa.set("reqid", child.id)
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
        return sa
    }

    /// The `list-conn` event of one connection.
    static func listConnection(_ connection: ConnectionPolicy, _ entries: [String: Supervisor.Entry])
        -> ViciMessage
    {
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
                children.section(tunnel.name, child(tunnel))
            }
        }
        conn.set("origin", connection.origin.description)
        let causes = connection.tunnels.compactMap { entries[$0.name]?.lastCause }
        if let cause = causes.first { conn.set("last-error", cause) }
        return ViciMessage { $0.section(connection.name, conn) }
    }

    private static func child(_ tunnel: Policy.TunnelPolicy) -> ViciMessage {
        ViciMessage { section in
            section.set("mode", "TUNNEL")
            section.set("rekey_time", tunnel.lifetime.rekey?.wholeSeconds ?? 0)
            section.set("rekey_bytes", tunnel.rekeyVolume.octets ?? 0)
            section.set("rekey_packets", tunnel.rekeyVolume.packets ?? 0)
            section.set("start", tunnel.start.rawValue)
            section.list("local-ts", tunnel.local.map { $0.description })
            section.list("remote-ts", tunnel.remote.map { $0.description })
        }
    }
}
