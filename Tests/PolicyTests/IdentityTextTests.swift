import IPPackets
import Policy
import Testing

/// Identities as swanctl.conf writes them, with strongSwan's types and texts.
@Suite struct IdentityTextTests {
    @Test(arguments: [
        ("moon.strongswan.org", 2, "moon.strongswan.org"),
        ("carol@strongswan.org", 3, "carol@strongswan.org"),
        ("@moon", 2, "moon"), ("@192.0.2.1", 2, "192.0.2.1"), ("@@carol", 3, "carol"),
        ("@#6d6f6f6e", 11, "moon"), ("@#00ff", 11, "00:ff"), ("@#xy", 2, "#xy"),
        ("fqdn:a@b", 2, "a@b"), ("FQDN:a", 2, "a"), ("dns:a", 2, "a"), ("fqdn:#6d", 2, "m"),
        ("email:root", 3, "root"), ("rfc822:root", 3, "root"), ("userfqdn:root", 3, "root"),
        ("keyid:moon gate", 11, "moon gate"), ("keyid:#0102", 11, "01:02"), ("keyid:0x0a", 11, "0x0a"),
        ("{11}:#0102", 11, "01:02"), ("{2}:moon", 2, "moon"),
        ("192.0.2.1", 1, "192.0.2.1"), ("2001:db8::1", 5, "2001:db8::1"),
        ("ipv4:192.0.2.1", 1, "192.0.2.1"), ("ipv6:2001:db8::1", 5, "2001:db8::1"),
        ("ipv4:#c0000201", 1, "192.0.2.1"),
        ("10.1.0.0/16", 7, "10.1.0.0/16"), ("10.1.2.3/16", 7, "10.1.0.0/16"),
        ("10.1.0.1-10.1.0.9", 7, "10.1.0.1-10.1.0.9"), ("ipv6net:fec1::/16", 8, "fec1::/16"),
        ("a:b", 11, "a:b"), ("*.strongswan.org", 2, "*.strongswan.org"),
        ("C=CH, O=strongSwan Project, CN=moon", 9, "C=CH, O=strongSwan Project, CN=moon"),
        (
            "/C=CH/O=Linux strongSwan/CN=moon.strongswan.org", 9,
            "C=CH, O=Linux strongSwan, CN=moon.strongswan.org"
        ),
        ("c=CH,emailAddress=a@b.c", 9, "C=CH, E=a@b.c"), ("asn1dn:CN=moon", 9, "CN=moon"),
        ("nonsense=moon", 11, "nonsense=moon"),
        ("asn1dn:#300f310d300b060355040313046d6f6f6e", 9, "CN=moon"),
        ("%any", 0, "%any"), ("", 0, "%any"), ("*", 0, "%any"), ("0.0.0.0", 0, "%any"), ("::", 0, "%any"),
    ])
    func reads(text: String, type: UInt8, description: String) throws {
        let identity = Identity(swanctl: text)
        if description.isEmpty {
            #expect(identity == nil)
        } else {
            #expect(identity?.type == type && identity?.description == description)
        }
    }

    @Test(arguments: [
        "ipv4:moon", "ipv4:::1", "ipv6:192.0.2.1", "ipv4net:192.0.2.1", "ipv4range:192.0.2.9-192.0.2.1",
        "keyid:",
        "keyid:#0", "asn1dn:moon", "asn1dn:#00", "fqdn:#zz", "a\u{0}b",
    ])
    func refusesWhatDoesNotFitItsType(text: String) {
        #expect(Identity(swanctl: text) == nil)
    }

    @Test(arguments: [
        ("%any", "moon", 1), ("*@strongswan.org", "carol@strongswan.org", 2),
        ("*@strongswan.org", "carol@x.org", 0),
        ("*.strongswan.org", "moon.StrongSwan.org", 2), ("*.strongswan.org", "strongswan.org", 0),
        ("*.strongswan.org", "moon@a.strongswan.org", 0), ("*@strongswan.org", "@@*@strongswan.org", 3),
        ("moon", "MOON", 3), ("moon", "@@moon", 0), ("@#01", "@#01", 3), ("@#2a", "@#01", 0),
        ("10.1.0.0/16", "10.1.2.3", 2), ("10.1.0.0/16", "10.2.2.3", 0), ("10.1.0.1-10.1.0.3", "10.1.0.4", 0),
        ("C=CH, O=*, CN=*", "C=CH, O=strongSwan, CN=moon", 2), ("C=CH, O=*, CN=*", "C=CH, CN=moon", 0),
        ("C=CH, CN=*", "CN=moon, C=CH", 0), ("C=ch, CN=MOON", "C=CH, CN=moon", 3),
        ("C=CH, CN=m*", "C=CH, CN=moon", 0),
    ])
    func matches(pattern: String, asserted: String, quality: Int) throws {
        let match = try #require(Identity(swanctl: pattern)).match(try #require(Identity(swanctl: asserted)))
        let kind = match == .none ? 0 : match == .any ? 1 : match == .exact ? 3 : 2
        #expect(kind == quality)
    }

