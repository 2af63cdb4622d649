import GatewayConfiguration
import IPsecTypes
import Policy
import Testing

@Suite("Lifetimes in gateway.yaml")
struct LifetimeTests {
    private func connection(_ keys: String, policies: String = "{}") throws -> ConnectionPolicy {
        let gateway = try load(
            gatewayFile(policies: policies, connection: "site: branch, psk-file: /psk, \(keys)")
        )
        return try #require(gateway.connections.first)
    }

    private func tunnel(_ keys: String, policies: String = "{}") throws -> TunnelPolicy {
        try #require(try connection(keys, policies: policies).tunnels.first)
    }

    @Test func defaultsAreThoseOfThePolicyTypes() throws {
        let connection = try connection("encap: true")
        #expect(connection.lifetime == .ikeDefault)
        #expect(connection.tunnels.first?.lifetime == .childDefault)
        #expect(connection.tunnels.first?.rekeyVolume == SAVolume())
        #expect(connection.tunnels.first?.limit == SAVolume())
    }

    @Test func readsTimesOfTheIKESA() throws {
        let connection = try connection("ike-rekey-time: 4h, ike-life-time: 5h, ike-rand-time: 10m")
        #expect(
            connection.lifetime
                == SALifetime(rekey: .seconds(14_400), jitter: .seconds(600), hard: .seconds(18_000))
        )
        #expect(connection.tunnels.first?.lifetime == .childDefault)
    }

    @Test(arguments: [
        ("rekey-time: 1000", SALifetime(rekey: .seconds(1000), jitter: .seconds(100), hard: .seconds(1100))),
        ("rekey-time: 400", SALifetime(rekey: .seconds(400), jitter: .seconds(40), hard: .seconds(460))),
        ("life-time: 1000", SALifetime(rekey: .seconds(900), jitter: .seconds(100), hard: .seconds(1000))),
        (
            "rekey-time: 1000, life-time: 2000",
            SALifetime(rekey: .seconds(1000), jitter: .seconds(100), hard: .seconds(2000))
        ),
        (
            "rekey-time: 1000, rand-time: 0",
            SALifetime(rekey: .seconds(1000), jitter: .zero, hard: .seconds(1100))
        ),
        ("rekey-time: off", .unlimited),
        ("rekey-time: off, life-time: 1h", SALifetime(rekey: nil, jitter: .zero, hard: .seconds(3600))),
        ("life-time: off", SALifetime(rekey: .seconds(3240), jitter: .seconds(360), hard: nil)),
        ("rand-time: 5m", SALifetime(rekey: .seconds(3240), jitter: .seconds(300), hard: .seconds(3600))),
    ])
    func readsTimesOfTunnels(keys: String, expected: SALifetime) throws {
        #expect(try tunnel(keys).lifetime == expected)
        // A tunnel's own keys go before the connection's.
        #expect(
            try tunnel("life-time: 20h, tunnels: { t: { life-time: 19h } }").lifetime.hard == .seconds(68_400)
        )
    }

    @Test func aTunnelTakesOverWhatItDoesNotSay() throws {
        let tunnel = try tunnel("rekey-time: 1000, tunnels: { t: { life-time: 3000, rekey-packets: 5000 } }")
        #expect(
            tunnel.lifetime == SALifetime(rekey: .seconds(1000), jitter: .seconds(100), hard: .seconds(3000))
        )
        #expect(tunnel.rekeyVolume.packets == 5000 && tunnel.limit.packets == 5500)
    }

    @Test func keysGoBeforeThePolicy() throws {
        let policies = "{ p: { saLifeTimeSeconds: 27000, saDataSizeKilobytes: 2048 } }"
        let tunnel = try tunnel("policy: p, rekey-time: 1000, rekey-packets: 10000", policies: policies)
        #expect(tunnel.lifetime.rekey == .seconds(1000))
        #expect(tunnel.rekeyVolume == SAVolume(octets: 2048 * 1024, packets: 10_000))
    }

    @Test func readsVolumes() throws {
        let tunnel = try tunnel("rekey-bytes: 10M, life-bytes: 20M, life-packets: 1000000")
        #expect(tunnel.rekeyVolume == SAVolume(octets: 10 << 20, packets: 900_000))
        #expect(tunnel.limit == SAVolume(octets: 20 << 20, packets: 1_000_000))
    }

    @Test(arguments: [
        ("rekey-time: ¶2s", "3s to 2592000s"), ("life-time: ¶31d", "not a duration"),
        ("rekey-time: 1000, life-time: ¶1000", "must be longer than rekey-time"),
        ("ike-rekey-time: 1000, ike-life-time: ¶900", "must be longer than ike-rekey-time"),
        ("rekey-time: 1000, rand-time: ¶1000", "must be shorter than rekey-time"),
        ("rekey-bytes: ¶1K", "65536 to 1125899906842624 octets"),
        ("rekey-bytes: ¶ten", "not an amount of octets"),
        ("rekey-bytes: ¶999999999999999T", "65536 to"), ("rekey-bytes: ¶-1", "not an amount"),
        ("rekey-packets: ¶10", "1000 to"),
        ("rekey-bytes: 10M, life-bytes: ¶9M", "must be more than rekey-bytes"),
        ("path-mtu-discovery: ¶no", "expected true or false"),
        ("pfs-preflight: ¶off", "expected true or false"),
    ])
    func refuses(keys: String, words: String) {
        expectError(gatewayFile(connection: "site: branch, psk-file: /psk, \(keys)"), words)
    }

    @Test func warnsOfTimesThatOnlyATestMeans() throws {
        let gateway = try load(
            gatewayFile(connection: "site: branch, psk-file: /psk, rekey-time: 3s, ike-rekey-time: 299")
        )
        #expect(gateway.warnings.count == 2)
        #expect(gateway.warnings.allSatisfy { $0.message.contains("is less than 300 s") })
        #expect(gateway.connections.first?.tunnels.first?.lifetime.hard == .seconds(63))
    }

    @Test func switchesAreTheGatewaysUnlessTheConnectionSaysOtherwise() throws {
        let on = try connection("encap: false")
        #expect(on.discoversPathMTU && on.preflightsPFS && !on.forcesEncapsulation)
        let gateway = try load(
            gatewayFile(
                gateway: "path-mtu-discovery: false\n  pfs-preflight: false",
                connection: "site: branch, psk-file: /psk, pfs-preflight: true"
            )
        )
        let connection = try #require(gateway.connections.first)
        #expect(!connection.discoversPathMTU && connection.preflightsPFS)
    }
}

