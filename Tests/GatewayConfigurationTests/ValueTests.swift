import Cryptography
import GatewayConfiguration
import IPPackets
import IPsecTypes
import Policy
import Testing

@Suite("Values of gateway.yaml")
struct ValueTests {
    @Test(arguments: [
        ("interface: ¶a-name-with-16-ch", "interface name"), ("interface: ¶tun/0", "1 to 15"),
        ("interface: ¶'..'", "interface name"), ("ports: { ike: ¶0 }", "1 to 65535"),
        ("ports: { nat-t: ¶65536 }", "1 to 65535"), ("ports: { ike: ¶-1 }", "1 to 65535"),
        ("ports: { ike: ¶+500 }", "1 to 65535"), ("mark: ¶0", "1 to 4294967295"), ("mark: ¶0x0", "0x1"),
        ("mark: ¶0x1ffffffff", "0xffffffff"), ("mark: ¶0x-1", "0xffffffff"), ("routing-table: ¶254", "254"),
        ("rule-priority: ¶32766", "1 to 32765"), ("mtu: ¶500", "1280 to 65535"), ("workers: ¶0", "1 to 64"),
        ("workers: ¶99999999999999999999", "1 to 64"), ("log-level: ¶verbose", "trace, debug, info"),
        ("disable-offloads: [¶tun]", "tun-tcp, tun-udp, udp-segment, udp-gro, ipsec-mb"),
        ("vici: ¶vici.sock", "absolute path"), ("vici: [/a, ¶b]", "absolute path"),
        ("asn: ¶AS1", "1 to 4294967295"),
        ("identity: ¶'@#abc'", "identity"), ("vici: ¶[]", "empty list"),
    ])
    func refusesGatewayValues(line: String, word: String) {
        expectError(gatewayFile(gateway: line), word, "gateway.")
    }

    @Test(arguments: [
        ("ike: ¶v1", "'v1' is not supported yet; accepted: v2"),
        ("ike: ¶auto", "'auto' is not supported yet; accepted: v2"),
        ("ike: ¶v3", "'v3' is not accepted; accepted: v2"),
        ("mode: ¶Passive", "accepted: Default, InitiatorOnly, ResponderOnly"),
        ("start: ¶ondemand", "did you mean 'on-demand'?; accepted: start, on-demand, passive"),
        ("mode: ResponderOnly, start: ¶start", "contradicts 'mode'; accepted: passive"),
        ("encap: ¶yes", "'yes' is not accepted; expected true or false"),
        ("dpd-delay: ¶30x", "not a duration; accepted: 30, 30s, 500ms, 5m, 1h"),
        ("dpd-delay: ¶0", "1s to 86400s"),
        ("dpd-delay: ¶1500ms1", "not a duration"), ("dpd-delay: ¶''", "not a duration"),
        ("dpd-delay: 30, dpd-timeout: ¶45", "means the same"), ("keepalive: ¶off", "not a duration"),
        ("keepalive: ¶2h", "1s to 3600s"), ("replay-window: ¶16", "32 to 8192"),
        ("copy-dscp: ¶both", "out, in, yes, no"),
        ("retransmit: { base: ¶0.5 }", "1 to 10"), ("retransmit: { base: ¶nan }", "1 to 10"),
        ("retransmit: { initial: ¶1ms }", "100ms to 300s"), ("retransmit: { tries: ¶101 }", "0 to 100"),
        ("addresses: [¶10.0.0.256]", "not an address"), ("addresses: ¶0.0.0.0", "not an address"),
        ("local-id: ¶keyid:0xzz", "identity"),
        ("tunnels: ¶{}", "is empty"),
        ("tunnels: { ¶'a b': {} }", "not a name"),
    ])
    func refusesConnectionValues(text: String, word: String) {
        let file = gatewayFile(connection: "site: branch, psk-file: /psk, \(text)")
        expectError(
            text == "tunnels: ¶{}"
                ? file.replacing("¶", with: "").replacing("tunnels", with: "¶tunnels") : file,
            word
        )
    }

