import Cryptography
import IKECore
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Which connection, and which key, a responder takes for a peer.
@Suite struct CandidateTests {
    private func vici(
        _ side: Side,
        _ name: String = "net",
        id: Identity? = nil,
        keys: SharedKeyring? = nil,
        remoteAddress: RemoteAddress? = nil,
        networks: (String, String)? = nil
    ) -> ConnectionPolicy {
        var fixture = PolicyFixture(side)
        fixture.name = name
        fixture.remoteIdentity = id
        if let networks {
            fixture.localSelectors = [networks.0]
            fixture.remoteSelectors = [networks.1]
        }
        if let remoteAddress { fixture.remoteAddress = remoteAddress }
        var policy = fixture.policy
        policy.origin = ConfigurationOrigin(source: ConfigurationOrigin.vici)
        if let keys { policy.sharedKeys = keys }
        return policy
    }

    private func entry(_ text: String, _ owners: [Identity]) -> SharedKeyring.Entry {
        SharedKeyring.Entry(id: text, owners: owners, key: key(text))
    }

    private func run(_ initiator: ConnectionPolicy, _ responder: [ConnectionPolicy]) -> EnginePair {
        var pair = EnginePair()
        pair.handle(.setPolicies([initiator]), at: .initiator)
        pair.handle(.setPolicies(responder), at: .responder)
        pair.initiate(connection: initiator.name)
        pair.run(for: .seconds(1))
        return pair
    }

    private func chosen(_ pair: EnginePair) -> String? { pair[.responder].established.first?.connection }

    @Test func theBestIdentityWins() {
        let candidates = [
            vici(.responder, "any", id: .any), vici(.responder, "wild", id: .fqdn("*.test")),
            vici(.responder, "exact", id: .fqdn("a.test")), vici(.responder, "other", id: .fqdn("c.test")),
        ]
        for (count, name) in [(4, "exact"), (2, "wild"), (1, "any")] {
            let pair = run(vici(.initiator, id: .fqdn("b.test")), Array(candidates.prefix(count)))
            #expect(chosen(pair) == name && pair.mirrorFailure == nil)
        }
    }

    @Test func anIdentityCountsMoreThanAnAddress() {
        let pair = run(
            vici(.initiator, id: .fqdn("b.test")),
            [
                vici(.responder, "address", id: .any),
                vici(.responder, "identity", id: .fqdn("a.test"), remoteAddress: .any),
            ]
        )
        #expect(chosen(pair) == "identity")
    }

    @Test func ofEqualIdentitiesTheMorePreciseAddressWins() throws {
        let net = RemoteAddress([.prefix(try #require(IPPrefix("192.0.2.0/24")))])
        let wide = RemoteAddress([.prefix(try #require(IPPrefix("192.0.0.0/16")))])
        let range = RemoteAddress([.range(fixed("192.0.2.0"), fixed("192.0.2.3"))])
        let candidates = [
            vici(.responder, "any", remoteAddress: .any), vici(.responder, "wide", remoteAddress: wide),
            vici(.responder, "net", remoteAddress: net), vici(.responder, "range", remoteAddress: range),
            vici(.responder, "exact"),
        ]
        for count in 1...candidates.count {
            let pair = run(vici(.initiator, id: .fqdn("b.test")), Array(candidates.prefix(count)))
            #expect(chosen(pair) == candidates[count - 1].name)
        }
    }

    @Test func aConnectionWithAnotherKeyIsPassedOver() {
        let right = SharedKeyring([entry("right", [.fqdn("a.test"), .fqdn("b.test")])])
        let wrong = SharedKeyring([entry("wrong", [.fqdn("a.test"), .fqdn("b.test")])])
        let pair = run(
            vici(.initiator, id: .fqdn("b.test"), keys: right),
            [
                vici(.responder, "first", id: .fqdn("a.test"), keys: wrong),
                vici(.responder, "second", id: .any, keys: right),
            ]
        )
        #expect(chosen(pair) == "second" && pair.mirrorFailure == nil)
    }

    @Test func eachPeerHasItsKey() {
        let ring = SharedKeyring([
            entry("of c", [.fqdn("c.test"), .fqdn("b.test")]), entry("of all", [.fqdn("*.test")]),
            entry("of a", [.fqdn("a.test"), .fqdn("b.test")]),
        ])
        for (text, succeeds) in [("of a", true), ("of all", true), ("of c", false)] {
            let own = SharedKeyring([entry(text, [])])
            let pair = run(vici(.initiator, id: .fqdn("b.test"), keys: own), [vici(.responder, keys: ring)])
            #expect((pair.mirrorFailure == nil) == succeeds, "\(text)")
        }
    }

    @Test func withoutAKeyItSaysSo() {
        let ring = SharedKeyring([entry("k", [.fqdn("c.test"), .fqdn("d.test")])])
        let initiator = run(vici(.initiator, id: .fqdn("b.test"), keys: ring), [vici(.responder)])
        let cause = initiator[.initiator].failures.first?.description ?? ""
        #expect(cause.contains("no pre-shared key is for 'a.test' and 'b.test'"))
        let responder = run(vici(.initiator, id: .fqdn("b.test")), [vici(.responder, keys: ring)])
        let refusal = responder[.responder].failures.first?.description ?? ""
        #expect(refusal.contains("no pre-shared key is for 'a.test'"))
    }

    @Test func theInitiatorAcceptsAPattern() {
        let pair = run(vici(.initiator, id: .fqdn("*.test")), [vici(.responder)])
        #expect(pair.mirrorFailure == nil)
        let refused = run(vici(.initiator, id: .fqdn("*.example")), [vici(.responder)])
        #expect(refused[.initiator].installations.isEmpty)
        #expect(refused[.initiator].failures.first?.description.contains("expects '*.example'") == true)
    }

    @Test func theConnectionWithTheTrafficIsTaken() {
        let wanted = ("10.2.0.0/16", "10.1.0.0/16")
        let pair = run(
            vici(.initiator, id: .fqdn("b.test")),
            [
                vici(.responder, "alice", networks: ("10.9.0.0/16", "10.1.0.0/16")),
                vici(.responder, "venus", networks: wanted),
            ]
        )
        #expect(chosen(pair) == "venus" && pair.mirrorFailure == nil)
    }
}
