import IPsecTypes
import Policy
import Testing
import Vici

@testable import SwanctlConfiguration

struct ConnectionTests {
    @Test func defaultsAreStrongSwans() throws {
        let policy = try load(connectionText()).policy
        #expect(policy.name == "c")
        #expect(policy.localIdentity == nil)
        #expect(policy.livenessDelay == nil)
        #expect(policy.uniqueness == .no)
        #expect(policy.keyingTries == 1)
        #expect(policy.reauthentication == nil)
        #expect(!policy.forcesEncapsulation)
        #expect(policy.isFromVici)
        #expect(policy.effectiveRemoteIdentity == nil)
        let tunnel = try #require(policy.tunnels.first)
        #expect(tunnel.name == "n")
        #expect(tunnel.localSelectors == [.dynamic(ipProtocol: 0, ports: 0...65535)])
        #expect(tunnel.remoteSelectors == [.dynamic(ipProtocol: 0, ports: 0...65535)])
        #expect(tunnel.replayWindow == 32)
        #expect(tunnel.updown == nil)
        #expect(tunnel.priority == nil)
        let none = Persistence(onLoad: .none, onClose: .none, onDead: .none, triesForEver: false)
        #expect(tunnel.persistence == none)
    }

    /// What a start_action began ends with a definition that is not the same any more.
    @Test func tellsWhichTunnelsALoadChanges() throws {
        let before = try #require(
            SwanctlFile(connectionText(child: "start_action = start")).connections.first
        )
        let other = try #require(SwanctlFile(connectionText(child: "start_action = trap")).connections.first)
        let common = try #require(
            SwanctlFile(connectionText("dpd_delay = 9s", child: "start_action = start")).connections.first
        )
        var configuration = LoadedConfiguration()
        #expect(configuration.changedTunnels(of: "c", by: before).isEmpty)
        try configuration.loadConnection(before)
        #expect(configuration.changedTunnels(of: "c", by: before).isEmpty)
        #expect(configuration.changedTunnels(of: "c", by: other).map { $0.name } == ["n"])
        #expect(configuration.changedTunnels(of: "c", by: common).map { $0.name } == ["n"])
        #expect(configuration.changedTunnels(of: "c", by: ViciMessage()).map { $0.name } == ["n"])
    }

    @Test func settingsReachThePolicy() throws {
        let text = connectionText(
            """
            version = 2
            encap = yes
            dpd_delay = 30s
            dpd_timeout = 2m
            unique = replace
            keyingtries = 0
            """,
            child: """
                updown = /usr/lib/ipsec/_updown iptables
                priority = 1000
                replay_window = 1024
                tfc_padding = mtu
                copy_dscp = yes
                copy_df = no
                start_action = trap|start
                close_action = trap
                dpd_action = restart
                local_ts = 10.1.0.0/16, 10.2.0.0/16[tcp/22]
                remote_ts = 10.3.0.0/16
                """,
            remote: "id = sun.strongswan.org"
        )
        let policy = try load(text).policy
        #expect(policy.forcesEncapsulation)
        #expect(policy.livenessDelay == .seconds(30))
        #expect(policy.uniqueness == .replace)
        #expect(policy.keyingTries == 0)
        #expect(policy.remoteIdentity == .fqdn("sun.strongswan.org"))
        let tunnel = try #require(policy.tunnels.first)
        #expect(tunnel.updown == "/usr/lib/ipsec/_updown iptables")
        #expect(tunnel.priority == 1000)
        #expect(tunnel.replayWindow == 1024 && tunnel.padding == .mtu)
        #expect(tunnel.copying == HeaderCopying(dscp: .yes, df: false))
        #expect(
            tunnel.persistence
                == Persistence(onLoad: .trapAndStart, onClose: .trap, onDead: .start, triesForEver: false)
        )
        #expect(tunnel.localSelectors.map { $0.description } == ["10.1.0.0/16", "10.2.0.0/16[tcp/22]"])
        #expect(tunnel.remoteSelectors.map { $0.description } == ["10.3.0.0/16"])
    }

    @Test(arguments: [
        ("none", StartAction.none), ("clear", .none), ("trap", .trap), ("route", .trap), ("start", .start),
        ("restart", .start), ("trap|start", .trapAndStart), ("start|trap", .trapAndStart),
        ("TRAP|START", .trapAndStart), ("trap | start", .trapAndStart), ("none|trap", .trap),
    ])
    func actions(_ word: String, _ action: StartAction) throws {
        for key in ["start_action", "close_action", "dpd_action"] {
            let tunnel = try #require(
                try load(connectionText(child: "\(key) = \(word)")).policy.tunnels.first
            )
            let persistence = tunnel.persistence
            let found = ["start_action": persistence.onLoad, "close_action": persistence.onClose]
            #expect(found[key, default: persistence.onDead] == action)
        }
    }

    /// Settings at their default, or at what we do anyway, are no reason to refuse.
    @Test(arguments: [
        "version = 0", "version = 2", "mobike = yes", "mobike = no", "fragmentation = yes",
        "fragmentation = no", "fragmentation = force",
        "fragmentation = accept", "encap = no", "send_certreq = no", "send_cert = always", "dscp = 000000",
        "childless = allow", "childless = never", "childless = prefer", "childless = force", "if_id_in = 0",
        "if_id_out = 0", "aggressive = no",
        "pull = yes",
        "dpd_timeout = 150s", "ocsp = both", "local_port = 500", "local_port = 0", "remote_port = 500",
        "ppk_required = no", "mediation = no", "vips = ", "pools = ", "unique = never",
    ])
    func harmlessKeysOfConnections(_ line: String) {
        #expect(outcome(connectionText(line)) == "loaded")
    }

    @Test(arguments: [
        "hw_offload = no", "hw_offload = auto", "policies = yes", "policies_fwd_out = yes", "tfc_padding = 0",
        "copy_df = yes", "copy_ecn = yes", "copy_dscp = out", "ipcomp = no", "mode = tunnel", "mode = TUNNEL",
        "mark_in = 0", "mark_out = 0/0x00000000", "set_mark_in = 0", "mark_in_sa = no", "reqid = 0",
        "inactivity = 0", "label_mode = simple", "per_cpu_sas = no", "sha256_96 = no", "icmp = no",
        "hostaccess = no", "if_id_in = 0", "replay_window = 64", "interface = ", "priority = 0",
    ])
    func harmlessKeysOfChildren(_ line: String) {
        #expect(outcome(connectionText(child: line)) == "loaded")
    }

    @Test func roundsAreOrderedByTheirNumber() throws {
        let options = try ConnectionOptions(
            parsing: ViciMessage {
                $0.section("c") { conn in
                    for (name, round) in [("local-b", "2"), ("local-a", "1"), ("LOCAL", "1")] {
                        conn.section(name) { $0.set("round", round) }
                    }
                }
            }
        )
        #expect(options.localRounds.map { $0.name } == ["local-a", "LOCAL", "local-b"])
    }

    @Test func aLaterLoadingReplacesInPlace() throws {
        var configuration = LoadedConfiguration()
        let message = { (name: String, encap: String) in
            SwanctlFile(connectionText("encap = \(encap)").replacing("  c {", with: "  \(name) {"))
                .connections
        }
        for name in ["a", "b", "c"] {
            for message in message(name, "no") { try configuration.loadConnection(message) }
        }
        for message in message("b", "yes") { try configuration.loadConnection(message) }
        #expect(configuration.connectionNames == ["a", "b", "c"])
        #expect(configuration.connection("b")?.policy.forcesEncapsulation == true)
        try configuration.unloadConnection("a")
        #expect(configuration.connections.map { $0.policy.name } == ["b", "c"])
        let refusal = #expect(throws: LoadRefusal.self) { try configuration.unloadConnection("a") }
        #expect(refusal?.description == "unload: connection 'a' not found")
    }
}
