import Cryptography
import GatewayConfiguration
import IPPackets
import IPsecTypes
import Policy
import Testing

@Suite("Errors of gateway.yaml name place, key and what is accepted")
struct ErrorTests {
    @Test func theBaseOfTheseTestsLoads() throws {
        let gateway = try load(gatewayFile())
        #expect(gateway.connections.map { $0.name } == ["branch"])
        #expect(gateway.warnings.isEmpty)
    }

    @Test func printsFileLineColumnMessage() {
        let found = errors(of: "gateway: { name: a b }\n")
        #expect(
            found.first?.description.hasPrefix("/etc/causeway/gateway.yaml:1:18: gateway.name: 'a b'") == true
        )
        #expect(
            ConfigurationErrors(diagnostics: found).description
                == found.map { "\($0)" }.joined(separator: "\n")
        )
    }

    @Test func collectsAllErrorsInTheOrderOfTheFile() {
        let yaml = """
            gateway:
              nmae: hq
              mtu: huge
              networks: 10.1.0.0/16
            sites:
              branch: { address: 192.0.2.300 }
            connections:
              branch: { site: branhc, start: now, psk-file: [] }
            """
        let found = errors(of: yaml)
        let places = found.map { "\($0.line):\($0.column)" }
        #expect(places == ["2:3", "3:8", "6:22", "8:19", "8:34", "8:49"], "\(found)")
    }

    @Test func unknownKeyProposesTheNearest() {
        expectError(
            gatewayFile(gateway: "¶interfase: tun0"),
            "gateway: unknown key 'interfase', did you mean 'interface'?",
            "accepted: name, address, addresses"
        )
        expectError(
            gatewayFile(connection: "site: branch, psk-file: /psk, ¶psk: secret"),
            "connections.branch: unknown key 'psk'",
            "accepted: site, ike,"
        )
        expectError(
            gatewayFile() + "\n¶zzzzz: 1",
            "unknown key 'zzzzz'; accepted: gateway, policies, sites, connections"
        )
        expectError(
            gatewayFile(connection: "site: branch, psk-file: /psk, tunnels: { t: { ¶loccal: 10.1.0.0/16 } }"),
            "connections.branch.tunnels.t",
            "did you mean 'local'?",
            "accepted: local, remote, esp-proposals, start, replay-window, tfc-padding, copy-dscp"
        )
        expectError(
            gatewayFile(connection: "site: branch, psk-file: /psk, retransmit: { ¶try: 1 }"),
            "connections.branch.retransmit",
            "accepted: initial, base, tries, limit"
        )
        expectError(gatewayFile(gateway: "ports: { ¶esp: 1 }"), "gateway.ports", "accepted: ike, nat-t")
        expectError(
            gatewayFile(
                site: "address: any, ¶network: [10.2.0.0/16]",
                connection: "site: branch, psk-file: /psk, tunnels: {t: {remote: 10.2.0.0/16}}"
            ),
            "sites.branch: unknown key 'network', did you mean 'networks'?"
        )
        expectError(
            gatewayFile(policies: "{ p: { ¶dhGruop: ECP256 } }"),
            "policies.p: unknown key 'dhGruop', did you mean 'dhGroup'?"
        )
    }

    @Test func duplicateKeysNameBothLines() {
        let (yaml, line, column) = marked(gatewayFile(gateway: "¶name: other") + "\nsites: { }\n")
        let found = errors(of: yaml)
        #expect(found.count == 2, "\(found)")
        #expect(found.first?.line == line && found.first?.column == column)
        #expect(found.first?.message == "the key 'name' stands here again; it was first on line 2")
        #expect(found.last?.message == "the key 'sites' stands here again; it was first on line 7")
        #expect(found.last?.line == 13)
    }

    @Test func duplicatesInQuotesAndThreefoldAreAllTold() {
        let found = errors(of: "gateway: { name: a, \"name\": b, 'name': c }")
        #expect(found.map { $0.column } == [21, 32], "\(found)")
        #expect(found.allSatisfy { $0.message.contains("first on line 1") })
    }

    @Test func wrongTypesSayWhatWasFound() {
        expectError(gatewayFile(gateway: "mtu: ¶[1400]"), "gateway.mtu: must be a text, not a list")
        expectError(
            gatewayFile(gateway: "ports: ¶500"),
            "gateway.ports: must be a mapping, not the text '500'"
        )
        expectError(gatewayFile(gateway: "mark: ¶{ a: b }"), "gateway.mark: must be a text, not a mapping")
        expectError(
            gatewayFile(connection: "site: branch, psk-file: /psk, tunnels: ¶[a, b]"),
            "connections.branch.tunnels: must be a mapping, not a list",
            "accepted: names, each with a mapping"
        )
        expectError(
            "¶- gateway",
            "must be a mapping, not a list; accepted: gateway, policies, sites, connections"
        )
        expectError("¶gateway", "must be a mapping, not the text 'gateway'")
        expectError("gateway: { name: hq }\nsites: ¶[]", "sites: must be a mapping, not a list")
        let (yaml, line, column) = marked("gateway:\n  ¶name:\n  mtu: 1400\n")
        let empty = errors(of: yaml)
        #expect(
            empty.count == 1 && empty.first?.message == "gateway.name: must be a text, not nothing",
            "\(empty)"
        )
        #expect(empty.first?.line == line && (empty.first?.column ?? 0) > column)
    }

    @Test func missingKeysAreToldAtTheirMapping() {
        expectError("gateway: { name: hq }\nsites:\n  ¶branch: {}", "sites.branch: needs the key 'address'")
        expectError(
            "gateway: { networks: 10.1.0.0/16 }\nconnections:\n  ¶a: { psk-file: /k }",
            "connections.a: needs the key 'site'",
            "none, the section is empty"
        )
        expectError(
            gatewayFile(connection: "site: branch").replacing("  branch: { site", with: "  ¶branch: { site"),
            "connections.branch: needs the key 'psk-file'"
        )
        expectError("¶sites: {}", "needs the key 'gateway'")
        expectError("¶", "the file is empty", "accepted: the sections gateway, policies")
        expectError("¶# nothing but a comment\n", "the file is empty")
    }

    @Test func unknownReferencesListWhatExists() {
        expectError(
            gatewayFile(connection: "site: ¶branhc, psk-file: /psk"),
            "connections.branch.site: there is no site 'branhc', did you mean 'branch'?; accepted: branch"
        )
        expectError(
            gatewayFile(
                policies: "{ strong: {}, weak: {} }",
                connection: "site: branch, psk-file: /psk, policy: ¶medium"
            ),
            "there is no policy 'medium'; accepted: strong, weak"
        )
        expectError(
            gatewayFile(connection: "site: branch, psk-file: /psk, policy: ¶medium"),
            "there is no policy 'medium'; accepted: none, the section is empty"
        )
    }

    @Test func unknownAlgorithmsListWhatIsAccepted() {
        expectError(
            gatewayFile(
                connection: "site: branch, psk-file: /psk, ike-proposals: [default, ¶aes256-sha999-ecp384]"
            ),
            "connections.branch.ike-proposals",
            "unknown algorithm 'sha999'",
            "aes256gcm16",
            "x25519"
        )
        expectError(
            gatewayFile(connection: "site: branch, psk-file: /psk, esp-proposals: ¶blowfish-sha1"),
            "unknown algorithm 'blowfish'; accepted: aes256gcm16"
        )
        expectError(
            gatewayFile(connection: "site: branch, psk-file: /psk, esp-proposals: ¶aes256"),
            "needs an integrity algorithm, such as sha256"
        )
        expectError(
            gatewayFile(connection: "site: branch, psk-file: /psk, ike-proposals: ¶aes256gcm16-prfsha256"),
            "needs a key exchange group"
        )
    }

    @Test func overlappingNetworksNameBothPlaces() {
        expectError(
            gatewayFile(site: "address: 192.0.2.2, networks: [10.2.0.0/16, ¶10.1.128.0/24]"),
            "sites.branch.networks: 10.1.128.0/24 overlaps 10.1.0.0/16 of this gateway on line 4"
        )
        expectError(
            gatewayFile(sites: "other: { address: 192.0.2.3, networks: [10.3.0.0/16, ¶10.0.0.0/15] }"),
            "sites.other.networks: 10.0.0.0/15 overlaps 10.1.0.0/16 of this gateway on line 4"
        )
        expectError(
            gatewayFile(sites: "other: { address: 192.0.2.3, prefixes: [¶10.2.0.0/16] }"),
            "10.2.0.0/16 overlaps 10.2.0.0/16 of site 'branch' on line 8"
        )
        expectError(
            gatewayFile(
                site: "address: 192.0.2.2, networks: [0.0.0.0/0]",
                sites: "other: { address: 192.0.2.3, networks: [¶0.0.0.0/0] }"
            ),
            "0.0.0.0/0 overlaps 0.0.0.0/0 of site 'branch'"
        )
    }

    @Test func aDefaultRouteOverlapsNothing() throws {
        let gateway = try load(gatewayFile(site: "address: 192.0.2.2, networks: [0.0.0.0/0, '::/0']"))
        #expect(gateway.sites.first?.networks.map { $0.description } == ["0.0.0.0/0", "::/0"])
        #expect(gateway.warnings.isEmpty)
    }

    @Test func unreadableSecretsAreRefusedWithTheirReason() {
        let tooOpen = MemoryFiles.Failure(
            description: "secret file /psk: mode 0644 lets others in, must be 0600 or 0400"
        )
        expectError(
            gatewayFile(connection: "site: branch, psk-file: ¶/psk"),
            "connections.branch.psk-file: secret file /psk: mode 0644 lets others in, must be 0600 or 0400",
            secrets: ["/psk": .failure(tooOpen)]
        )
        expectError(
            gatewayFile(connection: "site: branch, psk-file: ¶/psk"),
            "holds 0 octets; accepted: 1 to 1024",
            secrets: ["/psk": .success([])]
        )
        expectError(
            gatewayFile(connection: "site: branch, psk-file: ¶/psk"),
            "holds 1025 octets",
            secrets: ["/psk": .success([UInt8](repeating: 7, count: 1025))]
        )
    }

    @Test func connectionsThatAPeerCannotTellApartAreRefused() {
        expectError(
            gatewayFile(connections: "¶second: { site: branch, psk-file: /psk }"),
            "connections.second: a peer cannot tell it from 'branch' on line 11",
            "remote address, local-id and remote-id"
        )
        #expect(
            errors(of: gatewayFile(connections: "second: { site: branch, psk-file: /p, remote-id: b }"))
                .isEmpty
        )
        #expect(
            errors(
                of: gatewayFile(connections: "second: { site: branch, psk-file: /p, addresses: 192.0.2.9 }")
            ).isEmpty
        )
    }

    @Test func unreadableFileIsRefused() {
        do throws(ConfigurationErrors) {
            _ = try GatewayConfigurationFile.load(path: "/none", files: MemoryFiles())
            Issue.record("loaded")
        } catch {
            #expect(error.description == "/none:1:1: cannot be read: open /none: No such file or directory")
        }
    }

    @Test func noMessageHoldsASecret() {
        let secret = "correct horse battery staple"
        let found = errors(
            of: gatewayFile(connection: "site: nowhere, psk-file: /psk"),
            secrets: ["/psk": .success(Array(secret.utf8))]
        )
        #expect(!found.isEmpty && !"\(found)".contains("horse"))
    }
}
