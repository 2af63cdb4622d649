import Cryptography
import GatewayConfiguration
import IPPackets
import IPsecTypes
import Policy
import Testing

@Suite("Policies in Azure's words")
struct AzurePolicyTests {
    private static let combined = ["GCMAES256", "GCMAES192", "GCMAES128", "CHACHA20POLY1305"]

    private func connection(_ policy: String) throws -> (ike: [String], esp: [String]) {
        let gateway = try load(
            gatewayFile(
                policies: "{ p: { \(policy) } }",
                connection: "site: branch, psk-file: /psk, policy: p"
            )
        )
        let connection = try #require(gateway.connections.first)
        return (
            connection.proposals.map { $0.description },
            connection.tunnels.first?.proposals.map { $0.description } ?? []
        )
    }

    @Test(arguments: [
        ("GCMAES256", "AES_GCM_16_256"), ("GCMAES192", "AES_GCM_16_192"), ("GCMAES128", "AES_GCM_16_128"),
        ("AES256", "AES_CBC_256"), ("AES192", "AES_CBC_192"), ("AES128", "AES_CBC_128"),
        ("CHACHA20POLY1305", "CHACHA20_POLY1305"), ("gcmaes256", "AES_GCM_16_256"),
    ])
    func mapsCiphers(name: String, algorithm: String) throws {
        let isCombined = Self.combined.contains(name.uppercased())
        let (ike, esp) = try connection(
            "ikeEncryption: \(name), ikeIntegrity: SHA256, dhGroup: ECP256, ipsecEncryption: \(name), "
                + "ipsecIntegrity: \(isCombined ? name : "SHA256")"
        )
        let integrity = isCombined ? "" : "/HMAC_SHA2_256_128"
        #expect(ike == ["IKE:\(algorithm)/PRF_HMAC_SHA2_256\(integrity)/ECP_256"])
        #expect(esp == ["ESP:\(algorithm)\(integrity)/NO_EXT_SEQ"])
    }

    @Test(arguments: [
        ("SHA1", "HMAC_SHA1_96", "PRF_HMAC_SHA1"), ("SHA256", "HMAC_SHA2_256_128", "PRF_HMAC_SHA2_256"),
        ("SHA384", "HMAC_SHA2_384_192", "PRF_HMAC_SHA2_384"),
        ("SHA512", "HMAC_SHA2_512_256", "PRF_HMAC_SHA2_512"),
    ])
    func mapsIntegrityToPRF(name: String, integrity: String, prf: String) throws {
        let (ike, esp) = try connection(
            "ikeEncryption: [AES256, GCMAES256], ikeIntegrity: \(name), dhGroup: ECP256, ipsecEncryption: AES256, "
                + "ipsecIntegrity: \(name)"
        )
        #expect(ike == ["IKE:AES_CBC_256/\(prf)/\(integrity)/ECP_256", "IKE:AES_GCM_16_256/\(prf)/ECP_256"])
        #expect(esp == ["ESP:AES_CBC_256/\(integrity)/NO_EXT_SEQ"])
    }

    @Test(arguments: [
        ("DHGroup14", "MODP_2048"), ("DHGroup2048", "MODP_2048"), ("ECP256", "ECP_256"),
        ("ECP384", "ECP_384"),
        ("ECP521", "ECP_521"), ("DHGroup15", "MODP_3072"), ("DHGroup16", "MODP_4096"),
        ("Curve25519", "CURVE_25519"),
        ("DHGroup31", "CURVE_25519"), ("DHGroup19", "ECP_256"), ("DHGroup20", "ECP_384"),
        ("DHGroup21", "ECP_521"),
    ])
    func mapsGroups(name: String, group: String) throws {
        let (ike, esp) = try connection(
            "ikeEncryption: GCMAES256, ikeIntegrity: SHA384, dhGroup: \(name), ipsecEncryption: GCMAES256, "
                + "ipsecIntegrity: GCMAES256, pfsGroup: \(name)"
        )
        #expect(ike == ["IKE:AES_GCM_16_256/PRF_HMAC_SHA2_384/\(group)"])
        #expect(esp == ["ESP:AES_GCM_16_256/\(group)/NO_EXT_SEQ"])
    }

