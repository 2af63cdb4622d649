import IPPackets
import IPsecTypes
import Testing

@testable import SwanctlConfiguration

struct SelectorOptionTests {
    /// Each with charon's text for it.
    @Test(arguments: [
        ("10.1.0.0/16", "10.1.0.0/16"), ("10.1.2.3/16", "10.1.0.0/16"), ("10.1.0.10", "10.1.0.10/32"),
        ("0.0.0.0/0", "0.0.0.0/0"), ("fec1::0/16", "fec1::/16"), ("0::0/0", "::/0"),
        ("10.1.0.1-10.1.0.9", "10.1.0.1..10.1.0.9"), ("10.1.0.0-10.1.0.255", "10.1.0.0/24"),
        ("dynamic", "dynamic"), ("dynamic[tcp]", "dynamic[tcp]"), ("dynamic[icmp]", "dynamic[icmp]"),
        ("10.1.0.0/16[tcp/ssh]", "10.1.0.0/16[tcp/22]"), ("dynamic[udp/1701]", "dynamic[udp/1701]"),
        ("10.1.0.0/16[17/4500-4600]", "10.1.0.0/16[udp/4500-4600]"), ("10.1.0.0/16[any/any]", "10.1.0.0/16"),
        ("10.1.0.0/16[any/53]", "10.1.0.0/16[0/53]"), ("10.1.0.0/16[tcp/opaque]", "10.1.0.0/16[tcp/OPAQUE]"),
        ("10.1.0.0/16[47]", "10.1.0.0/16[47]"), ("10.1.0.0/16[gre]", "10.1.0.0/16[47]"),
        ("10.1.0.0/16[ipv6-icmp/0]", "10.1.0.0/16[ipv6-icmp/0]"), ("10.1.0.0/16[/443]", "10.1.0.0/16[0/443]"),
    ])
    func reads(_ text: String, _ expected: String) {
        #expect(SelectorOption(Array(text.utf8))?.description == expected)
    }

    @Test(arguments: [
        "", "10.1.0.0/33", "10.1/16", "10.1.0.9-10.1.0.1", "10.1.0.1-fec0::1", "dynamic[tcp", "dynamic[tcp]x",
        "10.1.0.0/16[256]", "10.1.0.0/16[tcpp]", "10.1.0.0/16[tcp/65536]", "10.1.0.0/16[tcp/20-10]",
        "10.1.0.0/16[tcp/a-b]", "10.1.0.0/16[tcp/1-2-3]", "%dynamic", "name.example.org", "10.1.0.0/",
        "10.1.0.0/+8", "10.1.0.0/-1", "[tcp]",
    ])
    func refuses(_ text: String) {
        #expect(SelectorOption(Array(text.utf8)) == nil)
    }

    @Test func anOpaqueDynamicOneIsRefusedByName() {
        #expect(
            outcome(connectionText(child: "local_ts = dynamic[tcp/opaque]"))
                == "connections.c.children.n.local_ts = dynamic[tcp/OPAQUE]: not supported yet"
        )
    }
}
