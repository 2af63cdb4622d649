import IPPackets
import Testing
import Vici

@testable import SwanctlConfiguration

struct PoolTests {
    private func pool(_ addresses: String?, _ lists: [(String, [String])] = []) -> ViciMessage {
        ViciMessage { message in
            message.section("p") { section in
                if let addresses { section.set("addrs", addresses) }
                for (name, items) in lists { section.list(name, items) }
            }
        }
    }

    /// As strongSwan's pools have them: without the network's and the broadcast address.
    @Test(
        arguments: [
            ("10.3.0.0/28", "10.3.0.1", 14), ("10.3.0.0/24", "10.3.0.1", 254), ("10.3.0.1", "10.3.0.1", 1),
            ("10.3.0.3/32", "10.3.0.3", 1), ("10.3.0.0/31", "10.3.0.0", 2), ("10.3.0.1/31", "10.3.0.1", 1),
            ("10.3.0.5/28", "10.3.0.5", 10), ("10.3.0.0/30", "10.3.0.1", 2), ("fec3::/120", "fec3::1", 254),
            ("fec3::/64", "fec3::1", 2_147_483_646), ("10.3.0.10-10.3.0.20", "10.3.0.10", 11),
            ("fec3::10-fec3::1f", "fec3::10", 16), ("0.0.0.0/0", "0.0.0.1", 2_147_483_646),
        ] as [(String, String, UInt32)]
    )
    func addresses(_ text: String, _ base: String, _ size: UInt32) throws {
        var configuration = LoadedConfiguration()
        try configuration.loadPool(pool(text))
        let pool = try #require(configuration.pools.first)
        #expect(pool.base.description == base)
        #expect(pool.size == size)
        #expect(
            pool.listing(online: 1, offline: 2).elements.map { $0.name } == [
                "base", "size", "online", "offline",
            ]
        )
    }

    @Test(arguments: [
        "", "x", "10.3.0.0/33", "10.3.0.9-10.3.0.1", "10.3.0.1-fec3::1", "fec3::-fec4::",
        "0.0.0.0-255.255.255.255",
        "10.3.0.15/28",
    ])
    func noAddresses(_ text: String) {
        var configuration = LoadedConfiguration()
        #expect(throws: LoadRefusal.self) { try configuration.loadPool(pool(text)) }
        #expect(configuration.pools.isEmpty)
    }

    @Test func attributes() throws {
        var configuration = LoadedConfiguration()
        try configuration.loadPool(
            pool(
                "10.3.0.0/24",
                [
                    ("dns", ["10.1.0.1", "fec1::1"]), ("subnet", ["10.1.0.0/16", "fec1::/16"]),
                    ("split_include", ["10.2.0.0/16"]), ("28672", ["welcome"]), ("20", ["10.1.0.2"]),
                ]
            )
        )
        let attributes = try #require(configuration.pools.first).attributes
        #expect(attributes.map { $0.type } == [3, 10, 13, 15, 28_676, 28_672, 20])
        #expect(attributes[0].value == [10, 1, 0, 1])
        #expect(attributes[2].value == [10, 1, 0, 0, 255, 255, 0, 0])
        #expect(attributes[3].value.count == 17)
        #expect(attributes[3].value.last == 16)
        #expect(attributes[5].value == Array("welcome".utf8))
        #expect(attributes[6].value == [10, 1, 0, 2])
    }

    @Test func refusals() throws {
        var configuration = LoadedConfiguration()
        let cases: [(ViciMessage, String)] = [
            (pool(nil), "missing addrs for pool 'p'"), (pool("x"), "invalid addrs value: x"),
            (pool("10.3.0.1", [("foo", ["x"])]), "invalid attribute: foo"),
            (pool("10.3.0.1", [("0", ["x"])]), "invalid attribute: 0"),
            (pool("10.3.0.1", [("dns", ["x"])]), "invalid attribute value for dns"),
            (ViciMessage { $0.section("p") { $0.set("dns", "10.1.0.1") } }, "invalid attribute: dns"),
            (
                ViciMessage {
                    $0.section("p") {
                        $0.set("addrs", "10.3.0.1")
                        $0.set("addrs", "10.3.0.2")
                    }
                }, "multiple addrs defined"
            ),
            (
                pool("10.3.0.1", [("dns", [String](repeating: "10.1.0.1", count: 257))]),
                "limit of 256 attributes of a pool reached"
            ),
        ]
        for (message, expected) in cases {
            let refusal = #expect(throws: LoadRefusal.self) { try configuration.loadPool(message) }
            #expect(refusal?.description == expected)
        }
        try configuration.loadPool(pool("10.3.0.0/24"))
        try configuration.loadPool(pool("10.3.0.0/28"))
        #expect(configuration.pools.map { $0.size } == [14])
        try configuration.unloadPool("p")
        #expect(throws: LoadRefusal("p not found")) { try configuration.unloadPool("p") }
    }
}
