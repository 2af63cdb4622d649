import Cryptography
import IKECore
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing
import Vici

@testable import Gateway

@Suite struct ViciListsTests {
    private let now = Instant.zero.advanced(by: .seconds(1000))

    private func child(_ id: UInt32) throws -> ChildSASnapshot {
        let prefix = try #require(IPPrefix("10.1.0.0/16"))
        var child = ChildSASnapshot(
            id: id,
            tunnel: "net",
            inboundSPI: try #require(SPI(0x1000 + id)),
            outboundSPI: try #require(SPI(0x2000 + id)),
            proposal: try Proposal(keywords: "aes256gcm16", for: .esp),
            localSelectors: [TrafficSelector(prefix)],
            remoteSelectors: [TrafficSelector(prefix)],
            encapsulation: .udp,
            installedAt: now.advanced(by: .seconds(-10))
        )
        child.rekeyAt = now.advanced(by: .seconds(90))
        child.expiresAt = now.advanced(by: .seconds(-1))
        return child
    }

    private func ike(_ id: UInt32, children: [ChildSASnapshot] = []) throws -> IKESASnapshot {
        let end = Endpoint(try #require(IPAddress("192.0.2.1")), 4500)
        var ike = IKESASnapshot(
            id: id,
            connection: "branch",
            state: .established,
            isInitiator: true,
            initiatorSPI: 1,
            responderSPI: 2,
            local: end,
            remote: end,
            establishedAt: now.advanced(by: .seconds(-60)),
            children: children
        )
        ike.rekeyAt = now.advanced(by: .seconds(3600))
        ike.expiresAt = now.advanced(by: .seconds(4000))
        return ike
    }

    @Test func saysWhenSAsAreReplacedAndEnd() throws {
        let list = ViciLists.listSA(try ike(1, children: [try child(7)]), details: [:], at: now)
        let sa = try #require(list.section("branch"))
        #expect(sa.string("established") == "60" && sa.string("rekey-time") == "3600")
        #expect(sa.string("life-time") == "4000")
        let child = try #require(sa.section("child-sas")?.section("net-7"))
        #expect(child.string("rekey-time") == "90" && child.string("life-time") == "0")
        #expect(child.string("path-mtu") == nil && child.string("inner-mtu") == nil)
        // strongSwan's order, which scripts rely on.
        let keys = child.elements.map { $0.name }
        let order = ["packets-out", "rekey-time", "life-time", "install-time"]
        #expect(
            order.compactMap { keys.firstIndex(of: $0) }
                == order.compactMap { keys.firstIndex(of: $0) }.sorted()
        )
        #expect(order.allSatisfy { keys.contains($0) })
    }

    @Test func namesFurtherKeyExchangesAndReauthenticationAsStrongSwanDoes() throws {
        var ike = try ike(1)
        ike.proposal = try Proposal(
            keywords: "aes256gcm16-prfsha384-x25519-ke1_ecp384-ke3_modp2048",
            for: .ike
        )
        ike.reauthAt = now.advanced(by: .seconds(500))
        let sa = try #require(ViciLists.listSA(ike, details: [:], at: now).section("branch"))
        #expect(sa.string("dh-group") == "CURVE_25519" && sa.string("ake1") == "ECP_384")
        #expect(sa.string("ake2") == nil && sa.string("ake3") == "MODP_2048")
        #expect(sa.string("reauth-time") == "500")
        let keys = sa.elements.map { $0.name }
        let order = ["dh-group", "ake1", "ake3", "established", "rekey-time", "reauth-time"]
        let places = order.compactMap { keys.firstIndex(of: $0) }
        #expect(places.count == order.count && places == places.sorted())
    }

    @Test(arguments: [(nil, "1438"), (1400, "1338")] as [(Int?, String)])
    func saysWhereAChildGoesAndHowLargePacketsMayBe(_ path: Int?, _ inner: String) throws {
        let end = Endpoint(try #require(IPAddress("192.0.2.1")), 4500)
        let details = ChildDetails(
            path: OuterPath(local: end, remote: end, encapsulation: .udp),
            pathMTU: path,
            reqid: 3
        )
        let list = ViciLists.listSA(try ike(1, children: [try child(7)]), details: [7: details], at: now)
        let child = try #require(list.section("branch")?.section("child-sas")?.section("net-7"))
        #expect(child.string("inner-mtu") == inner && child.string("path-mtu") == path.map { "\($0)" })
        #expect(child.string("path-local") == "192.0.2.1[4500]" && child.string("reqid") == "3")
    }

    @Test func rekeyEventsHaveStrongSwansShape() throws {
        let rekeyed = ViciLists.ikeRekey(old: try ike(1), new: try ike(2), at: now)
        let section = try #require(rekeyed.section("branch"))
        #expect(section.section("old")?.string("uniqueid") == "1")
        #expect(section.section("new")?.string("uniqueid") == "2")
        #expect(section.section("old")?.section("child-sas") == nil)
        let event = ViciLists.childRekey(
            try ike(1),
            old: try child(7),
            new: try child(8),
            details: [:],
            at: now
        )
        let ike = try #require(event.section("branch"))
        #expect(ike.string("uniqueid") == "1")
        let tunnel = try #require(ike.section("child-sas")?.section("net"))
        #expect(tunnel.section("old")?.string("uniqueid") == "7")
        #expect(tunnel.section("new")?.string("uniqueid") == "8")
    }

    @Test func aConnectionTellsItsNamesAndWhyItsTunnelsAreDown() throws {
        let prefix = try #require(IPPrefix("10.1.0.0/16"))
        let tunnel = TunnelPolicy(
            name: "net",
            local: [TrafficSelector(prefix)],
            remote: [TrafficSelector(prefix)],
            proposals: DefaultProposals.esp,
            start: .start,
            rekeyVolume: SAVolume(octets: 5000),
            origin: ConfigurationOrigin(source: "f", line: 1)
        )
        let connection = ConnectionPolicy(
            name: "branch",
            localAddresses: [],
            remoteAddress: RemoteAddress([.name("peer.example"), .prefix(prefix)]),
            localIdentity: nil,
            remoteIdentity: nil,
            sharedKeys: SharedKeyring(try SecretKey(copying: [1])),
            proposals: DefaultProposals.ike,
            tunnels: [tunnel],
            origin: ConfigurationOrigin(source: "f", line: 1)
        )
        var entry = Supervisor.Entry(SupervisedTunnel(tunnel, of: connection))
        entry.phase = .waiting(now.advanced(by: .seconds(12)))
        entry.failures = 3
        entry.lastCause = "no answer"
        var record = PeerNames.Record()
        record.addresses = [try #require(IPAddress("203.0.113.5"))]
        record.settledAt = now.advanced(by: .seconds(-20))
        record.failure = "timed out"
        let details = ConnectionDetails(entries: ["net": entry], names: [("peer.example", record)])
        let list = ViciLists.listConnection(connection, details, at: now)
        let conn = try #require(list.section("branch"))
        #expect(conn.strings("remote_addrs") == ["peer.example", "10.1.0.0/16"])
        #expect(conn.string("rekey_time") == "25920" && conn.string("last-error") == "no answer")
        let name = try #require(conn.section("names")?.section("peer.example"))
        #expect(name.strings("addresses") == ["203.0.113.5"] && name.string("age") == "20")
        #expect(name.string("error") == "timed out")
        let child = try #require(conn.section("children")?.section("net"))
        #expect(child.string("next-attempt") == "12" && child.string("failures") == "3")
        #expect(child.string("rekey_time") == "3240" && child.string("rekey_bytes") == "5000")
    }
}
