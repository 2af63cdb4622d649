import Cryptography
import IPsecTypes
import Testing

@testable import ESP

/// When an SA asks for a replacement, and which of several sends.
struct ReplacementTests {
    private func sender(_ host: EngineHost, _ destination: String = "10.2.0.9") throws -> UInt32? {
        host.seal([try Fixture.packet("10.1.0.5", destination)]).first.map {
            $0[0..<4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) } - 0xb000
        }
    }

    @Test func aReplacementReceivesButSendsOnlyWhenTold() throws {
        let a = try EngineHost(Fixture.description(isA: true, id: 1))
        let peer = try EngineHost(Fixture.description(isA: false, id: 2))
        try a.engine.install(Fixture.description(isA: true, id: 2), sends: false)
        #expect(try sender(a) == 1)
        let inner = try Fixture.packet("10.2.0.9", "10.1.0.5")
        #expect(a.open(peer.seal([inner])) == [inner])
        #expect(try sender(a) == 1)
        a.engine.useForSending(saID: 2)
        #expect(try sender(a) == 2)
        a.engine.remove(saID: 1)
        #expect(try sender(a) == 2)
        a.engine.useForSending(saID: 99)
        #expect(a.droppedOnly())
    }

    @Test func theFirstSASendsAlthoughItWasNotTold() throws {
        let a = try EngineHost()
        try a.engine.install(Fixture.description(isA: true, id: 1), sends: false)
        #expect(try sender(a) == 1)
        try a.engine.install(Fixture.description(isA: true, id: 2), sends: true)
        #expect(try sender(a) == 2)
    }

    @Test func aRemovedSenderGivesWayToANewerOneAtOnce() throws {
        let a = try EngineHost(Fixture.description(isA: true, id: 1), Fixture.description(isA: true, id: 2))
        try a.engine.install(Fixture.description(isA: true, id: 3), sends: false)
        #expect(try sender(a) == 2)
        a.engine.remove(saID: 2)
        #expect(try sender(a) == 3)
        a.engine.remove(saID: 3)
        #expect(try sender(a) == 1)
    }

    @Test func aRemovedReceiverChangesNoSender() throws {
        let a = try EngineHost(Fixture.description(isA: true, id: 1))
        try a.engine.install(Fixture.description(isA: true, id: 2), sends: false)
        try a.engine.install(Fixture.description(isA: true, id: 3), sends: false)
        a.engine.remove(saID: 2)
        #expect(try sender(a) == 1)
        a.engine.useForSending(saID: 3)
        a.engine.useForSending(saID: 1)
        #expect(try sender(a) == 1)
        // The predecessor of the sender goes while the sender's own replacement waits.
        try a.engine.install(Fixture.description(isA: true, id: 4), sends: true)
        try a.engine.install(Fixture.description(isA: true, id: 5), sends: false)
        a.engine.remove(saID: 1)
        #expect(try sender(a) == 4)
        a.engine.remove(saID: 4)
        #expect(try sender(a) == 5)
    }

    @Test func narrowerSelectorsOfAReplacementDoNotSendEarlier() throws {
        let near = [try Fixture.selector("10.1.0.0/16")]
        func narrow(_ id: UInt32, tunnel: String) throws -> ChildSADescription {
            let far = [try Fixture.selector("10.2.7.0/24")]
            return try Fixture.description(isA: true, id: id, local: near, remote: far, tunnel: tunnel)
        }
        let a = try EngineHost(Fixture.description(isA: true, id: 1))
        try a.engine.install(narrow(2, tunnel: "t"), sends: false)
        #expect(try sender(a, "10.2.7.1") == 1)
        a.engine.useForSending(saID: 2)
        #expect(try sender(a, "10.2.7.1") == 2)
        #expect(try sender(a, "10.2.8.1") == 1)
        // A wider tunnel of another name is no substitute.
        let b = try EngineHost(Fixture.description(isA: true, id: 1))
        try b.engine.install(narrow(2, tunnel: "other"), sends: false)
        #expect(try sender(b, "10.2.7.1") == 2)
        // The client of another address keeps waiting when one goes.
        let c = try EngineHost(
            narrow(5, tunnel: "t"),
            Fixture.description(
                isA: true,
                id: 1,
                remote: [
                    try Fixture.selector("10.2.8.0/24")
                ]
            )
        )
        try c.engine.install(
            Fixture.description(isA: true, id: 2, remote: [try Fixture.selector("10.2.8.0/24")]),
            sends: false
        )
        c.engine.remove(saID: 5)
        #expect(try sender(c, "10.2.8.1") == 1)
    }

    @Test func sequenceNumbersEndWithoutESN() throws {
        let a = try EngineHost(Fixture.description(isA: true))
        // RFC 4303 §3.3.3 leaves the moment to us: nine tenths of the numbers.
        a.engine.outbound[0].sequence = 3_865_470_564
        let inner = try Fixture.packet()
        #expect(a.seal([inner]).count == 1)
        #expect(!a.hasEvents)
        #expect(a.seal([inner, inner]).count == 2)
        #expect(a.engine.takeEvents() == [.exhausted(saID: 1)])
        a.engine.outbound[0].sequence = UInt64(UInt32.max) - 1
        #expect(a.seal([inner]).count == 1)
        #expect(a.seal([inner]).isEmpty)
        #expect(a.drops(.sequenceExhausted) == 1)
        #expect(!a.hasEvents)
    }

    @Test(arguments: [true, false])
    func hardLimitEndsBothDirections(inPackets: Bool) throws {
        let limit = inPackets ? SAVolume(packets: 20) : SAVolume(octets: 44 * 20)
        let unlimited = try EngineHost(Fixture.description(isA: true))
        let a = try EngineHost(Fixture.description(isA: true, limit: limit))
        let b = try EngineHost(Fixture.description(isA: false, limit: limit))
        let inner = try Fixture.packet()
        func many(_ count: Int) -> [[UInt8]] { [[UInt8]](repeating: inner, count: count) }
        #expect(a.seal(many(17)).count == 17)
        #expect(!a.hasEvents)
        #expect(a.seal(many(1)).count == 1)
        #expect(a.engine.takeEvents() == [.exhausted(saID: 1)])
        #expect(a.seal(many(4)).count == 2)
        #expect(a.drops(.volumeExhausted) == 2 && !a.hasEvents)
        #expect(b.open(unlimited.seal(many(24))).count { $0 != nil } == 20)
        #expect(b.drops(.volumeExhausted) == 4)
        #expect(b.engine.takeEvents() == [.firstInbound(saID: 1), .exhausted(saID: 1)])
    }

    @Test func softLimitOfItsOwnComesFirst() throws {
        let a = try EngineHost(
            Fixture.description(
                isA: true,
                softLimit: SAVolume(octets: 44 * 3),
                limit: SAVolume(packets: 1000)
            )
        )
        let b = try EngineHost(Fixture.description(isA: false, softLimit: SAVolume(packets: 4)))
        let inner = try Fixture.packet()
        let first = a.seal([inner, inner])
        #expect(!a.hasEvents)
        let rest = a.seal([inner, inner, inner])
        #expect(a.engine.takeEvents() == [.exhausted(saID: 1)])
        #expect(b.open(first + rest).count { $0 != nil } == 5)
        #expect(b.engine.takeEvents() == [.firstInbound(saID: 1), .exhausted(saID: 1)])
        #expect(a.droppedOnly() && b.droppedOnly())
    }
}
