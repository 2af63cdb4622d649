import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// IKE_SAs that begin without a CHILD_SA (RFC 6023).
@Suite struct ChildlessTests {
    /// What each pair of policies comes to: without a CHILD_SA in IKE_AUTH, with one, or nothing.
    private func expected(_ initiator: ChildlessPolicy, _ responder: ChildlessPolicy) -> Bool? {
        let wants = initiator == .prefer || initiator == .force
        if initiator == .force, responder == .never { return nil }
        let isChildless = wants && responder != .never
        return responder == .force && !isChildless ? nil : isChildless
    }

    @Test(arguments: ChildlessPolicy.allCases, ChildlessPolicy.allCases)
    func policiesDecide(_ initiator: ChildlessPolicy, _ responder: ChildlessPolicy) {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        (a.childless, b.childless) = (initiator, responder)
        var pair = EnginePair(initiator: a, responder: b)
        pair.initiate()
        pair.run(for: .seconds(2))
        guard let isChildless = expected(initiator, responder) else {
            #expect(pair[.initiator].failures.count == 1 && pair[.initiator].established.isEmpty)
            return
        }
        #expect(pair.mirrorFailure == nil)
        let created = pair.sent.count { $0.header?.exchange == .createChildSA }
        #expect(created == (isChildless ? 2 : 0))
    }
}