    @Test(arguments: [
        ("10.1.2.3/16", "has bits set behind its prefix; expected 10.1.0.0/16"),
        ("10.1.0.0/33", "not a network"),
        ("banana", "not a network"), ("10.1.0.0/16[tcp", "']' is missing"),
        ("10.1.0.0/16[tpc]", "not a protocol"),
        ("10.1.0.0/16[tcp/70000]", "not a port"), ("10.1.0.0/16[tcp/9-8]", "not a port"),
        ("10.1.0.0/16[icmp/8]", "only tcp, udp"), ("10.1.0.9-10.1.0.1", "ends before it starts"),
        ("10.1.0.1-2001:db8::1", "mixes IPv4 and IPv6"), ("10.1.0.1-", "not a range"),
        ("10.1.0.0/16[0]", "not a protocol"),
        ("10.1.0.0/16[]", "not a protocol"), ("10.1.0.0/16[tcp/]", "not a port"), ("", "not a network"),
    ])
    func refusesSelectors(selector: String, word: String) {
        expectError(
            gatewayFile(
                connection:
                    "site: branch, psk-file: /psk, tunnels: { t: { local: [10.1.0.0/16, ¶'\(selector)'] } }"
            ),
            word,
            "connections.branch.tunnels.t.local"
        )
    }

    @Test(arguments: [
        ("10.1.0.0/16", "10.1.0.0/16"), ("10.1.0.0/16[tcp/443]", "10.1.0.0/16[tcp/443]"),
        ("10.0.0.1-10.0.0.9", "10.0.0.1..10.0.0.9"),
        ("10.0.0.1..10.0.0.9[udp/1-5]", "10.0.0.1..10.0.0.9[udp/1-5]"),
        ("0.0.0.0/0", "0.0.0.0/0"), ("10.1.0.7", "10.1.0.7/32"), ("10.1.0.0/16[47]", "10.1.0.0/16[47]"),
        ("10.1.0.0/16[icmp]", "10.1.0.0/16[icmp]"), ("10.1.0.0/16[tcp]", "10.1.0.0/16[tcp]"),
    ])
    func readsSelectors(selector: String, text: String) throws {
        let gateway = try load(
            gatewayFile(connection: "site: branch, psk-file: /psk, tunnels: { t: { local: '\(selector)' } }")
        )
        #expect(gateway.connections.first?.tunnels.first?.local.map { $0.description } == [text])
    }

    @Test(
        arguments: [
            ("30", 30_000), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("1500ms", 1500),
            ("off", nil),
        ] as [(String, Int64?)]
    )
    func readsDurations(text: String, milliseconds: Int64?) throws {
        for key in ["dpd-delay", "dpd-timeout"] {
            let gateway = try load(gatewayFile(connection: "site: branch, psk-file: /psk, \(key): \(text)"))
            #expect(gateway.connections.first?.livenessDelay == milliseconds.map { .milliseconds($0) })
        }
    }

    @Test func fillsDefaults() throws {
        let gateway = try load("gateway: { networks: 10.1.0.0/16 }")
        #expect(gateway.name == "gateway" && gateway.interfaceName == "causeway0" && gateway.mark == 0xca05e)
        #expect(gateway.routingTable == 2200 && gateway.rulePriority == 2200 && gateway.workers == nil)
        #expect(gateway.ikePort == 500 && gateway.natTraversalPort == 4500 && gateway.innerMTU == nil)
        #expect(gateway.viciPaths == ["/run/causeway/vici.sock"] && gateway.logLevel == nil)
        #expect(gateway.outerAddresses.isEmpty && gateway.identity == nil && gateway.asn == nil)
        let connection = try #require(try load(gatewayFile()).connections.first)
        #expect(connection.proposals == DefaultProposals.ike && connection.livenessDelay == .seconds(30))
        #expect(connection.keepaliveInterval == .seconds(20) && connection.forcesEncapsulation)
        #expect(connection.retransmission == RetransmissionPolicy())
        let tunnel = try #require(connection.tunnels.first)
        #expect(connection.tunnels.count == 1 && tunnel.name == "branch" && tunnel.start == .start)
        #expect(tunnel.local.map { $0.description } == ["10.1.0.0/16"])
        #expect(tunnel.remote.map { $0.description } == ["10.2.0.0/16"])
        #expect(tunnel.proposals == DefaultProposals.esp && tunnel.replayWindow == 1024)
    }