@Suite("Peer addresses in gateway.yaml")
struct PeerAddressTests {
    private func address(_ text: String) throws -> RemoteAddress {
        let gateway = try load(gatewayFile(site: "address: \(text), networks: [10.2.0.0/16]"))
        return try #require(gateway.connections.first?.remoteAddress)
    }

    @Test(arguments: [
        ("any", "%any", [String]()), ("'%any'", "%any", []), ("192.0.2.2", "192.0.2.2", []),
        ("VPN.Example.com", "vpn.example.com", ["vpn.example.com"]),
        (
            "[192.0.2.2, vpn.example.com, '2001:db8::2']", "192.0.2.2, vpn.example.com, 2001:db8::2",
            ["vpn.example.com"]
        ),
        ("[192.0.2.2, 198.51.100.0/24]", "192.0.2.2, 198.51.100.0/24", []),
        ("peer_2", "peer_2", ["peer_2"]),
    ])
    func reads(text: String, expected: String, names: [String]) throws {
        let address = try address(text)
        #expect(address.description == expected && address.names == names)
    }

    @Test(arguments: [
        ("¶192.0.2.300", "not an address"), ("¶1.2.3", "not an address"),
        ("¶'2001:db8::x'", "not an address"),
        ("¶-a.example", "not an address"), ("¶a..example", "not an address"), ("¶'a b'", "a DNS name"),
        ("[192.0.2.2, ¶any]", "any stands beside others"), ("[192.0.2.2, ¶192.0.2.2]", "stands there twice"),
        ("¶[]", "empty list"), ("¶0.0.0.0", "not an address"), ("¶192.0.2.1/24", "not an address"),
    ])
    func refuses(text: String, words: String) {
        let file = gatewayFile(site: "address: \(text), networks: [10.2.0.0/16]")
        let found = errors(of: file.replacing("¶", with: ""))
        #expect(found.count == 1 && found.first?.message.contains(words) == true, "\(found)")
        expectError(file, words)
    }

    @Test func networksCanOnlyCallUs() throws {
        let site = "address: 198.51.100.0/24, networks: [10.2.0.0/16]"
        #expect(try load(gatewayFile(site: site)).connections.first?.tunnels.first?.start == .passive)
        expectError(
            gatewayFile(site: site, connection: "site: branch, psk-file: /psk, start: ¶start"),
            "a site with the address 198.51.100.0/24 cannot be called; accepted: passive"
        )
    }

    @Test func aNameDoesNotStandForAnIdentity() throws {
        let gateway = try load(gatewayFile(site: "address: vpn.example.com, networks: [10.2.0.0/16]"))
        #expect(gateway.connections.first?.effectiveRemoteIdentity == nil)
        #expect(gateway.connections.first?.tunnels.first?.start == .start)
    }
}
