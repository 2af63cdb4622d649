import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

@Suite struct NATTests {
    static let combinations: [Set<Side>] = [[], [.initiator], [.responder], [.initiator, .responder]]

    @Test(arguments: combinations) func detectsNATsAndFloatsPorts(_ natted: Set<Side>) throws {
        let pair = EnginePair.established(natted: natted)
        let port: UInt16 = natted.isEmpty ? 500 : 4500
        for side in Side.allCases {
            let sa = try #require(pair[side].established.first)
            #expect(sa.nat.isSupported)
            #expect(sa.nat.isLocalBehindNAT == natted.contains(side))
            #expect(sa.nat.isRemoteBehindNAT == natted.contains(side.other))
            let path = try #require(pair[side].installations.first).description.path
            #expect(path.encapsulation == (natted.isEmpty ? .none : .udp))
            #expect(path.local == Endpoint(pair[side].address, port))
            #expect(sa.local == path.local && sa.remote == path.remote)
            let isMapped = side == .responder && natted.contains(.initiator)
            #expect(path.remote == Endpoint(side.other.publicAddress, isMapped ? port + 20_000 : port))
        }
        let ports = pair.sent.map { $0.datagram.local.port }
        #expect(ports == [500, 500, port, port])
    }

    @Test(arguments: [(true, false), (false, true), (true, true)])
    func forcesEncapsulation(_ initiator: Bool, _ responder: Bool) throws {
        var (a, b) = (PolicyFixture(.initiator), PolicyFixture(.responder))
        a.forcesEncapsulation = initiator
        b.forcesEncapsulation = responder
        let pair = EnginePair.established(initiator: a, responder: b)
        for side in Side.allCases {
            let path = try #require(pair[side].installations.first).description.path
            #expect(path.encapsulation == .udp)
            #expect(path.local.port == 4500 && path.remote.port == 4500)
        }
    }

    @Test func refusesEncapsulationThatThePeerCannotDo() throws {
        var fixture = PolicyFixture(.initiator)
        fixture.forcesEncapsulation = true
        var lone = LoneEngine(.initiator, fixture)
        var puppet = try Puppet(.responder)
        let request = lone.handle(
            .initiate(connection: "net", tunnel: "sub", local: lone.local, remote: puppet.endpoint)
        )
        // The puppet sends no NAT_DETECTION notifications.
        #expect(try lone.receive(puppet.answer(request.first.unwrapped), from: puppet.endpoint).isEmpty)
        #expect(lone.failures.first?.description.contains("a.yaml:1") == true)
        #expect(lone.engine.snapshots.isEmpty)
    }

    @Test func sendsKeepalivesOnlyFromBehindTheNAT() {
        var pair = EnginePair.established(natted: [.initiator])
        pair.run(until: Instant(sinceStart: .seconds(101)))
        #expect(pair[.responder].keepalives.isEmpty)
        // Every 20 s of silence; liveness checks and answers to them count as speech.
        let gaps = zip(pair[.initiator].keepalives, pair[.initiator].keepalives.dropFirst())
        #expect(pair[.initiator].keepalives.count >= 3)
        #expect(gaps.allSatisfy { $0.duration(to: $1) >= .seconds(20) })
    }

    @Test func followsAPeerWhoseMappingChanged() {
        var pair = EnginePair.established(natted: [.initiator])
        pair.portShift = 30_000
        pair.run(for: .seconds(60))
        let remote = Endpoint(Side.initiator.publicAddress, 34_500)
        #expect(pair[.responder].established.first?.remote == remote)
        #expect(pair[.responder].moved.map { $0.remote } == [remote])
        #expect(pair.mirrorFailure == nil)
        #expect(pair[.initiator].moved.isEmpty)
    }

    @Test func followsAuthenticESPButNotWithoutNAT() throws {
        let moved = Endpoint(fixed("203.0.113.7"), 4500)
        for natted in [[Side.initiator], []] as [Set<Side>] {
            var pair = EnginePair.established(natted: natted)
            let child = try #require(pair[.responder].installations.first).description.id
            pair.handle(.childMoved(id: child, remote: moved), at: .responder)
            #expect((pair[.responder].established.first?.remote == moved) == !natted.isEmpty)
            #expect(pair[.responder].moved.count == (natted.isEmpty ? 0 : 1))
        }
    }

    @Test func doesNotFollowWhatIsNotAuthentic() throws {
        var pair = EnginePair.established(natted: [.initiator])
        pair.handle(.terminateChild(id: 0, cause: .localRequest), at: .initiator)
        let id = try #require(pair[.initiator].established.first).id
        pair.intercept = { _ in [] }
        pair.handle(.terminateIKE(id: id, cause: .localRequest), at: .initiator)
        var forged = try #require(pair.sent.last).datagram.octets
        forged[forged.count - 1] ^= 1
        let before = pair[.responder].established.first?.remote
        pair.inject(forged, to: .responder, port: 4500, from: Endpoint(fixed("203.0.113.7"), 4500))
        #expect(pair[.responder].established.first?.remote == before)
        #expect(pair[.responder].engine.drops[.notAuthentic] == 1)
        #expect(pair[.responder].installed.count == 1)
    }
}
