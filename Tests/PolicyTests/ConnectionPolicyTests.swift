import Cryptography
import IPPackets
import Policy
import Testing

@Suite("Connections")
struct ConnectionPolicyTests {
    private func connection(
        remote: RemoteAddress,
        local: Identity? = nil,
        peer: Identity? = nil
    ) throws -> ConnectionPolicy {
        ConnectionPolicy(
            name: "c",
            localAddresses: [],
            remoteAddress: remote,
            localIdentity: local,
            remoteIdentity: peer,
            sharedKeys: SharedKeyring(try SecretKey(copying: [1, 2, 3])),
            proposals: DefaultProposals.ike,
            tunnels: [],
            origin: ConfigurationOrigin(source: "f", line: 3),
            keyOrigins: ["psk-file": ConfigurationOrigin(source: "f", line: 5)]
        )
    }

    @Test func waitsGrowUpToTheLimit() {
        let policy = RetransmissionPolicy(initial: .seconds(2), base: 1.8, tries: 6, limit: .seconds(40))
        let waits = (0...6).map { policy.timeout(attempt: $0) }
        let expected: [Duration] = [
            .seconds(2), .milliseconds(3600), .milliseconds(6480), .milliseconds(11664), .milliseconds(20995),
            .milliseconds(37791), .seconds(40),
        ]
        #expect(waits == expected && policy.timeout(attempt: -1) == .seconds(2))
        #expect(policy.timeout(attempt: 1_000) == .seconds(40))
    }

    @Test func identitiesFallBackToAddresses() throws {
        let address = try #require(IPAddress("192.0.2.2"))
        let plain = try connection(remote: .address(address))
        #expect(plain.effectiveLocalIdentity(at: address) == .address(address))
        #expect(plain.effectiveRemoteIdentity == .address(address))
        let named = try connection(remote: .any, local: .fqdn("a"), peer: .fqdn("b"))
        #expect(
            named.effectiveLocalIdentity(at: address) == .fqdn("a")
                && named.effectiveRemoteIdentity == .fqdn("b")
        )
        #expect(try connection(remote: .any).effectiveRemoteIdentity == nil)
    }

    @Test func remoteAddressesPermit() throws {
        let one = try #require(IPAddress("192.0.2.1"))
        let two = try #require(IPAddress("192.0.2.2"))
        #expect(RemoteAddress.any.permits(one) && RemoteAddress.any.initiatorTarget == nil)
        #expect(RemoteAddress.address(one).permits(one) && !RemoteAddress.address(one).permits(two))
        #expect(
            RemoteAddress.any.description == "%any" && RemoteAddress.address(one).description == "192.0.2.1"
        )
    }

    @Test func originsNameTheNearestLine() throws {
        let policy = try connection(remote: .any)
        #expect(
            policy.origin(of: "psk-file").description == "f:5"
                && policy.origin(of: "remote-id").description == "f:3"
        )
        #expect(ConfigurationOrigin(source: "vici").description == "vici")
    }
}
