import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Several CHILD_SAs with the same selectors (RFC 9611).
@Suite struct ResourceTests {
    private static func pair(_ ours: Int, _ theirs: Int) -> EnginePair {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        (a.childCount, b.childCount) = (ours, theirs)
        var pair = EnginePair(initiator: a, responder: b)
        pair.initiate()
        pair.run(for: .seconds(3))
        return pair
    }

    private static func children(_ pair: EnginePair, _ side: Side) -> [ChildSASnapshot] {
        pair[side].established.flatMap { $0.children }.sorted { $0.tunnel < $1.tunnel }
    }

    private static func creations(_ pair: EnginePair) -> Int {
        pair.sent.count { $0.side == .initiator && $0.header?.exchange == .createChildSA }
    }

    @Test(arguments: Side.allCases)
    func eachGoesToAnotherWorker(_ side: Side) {
        let pair = Self.pair(3, 3)
        let children = Self.children(pair, side)
        #expect(children.map { $0.tunnel } == ["sub", "sub#1", "sub#2"])
        #expect(children.map { $0.inboundSPI.value & 3 } == [0, 1, 2])
        #expect(Set(children.map { $0.localSelectors }).count == 1)
        let groups = pair[side].installations.map { $0.description.group }
        #expect(groups == ["sub", "sub", "sub"])
        #expect(pair.mirrorFailure(children: 3) == nil)
        #expect(pair[side].childFailures.isEmpty)
    }

    @Test func thePeerMayTakeFewer() {
        let pair = Self.pair(4, 2)
        for side in Side.allCases {
            #expect(Self.children(pair, side).map { $0.tunnel } == ["sub", "sub#1"])
        }
        let refused = pair[.initiator].childFailures.map { cause -> NotifyType? in
            if case .peerRefused(let type, _) = cause { type } else { nil }
        }
        #expect(refused == [.tsMaxQueue, .tsMaxQueue])
        #expect(pair.mirrorFailure(children: 2) == nil)
    }

    /// The first, which carries what no other does, comes back although the peer has as many as it takes.
    @Test func theFirstTakesThePlaceOfAnother() throws {
        var pair = Self.pair(3, 2)
        let first = try Self.children(pair, .initiator).first { $0.tunnel == "sub" }.unwrapped
        let ike = try pair[.initiator].established.first.unwrapped.id
        pair.handle(.terminateChild(id: first.id, cause: .localRequest), at: .initiator)
        pair.initiate(tunnel: "sub#2")
        pair.run(for: .seconds(5))
        #expect(Self.children(pair, .initiator).map { $0.tunnel } == ["sub#1", "sub#2"])
        pair.initiate()
        pair.run(for: .seconds(5))
        #expect(Self.children(pair, .initiator).map { $0.tunnel } == ["sub", "sub#1"])
        #expect(pair[.initiator].established.map { $0.id } == [ike])
        #expect(pair.mirrorFailure(children: 2) == nil)
    }

    @Test func aPeerThatSaysNothingIsAskedForNoMore() {
        var pair = Self.pair(4, 1)
        #expect(Self.children(pair, .initiator).map { $0.tunnel } == ["sub"])
        #expect(Self.creations(pair) == 0)
        pair.run(for: .seconds(60))
        #expect(Self.creations(pair) == 0 && pair[.initiator].childFailures.isEmpty)
    }

    @Test func aPeerThatHasSeveralWaitsToBeAsked() {
        let pair = Self.pair(1, 4)
        #expect(Self.children(pair, .responder).map { $0.tunnel } == ["sub"])
        #expect(pair.mirrorFailure == nil)
    }

    @Test(arguments: Side.allCases, ["sub", "sub#1"])
    func aRekeyStaysWithItsWorker(_ side: Side, _ tunnel: String) throws {
        var pair = Self.pair(2, 2)
        let old = try Self.children(pair, side).first { $0.tunnel == tunnel }.unwrapped
        pair.handle(.rekeyChild(id: old.id), at: side)
        pair.run(for: .seconds(10))
        for end in Side.allCases {
            let children = Self.children(pair, end)
            #expect(children.map { $0.tunnel } == ["sub", "sub#1"])
            #expect(children.map { $0.inboundSPI.value & 1 } == [0, 1])
        }
        #expect(Self.children(pair, side).allSatisfy { $0.id != old.id })
        #expect(pair.mirrorFailure(children: 2) == nil)
    }

    @Test func whatWentComesBackWithTheNextRekeyOfTheFirst() throws {
        var pair = Self.pair(2, 2)
        let further = try Self.children(pair, .responder).first { $0.tunnel == "sub#1" }.unwrapped
        pair.handle(.terminateChild(id: further.id, cause: .localRequest), at: .responder)
        pair.run(for: .seconds(5))
        #expect(Self.children(pair, .initiator).map { $0.tunnel } == ["sub"])
        let first = try Self.children(pair, .initiator).first.unwrapped
        pair.handle(.rekeyChild(id: first.id), at: .initiator)
        pair.run(for: .seconds(10))
        for side in Side.allCases {
            #expect(Self.children(pair, side).map { $0.tunnel } == ["sub", "sub#1"])
        }
        #expect(pair.mirrorFailure(children: 2) == nil)
    }

    @Test func theyMoveWithTheirIKESA() throws {
        var pair = Self.pair(2, 2)
        let ike = try pair[.initiator].established.first.unwrapped
        pair.handle(.rekeyIKE(id: ike.id), at: .initiator)
        pair.run(for: .seconds(10))
        for side in Side.allCases {
            #expect(Self.children(pair, side).map { $0.tunnel } == ["sub", "sub#1"])
        }
        #expect(pair.mirrorFailure(children: 2) == nil)
    }

    @Test func oneThatIsAskedForAloneComesWithTheFirst() {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        (a.childCount, b.childCount) = (2, 2)
        var pair = EnginePair(initiator: a, responder: b)
        pair.initiate(tunnel: "sub#1")
        pair.run(for: .seconds(3))
        for side in Side.allCases {
            #expect(Self.children(pair, side).map { $0.tunnel } == ["sub", "sub#1"])
        }
    }
}