    @Test func readsEveryKey() throws {
        let gateway = try load(
            """
            gateway: { name: hq_1, address: 192.0.2.1, networks: [10.1.0.0/16, '2001:db8:1::/48'], interface: ipsec0,
              identity: hq.example.com, mark: 77, routing-table: 0x99, rule-priority: 100,
              ports: { ike: 1500, nat-t: 14500 }, vici: [/run/a.sock, /run/b.sock], mtu: 1400, workers: 2,
              log-level: debug, asn: 65010, disable-offloads: [tun-udp, ipsec-mb] }
            sites: { b: { address: '2001:db8::2', prefixes: [10.2.0.0/16] } }
            connections:
              c: { site: b, ike: v2, mode: Default, start: on-demand, local-id: hq@example.com, remote-id: '@#0a0b',
                psk-file: keys/b, ike-proposals: aes128-sha256-modp2048, esp-proposals: [aes128-sha1], dpd-delay: off,
                keepalive: 10s, encap: true, addresses: ['2001:db8::1'], replay-window: 64,
                copy-dscp: in, copy-ecn: false, retransmit: { initial: 500ms, base: 2, tries: 3, limit: 8s },
                tunnels: { t: { local: 10.1.1.0/24, remote: 10.2.1.0/24, esp-proposals: aes256gcm16, start: passive,
                  replay-window: 128, copy-df: false }, u: { } } }
            """,
            secrets: ["/etc/causeway/keys/b": .success([UInt8](1...20))]
        )
        #expect(gateway.name == "hq_1" && gateway.interfaceName == "ipsec0" && gateway.mark == 77)
        #expect(gateway.outerAddresses.map { $0.description } == ["192.0.2.1"])
        #expect(gateway.identity == .fqdn("hq.example.com") && gateway.routingTable == 153)
        #expect(gateway.rulePriority == 100 && gateway.ikePort == 1500 && gateway.natTraversalPort == 14500)
        #expect(gateway.viciPaths == ["/run/a.sock", "/run/b.sock"] && gateway.innerMTU == 1400)
        #expect(gateway.disabledOffloads == ["tun-udp", "ipsec-mb"])
        #expect(gateway.workers == 2 && gateway.logLevel == "debug" && gateway.asn == 65010)
        let connection = try #require(gateway.connections.first)
        #expect(
            connection.localIdentity == .email("hq@example.com")
                && connection.remoteIdentity == .keyID([10, 11])
        )
        #expect(
            connection.remoteAddress.description == "2001:db8::2"
                && connection.sharedKeys.entries.first?.key.count == 20
        )
        #expect(connection.localAddresses.map { $0.description } == ["2001:db8::1"])
        #expect(
            connection.proposals.map { $0.description } == [
                "IKE:AES_CBC_128/PRF_HMAC_SHA2_256/HMAC_SHA2_256_128/MODP_2048"
            ]
        )
        #expect(connection.livenessDelay == nil && connection.keepaliveInterval == .seconds(10))
        #expect(connection.forcesEncapsulation)
        #expect(
            connection.tunnels.map { $0.copying } == [
                HeaderCopying(dscp: .in, ecn: false, df: false), HeaderCopying(dscp: .in, ecn: false),
            ]
        )
        #expect(
            connection.retransmission
                == RetransmissionPolicy(initial: .milliseconds(500), base: 2, tries: 3, limit: .seconds(8))
        )
        #expect(
            connection.tunnels.map { $0.name } == ["t", "u"]
                && connection.tunnels.map { $0.start } == [.passive, .onDemand]
        )
        #expect(connection.tunnels.map { $0.replayWindow } == [128, 64])
        #expect(
            connection.tunnels.map { $0.proposals.first?.description } == [
                "ESP:AES_GCM_16_256/NO_EXT_SEQ", "ESP:AES_CBC_128/HMAC_SHA1_96/NO_EXT_SEQ",
            ]
        )
        #expect(connection.tunnels.last?.local.map { $0.description } == ["10.1.0.0/16", "2001:db8:1::/48"])
        #expect(connection.tunnels.last?.remote.map { $0.description } == ["10.2.0.0/16"])
    }

    @Test func originsNameTheLinesThatDecide() throws {
        let gateway = try load(
            """
            gateway: { networks: 10.1.0.0/16 }
            policies:
              p:
                ikeEncryption: AES256
                ikeIntegrity: SHA256
                dhGroup: DHGroup14
            sites:
              b: { networks: 10.2.0.0/16,
                   address: 192.0.2.2 }
            connections:
              b:
                site: b
                policy: p
                psk-file: k
                esp-proposals: default
                remote-id: x
                tunnels:
                  one: { }
            """
        )
        let connection = try #require(gateway.connections.first)
        let line = { (key: String) in connection.origin(of: key).description }
        #expect(line("ike-proposals") == "\(path):4" && line("psk-file") == "\(path):14")
        #expect(line("esp-proposals") == "\(path):15" && line("remote-id") == "\(path):16")
        #expect(line("address") == "\(path):9" && line("local-id") == "\(path):11")
        #expect(line("local") == "\(path):17" && line("remote") == "\(path):17")
        #expect(connection.tunnels.first?.origin.line == 18)
        let plain = try #require(try load(gatewayFile(gateway: "identity: hq")).connections.first)
        let places = ["local", "remote", "local-id", "ike-proposals"].map { plain.origin(of: $0).line }
        #expect(places == [4, 8, 5, 11])
    }

    @Test func azureModesMapToStart() throws {
        for (mode, start) in [
            ("Default", StartMode.start), ("InitiatorOnly", .start), ("ResponderOnly", .passive),
        ] {
            let gateway = try load(gatewayFile(connection: "site: branch, psk-file: /psk, mode: \(mode)"))
            #expect(gateway.connections.first?.tunnels.first?.start == start)
        }
    }

    @Test func sitesWithAnyAddressArePassive() throws {
        let site = "address: any, networks: [10.2.0.0/16]"
        let gateway = try load(gatewayFile(site: site))
        #expect(gateway.connections.first?.tunnels.first?.start == .passive)
        #expect(gateway.connections.first?.remoteAddress == .any)
        expectError(
            gatewayFile(site: site, connection: "site: branch, psk-file: /psk, start: ¶start"),
            "a site with the address any cannot be called; accepted: passive"
        )
        expectError(
            gatewayFile(
                site: site,
                connection: "site: branch, psk-file: /psk, tunnels: { t: { start: ¶on-demand } }"
            ),
            "cannot be called; accepted: passive"
        )
        expectError(
            gatewayFile(site: site, connection: "site: branch, psk-file: /psk, mode: ¶InitiatorOnly"),
            "accepted: Default, ResponderOnly"
        )
    }

    @Test func emptyNetworksAreRefused() {
        expectError(
            gatewayFile(site: "address: 192.0.2.2").replacing("  branch: { site", with: "  ¶branch: { site"),
            "connections.branch: has no tunnels, so sites.branch.networks must name at least one network"
        )
        expectError(
            gatewayFile(
                site: "address: 192.0.2.2, networks: ¶[]",
                connection: "site: branch, psk-file: /p, tunnels: {t: {remote: 10.9.0.0/16}}"
            ),
            "empty list"
        )
        expectError(
            gatewayFile(
                site: "address: 192.0.2.2",
                connection: "site: branch, psk-file: /psk, tunnels: { ¶t: {} }"
            ),
            "needs the key 'remote'"
        )
        expectError(
            gatewayFile(
                connection: "site: branch, psk-file: /psk, tunnels: { ¶t: { remote: '2001:db8::/32' } }"
            ),
            "no address family in common"
        )
    }

    @Test func warnsOfShortKeysAndInnerOuterAddresses() throws {
        let gateway = try load(
            gatewayFile(site: "address: 192.0.2.2, networks: [192.0.2.0/28]"),
            secrets: ["/psk": .success(Array("fifteen octets!".utf8))]
        )
        #expect(gateway.warnings.map { $0.line } == [8, 11])
        #expect(
            gateway.warnings.first?.message.contains("holds the site's own outer address 192.0.2.2") == true
        )
        #expect(gateway.warnings.last?.message.contains("only 15 octets") == true)
    }

    @Test func keepsTheOrderOfTheFile() throws {
        let names = (0..<50).map { "c\(($0 * 37) % 50)" }
        var yaml = "gateway: { networks: 10.0.0.0/16 }\nsites:\n"
        for (index, name) in names.enumerated() {
            yaml += "  \(name): { address: 192.0.2.\(index + 1), networks: 10.\(index + 1).0.0/16 }\n"
        }
        yaml += "connections:\n" + names.map { "  \($0): { site: \($0), psk-file: /k }\n" }.joined()
        for _ in 0..<3 {
            let gateway = try load(yaml)
            #expect(gateway.connections.map { $0.name } == names && gateway.sites.map { $0.name } == names)
        }
    }

    @Test func aThousandConnectionsLoadFast() throws {
        var yaml = "gateway: { networks: 10.0.0.0/16 }\nsites:\n"
        for index in 0..<1000 {
            let networks = (0..<20).map { "172.\(16 + index / 250).\(index % 250).\($0 * 8)/29" }.joined(
                separator: ", "
            )
            yaml +=
                "  s\(index): { address: 198.51.\(index / 250).\(index % 250 + 1), networks: [\(networks)] }\n"
        }
        yaml += "connections:\n"
        for index in 0..<1000 { yaml += "  s\(index): { site: s\(index), psk-file: /k }\n" }
        let start = ContinuousClock.now
        let gateway = try load(yaml)
        #expect(
            gateway.connections.count == 1000 && gateway.connections.last?.tunnels.first?.remote.count == 20
        )
        #expect(ContinuousClock.now - start < .seconds(5))
        print("1000 connections, 20000 networks: \(ContinuousClock.now - start)")
    }
}
