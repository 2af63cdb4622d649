import Testing
import Vici

@testable import SwanctlConfiguration

/// Every setting that is not carried out is refused by its name, and charon's refusals are told in its words.
struct RefusalTests {
    @Test(arguments: [
        ("version", "1"), ("aggressive", "yes"), ("pull", "no"), ("dscp", "101110"),
        ("local_port", "4501"), ("remote_port", "1500"),
        ("pools", "rw_pool"),
        ("if_id_in", "7"),
        ("if_id_out", "%unique"), ("mediation", "yes"), ("mediated_by", "mediator"),
        ("mediation_peer", "peer"),
        ("local_addrs", "gateway.example.org"), ("proposals", "blowfish128-sha256-modp2048"),
    ])
    func settingsOfConnections(_ key: String, _ value: String) {
        let refusal = outcome(connectionText("\(key) = \(value)"))
        #expect(refusal.hasPrefix("connections.c.\(key) = \(value)"))
        #expect(refusal.hasSuffix(": not supported yet"))
    }

    @Test(arguments: [
        ("mode", "transport"), ("mode", "transport_proxy"), ("mode", "beet"), ("mode", "iptfs"),
        ("mode", "pass"),
        ("mode", "drop"), ("ipcomp", "yes"), ("sha256_96", "yes"),
        ("replay_window", "0"), ("replay_window", "31"), ("replay_window", "8193"),
        ("policies", "no"), ("reqid", "10"), ("interface", "eth0"),
        ("label", "unconfined"), ("label_mode", "selinux"),
        ("per_cpu_sas", "yes"), ("per_cpu_sas", "encap"), ("hw_offload", "crypto"), ("hw_offload", "packet"),
        ("mark_in", "10"), ("mark_out", "%unique"), ("set_mark_in", "%same"), ("set_mark_out", "1/0xff"),
        ("mark_in_sa", "yes"), ("if_id_in", "9"), ("if_id_out", "%unique-dir"),
        ("icmp", "yes"),
        ("ah_proposals", "sha256"), ("esp_proposals", "twofish128-sha1"),
    ])
    func settingsOfChildren(_ key: String, _ value: String) {
        let refusal = outcome(connectionText(child: "\(key) = \(value)"))
        #expect(refusal.hasPrefix("connections.c.children.n.\(key) = \(value)"))
        #expect(refusal.hasSuffix(": not supported yet"))
    }

    @Test(arguments: [
        ("auth", "pubkey-bliss"), ("auth", "rsa-sha1"), ("auth", "ike:ed25519-256"), ("auth", "eap-mschapv2"),
        ("auth", "xauth"), ("auth", "xauth-pam"), ("ca_id", "ca.example.org"), ("aaa_id", "aaa.example.org"),
        ("eap_id", "%any"), ("xauth_id", "carol"), ("groups", "sales"), ("cert_policy", "1.2.3"),
    ])
    func settingsOfRounds(_ key: String, _ value: String) {
        let refusal = outcome(connectionText(remote: "\(key) = \(value)"))
        #expect(refusal == "connections.c.remote.\(key) = \(value): not supported yet")
    }

