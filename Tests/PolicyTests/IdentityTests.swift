import IPPackets
import Policy
import Testing

@Suite("Identities")
struct IdentityTests {
    @Test(arguments: [
        ("192.0.2.1", 1, "192.0.2.1"), ("2001:db8::1", 5, "2001:db8::1"),
        ("gw.example.com", 2, "gw.example.com"),
        ("@gw.example.com", 2, "gw.example.com"), ("@192.0.2.1", 2, "192.0.2.1"),
        ("user@example.com", 3, "user@example.com"),
        ("@@user", 3, "user"), ("email:root", 3, "root"), ("rfc822:root", 3, "root"), ("fqdn:a@b", 2, "a@b"),
        ("dns:a", 2, "a"),
        ("@#414243", 11, "ABC"), ("keyid:0x414243", 11, "ABC"), ("keyid:ABC", 11, "ABC"),
        ("@#00ff", 11, "00:ff"),
    ])
    func readsConfiguredText(text: String, type: UInt8, description: String) throws {
        let identity = try #require(Identity(configured: text))
        #expect(identity.type == type && identity.description == description)
        #expect(Identity(type: identity.type, data: identity.data) == identity)
    }

    @Test(arguments: ["", "@#", "@#4", "@#zz", "keyid:0x", "a\u{0}b"])
    func refusesText(text: String) {
        let identity = Identity(configured: text)
        #expect(identity == nil || identity?.type == 2 || identity?.type == 11)
        if ["", "@#4", "@#zz", "a\u{0}b"].contains(text) { #expect(identity == nil) }
    }

    @Test func addressesOfWrongLengthAndBrokenTextStayAsReceived() {
        for (type, data) in [
            (1, [1, 2, 3]), (5, [1, 2, 3, 4]), (2, [0xff, 0xfe]), (3, [0xc3]), (9, [48]), (1, []),
        ] as [(UInt8, [UInt8])] {
            let identity = Identity(type: type, data: data)
            #expect(identity == .other(type: type, data: data))
            #expect(identity.type == type && identity.data == data)
        }
    }

    @Test func namesCompareWithoutCase() {
        #expect(Identity.fqdn("GW.Example.com").matches(.fqdn("gw.example.COM")))
        #expect(Identity.email("A@b.c").matches(.email("a@B.C")))
        #expect(!Identity.fqdn("gw.example.com").matches(.fqdn("gw.example.com.")))
        #expect(!Identity.fqdn("a@b").matches(.email("a@b")))
        #expect(
            !Identity.keyID([0x41]).matches(.keyID([0x61])) && Identity.keyID([0x41]).matches(.keyID([0x41]))
        )
    }

    /// A peer must not pass for another by letters that only Unicode holds equal.
    @Test(arguments: [
        ("kiosk.example", "\u{212a}iosk.example"), ("caf\u{e9}.example", "cafe\u{301}.example"),
    ])
    func onlyASCIILettersFold(mine: String, theirs: String) {
        #expect(!Identity.fqdn(mine).matches(.fqdn(theirs)))
        #expect(!Identity.email("x@" + mine).matches(.email("x@" + theirs)))
    }

    @Test func prefixesOfAnIdentityDoNotMatch() {
        let mine = Identity.fqdn("gw.example.com")
        for count in 0..<mine.data.count {
            #expect(!mine.matches(Identity(type: 2, data: Array(mine.data.prefix(count)))))
        }
        #expect(!mine.matches(Identity(type: 2, data: mine.data + [0])))
    }

    @Test func descriptionsArePrintableAndBounded() {
        let hostile = Identity.fqdn("a\nb\u{1b}[31m\\\u{202e}" + String(repeating: "x", count: 10_000))
        #expect(hostile.description.utf8.allSatisfy { (0x21...0x7e).contains($0) })
        #expect(
            hostile.description.utf8.count < 1100 && hostile.description.hasPrefix("a\\x0ab\\x1b[31m\\x5c")
        )
        #expect(
            Identity.other(type: 9, data: [UInt8](repeating: 1, count: 1000)).description.utf8.count < 140
        )
    }
}