    @Test(arguments: [
        ("None", ""), ("PFS2048", "/MODP_2048"), ("PFS14", "/MODP_2048"), ("PFS15", "/MODP_3072"),
        ("PFS16", "/MODP_4096"),
        ("ECP256", "/ECP_256"), ("ECP384", "/ECP_384"), ("[ECP384, None]", "/ECP_384/MODP_NONE"),
    ])
    func mapsPFSGroups(name: String, groups: String) throws {
        let (_, esp) = try connection(
            "ipsecEncryption: GCMAES128, ipsecIntegrity: GCMAES128, pfsGroup: \(name)"
        )
        #expect(esp == ["ESP:AES_GCM_16_128\(groups)/NO_EXT_SEQ"])
    }

    @Test(arguments: [
        ("ikeEncryption", "None"), ("ikeIntegrity", "GCMAES256"), ("dhGroup", "None"),
        ("ipsecEncryption", "DES5"), ("ipsecIntegrity", "MD4"), ("pfsGroup", "PFSMM"),
    ])
    func refusesByNameWithTheAcceptedOnes(key: String, name: String) {
        var values = [
            "ikeEncryption": "AES256", "ikeIntegrity": "SHA256", "dhGroup": "ECP256",
            "ipsecEncryption": "AES256",
            "ipsecIntegrity": "SHA256", "pfsGroup": "None",
        ]
        values[key] = "¶" + name
        let policy = values.keys.sorted().map { "\($0): \(values[$0] ?? "")" }.joined(separator: ", ")
        let accepted = [
            "ikeEncryption":
                "accepted: GCMAES256, GCMAES192, GCMAES128, CHACHA20POLY1305, AES256, AES192, AES128, DES3, DES",
            "ikeIntegrity": "accepted: SHA512, SHA384, SHA256, SHA1, MD5",
            "dhGroup": "accepted: ECP384, ECP256, ECP521, Curve25519, DHGroup14, DHGroup2048",
            "ipsecEncryption": "accepted: GCMAES256", "ipsecIntegrity": "accepted: GCMAES256",
            "pfsGroup": "accepted: None, PFS2048",
        ]
        expectError(
            gatewayFile(policies: "{ p: { \(policy) } }"),
            "policies.p.\(key): ",
            "'\(name)'",
            accepted[key] ?? "?"
        )
    }

    /// What Azure has and nobody should use is taken where it is named, and told.
    @Test(arguments: [
        ("ikeEncryption", "DES3", "3DES_CBC is weak: its blocks have 64 bits"),
        ("ikeEncryption", "DES", "DES_CBC is weak: it is broken"),
        ("ikeIntegrity", "MD5", "HMAC_MD5_96 is weak"), ("dhGroup", "DHGroup1", "MODP_768 is weak"),
        ("dhGroup", "DHGroup2", "MODP_1024 is weak"), ("dhGroup", "DHGroup24", "MODP_2048_256 is weak"),
        ("ipsecEncryption", "DES3", "3DES_CBC is weak"), ("ipsecEncryption", "DES", "DES_CBC is weak"),
        ("ipsecEncryption", "None", "NULL is weak: it does not encrypt"),
        ("ipsecIntegrity", "MD5", "HMAC_MD5_96 is weak"), ("pfsGroup", "PFS1", "MODP_768 is weak"),
        ("pfsGroup", "PFS2", "MODP_1024 is weak"), ("pfsGroup", "PFS24", "MODP_2048_256 is weak"),
    ])
    func takesWhatIsWeakAndTellsIt(key: String, name: String, warning: String) throws {
        var values = [
            "ikeEncryption": "AES256", "ikeIntegrity": "SHA256", "dhGroup": "ECP256",
            "ipsecEncryption": "AES256",
            "ipsecIntegrity": "SHA256", "pfsGroup": "None",
        ]
        values[key] = name
        let policy = values.keys.sorted().map { "\($0): \(values[$0] ?? "")" }.joined(separator: ", ")
        let gateway = try load(
            gatewayFile(
                policies: "{ p: { \(policy) } }",
                connection: "site: branch, psk-file: /psk, policy: p"
            )
        )
        #expect(gateway.warnings.contains { $0.message.contains(warning) }, "\(gateway.warnings)")
        #expect(gateway.connections.count == 1)
    }

