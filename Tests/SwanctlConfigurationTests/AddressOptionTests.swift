import IPPackets
import Policy
import Testing

@testable import SwanctlConfiguration

struct AddressOptionTests {
    @Test(arguments: [
        "%any", "%any4", "%any6", "192.168.0.1", "fec0::1", "moon.strongswan.org", "moon", "a_b.example.",
        "10.0.0.0/8", "fec0::/10", "10.0.0.1-10.0.0.9", "my-gateway.example.org",
    ])
    func reads(_ text: String) {
        #expect(HostOption(Array(text.utf8)) != nil)
    }

    @Test(arguments: [
        "", "192.168.0", "192.168.0.256", "10.0.0.0/33", "10.0.0.9-10.0.0.1", "a..b", "a b", "%none",
        "fec0::1::2",
        "name/8", ".", "-\u{7f}",
    ])
    func refuses(_ text: String) {
        #expect(HostOption(Array(text.utf8)) == nil)
    }

    private func remote(_ text: String) throws -> RemoteAddress {
        try load(connectionText("remote_addrs = \(text)")).policy.remoteAddress
    }

    private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    @Test func remoteAddressesInAllForms() throws {
        #expect(try load(connectionText()).policy.remoteAddress == .any)
        #expect(try remote("%any") == .any)
        #expect(try remote("192.168.0.1, %any") == .any)
        #expect(try remote("192.168.0.1") == .address(address("192.168.0.1")))
        let list = try remote("192.168.0.1, 10.0.0.0/8, 10.0.0.1-10.0.0.9, peer.example.org")
        #expect(list.description == "192.168.0.1, 10.0.0.0/8, 10.0.0.1-10.0.0.9, peer.example.org")
        #expect(list.names == ["peer.example.org"])
        #expect(list.initiatorTargets == [try address("192.168.0.1")])
    }

    @Test func rangesPermitButAreNoTarget() throws {
        let range = try remote("10.0.0.5-10.0.0.9")
        #expect(!range.canInitiate)
        for (text, isInside) in [
            ("10.0.0.4", false), ("10.0.0.5", true), ("10.0.0.9", true), ("fec0::5", false),
        ] {
            #expect(range.permits(try address(text)) == isInside)
        }
        let ipv6 = try remote("%any6")
        #expect(ipv6.permits(try address("fec0::5")))
        #expect(!ipv6.permits(try address("10.0.0.5")))
    }

    @Test func localAddressesAreAddressesOnly() throws {
        let policy = try load(connectionText("local_addrs = 192.168.0.1, fec0::1")).policy
        #expect(policy.localAddresses.map { $0.description } == ["192.168.0.1", "fec0::1"])
        #expect(try load(connectionText("local_addrs = %any")).policy.localAddresses.isEmpty)
        for text in ["gateway.example.org", "10.0.0.0/8", "10.0.0.1-10.0.0.2", "%any6"] {
            let expected = "connections.c.local_addrs = \(text): not supported yet"
            #expect(outcome(connectionText("local_addrs = \(text)")) == expected)
        }
    }
}
