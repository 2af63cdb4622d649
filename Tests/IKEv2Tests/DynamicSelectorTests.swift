import IKECore
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Selectors that stand for the outer address in use.
@Suite struct DynamicSelectorTests {
    private static let dynamic = ConfiguredSelector.dynamic(ipProtocol: 0, ports: 0...65535)

    private func policy(_ side: Side, local: [ConfiguredSelector]? = nil, remote: [ConfiguredSelector]? = nil)
        -> ConnectionPolicy
    {
        var policy = PolicyFixture(side).policy
        policy.tunnels[0].localSelectors = local ?? policy.tunnels[0].localSelectors
        policy.tunnels[0].remoteSelectors = remote ?? policy.tunnels[0].remoteSelectors
        return policy
    }

    private func run(_ a: ConnectionPolicy, _ b: ConnectionPolicy, natted: Set<Side> = []) -> EnginePair {
        var pair = EnginePair(natted: natted)
        pair.handle(.setPolicies([a]), at: .initiator)
        pair.handle(.setPolicies([b]), at: .responder)
        pair.initiate()
        pair.run(for: .seconds(1))
        return pair
    }

    private func selectors(_ pair: EnginePair, _ side: Side) -> String? {
        pair[side].installed.values.first.map { installation in
            let text = { (list: [TrafficSelector]) in list.map { $0.description }.joined(separator: ",") }
            return text(installation.description.localSelectors) + " "
                + text(installation.description.remoteSelectors)
        }
    }

    @Test func hostToHost() {
        let pair = run(
            policy(.initiator, local: [Self.dynamic], remote: [Self.dynamic]),
            policy(.responder, local: [Self.dynamic], remote: [Self.dynamic])
        )
        #expect(pair.mirrorFailure == nil)
        #expect(selectors(pair, .initiator) == "192.0.2.1/32 198.51.100.2/32")
    }

    @Test func narrowedAgainstANetwork() {
        let pair = run(
            policy(.initiator, local: [Self.dynamic]),
            policy(.responder, remote: [.fixed(selector("192.0.2.0/24"))])
        )
        #expect(pair.mirrorFailure == nil && selectors(pair, .initiator) == "192.0.2.1/32 10.2.0.0/16")
        let other = run(
            policy(.initiator, local: [.fixed(selector("192.0.2.0/24"))]),
            policy(.responder, remote: [Self.dynamic])
        )
        #expect(other.mirrorFailure == nil && selectors(other, .initiator) == "192.0.2.1/32 10.2.0.0/16")
    }

    @Test func protocolAndPorts() {
        let http = ConfiguredSelector.dynamic(ipProtocol: 6, ports: 80...80)
        let pair = run(policy(.initiator, local: [http]), policy(.responder, remote: [Self.dynamic]))
        #expect(selectors(pair, .responder) == "10.2.0.0/16 192.0.2.1/32[tcp/80]")
    }

    /// Behind a NAT we offer the address we know, and the peer sees another one, as in strongSwan.
    @Test func behindANATOurOwnAddress() {
        let own = run(
            policy(.initiator, local: [Self.dynamic]),
            policy(.responder, remote: [.fixed(selector("172.16.1.0/24"))]),
            natted: [.initiator]
        )
        #expect(selectors(own, .initiator) == "172.16.1.1/32 10.2.0.0/16")
        let seen = run(
            policy(.initiator, local: [Self.dynamic]),
            policy(.responder, remote: [Self.dynamic]),
            natted: [.initiator]
        )
        #expect(seen[.initiator].installed.isEmpty)
        #expect(seen[.responder].childFailures.first?.description.contains("dynamic") == true)
    }

    @Test func rekeysKeepTheAddressInUse() throws {
        var pair = run(
            policy(.initiator, local: [Self.dynamic]),
            policy(.responder, remote: [Self.dynamic])
        )
        for side in Side.allCases {
            let child = try #require(pair[side].established.first?.children.first)
            pair.handle(.rekeyChild(id: child.id), at: side)
            pair.run(for: .seconds(20))
            #expect(pair.mirrorFailure == nil && selectors(pair, .initiator) == "192.0.2.1/32 10.2.0.0/16")
        }
    }
}
