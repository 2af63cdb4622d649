import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

@Suite struct DeleteTests {
    private func terminateChild(_ pair: inout EnginePair, _ side: Side) throws {
        let id = try #require(pair[side].installed.keys.first)
        pair.handle(.terminateChild(id: id, cause: .localRequest), at: side)
    }

    private func terminateIKE(_ pair: inout EnginePair, _ side: Side) throws {
        let id = try #require(pair[side].engine.snapshots.first?.id)
        pair.handle(.terminateIKE(id: id, cause: .localRequest), at: side)
    }

    @Test(arguments: Side.allCases) func deletesAChild(_ side: Side) throws {
        var pair = EnginePair.established()
        try terminateChild(&pair, side)
        #expect(pair[side].installed.isEmpty)
        pair.run(for: .seconds(1))
        for side in Side.allCases {
            #expect(pair[side].installed.isEmpty)
            #expect(pair[side].removed.count == 1)
            #expect(pair[side].established.count == 1)
            #expect(pair[side].established.first?.children.isEmpty == true)
        }
        #expect(pair[side].childDowns == [.localRequest])
        #expect(pair[side.other].childDowns == [.peerDeleted])
        #expect(pair.sent.count == 6)
    }

    @Test(arguments: Side.allCases) func deletesTheIKESA(_ side: Side) throws {
        var pair = EnginePair.established()
        try terminateIKE(&pair, side)
        #expect(pair[side].installed.isEmpty)
        #expect(pair[side].engine.snapshots.first?.state == .deleting)
        pair.run(for: .seconds(1))
        #expect(pair.sent.count == 6)
        pair.run(for: .seconds(60))
        for side in Side.allCases {
            #expect(pair[side].installed.isEmpty)
            #expect(pair[side].engine.snapshots.isEmpty)
            #expect(pair[side].engine.deadline == nil)
        }
        #expect(pair[side].downs == [.localRequest])
        #expect(pair[side.other].downs == [.peerDeleted])
    }

    @Test(arguments: 0..<20) func survivesSimultaneousDeletesOfAChild(_ seed: UInt64) throws {
        var pair = EnginePair.established(seed: seed)
        if seed > 0 { pair.conditions = .bad }
        try terminateChild(&pair, .initiator)
        try terminateChild(&pair, .responder)
        pair.run(for: .seconds(25))
        for side in Side.allCases {
            #expect(pair[side].removed.count == 1)
            #expect(pair[side].established.count == 1)
            #expect(pair[side].childDowns == [.localRequest])
        }
    }

    @Test(arguments: 0..<20) func survivesSimultaneousDeletesOfTheIKESA(_ seed: UInt64) throws {
        var pair = EnginePair.established(seed: seed)
        if seed > 0 { pair.conditions = .bad }
        try terminateIKE(&pair, .initiator)
        try terminateIKE(&pair, .responder)
        pair.run(for: .seconds(400))
        for side in Side.allCases {
            #expect(pair[side].removed.count == 1)
            #expect(pair[side].downs == [.localRequest])
            #expect(pair[side].engine.snapshots.isEmpty)
            #expect(pair[side].engine.deadline == nil)
        }
    }

    @Test func answersTheRepeatedDeleteOfAnSAThatIsGone() throws {
        var pair = EnginePair.established()
        // The first answer to DELETE is lost.
        var dropped = 0
        pair.intercept = { sent in
            guard sent.side == .responder, sent.header?.exchange == .informational, dropped == 0 else {
                return nil
            }
            dropped += 1
            return []
        }
        try terminateIKE(&pair, .initiator)
        pair.run(for: .seconds(10))
        #expect(pair.sent.count == 8)
        #expect(pair[.initiator].downs == [.localRequest])
        #expect(pair[.initiator].engine.snapshots.isEmpty)
        #expect(pair[.responder].downs == [.peerDeleted])
    }

    @Test func deletesAnSAWhosePeerIsDead() throws {
        var pair = EnginePair.established()
        pair.intercept = { _ in [] }
        try terminateIKE(&pair, .initiator)
        pair.run(for: .seconds(200))
        #expect(pair[.initiator].downs == [.localRequest])
        #expect(pair[.initiator].engine.snapshots.isEmpty)
    }

    @Test func initialContactReplacesTheOldSA() throws {
        var pair = EnginePair.established()
        let old = try #require(pair[.responder].installed.keys.first)
        pair.restart(.initiator)
        pair.initiate()
        pair.run(for: .seconds(1))
        #expect(pair.mirrorFailure == nil)
        #expect(pair[.responder].downs == [.replacedByInitialContact])
        #expect(pair[.responder].childDowns == [.replacedByInitialContact])
        #expect(pair[.responder].removed == [old])
        #expect(pair.sent.count == 8)
    }

    @Test func aTunnelThatIsUpIsNotMadeTwice() {
        var pair = EnginePair.established()
        let messages = pair.sent.count
        pair.initiate()
        pair.initiate(.responder)
        pair.run(for: .seconds(1))
        #expect(pair.mirrorFailure == nil)
        #expect(pair.sent.count == messages)
    }

    @Test func endsAnAttemptOnRequest() throws {
        var pair = EnginePair()
        pair.intercept = { _ in [] }
        pair.initiate()
        pair.run(for: .seconds(3))
        try terminateIKE(&pair, .initiator)
        #expect(pair[.initiator].failures == [.localRequest])
        #expect(pair[.initiator].engine.snapshots.isEmpty)
        #expect(pair[.initiator].engine.deadline == nil)
    }
}
