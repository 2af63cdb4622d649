import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Two IKE_SAs between the same ends settle to one, whatever each carries.
@Suite struct DuplicateTests {
    /// Both ends begin at once, then lose a tunnel on one of the two and the other tunnel on the other, at any time.
    @Test(arguments: [0, 1, 3, 4, 6, 8, 12]) func twoWithATunnelEachBecomeOne(seconds: Int) throws {
        var tried = 0
        for seed in UInt64(1)...6 {
            var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
            (a.furtherTunnels, b.furtherTunnels) = (["one"], ["one"])
            var pair = EnginePair(seed: seed, initiator: a, responder: b)
            for side in Side.allCases {
                pair.initiate(side)
                pair.initiate(side, tunnel: "one")
            }
            pair.run(for: .seconds(1))
            let ikes = pair[.initiator].established
            guard ikes.count == 2 else { continue }
            tried += 1
            pair.run(for: .seconds(seconds))
            for (ike, tunnel) in zip(pair[.initiator].established, ["sub", "one"]) {
                for child in ike.children where child.tunnel == tunnel {
                    pair.handle(.terminateChild(id: child.id, cause: .localRequest), at: .initiator)
                }
            }
            // What is missing then is asked for by whoever wants it.
            pair.run(for: .seconds(120))
            for side in Side.allCases {
                #expect(pair[side].established.count == 1, "seed \(seed)")
            }
        }
        #expect(tried > 0)
    }
}