    @Test(arguments: ["certs", "cacerts", "pubkeys"])
    func certificatesOfRounds(_ key: String) {
        let text = ViciMessage {
            $0.section("c") { conn in
                conn.section("remote") { $0.list(key, octets: [[0x30, 0]]) }
            }
        }
        var configuration = LoadedConfiguration()
        #expect(throws: LoadRefusal("invalid value for: \(key), config discarded")) {
            try configuration.loadConnection(text)
        }
        #expect(configuration.connections.isEmpty)
        #expect(
            outcome(connectionText(remote: "cert-1 {\nhandle = 01\n}"))
                .hasPrefix("connections.c.remote.cert-1 = a certificate")
        )
    }

    /// Several proofs are carried out (RFC 4739), but not with a key that RFC 8784 mixes into one of them.
    @Test func furtherRounds() throws {
        #expect(outcome(connectionText("remote-2 {\n auth = psk\n}")) == "loaded")
        #expect(
            outcome(connectionText("ppk_id = k\nremote-2 {\n auth = psk\n}"))
                .hasSuffix(" = a second round of authentication beside ppk_id: not supported yet")
        )
    }

    /// EAP as initiator, by methods of ours; the peer as client is another matter.
    @Test(arguments: [
        ("eap", "eap-tls", "loaded"), ("eap-mschapv2", "pubkey", "loaded"), ("eap-md5", "psk", "loaded"),
        ("eap-sim", "pubkey", "connections.c.local.auth = eap-sim: not supported yet"),
        ("pubkey", "eap-mschapv2", "connections.c.remote.auth = eap-mschapv2: not supported yet"),
        ("eap", "eap-md5", "connections.c.remote.auth = eap-md5: not supported yet"),
    ])
    func eap(_ local: String, _ remote: String, _ expected: String) {
        #expect(outcome(connectionText(local: "auth = \(local)", remote: "auth = \(remote)")) == expected)
    }

    /// All keys that swanctl.conf has for connections (strongSwan 6.0), each with its default: none is unknown.
    @Test func everyKeyOfSwanctlConfIsKnown() {
        let connection = [
            "version = 0", "local_addrs = %any", "remote_addrs = %any", "local_port = 500",
            "remote_port = 500",
            "proposals = default", "vips =", "aggressive = no", "pull = yes", "dscp = 000000", "encap = no",
            "mobike = yes", "dpd_delay = 0s", "dpd_timeout = 0s", "fragmentation = yes", "childless = allow",
            "send_certreq = yes", "send_cert = ifasked", "ocsp = reply", "ppk_id =", "ppk_required = no",
            "keyingtries = 1", "unique = no", "reauth_time = 0s", "rekey_time = 4h", "over_time = 24m",
            "rand_time = 24m", "pools =", "if_id_in = 0", "if_id_out = 0", "mediation = no", "mediated_by =",
            "mediation_peer =",
        ]
        for line in connection { #expect(outcome(connectionText(line)) == "loaded", "\(line)") }
        let round = [
            "round = 0", "certs =", "cacerts =", "pubkeys =", "id = %any", "groups =", "cert_policy =",
            "revocation = relaxed",
        ]
        for line in round { #expect(outcome(connectionText(remote: line)) == "loaded", "\(line)") }
        let child = [
            "ah_proposals =", "esp_proposals = default", "sha256_96 = no", "local_ts = dynamic",
            "remote_ts = dynamic", "rekey_time = 1h", "life_time = 66m", "rand_time = 6m", "rekey_bytes = 0",
            "life_bytes = 0", "rand_bytes = 0", "rekey_packets = 0", "life_packets = 0", "rand_packets = 0",
            "hostaccess = no", "mode = tunnel", "policies = yes", "policies_fwd_out = no",
            "dpd_action = none",
            "ipcomp = no", "inactivity = 0s", "reqid = 0", "priority = 0", "interface =", "mark_in = 0/0",
            "mark_in_sa = no", "mark_out = 0/0", "set_mark_in = 0/0", "set_mark_out = 0/0", "if_id_in = 0",
            "if_id_out = 0", "label_mode = system", "tfc_padding = 0", "replay_window = 32",
            "hw_offload = no",
            "copy_df = yes", "copy_ecn = yes", "copy_dscp = out", "copy_df = no", "copy_ecn = no",
            "copy_dscp = no",
            "copy_dscp = in", "copy_dscp = yes", "start_action = none",
            "close_action = none",
            "per_cpu_sas = no",
        ]
        for line in child { #expect(outcome(connectionText(child: line)) == "loaded", "\(line)") }
    }

    @Test func unknownKeysAreRefusedInCharonsWords() {
        let expected = "unknown option: foo, config discarded"
        #expect(outcome(connectionText("foo = 1")) == expected)
        #expect(outcome(connectionText(child: "foo = 1")) == expected)
        #expect(outcome(connectionText(remote: "foo = 1")) == expected)
        #expect(outcome(connectionText("Version = 2")) == "unknown option: Version, config discarded")
        // A list where charon has a value, and the reverse.
        let list = ViciMessage { $0.section("c") { $0.list("version", ["2"]) } }
        let value = ViciMessage { $0.section("c") { $0.set("proposals", "default") } }
        for (message, key) in [(list, "version"), (value, "proposals")] {
            var configuration = LoadedConfiguration()
            let refusal = #expect(throws: LoadRefusal.self) { try configuration.loadConnection(message) }
            #expect(refusal?.description == "unknown option: \(key), config discarded")
        }
    }

    @Test(arguments: [
        ("version", "two"), ("encap", "maybe"), ("mobike", ""), ("dpd_delay", "1w"), ("dscp", "102"),
        ("fragmentation", "maybe"), ("childless", "x"), ("send_cert", "x"), ("ocsp", "x"),
        ("keyingtries", "%f"),
        ("unique", "yes"), ("local_port", "isakmp"), ("reauth_time", "-1"), ("rekey_time", "1.5h"),
        ("over_time", "x"), ("rand_time", "10%"), ("if_id_in", "-"), ("proposals", "foo"), ("vips", "a b"),
        ("local_addrs", "10.0.0.0/99"), ("remote_addrs", "300.1.2.3"), ("aggressive", "2"),
    ])
    func invalidValuesOfConnections(_ key: String, _ value: String) {
        #expect(outcome(connectionText("\(key) = \(value)")) == "invalid value for: \(key), config discarded")
    }

    @Test(arguments: [
        ("mode", "tunnels"), ("policies", "x"), ("replay_window", "x"), ("rekey_time", "x"),
        ("life_bytes", "1x"),
        ("rekey_packets", "1k"), ("dpd_action", "hold"), ("start_action", "trap|x"), ("close_action", ""),
        ("reqid", "x"), ("mark_in", "x"), ("mark_in", "1/x"), ("set_mark_out", "%other"),
        ("tfc_padding", "x"),
        ("hw_offload", "x"), ("copy_dscp", "x"), ("if_id_in", "1/2"), ("label_mode", "x"),
        ("per_cpu_sas", "x"),
        ("esp_proposals", "aes128-foo"), ("local_ts", "10.1.0.0/99"), ("remote_ts", "x"),
        ("priority", "high"),
    ])
    func invalidValuesOfChildren(_ key: String, _ value: String) {
        #expect(
            outcome(connectionText(child: "\(key) = \(value)"))
                == "invalid value for: \(key), config discarded"
        )
    }

    @Test func sectionsThatAreNone() {
        #expect(outcome(connectionText("foo {\n}")) == "invalid section: foo")
        #expect(outcome(connectionText(remote: "foo {\n}")) == "invalid section: foo")
        #expect(outcome(connectionText(remote: "cert {\n}")) == "handle or file path missing: cert")
        #expect(
            outcome(connectionText(remote: "cacert2 {\nhandle = 1\nfile = /a\n}"))
                == "handle and file path given: cacert2"
        )
        #expect(
            outcome(connectionText(remote: "cert {\nslot = x\n}"))
                == "invalid value for: slot, config discarded"
        )
    }

    @Test func messagesThatAreNoConnection() {
        let messages = [
            ViciMessage(), ViciMessage { $0.set("c", "x") },
            ViciMessage {
                $0.section("a", ViciMessage())
                $0.section("b", ViciMessage())
            },
            ViciMessage { $0.section("", ViciMessage()) }, ViciMessage { $0.section("a\n", ViciMessage()) },
        ]
        for message in messages {
            var configuration = LoadedConfiguration()
            #expect(throws: LoadRefusal.self) { try configuration.loadConnection(message) }
            #expect(configuration.connections.isEmpty)
        }
    }

    @Test func tablesAreBounded() {
        let items = [String](repeating: "10.1.0.0/16", count: LoadLimits.listItems + 1)
        #expect(
            outcome(connectionText(child: "local_ts = " + items.joined(separator: ",")))
                == "limit of \(LoadLimits.listItems) items of local_ts reached"
        )
        let rounds = (0...LoadLimits.rounds).map { "remote-\($0) {\n}" }.joined(separator: "\n")
        #expect(outcome(connectionText(rounds)).hasPrefix("limit of"))
        let children = (0...LoadLimits.children).map { "c\($0) {\n}" }.joined(separator: "\n")
        #expect(
            outcome("connections {\nc {\nchildren {\n\(children)\n}\n}\n}")
                == "limit of \(LoadLimits.children) children of a connection reached"
        )
        #expect(
            outcome("connections {\nc {\nchildren {\na {\n}\na {\n}\n}\n}\n}")
                == "children.a is there twice, config discarded"
        )
    }
}
