import IPsecTypes
import Policy
import Testing

@testable import SwanctlConfiguration

struct ProposalOptionTests {
    private func ike(_ text: String) -> ProposalOption? { ProposalOption(ike: Array(text.utf8)) }
    private func esp(_ text: String) -> ProposalOption? { ProposalOption(esp: Array(text.utf8)) }

    @Test(arguments: [
        "aes128-sha256-x25519", "aes256gcm16-prfsha384-ecp384", "aes256gcm16-sha384-ecp384",
        "chacha20poly1305-prfsha256-x25519", "aes256-aes128-sha384-sha256-ecp384-ecp256",
        "AES128-SHA256-MODP2048",
        "aes128-sha256-x25519-none",
    ])
    func readsIKE(_ text: String) {
        guard case .proposal(let proposal)? = ike(text) else {
            Issue.record("\(text): \(String(describing: ike(text)))")
            return
        }
        #expect(proposal.transform(of: .prf) != nil)
        #expect(proposal.transform(of: .keyExchange) != nil)
    }

    @Test(arguments: [
        "aes128gcm128-x25519", "aes128-sha256", "aes128gcm16-aes256gcm16-ecp384-ecp256", "aes128-sha256-esn",
        "aes128gcm16-sha256-x25519", "aes128-sha256-prfsha256", "aes256gcm16-esn-noesn",
    ])
    func readsESP(_ text: String) {
        guard case .proposal(let proposal)? = esp(text) else {
            Issue.record("\(text): \(String(describing: esp(text)))")
            return
        }
        // As charon does: no PRF, and no integrity beside a combined-mode cipher.
        #expect(proposal.transform(of: .prf) == nil)
        #expect(
            proposal.transform(of: .encryption)?.isAEAD != true || proposal.transform(of: .integrity) == nil
        )
    }

    @Test(arguments: [
        "", "aes", "aes128", "aes128-sha256", "sha256-x25519", "aes128-x25519", "aes257-sha256-x25519",
        "aes128-sha256-x25519-foo", "aes128-sha256--x25519", "aes128-aes128gcm16-sha256-x25519",
        "aes128gcm16-x25519", "aes128-sha256-none",
    ])
    func refusesIKE(_ text: String) {
        #expect(ike(text) == nil)
        #expect(
            outcome(connectionText("proposals = \"\(text),\""))
                == "invalid value for: proposals, config discarded"
                || text.isEmpty
        )
    }

    /// What strongSwan knows and we do not carry out is told by its word.
    @Test(arguments: [
        "blowfish256-sha512-modp2048", "cast128-sha256-modp2048", "serpent256-sha256-x25519",
        "aes128-sha256-ecp192", "null-sha256-modp3072", "camellia256ctr-sha256-modp2048",
        "aes128-sha256-x25519-ke1_mlkem512", "aes128-sha256-gost256", "camellia128ccm8-x25519-prfsha256",
    ])
    func namesWhatIsNotSupported(_ text: String) {
        guard case .unsupported? = ike(text) else {
            Issue.record("\(text): \(String(describing: ike(text)))")
            return
        }
        let refusal = outcome(connectionText("proposals = \(text)"))
        #expect(refusal.hasPrefix("connections.c.proposals = \(text): "))
        #expect(refusal.hasSuffix(": not supported yet"))
    }

    /// What is weak is taken where it is named.
    @Test(arguments: [
        "3des-md5-modp1024", "aes128ccm12-aesxcbc-x25519", "aes128-sha256-ecp256bp", "des-sha1-modp768",
        "aes128-sha1-modp1024s160", "camellia256-sha256-modp2048", "aes128-sha256-x25519-ke1_mlkem768",
        "aes128-sha256-curve448", "aes128ctr-sha256-x25519", "3des-sha1_160-modp2048",
    ])
    func takesWhatIsNamed(_ text: String) {
        guard case .proposal? = ike(text) else {
            Issue.record("\(text): \(String(describing: ike(text)))")
            return
        }
        #expect(outcome(connectionText("proposals = \(text)")) == "loaded")
    }

    @Test func defaultMeansOurDefaults() throws {
        #expect(ike("default") == .standard)
        #expect(esp("DEFAULT") == .standard)
        let policy = try load(connectionText()).policy
        #expect(policy.proposals == DefaultProposals.ike)
        #expect(policy.tunnels.first?.proposals == DefaultProposals.esp)
        let mixed = try load(connectionText("proposals = aes128-sha256-x25519, default")).policy
        #expect(mixed.proposals.count == 1 + DefaultProposals.ike.count)
        #expect(Array(mixed.proposals.dropFirst()) == DefaultProposals.ike)
    }

    @Test func authenticationHeadersAreRefused() {
        #expect(
            outcome(connectionText(child: "ah_proposals = sha256-x25519"))
                == "connections.c.children.n.ah_proposals = sha256-x25519: not supported yet"
        )
        #expect(
            outcome(connectionText(child: "ah_proposals = sha257"))
                == "invalid value for: ah_proposals, config discarded"
        )
    }
}