    @Test func compatBringsAzuresDefaultsOfItsTime() throws {
        let gateway = try load(gatewayFile(connection: "site: branch, psk-file: /psk, compat: azure-2023"))
        let connection = try #require(gateway.connections.first)
        let ike = connection.proposals.map { $0.description }
        #expect(ike.contains { $0.contains("3DES_CBC") && $0.contains("MODP_1024") })
        #expect(ike.first?.contains("AES_GCM_16_256") == true)
        let esp = connection.tunnels[0].proposals.map { $0.description }
        #expect(esp.first == "ESP:AES_GCM_16_256/NO_EXT_SEQ")
        #expect(esp.contains { $0.contains("3DES_CBC") && $0.contains("MODP_NONE") })
        for word in ["3DES_CBC", "MODP_1024", "MODP_2048_256"] {
            #expect(gateway.warnings.contains { $0.message.contains("\(word) is weak") })
        }
        #expect(!(ike + esp).contains { $0.contains("/DES_CBC") || $0.contains(":DES_CBC") })
        // What the connection names itself goes before.
        let named = try load(
            gatewayFile(
                connection:
                    "site: branch, psk-file: /psk, compat: azure-2023, ike-proposals: aes256gcm16-prfsha384-ecp384"
            )
        )
        #expect(named.connections[0].proposals.count == 1)
        expectError(
            gatewayFile(connection: "site: branch, psk-file: /psk, compat: ¶azure-2013"),
            "accepted: azure-2023"
        )
    }

    @Test func refusesPartialPolicies() {
        expectError(
            gatewayFile(policies: "{ ¶p: { ikeEncryption: AES256, ikeIntegrity: SHA256 } }"),
            "policies.p: needs the key 'dhGroup'",
            "all of ikeEncryption, ikeIntegrity, dhGroup, or none"
        )
        expectError(gatewayFile(policies: "{ ¶p: { pfsGroup: None } }"), "needs the key 'ipsecEncryption'")
        expectError(
            gatewayFile(policies: "{ ¶p: { ipsecEncryption: AES128 } }"),
            "needs the key 'ipsecIntegrity'"
        )
    }

    @Test func combinedModeCiphersTakeTheirOwnNameAsIntegrity() throws {
        expectError(
            gatewayFile(policies: "{ p: { ipsecEncryption: GCMAES256, ipsecIntegrity: ¶SHA256 } }"),
            "'SHA256' does not go with a combined-mode cipher; accepted: GCMAES256"
        )
        expectError(
            gatewayFile(policies: "{ p: { ipsecEncryption: GCMAES256, ipsecIntegrity: ¶GCMAES128 } }"),
            "'GCMAES128' is not in ipsecEncryption"
        )
        expectError(
            gatewayFile(
                policies: "{ p: { ipsecEncryption: [AES256, GCMAES256], ipsecIntegrity: ¶GCMAES256 } }"
            ),
            "it needs an integrity algorithm; accepted: SHA512, SHA384, SHA256, SHA1"
        )
        let (_, esp) = try connection(
            "ipsecEncryption: [GCMAES256, AES256, AES128], ipsecIntegrity: [GCMAES256, SHA256, SHA1]"
        )
        #expect(
            esp == [
                "ESP:AES_GCM_16_256/NO_EXT_SEQ",
                "ESP:AES_CBC_256/AES_CBC_128/HMAC_SHA2_256_128/HMAC_SHA1_96/NO_EXT_SEQ",
            ]
        )
    }

    @Test func readsLifetimes() throws {
        let gateway = try load(
            gatewayFile(
                policies: "{ p: { saLifeTimeSeconds: 27000, saDataSizeKilobytes: 102400000 } }",
                connection: "site: branch, psk-file: /psk, policy: p"
            )
        )
        let tunnel = try #require(gateway.connections.first?.tunnels.first)
        #expect(tunnel.rekeyVolume == SAVolume(octets: 102_400_000 * 1024))
        #expect(tunnel.limit == SAVolume(octets: 102_400_000 * 1024 / 10 * 11))
        #expect(tunnel.lifetime == SALifetime(total: .seconds(27_000)))
        #expect(gateway.connections.first?.lifetime == .ikeDefault && gateway.warnings.isEmpty)
        expectError(gatewayFile(policies: "{ p: { saLifeTimeSeconds: ¶299 } }"), "300 to 172799")
        expectError(gatewayFile(policies: "{ p: { saDataSizeKilobytes: ¶1023 } }"), "1024 to 2147483647")
    }

    @Test func ourOwnProposalsGoBeforeThePolicy() throws {
        let gateway = try load(
            gatewayFile(
                policies: "{ p: { ikeEncryption: AES256, ikeIntegrity: SHA256, dhGroup: ECP256 } }",
                connection:
                    "site: branch, psk-file: /psk, policy: p, ike-proposals: [aes128gcm16-prfsha256-x25519, default]"
            )
        )
        let proposals = try #require(gateway.connections.first?.proposals)
        #expect(proposals.first?.description == "IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/CURVE_25519")
        #expect(proposals.map { $0.number } == [1, 2, 3])
    }
}
