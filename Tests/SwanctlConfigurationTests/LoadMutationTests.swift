import Policy
import TestSupport
import Testing
import Vici

@testable import SwanctlConfiguration

/// A client can send any octets under any key: nothing traps, and what is refused changes nothing.
struct LoadMutationTests {
    private static let fragments = [
        "", "0", "1", "32", "4294967295", "18446744073709551615", "99999999999999999999", "-1", "0x", "0xff",
        "yes",
        "10.1.0.0/16", "10.1.0.0/0", "fec0::/0", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "0.0.0.1-255.255.255.254",
        "dynamic[tcp/opaque]", "10.1.0.0/16[255/65535-65535]", "[", "]", "/", "-", "%any", "%unique", "0/0",
        "1/2/3",
        "aes128-sha256-x25519", "aes256gcm16-prfsha384-ecp384", "ke1_-ke8_x25519", "--", "default",
        "trap|start", "|",
        "C=CH, O=x, CN=*", "@#", "{256}:#", "asn1dn:#30", "4294967295d", "1099511627776g", "mtu", "\u{0}",
        "\u{fffd}",
    ].map { Array($0.utf8) }

    private func mutated(_ message: ViciMessage, _ generator: inout SplitMix64) -> ViciMessage {
        var message = message
        for index in message.elements.indices {
            switch message.elements[index].value {
            case .section(let section):
                message.elements[index].value = .section(mutated(section, &generator))
            case .value:
                guard generator.next() % 4 == 0 else { continue }
                message.elements[index].value = .value(octets(&generator))
            case .list(let items):
                guard generator.next() % 4 == 0 else { continue }
                message.elements[index].value = .list(items + [octets(&generator)])
            }
        }
        guard generator.next() % 8 == 0, let element = message.elements.randomElement(using: &generator)
        else {
            return message
        }
        message.elements.append(element)
        return message
    }

    private func octets(_ generator: inout SplitMix64) -> [UInt8] {
        guard generator.next() % 3 == 0 else { return Self.fragments.randomElement(using: &generator) ?? [] }
        return (0..<generator.next() % 40).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
    }

    private static let connection = connectionText(
        """
        version = 2
        local_addrs = 192.0.2.1
        remote_addrs = 192.0.2.2, 10.0.0.0/8
        dpd_delay = 30s
        rekey_time = 1h
        over_time = 5m
        rand_time = 5m
        keyingtries = 3
        unique = keep
        proposals = aes128-sha256-x25519
        if_id_in = 0
        dscp = 000000
        """,
        child: """
            local_ts = 10.1.0.0/16
            remote_ts = 10.2.0.0/16[tcp/22]
            esp_proposals = aes128gcm16-x25519
            rekey_time = 10m
            life_time = 15m
            rand_time = 1m
            rekey_bytes = 1g
            life_packets = 1000
            start_action = trap
            replay_window = 64
            mark_in = 0
            tfc_padding = 0
            priority = 1
            """,
        remote: "id = peer.example.org"
    )

    @Test(arguments: 0..<20)
    func connections(_ seed: UInt64) throws {
        var generator = SplitMix64(state: seed)
        let message = try #require(SwanctlFile(Self.connection).connections.first)
        var configuration = LoadedConfiguration()
        try configuration.loadConnection(message)
        for _ in 0..<200 {
            let listing = configuration.connection("c")?.listing
            do throws(LoadRefusal) {
                try configuration.loadConnection(mutated(message, &generator))
                let tunnels = configuration.connection("c")?.policy.tunnels ?? []
                #expect(tunnels.count == 1)
                #expect(tunnels.allSatisfy { !$0.localSelectors.isEmpty && !$0.proposals.isEmpty })
            } catch {
                #expect(!error.description.isEmpty)
                #expect(configuration.connection("c")?.listing == listing)
            }
        }
    }

    @Test(arguments: 0..<20)
    func credentialsAuthoritiesAndPools(_ seed: UInt64) {
        var generator = SplitMix64(state: seed)
        let secret = ViciMessage {
            $0.set("id", "ike-1")
            $0.set("type", "ike")
            $0.set("flag", "CA")
            $0.set("data", "0x30")
            $0.list("owners", ["moon"])
        }
        let pool = ViciMessage {
            $0.section("p") {
                $0.set("addrs", "10.3.0.0/24")
                $0.list("dns", ["10.1.0.1"])
                $0.list("28672", ["x"])
            }
        }
        let authority = ViciMessage {
            $0.section("a") {
                $0.set("cacert", "x")
                $0.list("crl_uris", ["http://a"])
            }
        }
        let types = ["any", "rsa", "x509", "X509_CRL", "pubkey", "eap"]
        for _ in 0..<200 {
            var configuration = LoadedConfiguration()
            var message = mutated(secret, &generator)
            try? configuration.loadShared(message)
            message.elements.insert(
                ViciMessage.Element(
                    name: "type",
                    value: .value(Array((types.randomElement(using: &generator) ?? "").utf8))
                ),
                at: 0
            )
            _ = try? configuration.loadKey(message)
            try? configuration.loadCertificate(message)
            try? configuration.loadPool(mutated(pool, &generator))
            try? configuration.loadAuthority(mutated(authority, &generator))
            #expect(configuration.sharedIdentifiers.count <= 1)
            #expect(configuration.pools.allSatisfy { $0.size > 0 })
            #expect(configuration.authorities.isEmpty)
        }
    }

    /// Loading costs the same however many there are already.
    @Test func tenThousandConnectionsAndSecrets() throws {
        let message = try #require(SwanctlFile(Self.connection).connections.first?.section("c"))
        var configuration = LoadedConfiguration()
        let clock = ContinuousClock()
        let time = try clock.measure {
            for number in 0..<10_000 {
                try configuration.loadShared(
                    ViciMessage {
                        $0.set("id", "ike-\(number)")
                        $0.set("type", "ike")
                        $0.set("data", "secret \(number)")
                        $0.list("owners", ["peer\(number).example.org"])
                    }
                )
            }
            for number in 0..<10_000 {
                try configuration.loadConnection(ViciMessage { $0.section("c\(number)", message) })
            }
            #expect(configuration.connections.count == 10_000)
            for number in 0..<9_000 { try configuration.unloadConnection("c\(number)") }
        }
        #expect(configuration.connectionNames.first == "c9000")
        print("10,000 secrets and connections loaded in \(time)")
        #expect(time < .seconds(60))
    }
}
