import Cryptography
import Foundation
import GatewayConfiguration
import IPPackets
import IPsecTypes
import Policy
import Testing

@Suite("The YAML below gateway.yaml")
struct YAMLTests {
    @Test func syntaxErrorsKeepTheirPlace() {
        expectError("gateway: { name: hq }\nsites: [¶", "is not valid YAML")
        expectError(
            "gateway:\n  name: hq\n ¶ bad: x\n".replacing(" ¶ bad", with: " ¶bad"),
            "is not valid YAML"
        )
        expectError("gateway:\n¶\tname: hq\n", "is not valid YAML", "cannot start any token")
        expectError("gateway: { name: ¶*nothing }", "is not valid YAML", "undefined alias")
        expectError(
            "gateway: { name: hq }\n--- \n¶gateway: x".replacing("--- \n¶", with: "¶--- \n"),
            "another document"
        )
        expectError("gateway:\n  name: \"¶\u{1}\"\n", "is not valid YAML", "control characters")
    }

    @Test func scalarsAreTextWhateverYAMLMakesOfThem() throws {
        let gateway = try load(
            "gateway: { name: no, interface: 0o17, networks: [10.1.0.0/16], identity: 1e3, asn: 0x10 }"
        )
        #expect(gateway.name == "no" && gateway.interfaceName == "0o17")
        #expect(gateway.identity == .fqdn("1e3") && gateway.asn == 16)
    }

    @Test func anchorsMergeKeysTabsAndCRLFWork() throws {
        let yaml = """
            gateway: &g { networks: 10.1.0.0/16,\t\tname: hq }\t# tab
            policies:
              base: &base { ikeEncryption: AES256, ikeIntegrity: SHA256, dhGroup: ECP256 }
              more: { <<: *base, dhGroup: ECP384 }
            sites:
              a: { address: 192.0.2.2, networks: 10.2.0.0/16 }
              b: { address: 192.0.2.3, networks: 10.3.0.0/16 }
            connections:
              a: &c { site: a, psk-file: /k, policy: more }
              b: { <<: [*c, { policy: base, replay-window: 64 }], site: b }
            """
        for text in [yaml, yaml.replacing("\n", with: "\r\n"), "\u{feff}" + yaml] {
            let gateway = try load(text)
            #expect(gateway.connections.flatMap { $0.tunnels }.map { $0.replayWindow } == [1024, 64])
            for connection in gateway.connections {
                #expect(connection.proposals.first?.description.hasSuffix("ECP_384") == true)
            }
        }
    }

    @Test func mergeKeysTakeMappingsOnly() {
        expectError("gateway: { <<: ¶5 }", "'<<' takes a mapping or a list of mappings, not the text '5'")
    }

    @Test func keysMustBeText() {
        expectError("gateway: { name: hq, ¶[a, b]: c }", "a key must be a text")
    }

    @Test func aliasBombsAreRefusedFast() {
        var values = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        for level in 1...20 {
            let aliases = [String](repeating: "*a\(level - 1)", count: 9).joined(separator: ", ")
            values += "a\(level): &a\(level) [\(aliases)]\n"
        }
        let start = ContinuousClock.now
        let found = errors(of: values)
        #expect(found.contains { $0.message.contains("more than 200000 values") }, "\(found.prefix(3))")
        for key in [
            "? *a20\n: x\n", "*a20 : x\n", "{ *a20 : x }: y\n", "b: { [*a20, *a20] : x }\n",
            "b: [? *a20 : x]\n",
        ] {
            let refused = errors(of: values + key)
            #expect(
                refused.count == 1 && refused.first?.message.contains("alias cannot be a key") == true,
                "\(key): \(refused.prefix(3))"
            )
        }
        #expect(ContinuousClock.now - start < .seconds(10))
    }

    @Test func mergeBombsAreRefused() {
        var values = "a0: &a0 { k0: x }\n"
        for level in 1...40 {
            values += "a\(level): &a\(level) { <<: [*a\(level - 1), *a\(level - 1)], k\(level): x }\n"
        }
        #expect(errors(of: values).contains { $0.message.contains("more than 200000 values") })
    }

    @Test func deepNestingIsRefusedOnASmallStack() async {
        let texts = [
            String(repeating: "[", count: 100_000), String(repeating: "{a: ", count: 5_000),
            String(repeating: "- ", count: 50_000),
            (0..<1500).map { String(repeating: " ", count: $0) + "a:\n" }.joined(),
            String(repeating: "? ", count: 5_000),
            "a: " + String(repeating: "[", count: 99) + String(repeating: "]", count: 99),
            // Brackets in quotes must not hide the nesting.
            String(repeating: "[\"]\", ", count: 990) + String(repeating: "]", count: 990),
        ]
        for text in texts {
            let found: [ConfigurationDiagnostic] = await withCheckedContinuation { continuation in
                let thread = Thread { continuation.resume(returning: errors(of: text)) }
                thread.stackSize = 512 * 1024
                thread.start()
            }
            #expect(found.contains { $0.message.contains("deep") }, "\(text.prefix(20)): \(found.prefix(2))")
        }
    }

    @Test func largeFilesAreRefused() throws {
        let padding =
            "# " + String(repeating: "x", count: 4 * 1024 * 1024 - gatewayFile().utf8.count - 3) + "\n"
        #expect((padding + gatewayFile()).utf8.count == 4 * 1024 * 1024)
        _ = try load(padding + gatewayFile())
        expectError("¶#" + padding + gatewayFile(), "has 4194305 octets; at most 4194304 are accepted")
    }

    @Test func manyErrorsAreBounded() {
        let keys = (0..<1000).map { "  k\($0): x\n" }.joined()
        #expect(errors(of: "gateway:\n" + keys).count == 200)
    }
}
