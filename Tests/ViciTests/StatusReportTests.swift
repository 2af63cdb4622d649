import Testing
import Vici

@Suite struct StatusReportTests {
    private static func sa(_ state: String, children: [String] = ["net"]) -> ViciMessage {
        ViciMessage { message in
            message.section("azure") { sa in
                sa.set("version", 2)
                sa.set("state", state)
                sa.set("remote-host", "203.0.113.5")
                sa.set("remote-port", 4500)
                sa.set("remote-id", "vpn.example.net")
                sa.set("encr-alg", "AES_GCM_16")
                sa.set("encr-keysize", 256)
                sa.set("prf-alg", "PRF_HMAC_SHA2_384")
                sa.set("dh-group", "ECP_384")
                sa.set("established", 3_723)
                sa.set("rekey-time", 90_000)
                sa.section("child-sas") { list in
                    for (index, name) in children.enumerated() {
                        list.section("\(name)-\(index + 1)") { child in
                            child.set("name", name)
                            child.set("state", "INSTALLED")
                            child.set("encap", flag: true)
                            child.set("encr-alg", "AES_GCM_16")
                            child.set("encr-keysize", 128)
                            child.set("bytes-in", 1_572_864)
                            child.set("packets-in", 1_500)
                            child.set("bytes-out", 12)
                            child.set("packets-out", 1)
                            child.list("local-ts", ["10.1.0.0/16"])
                            child.list("remote-ts", ["10.2.0.0/16"])
                        }
                    }
                }
            }
        }
    }

    private static func connection(_ name: String, error: String? = nil) -> ViciMessage {
        ViciMessage { message in
            message.section(name) { connection in
                connection.list("remote_addrs", ["203.0.113.5"])
                connection.section("children") { children in
                    for child in ["net", "lab"] {
                        children.section(child) {
                            $0.list("local-ts", ["10.1.0.0/16"])
                            $0.list("remote-ts", ["10.9.0.0/16"])
                        }
                    }
                }
                if let error { connection.set("last-error", error) }
            }
        }
    }

    private static func status(
        _ connections: [ViciMessage],
        _ sas: [ViciMessage],
        name: String? = nil
    ) -> GatewayStatus {
        let version = ViciMessage {
            $0.set("daemon", "causewayd")
            $0.set("version", "0.1.0")
        }
        let stats = ViciMessage {
            $0.section("uptime") { $0.set("running", "3 hours") }
            $0.section("causeway") {
                $0.section("drops") {
                    $0.set("replayed", 7)
                    $0.set("noPolicy", 1_234)
                    $0.set("never", 0)
                }
            }
        }
        return GatewayStatus(version: version, stats: stats, connections: connections, sas: sas, name: name)
    }

    @Test func showsAConnectionATunnelThatIsDownAndDrops() {
        let status = StatusReportTests.status(
            [StatusReportTests.connection("azure")],
            [StatusReportTests.sa("ESTABLISHED")]
        )
        let expected = """
            causewayd 0.1.0, up 3 hours

            azure  UP, 1 of 2 tunnels
              peer        203.0.113.5[4500]  vpn.example.net
              IKE         IKEv2 AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384
              age         1h 2m, rekey in 1d 1h
              tunnel      net  INSTALLED  ESP in UDP AES_GCM_16-128
                10.1.0.0/16 ↔ 10.2.0.0/16
                in 1.5 MiB (1500 packets), out 12 B (1 packets)
              tunnel      lab  DOWN
                10.1.0.0/16 ↔ 10.9.0.0/16

            dropped packets
                 7  replayed
              1234  noPolicy

            """
        #expect(StatusReport.text(status) == expected)
    }

