import Glibc
import IPPackets
import Primitives
import Testing

@testable import LinuxIO

@Suite struct NoLeakFilterTests {
    static func prefixes(_ texts: String...) throws -> [IPPrefix] {
        try texts.map { try #require(IPPrefix($0)) }
    }

    @Test func writesTheWholeTransaction() throws {
        let filter = try NoLeakFilter(
            instance: "main",
            tunNames: ["causeway0"],
            protected: Self.prefixes("10.1.2.0/24", "10.1.0.0/16", "11.0.0.0/8", "fd01::/48"),
            exceptSources: [try #require(IPAddress("10.1.9.9"))]
        )
        #expect(
            filter.script(packets: 5, octets: 300) == """
                table inet causeway_main
                delete table inet causeway_main
                table inet causeway_main {
                    counter plaintext_dropped { packets 5 bytes 300 }
                    set protected4 { type ipv4_addr; flags interval; elements = { 10.1.0.0/16, 11.0.0.0/8 }; }
                    set protected6 { type ipv6_addr; flags interval; elements = { fd01::/48 }; }
                    set except4 { type ipv4_addr; elements = { 10.1.9.9 }; }
                    set except6 { type ipv6_addr; }
                    chain prerouting {
                        type filter hook prerouting priority raw; policy accept;
                        ip saddr != @protected4 accept
                        ip6 saddr != @protected6 accept
                        iifname { "lo", "causeway0" } accept
                        ip saddr @except4 udp dport { 500, 4500 } accept
                        ip saddr @except4 ip protocol esp accept
                        ip saddr @except4 ip protocol udp ip frag-off & 0x1fff != 0 accept
                        ip6 saddr @except6 udp dport { 500, 4500 } accept
                        ip6 saddr @except6 meta l4proto esp accept
                        ip6 saddr @except6 frag frag-off != 0 accept
                        ip saddr @protected4 counter name "plaintext_dropped" drop
                        ip6 saddr @protected6 counter name "plaintext_dropped" drop
                    }
                }

                """
        )
    }

    @Test func refusesNamesThatWouldEndTheScript() {
        for (instance, tun) in [
            ("", "t0"), ("a b", "t0"), ("a{", "t0"), ("a\n", "t0"), (String(repeating: "a", count: 33), "t0"),
            ("a", "t\""), ("a", "t*"), ("a", "t\\"), ("a", "t\n"), ("a", ""),
        ] {
            #expect(throws: LinuxError.self) {
                try NoLeakFilter(instance: instance, tunNames: [tun], protected: [])
            }
        }
    }

    @Test func readsTheCounterOrRefuses() {
        let text =
            "table inet causeway_a {\n\tcounter plaintext_dropped {\n\t\tpackets 12 bytes 840\n\t}\n}\n"
        #expect(NoLeakFilter.parseCounter(text)?.packets == 12)
        #expect(NoLeakFilter.parseCounter(text)?.octets == 840)
        for damaged in ["", "packets", "packets 1 bytes", "packets x bytes 1", "packets -1 bytes 1"] {
            #expect(NoLeakFilter.parseCounter(damaged) == nil)
        }
    }

