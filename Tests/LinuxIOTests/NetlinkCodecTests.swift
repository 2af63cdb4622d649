import IPPackets
import Primitives
import Testing

@testable import LinuxIO

@Suite struct NetlinkCodecTests {
    static func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

    static func routes() throws -> [Route] {
        [
            Route(destination: try prefix("10.1.0.0/16"), table: 7, linkIndex: 3, metric: 50, mtu: 1400),
            Route(
                destination: try prefix("0.0.0.0/0"),
                table: 70_000,
                linkIndex: 3,
                gateway: IPAddress("192.0.2.1"),
                preferredSource: IPAddress("192.0.2.9")
            ),
            Route(destination: try prefix("10.2.0.0/16"), table: 7, gateway: IPAddress("2001:db8::1")),
            Route(destination: try prefix("2001:db8::/32"), table: 7, metric: 9000, type: .unreachable),
            Route(destination: try prefix("::/0"), table: 7, type: .throw, protocol: 4),
            Route(destination: try prefix("10.3.0.0/16"), table: 7, type: .blackhole),
        ]
    }

    static let rules = [
        Rule(
            priority: 100,
            table: 70_000,
            fwmark: Rule.Mark(value: 0xca05, mask: 0xffff),
            invert: true,
            family: .v6
        ),
        Rule(priority: 5, table: 254, family: .v4, suppressPrefixLength: 0, protocol: 3),
    ]

    @Test func routeRoundTrips() throws {
        for route in try Self.routes() {
            #expect(try Route(payload: route.payload(forDeletion: false)) == route)
        }
    }

    @Test func ruleRoundTrips() throws {
        for rule in Self.rules { #expect(try Rule(payload: rule.payload) == rule) }
    }

    @Test func writesHostOrderHeader() throws {
        let message = NetlinkMessage(type: 0x18, flags: 0x405, sequence: 7, payload: [1, 2, 3])
        #if _endian(little)
            #expect(
                message.bytes == Hex.decode("1300000018000504070000000000000001 0203".filter { $0 != " " })
            )
        #endif
        // The padding after the last message may be missing.
        #expect(try NetlinkMessage.parse(message.bytes) == [message])
        #expect(try NetlinkMessage.parse(message.bytes + [0] + message.bytes) == [message, message])
    }

    @Test func rejectsLengthsThatLie() {
        let zero = [UInt8](repeating: 0, count: 16)
        #expect(throws: WireError(.invalidLength(0), at: 0)) { try NetlinkMessage.parse(zero) }
        #expect(throws: WireError(.truncated(needed: 0x7fff_fff0, available: 0), at: 16)) {
            var writer = ByteWriter()
            writer.host32(UInt32(0x8000_0000))
            writer.zeros(12)
            _ = try NetlinkMessage.parse(writer.bytes)
        }
        #expect(throws: WireError(.invalidLength(3), at: 0)) { try NetlinkAttributes(nest: [3, 0, 3, 0]) }
    }

    @Test func readsTheKernelsWords() throws {
        var writer = ByteWriter()
        writer.host32(Int32(-22))
        writer.zeros(16)
        writer.attribute(1, text: "Invalid prefix")
        let result = try NetlinkResult(
            NetlinkMessage(type: 2, flags: 0x300, sequence: 1, payload: writer.bytes)
        )
        #expect(result.code == 22)
        #expect(result.text == "Invalid prefix")
    }

    /// All payloads that the parsers read, as the kernel sends them.
    static func payloads() throws -> [[UInt8]] {
        var link = ByteWriter()
        link.zeros(4)
        link.host32(Int32(5))
        link.host32(UInt32(1))
        link.zeros(4)
        link.attribute(3, text: "tun0")
        link.attribute(4, host32: 1400)
        var kind = ByteWriter()
        kind.attribute(1, text: "tun")
        link.attribute(18, kind.bytes)
        var address = ByteWriter()
        address.append([2, 24, 0, 0])
        address.host32(Int32(5))
        address.attribute(2, [10, 0, 0, 1])
        return try routes().map { $0.payload(forDeletion: false) } + rules.map(\.payload)
            + [link.bytes, address.bytes]
    }

    static func parseAll(_ octets: [UInt8]) {
        _ = try? NetlinkMessage.parse(octets)
        _ = try? LinkInfo(payload: octets)
        _ = try? InterfaceAddress(payload: octets)
        _ = try? Route(payload: octets)
        _ = try? Rule(payload: octets)
        _ = try? NetlinkAttributes(nest: octets)
        for flags: UInt16 in [0, 0x100, 0x200, 0x300] {
            for type: UInt16 in [2, 3] {
                _ = try? NetlinkResult(
                    NetlinkMessage(type: type, flags: flags, sequence: 0, payload: octets)
                )
            }
        }
        _ = NetlinkMonitor.changes(octets, ownProtocol: 192)
    }

    @Test func survivesEveryTruncationAndDamagedOctet() throws {
        for payload in try Self.payloads() {
            let whole = NetlinkMessage(type: 24, flags: 0, sequence: 1, payload: payload).bytes
            for octets in [payload, whole] {
                for count in 0...octets.count { Self.parseAll(Array(octets.prefix(count))) }
                for index in octets.indices {
                    for value: UInt8 in [0, 1, 3, 0x7f, 0x80, 0xff] {
                        var damaged = octets
                        damaged[index] = value
                        Self.parseAll(damaged)
                    }
                }
            }
            for count in 0..<whole.count where count > 0 {
                #expect(throws: WireError.self) { try NetlinkMessage.parse(Array(whole.prefix(count))) }
            }
        }
    }

    @Test func survivesRandomOctets() {
        var entropy = SeededEntropy(seed: 41)
        for count in 0..<4000 { Self.parseAll(entropy.bytes(count % 97)) }
    }

    @Test func namesWhatChangedAndNotOurOwnRoutes() throws {
        let ours = try Self.routes()[0]
        var theirs = ours
        theirs.protocol = 3
        let event = { (type: UInt16, payload: [UInt8]) in
            NetlinkMonitor.changes(
                NetlinkMessage(type: type, flags: 0, sequence: 0, payload: payload).bytes,
                ownProtocol: Route.ownProtocol
            )
        }
        #expect(event(24, ours.payload(forDeletion: false)) == [])
        #expect(event(25, theirs.payload(forDeletion: false)) == .routesChanged)
        #expect(event(16, []) == .linksChanged)
        #expect(event(21, []) == .addressesChanged)
        #expect(NetlinkMonitor.changes([1, 2, 3], ownProtocol: 192) == .all)
    }
}
