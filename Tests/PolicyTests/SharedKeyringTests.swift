import Cryptography
import IPPackets
import Policy
import Testing

@Suite struct SharedKeyringTests {
    private let here = IPAddress.v4(IPv4Address(0xc000_0201))
    private let there = IPAddress.v4(IPv4Address(0xc000_0202))

    private func key(_ number: UInt8) throws -> SecretKey { try SecretKey(copying: [number, number]) }

    private func keyring(_ owners: [[String]]) throws -> SharedKeyring {
        SharedKeyring(
            try owners.enumerated().map { index, owners in
                SharedKeyring.Entry(
                    id: "ike-\(index)",
                    owners: try owners.map { try #require(Identity(swanctl: $0)) },
                    key: try key(UInt8(truncatingIfNeeded: index))
                )
            }
        )
    }

    /// The numbers of the keys in the order they come.
    private func choose(_ owners: [[String]], _ local: String, _ remote: String?) throws -> [Int] {
        let keyring = try keyring(owners)
        let keys = keyring.keys(
            local: try #require(Identity(swanctl: local)),
            remote: try remote.map { try #require(Identity(swanctl: $0)) },
            localAddress: here,
            remoteAddress: there
        )
        let numbers = keys.compactMap { key in keyring.entries.firstIndex { $0.key == key } }
        #expect(numbers.count == keys.count)
        return numbers
    }

    @Test func exactBeforeWildcardBeforeEverybody() throws {
        let owners = [[], ["*.strongswan.org"], ["carol.strongswan.org", "moon.strongswan.org"], ["%any"]]
        #expect(try choose(owners, "moon.strongswan.org", "carol.strongswan.org") == [2, 1, 0, 3])
        #expect(try choose(owners, "moon.strongswan.org", "dave.strongswan.org") == [1, 0, 3])
        #expect(try choose(owners, "moon.example", "eve.example") == [0, 3])
    }

    @Test func thePeersIdentityCountsBeforeOurs() throws {
        let owners = [["moon", "%any"], ["sun"], ["moon", "sun"]]
        #expect(try choose(owners, "moon", "sun") == [2, 1, 0])
    }

    @Test func aKeyOfTwoOthersIsNone() throws {
        #expect(try choose([["carol", "moon"]], "moon", "dave").isEmpty)
        #expect(try choose([["carol", "dave"]], "moon", "eve").isEmpty)
        // One whose only owner we are is for all our peers.
        #expect(try choose([["moon"], ["carol", "moon"]], "moon", "dave") == [0])
    }

    /// What a peer asserts is no pattern, whatever it looks like.
    @Test func anAssertedWildcardIsNoWildcard() throws {
        let keyring = try keyring([["carol", "moon"]])
        let keys = keyring.keys(
            local: .fqdn("moon"),
            remote: .fqdn("*"),
            localAddress: here,
            remoteAddress: there
        )
        #expect(keys.isEmpty)
    }

    @Test func namesMatchWithoutCase() throws {
        #expect(try choose([["Moon.Example", "SUN.example"]], "moon.example", "sun.EXAMPLE") == [0])
    }

    @Test func distinguishedNamesMatchByTheirParts() throws {
        let owners = [["C=CH, O=strongSwan Project, CN=*"], ["C=ch, O=STRONGSWAN project, CN=Sun"]]
        #expect(try choose(owners, "moon", "C=CH, O=strongSwan Project, CN=sun") == [1, 0])
    }

    @Test func beforeThePeerSaidWhoItIsItsAddressDecides() throws {
        let owners = [["moon", "sun"], ["moon", "192.0.2.2"], ["venus"], []]
        #expect(try choose(owners, "moon", nil) == [1, 3, 0])
    }

    @Test func withoutAnIdentityThatFitsAddressesDecide() throws {
        let owners = [["192.0.2.1", "192.0.2.2"], ["192.0.2.1", "192.0.2.9"], ["192.0.2.0/24"]]
        #expect(try choose(owners, "moon", "sun") == [0, 2])
    }

    @Test func aKeyWithoutOwnersIsForEverybody() throws {
        let keyring = SharedKeyring(try key(7))
        for remote in [Identity.fqdn("a"), .keyID([1]), nil] {
            let keys = keyring.keys(
                local: .address(here),
                remote: remote,
                localAddress: here,
                remoteAddress: there
            )
            #expect(keys == [try key(7)])
        }
    }

    @Test func manyKeysOfOthersCostNothing() throws {
        let others = (0..<5000).map { ["moon", "host\($0)"] }
        let keyring = try keyring(others + [["moon", "sun"]])
        var count = 0
        for _ in 0..<2000 {
            count +=
                keyring.keys(
                    local: .fqdn("moon"),
                    remote: .fqdn("sun"),
                    localAddress: here,
                    remoteAddress: there
                ).count
        }
        #expect(count == 2000)
    }
}