    @Test func missingProgramIsNamed() throws {
        let error = #expect(throws: LinuxError.self) {
            try SystemProgram.run("no-such-program", [], input: "", operation: "run it")
        }
        #expect(error?.errno == ENOENT)
        #expect(error?.description.contains("no program no-such-program in /usr/sbin") == true)
    }

    @Test func programsGetInputAndTheirFailureIsTold() throws {
        let text = String(repeating: "0123456789abcde\n", count: 8000)
        #expect(try SystemProgram.run("cat", [], input: text, operation: "copy") == text.prefix(65_536))
        let error = #expect(throws: LinuxError.self) {
            try SystemProgram.run("cat", ["/nowhere"], input: "", operation: "copy")
        }
        #expect(error?.detail == "cat: /usr/bin/cat: /nowhere: No such file or directory")
    }

    /// An IPv4 packet with a right header checksum.
    static func packet(from source: String, protocol number: UInt8, port: UInt16, fragment: UInt16 = 0) throws
        -> [UInt8]
    {
        var writer = ByteWriter()
        writer.append([0x45, 0, 0, 36, 0, 1])
        writer.u16(fragment)
        writer.append([64, number])
        writer.u16(0)
        writer.append(try #require(IPAddress(source)).octets + [10, 77, 0, 1])
        writer.u16(40_000)
        writer.u16(port)
        writer.append([0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
        var sum: UInt32 = 0
        for index in stride(from: 0, to: 20, by: 2) {
            sum += UInt32(writer.bytes[index]) << 8 | UInt32(writer.bytes[index + 1])
        }
        while sum > 0xffff { sum = sum & 0xffff + sum >> 16 }
        try writer.patch16(Int(~sum & 0xffff), at: 10, field: "checksum")
        return writer.bytes
    }

    static func packet6(from source: String, port: UInt16 = 53) throws -> [UInt8] {
        let destination = try #require(IPAddress("fd77::1")).octets
        return [0x60, 0, 0, 0, 0, 16, 17, 64] + (try #require(IPAddress(source)).octets) + destination
            + [0x9c, 0x40, UInt8(port >> 8), UInt8(port & 255), 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    }

    @Test(.enabled(if: NamespaceThread.hasNft, "needs root and nft"))
    func dropsPlaintextFromOutsideOnly() throws {
        let counts = try NamespaceThread.run { () -> [UInt64] in
            let netlink = try Netlink()
            let plain = TunDeviceControl.Options(multiQueue: false, virtioHeader: false)
            let devices = try ["causeway0", "outside"].map { name in
                let device = try TunDeviceControl.open(name: name, options: plain)
                try netlink.setLink(try #require(try netlink.link(named: name)).index, up: true)
                return device
            }
            let filter = try NoLeakFilter(
                instance: "t-1",
                tunNames: ["causeway0"],
                protected: Self.prefixes("10.1.0.0/16", "0.0.0.0/1", "fd01::/48"),
                exceptSources: [try #require(IPAddress("10.1.9.9")), try #require(IPAddress("fd01::9"))]
            )
            try filter.apply()
            var counts = [try NoLeakFilter.droppedPackets(instance: "t-1")]
            let send = { (device: Int, packet: [UInt8]) throws in
                try SystemFile.write(packet, to: devices[device], operation: "send")
                counts.append(try NoLeakFilter.droppedPackets(instance: "t-1"))
            }
            try send(0, try Self.packet(from: "10.1.0.5", protocol: 17, port: 53))
            try send(1, try Self.packet(from: "200.0.0.1", protocol: 17, port: 53))
            try send(1, try Self.packet(from: "10.1.9.9", protocol: 17, port: 4500))
            try send(1, try Self.packet(from: "10.1.9.9", protocol: 50, port: 0))
            try send(1, try Self.packet(from: "10.1.0.5", protocol: 17, port: 53))
            try send(1, try Self.packet(from: "10.1.9.9", protocol: 17, port: 53))
            try send(1, try Self.packet(from: "10.1.0.5", protocol: 50, port: 0))
            try send(0, try Self.packet6(from: "fd01::5"))
            try send(1, try Self.packet6(from: "fd01::5"))
            // Later fragments have no ports: those of a peer pass, whatever stands in their place.
            try send(1, try Self.packet(from: "10.1.9.9", protocol: 17, port: 53, fragment: 0x0010))
            try send(1, try Self.packet(from: "10.1.0.5", protocol: 17, port: 4500, fragment: 0x0010))
            try send(1, try Self.packet6(from: "fd01::9", port: 53))
            try send(1, try Self.packet6(from: "fd01::9", port: 500))
            // Replacing the filter keeps the count.
            try filter.apply()
            counts.append(try NoLeakFilter.droppedPackets(instance: "t-1"))
            return counts
        }
        #expect(counts == [0, 0, 0, 0, 0, 1, 2, 3, 3, 4, 4, 5, 6, 6, 6])
    }

    @Test(.enabled(if: NamespaceThread.hasNft, "needs root and nft"))
    func appliesForEverythingReplacesAndRemoves() throws {
        let (tables, code) = try NamespaceThread.run { () -> ([String], Int32) in
            let list = { try SystemProgram.run("nft", ["list", "tables"], input: "", operation: "list") }
            var tables = [String]()
            try NoLeakFilter.apply(
                instance: "a",
                tunNames: [],
                protected: Self.prefixes("0.0.0.0/0", "::/0")
            )
            try NoLeakFilter.apply(instance: "b", tunNames: [], protected: [])
            try NoLeakFilter.apply(instance: "a", tunNames: ["x"], protected: Self.prefixes("10.0.0.0/8"))
            tables.append(try list())
            tables.append(
                try SystemProgram.run(
                    "nft",
                    ["list", "table", "inet", "causeway_a"],
                    input: "",
                    operation: "list"
                )
            )
            try NoLeakFilter.remove(instance: "a")
            try NoLeakFilter.remove(instance: "a")
            tables.append(try list())
            do throws(LinuxError) {
                _ = try NoLeakFilter.droppedPackets(instance: "a")
                return (tables, 0)
            } catch {
                return (tables, error.errno)
            }
        }
        #expect(
            tables[0].split(separator: "\n").sorted() == ["table inet causeway_a", "table inet causeway_b"]
        )
        #expect(tables[1].contains("10.0.0.0/8") && !tables[1].contains("0.0.0.0/0"))
        #expect(tables[2] == "table inet causeway_b\n")
        #expect(code == EINVAL)
    }
}
