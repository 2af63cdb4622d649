import Policy
import Testing

@testable import SwanctlConfiguration

/// What an identity's text means is tested with `Identity`; here is what becomes of it in a connection.
struct IdentityOptionTests {
    private func remote(_ text: String) throws -> Identity? {
        try load(connectionText(remote: "id = \"\(text)\"")).policy.remoteIdentity
    }

    @Test func identitiesReachThePolicy() throws {
        #expect(try remote("moon.strongswan.org") == .fqdn("moon.strongswan.org"))
        #expect(try remote("carol@strongswan.org") == .email("carol@strongswan.org"))
        #expect(try remote("@#c0ffee") == .keyID([0xc0, 0xff, 0xee]))
        #expect(try remote("%any") == .any)
        #expect(try remote("*.strongswan.org") == .fqdn("*.strongswan.org"))
        #expect(try remote("C=CH, O=strongSwan Project, CN=moon")?.type == 9)
        #expect(try load(connectionText()).policy.remoteIdentity == nil)
    }

    @Test func expressionsAreRefusedByName() {
        #expect(
            outcome(connectionText(remote: "id = fqdn:^gw[0-9]+$"))
                == "connections.c.remote.id = fqdn:^gw[0-9]+$: not supported yet"
        )
    }

    @Test func textThatIsNoIdentity() {
        #expect(IdentityOption([0x61, 0]) == nil)
        #expect(IdentityOption([UInt8](repeating: 0x61, count: 600)) == nil)
        #expect(
            outcome(connectionText(remote: "id = mo\u{7f}on")) == "invalid value for: id, config discarded"
        )
        #expect(
            outcome(connectionText(remote: "id = ipv4:moon")) == "invalid value for: id, config discarded"
        )
    }
}