    @Test func tellsPathTimesNamesAndWhyATunnelIsDown() {
        let connection = ViciMessage { message in
            message.section("azure") { connection in
                connection.section("children") { children in
                    children.section("net") { $0.list("local-ts", ["10.1.0.0/16"]) }
                    children.section("lab") { child in
                        child.set("last-error", "no answer")
                        child.set("next-attempt", 42)
                    }
                }
                connection.section("names") { names in
                    names.section("vpn.example.net") { name in
                        name.list("addresses", ["203.0.113.5", "2001:db8::5"])
                        name.set("age", 75)
                    }
                    names.section("old.example.net") { $0.set("error", "Name or service not known") }
                }
                connection.set("last-error", "no answer")
            }
        }
        let sa = ViciMessage { message in
            message.section("azure") { sa in
                sa.set("state", "ESTABLISHED")
                sa.set("rekey-time", 25_000)
                sa.set("life-time", 28_000)
                sa.section("child-sas") { list in
                    list.section("net-1") { child in
                        child.set("name", "net")
                        child.set("state", "INSTALLED")
                        child.set("rekey-time", 3_003)
                        child.set("life-time", 3_300)
                        child.set("path-local", "192.0.2.1:4500")
                        child.set("path-remote", "203.0.113.5:4500")
                        child.set("path-mtu", 1492)
                        child.set("inner-mtu", 1430)
                    }
                }
            }
        }
        let text = StatusReport.text(StatusReportTests.status([connection], [sa]))
        for line in [
            "  age         rekey in 6h 56m, ends in 7h 46m",
            "    192.0.2.1:4500...203.0.113.5:4500, MTU 1430 (path 1492)",
            "    rekey in 50m 3s, ends in 55m",
            "  tunnel      lab  DOWN, next attempt in 42s", "    cause: no answer",
            "  name        vpn.example.net is 203.0.113.5, 2001:db8::5, asked 1m 15s ago",
            "  name        old.example.net is unknown: Name or service not known",
        ] {
            #expect(text.contains(line + "\n"), "\(line) is not in\n\(text)")
        }
        #expect(!text.contains("last error"), "the tunnel says it")
    }

    @Test(arguments: [
        ("ESTABLISHED", GatewayStatus.ConnectionState.up), ("REKEYING", .up), ("CONNECTING", .connecting),
        ("DELETING", .closing),
    ])
    func stateFollowsTheIKESA(state: String, expected: GatewayStatus.ConnectionState) {
        let sas = [StatusReportTests.sa(state)]
        #expect(StatusReportTests.status([], sas).connections.map(\.state) == [expected])
        let both = StatusReportTests.status([], [StatusReportTests.sa("DELETING")] + sas)
        #expect(both.connections.map(\.state) == [expected])
    }

    @Test func mergesByNameAndKeepsTheOrderOfTheConfiguration() {
        let status = StatusReportTests.status(
            [StatusReportTests.connection("zulu"), StatusReportTests.connection("alpha")],
            [StatusReportTests.sa("ESTABLISHED"), StatusReportTests.sa("CONNECTING")]
        )
        #expect(status.connections.map(\.name) == ["zulu", "alpha", "azure"])
        #expect(status.connections.map(\.state) == [.down, .down, .up])
        #expect(status.connections.map(\.sas.count) == [0, 0, 2])
        let one = StatusReportTests.status(
            [StatusReportTests.connection("zulu"), StatusReportTests.connection("alpha")],
            [StatusReportTests.sa("ESTABLISHED")],
            name: "alpha"
        )
        #expect(one.connections.map(\.name) == ["alpha"])
        #expect(one.json.hasSuffix("\"sas\":[]}]}"))
    }

    @Test func noLineExceedsEightyColumns() {
        let long = String(repeating: "a", count: 200)
        let words = String(repeating: "refused because the peer said so, ", count: 12)
        let status = StatusReportTests.status(
            [
                StatusReportTests.connection(long, error: words + long),
                StatusReportTests.connection("azure", error: long),
            ],
            [StatusReportTests.sa("ESTABLISHED", children: [long, "net"])]
        )
        let lines = StatusReport.text(status).split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.count > 30)
        for line in lines { #expect(line.count <= 80, "\(line)") }
        // Nothing is lost by breaking lines.
        let joined = lines.map { $0.filter { $0 != " " } }.joined()
        #expect(joined.contains(words.filter { $0 != " " } + long))
    }

    @Test func whatAPeerChoosesCannotSteerTheTerminal() {
        let status = StatusReportTests.status(
            [StatusReportTests.connection("azure", error: "red \u{1b}[31m \u{7}\u{9b}\u{202e} line\nbreak")],
            []
        )
        let text = StatusReport.text(status)
        #expect(text.contains("red ?[31m ??? line?break"))
        #expect(!text.unicodeScalars.contains { $0 != "\n" && $0.properties.generalCategory == .control })
    }
}
