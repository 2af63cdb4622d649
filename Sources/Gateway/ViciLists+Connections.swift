import IKECore
import IPPackets
import IPsecTypes
import Policy
import Primitives
import SwanctlConfiguration
import Vici

/// What `list-conns` and `list-policies` tell.
extension ViciLists {
    /// The `list-conn` event of one connection; of one that came over vici `listing` tells what was sent.
    static func listConnection(
        _ connection: ConnectionPolicy,
        _ details: ConnectionDetails,
        listing: ConnectionListing? = nil,
        at now: Instant
    ) -> ViciMessage {
        var conn = listing?.head ?? head(connection)
        conn.section("children") { children in
            for tunnel in connection.tunnels {
                var section = listing?.children.first { $0.name == tunnel.name }?.section ?? child(tunnel)
                add(tunnel, details.entries[tunnel.name], now, to: &section)
                children.section(tunnel.name, section)
            }
        }
        conn.set("origin", connection.origin.description)
        if !details.names.isEmpty { conn.section("names", names(details.names, now)) }
        let causes = connection.tunnels.compactMap { details.entries[$0.name]?.lastCause }
        if let cause = causes.first { conn.set("last-error", cause) }
        return ViciMessage { $0.section(connection.name, conn) }
    }

    /// What stands before the children.
    private static func head(_ connection: ConnectionPolicy) -> ViciMessage {
        var conn = ViciMessage()
        let local = connection.localAddresses.map { $0.description }
        conn.list("local_addrs", local.isEmpty ? ["%any"] : local)
        conn.list("remote_addrs", connection.remoteAddress.hostTexts)
        conn.set("version", "IKEv2")
        conn.set("reauth_time", 0)
        conn.set("rekey_time", connection.lifetime.rekey?.wholeSeconds ?? 0)
        conn.set("unique", "UNIQUE_REPLACE")
        if let delay = connection.livenessDelay { conn.set("dpd_delay", delay.wholeSeconds) }
        conn.section("local-1", authentication(connection.localIdentity))
        conn.section("remote-1", authentication(connection.effectiveRemoteIdentity))
        return conn
    }

    private static func authentication(_ identity: Identity?) -> ViciMessage {
        ViciMessage { section in
            if let identity { section.set("id", identity.description) }
            section.set("class", "pre-shared key")
            for key in ["groups", "cert_policy", "certs", "cacerts"] { section.list(key, []) }
        }
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

    private static func child(_ tunnel: Policy.TunnelPolicy) -> ViciMessage {
        ViciMessage { section in
            section.set("mode", "TUNNEL")
            section.set("rekey_time", tunnel.lifetime.rekey?.wholeSeconds ?? 0)
            section.set("rekey_bytes", tunnel.rekeyVolume.octets ?? 0)
            section.set("rekey_packets", tunnel.rekeyVolume.packets ?? 0)
            // strongSwan's words for what follows when the peer is dead or closes the tunnel.
            let action = tunnel.start == .start ? "start" : "none"
            section.set("dpd_action", action)
            section.set("close_action", action)
            section.list("local-ts", tunnel.local.map { $0.description })
            section.list("remote-ts", tunnel.remote.map { $0.description })
        }
    }

    /// What the gateway does about a tunnel: keys of ours, behind strongSwan's.
    private static func add(
        _ tunnel: Policy.TunnelPolicy,
        _ entry: Supervisor.Entry?,
        _ now: Instant,
        to section: inout ViciMessage
    ) {
        section.set("start", tunnel.start.rawValue)
        guard let entry else { return }
        if let cause = entry.lastCause { section.set("last-error", cause) }
        if entry.failures > 0 { section.set("failures", entry.failures) }
        if case .waiting(let instant) = entry.phase {
            section.set("next-attempt", max(0, now.duration(to: instant).wholeSeconds))
        }
    }

    /// The `list-policy` event of a tunnel whose packets bring it up.
    static func listPolicy(_ key: TunnelKey, _ tunnel: Policy.TunnelPolicy, number: UInt32?) -> ViciMessage {
        ViciMessage { message in
            message.section("\(key.connection)/\(key.tunnel)") { section in
                section.set("child", key.tunnel)
                if let number { section.set("reqid", number) }
                section.set("ike", key.connection)
                section.set("mode", "TUNNEL")
                section.list("local-ts", tunnel.local.map { $0.description })
                section.list("remote-ts", tunnel.remote.map { $0.description })
            }
        }
    }
}
