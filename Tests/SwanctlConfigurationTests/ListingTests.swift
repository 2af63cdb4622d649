import Testing
import Vici

@testable import SwanctlConfiguration

struct ListingTests {
    @Test func aConnectionWithAllThatIsTold() throws {
        let section = try load(
            connectionText(
                """
                version = 2
                local_addrs = 192.168.0.1, %any
                remote_addrs = peer.example.org
                dpd_delay = 1m
                dpd_timeout = 2m
                unique = never
                """,
                child: """
                    rekey_time = 10m
                    rekey_bytes = 1k
                    close_action = trap|start
                    local_ts = 10.1.0.0/16[tcp/ssh]
                    priority = 5
                    """,
                remote: "id = sun"
            )
        ).listing.section
        #expect(
            section.elements.map { $0.name } == [
                "local_addrs", "remote_addrs", "local_port", "remote_port", "version", "reauth_time",
                "rekey_time",
                "unique", "dpd_delay", "dpd_timeout", "local-1", "remote-1", "children",
            ]
        )
        #expect(section.strings("local_addrs") == ["192.168.0.1", "%any"])
        #expect(section.strings("remote_addrs") == ["peer.example.org"])
        #expect(section.string("version") == "IKEv2")
        #expect(section.string("rekey_time") == "14400")
        #expect(section.string("unique") == "UNIQUE_NEVER")
        #expect(section.string("dpd_delay") == "60")
        let remote = try #require(section.section("remote-1"))
        #expect(
            remote.elements.map { $0.name } == ["class", "id", "groups", "cert_policy", "certs", "cacerts"]
        )
        #expect(remote.string("class") == "pre-shared key")
        #expect(remote.string("id") == "sun")
        let child = try #require(section.section("children")?.section("n"))
        #expect(
            child.elements.map { $0.name } == [
                "mode", "rekey_time", "rekey_bytes", "rekey_packets", "dpd_action", "close_action",
                "local-ts",
                "remote-ts", "priority",
            ]
        )
        #expect(child.string("mode") == "TUNNEL")
        #expect(child.string("rekey_time") == "600")
        #expect(child.string("rekey_bytes") == "1024")
        #expect(child.string("dpd_action") == "none")
        #expect(child.string("close_action") == "trap|start")
        #expect(child.strings("local-ts") == ["10.1.0.0/16[tcp/22]"])
        #expect(child.strings("remote-ts") == ["dynamic"])
    }

    @Test func defaults() throws {
        let section = try load(connectionText()).listing.section
        #expect(section.strings("local_addrs") == ["%any"])
        #expect(section.strings("remote_addrs") == ["%any"])
        #expect(section.string("version") == "IKEv1/2")
        #expect(section.string("unique") == "UNIQUE_NO")
        #expect(section.string("local_port") == "500")
        #expect(section.string("dpd_delay") == nil)
        #expect(section.section("local-1")?.string("id") == nil)
    }
}