    @Test func fewerWildcardsAreBetter() throws {
        let name = try #require(Identity(swanctl: "C=CH, O=strongSwan, CN=moon"))
        let texts = [
            "%any", "C=*, O=*, CN=*", "C=CH, O=*, CN=*", "C=CH, O=strongSwan, CN=*",
            "C=CH, O=strongSwan, CN=moon",
        ]
        let matches = try texts.map { try #require(Identity(swanctl: $0)).match(name) }
        #expect(matches == matches.sorted() && Set(matches).count == texts.count)
        let address = Identity.address(.v4(IPv4Address(0x0a01_0203)))
        let nets = try ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3"].map {
            try #require(Identity(swanctl: $0)).match(address)
        }
        #expect(nets == nets.sorted() && Set(nets).count == 3)
    }

    @Test func onlyPatternsArePatterns() throws {
        for text in ["%any", "*.a", "*@a", "10.0.0.0/8", "C=CH, CN=*"] {
            #expect(try #require(Identity(swanctl: text)).isPattern, "\(text)")
        }
        for text in ["a.b", "a@b", "10.0.0.1", "C=CH, CN=a*", "@#2a"] {
            #expect(!(try #require(Identity(swanctl: text)).isPattern), "\(text)")
        }
    }
}

@Suite struct DistinguishedNameTests {
    private let moon: [UInt8] = [
        0x30, 0x1c, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x06, 0x13, 0x02, 0x43, 0x48, 0x31, 0x0d,
        0x30,
        0x0b, 0x06, 0x03, 0x55, 0x04, 0x03, 0x13, 0x04, 0x6d, 0x6f, 0x6f, 0x6e,
    ]

    @Test func writesWhatItReads() throws {
        let name = try #require(DistinguishedName(text: "C=CH, CN=moon"))
        #expect(name.encoded == moon)
        #expect(DistinguishedName(encoded: moon)?.description == "C=CH, CN=moon")
        #expect(Identity(type: 9, data: moon) == .distinguishedName(name))
        let long = try #require(DistinguishedName(text: "CN=" + String(repeating: "x", count: 400)))
        #expect(DistinguishedName(encoded: long.encoded) == long)
    }

    @Test func rejectsEveryTruncationAndTrailingOctets() {
        for count in 0..<moon.count { #expect(DistinguishedName(encoded: Array(moon.prefix(count))) == nil) }
        #expect(DistinguishedName(encoded: moon + [0]) == nil)
        #expect(DistinguishedName(encoded: [0x30, 0]) == nil)
        #expect(DistinguishedName(encoded: [0x30, 0x81, 0x1c] + moon.dropFirst(2)) == nil)
        #expect(DistinguishedName(encoded: [0x30, 0x80] + moon.dropFirst(2) + [0, 0]) == nil)
        #expect(DistinguishedName(encoded: [0x30, 0x84, 0xff, 0xff, 0xff, 0xff]) == nil)
    }

    @Test func everyAlteredOctetIsReadOrRefused() {
        for index in moon.indices {
            for value in UInt8.min...UInt8.max {
                var altered = moon
                altered[index] = value
                guard let name = DistinguishedName(encoded: altered) else { continue }
                #expect(name.description.utf8.allSatisfy { (0x20...0x7e).contains($0) })
                #expect(Identity(type: 9, data: altered).data == altered)
            }
        }
    }

    @Test func whatIsNotPrintableIsNotPrinted() throws {
        let name = try #require(DistinguishedName(text: "O=Z\u{fc}rich\u{1b}, CN=a"))
        #expect(name.description == "O=Z??rich?, CN=a")
        let unknown: [UInt8] = [
            0x30, 0x0d, 0x31, 0x0b, 0x30, 0x09, 0x06, 0x03, 0x2a, 0x03, 0x04, 0x0c, 0x02, 0x68, 0x69,
        ]
        #expect(DistinguishedName(encoded: unknown)?.description == "2a:03:04=hi")
    }

    @Test func aNameOfTooManyPartsIsNone() {
        #expect(DistinguishedName(text: Array(repeating: "CN=a", count: 64).joined(separator: ",")) != nil)
        #expect(DistinguishedName(text: Array(repeating: "CN=a", count: 65).joined(separator: ",")) == nil)
    }
}
