import IPPackets
import Primitives
import TestSupport
import Testing

struct IPAddressTests {
    @Test(arguments: [
        "0.0.0.0", "255.255.255.255", "10.1.2.3", "::", "::1", "fe80::1:2", "2001:db8::8:800:200c:417a",
    ])
    func textRoundTrips(text: String) throws {
        let address = try #require(IPAddress(text))
        #expect(address.description == text)
        #expect(IPAddress(octets: address.octets) == address)
        #expect(AddressBits(address).address == address)
    }

    @Test func printsTheCanonicalFormOfRFC5952() {
        #expect(IPAddress("2001:DB8:0:0:1:0:0:1")?.description == "2001:db8::1:0:0:1")
        #expect(IPAddress("2001:db8:0:1:1:1:1:1")?.description == "2001:db8:0:1:1:1:1:1")
        #expect(IPAddress("::ffff:1.2.3.4")?.octets.suffix(6) == [0xff, 0xff, 1, 2, 3, 4])
    }

    @Test(arguments: [
        "", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.+4", "1..2.3", ":::", "1::2::3", "12345::",
        "fe80::1%eth0",
        "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8", "::1.2.3", "+1::", ":1::",
    ])
    func rejectsWhatIsNoAddress(text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test func readsOctetsOfEitherFamily() throws {
        let octets: [UInt8] = [10, 0, 0, 1] + [0xfd] + [UInt8](repeating: 0, count: 14) + [9]
        var reader = ByteReader(octets.span)
        #expect(try IPAddress(parsing: &reader, isIPv6: false) == IPAddress("10.0.0.1"))
        #expect(try IPAddress(parsing: &reader, isIPv6: true) == IPAddress("fd00::9"))
        #expect(IPAddress(octets: [1, 2, 3]) == nil)
    }

    @Test func masksLikePrefixes() throws {
        for text in ["10.255.170.85", "2001:db8:ffff:aaaa:5555:cccc:3333:f0f0"] {
            let address = try #require(IPAddress(text))
            for length in 0...address.bitWidth {
                let prefix = try #require(IPPrefix(address, length: length))
                #expect(AddressBits(address).masked(to: length).address == prefix.address)
            }
        }
    }

    @Test func bitsOrderLikeAddresses() throws {
        let texts = ["0.0.0.0", "10.0.0.1", "255.255.255.255", "::", "::1", "1::", "ffff::"]
        let addresses = try texts.map { try #require(IPAddress($0)) }
        for left in addresses {
            for right in addresses {
                #expect((left < right) == (AddressBits(left) < AddressBits(right)))
                #expect((left == right) == (AddressBits(left) == AddressBits(right)))
            }
        }
    }
}

struct IPPrefixTests {
    @Test func parsesAndRefusesHostBits() {
        #expect(IPPrefix("10.1.0.0/16")?.description == "10.1.0.0/16")
        #expect(IPPrefix("10.1.0.1")?.length == 32)
        #expect(IPPrefix("0.0.0.0/0")?.last == IPAddress("255.255.255.255"))
        for text in ["10.1.0.1/16", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129", "fd00::1/64"] {
            #expect(IPPrefix(text) == nil)
        }
    }

    @Test func containsAndOverlaps() throws {
        let wide = try #require(IPPrefix("10.0.0.0/8"))
        let narrow = try #require(IPPrefix("10.1.0.0/16"))
        let other = try #require(IPPrefix("fd00::/8"))
        #expect(
            wide.contains(narrow) && !narrow.contains(wide) && wide.overlaps(narrow) && narrow.overlaps(wide)
        )
        let outside = try #require(IPAddress("11.0.0.0"))
        #expect(!wide.overlaps(other) && !wide.contains(outside))
    }

    @Test func coversRangesExactly() throws {
        var random = SplitMix64(state: 4)
        for _ in 0..<300 {
            let first = UInt32.random(in: 0...3000, using: &random)
            let last = first + UInt32.random(in: 0...3000, using: &random)
            let blocks = IPPrefix.covering(.v4(IPv4Address(first)), .v4(IPv4Address(last)))
            #expect(
                blocks.first?.address == .v4(IPv4Address(first))
                    && blocks.last?.last == .v4(IPv4Address(last))
            )
            for (left, right) in zip(blocks, blocks.dropFirst()) {
                #expect(left.last.successor == right.address)
            }
            #expect(blocks.count <= 62)
        }
        let whole = try #require(IPPrefix("::/0"))
        let all = IPPrefix.covering(whole.address, whole.last)
        #expect(all.map(\.length) == [0])
        #expect(IPPrefix.covering(.v4(IPv4Address(2)), .v4(IPv4Address(1))).isEmpty)
    }
}
