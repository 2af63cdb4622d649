import IKECore
import IKEv2
import IPsecTypes
import Primitives
import Testing

/// What two sides do at the same time.
struct Collision: CustomTestStringConvertible, Sendable {
    enum Deed: String, CaseIterable, Sendable {
        case rekeyChild, rekeyIKE, deleteChild, deleteIKE
    }

    let west: Deed
    let east: Deed
    var seed: UInt64 = 1
    var pfs = false

    var testDescription: String { "west \(west), east \(east), seed \(seed)\(pfs ? ", PFS" : "")" }

    var deeds: [Deed] { [west, east] }
    var deletesIKE: Bool { deeds.contains(.deleteIKE) }
    var deletesChild: Bool { deeds.contains(.deleteChild) }
    var isRekeyAlone: Bool { !deletesIKE && !deletesChild }

    func begin(_ holdsJobs: Bool) throws -> Choreography {
        var shape = PolicyShape()
        shape.livenessDelay = .seconds(10)
        if pfs { shape.esp = "aes256gcm16-x25519" }
        var play = try Choreography.established(seed: seed, west: shape)
        play.holdsJobs = holdsJobs
        for side in Side.allCases {
            switch deeds[side.rawValue] {
            case .rekeyChild: try play.rekeyChild(side)
            case .rekeyIKE: try play.rekeyIKE(side)
            case .deleteChild: try play.deleteChild(side)
            case .deleteIKE: try play.deleteIKE(side)
            }
        }
        return play
    }

    /// Each pair, with nonces of several seeds: who has the lowest decides.
    static let all: [Collision] = Deed.allCases.flatMap { west in
        Deed.allCases.flatMap { east in
            (UInt64(1)...4).map { Collision(west: west, east: east, seed: $0, pfs: $0 == 4) }
        }
    }
}

/// Walks every order in which messages can arrive, up to a depth, and loses up to some of them.
struct Explorer {
    let collision: Collision
    var depth = 6
    /// Packets flow between any two messages.
    var hasTraffic = false
    /// Key exchanges take their time: their ends are ordered like messages.
    var holdsJobs = false
    /// West's SAs at the beginning.
    private var before: (ike: UInt64, child: SPI)?
    private(set) var endings = 0
    private(set) var faults: [(fault: String, log: [String])] = []

    init(_ collision: Collision, hasTraffic: Bool) {
        self.collision = collision
        self.hasTraffic = hasTraffic
    }

    mutating func explore(losses: Int) throws {
        let play = try collision.begin(holdsJobs)
        if let ike = play[.west].engine.snapshots.first, let child = ike.children.first {
            before = (ike.initiatorSPI, child.inboundSPI)
        }
        try visit(play, depth, losses)
    }

    private mutating func visit(_ play: Choreography, _ depth: Int, _ losses: Int) throws {
        guard faults.count < 5 else { return }
        guard depth > 0, !play.flight.isEmpty || !play.jobs.isEmpty else {
            try finish(play)
            return
        }
        for index in play.jobs.indices {
            var next = play
            next.compute(index)
            try visit(next, depth - 1, losses)
        }
        for index in play.flight.indices {
            var next = play
            next.deliver(index)
            if hasTraffic { next.exchangePackets() }
            try visit(next, depth - 1, losses)
            guard losses > 0 else { continue }
            var poorer = play
            poorer.drop(index)
            try visit(poorer, depth - 1, losses - 1)
        }
    }

    /// An SA that both sides wanted to replace and that is still there.
    private func staleSA(_ play: Choreography) -> String? {
        guard collision.west == collision.east, let before else { return nil }
        switch collision.west {
        case .rekeyChild:
            let all = play[.west].dataPlane.sas.values
            return all.contains { $0.inboundSPI == before.child } ? "the CHILD_SA was not rekeyed" : nil
        case .rekeyIKE:
            let all = play[.west].engine.snapshots
            return all.contains { $0.initiatorSPI == before.ike } ? "the IKE_SA was not rekeyed" : nil
        case .deleteChild, .deleteIKE: return nil
        }
    }

    private mutating func finish(_ play: Choreography) throws {
        endings += 1
        var play = play
        let children = collision.deletesIKE ? 0...0 : collision.deletesChild ? 0...1 : 1...1
        let ikes = collision.deletesIKE ? 0...0 : 1...1
        var fault = try play.settle(children: children, ikes: ikes)
        if fault == nil, collision.isRekeyAlone {
            fault = play.gaps.first
            let causes = play.events.joined().compactMap { event -> String? in
                if case .ikeDown(_, let cause) = event { return "\(cause)" }
                return nil
            }
            if fault == nil { fault = causes.first.map { "an IKE_SA went down: \($0)" } }
        }
        if fault == nil, let stale = staleSA(play) { fault = stale }
        if let fault { faults.append((fault, play.log)) }
    }
}

/// Every order of up to six messages of two colliding exchanges ends in a right state.
@Suite struct InterleavingTests {
    private func expectRight(_ explorer: Explorer) {
        for (fault, log) in explorer.faults.prefix(1) {
            Issue.record("\(explorer.collision.testDescription): \(fault)\n\(log.joined(separator: "\n"))")
        }
        #expect(explorer.endings > 0 || !explorer.faults.isEmpty)
    }

    @Test(arguments: Collision.all) func everyOrderEndsRight(_ collision: Collision) throws {
        var explorer = Explorer(collision, hasTraffic: false)
        try explorer.explore(losses: 0)
        expectRight(explorer)
    }

    @Test(arguments: Collision.all) func everyOrderEndsRightWithOneLoss(_ collision: Collision) throws {
        var explorer = Explorer(collision, hasTraffic: false)
        try explorer.explore(losses: 1)
        expectRight(explorer)
    }

    /// Up to eight messages and key exchanges in every order.
    @Test(arguments: Collision.all.filter { $0.pfs || $0.deeds.contains(.rekeyIKE) })
    func everyOrderOfSlowKeyExchangesEndsRight(_ collision: Collision) throws {
        var explorer = Explorer(collision, hasTraffic: true)
        explorer.holdsJobs = true
        explorer.depth = 8
        try explorer.explore(losses: 0)
        expectRight(explorer)
    }

    @Test(arguments: Collision.all.filter { $0.isRekeyAlone })
    func noPacketIsLostInAnyOrder(_ collision: Collision) throws {
        var explorer = Explorer(collision, hasTraffic: true)
        try explorer.explore(losses: 1)
        expectRight(explorer)
    }
}
