import Cryptography
import IPPackets
import IPsecTypes
import Primitives
import Testing

@testable import ESP

struct ForwardingTests {
    private func entry(_ id: UInt32, traps: Bool, remote: String = "10.2.0.0/16") throws -> SPDEntry {
        SPDEntry(
            id: id,
            connection: "c",
            tunnel: "t",
            local: [try Fixture.selector("10.1.0.0/16")],
            remote: [try Fixture.selector(remote)],
            traps: traps
        )
    }

    @Test func trapHoldsPacketsUntilTheSAComes() throws {
        let a = try EngineHost()
        a.engine.setTunnels([try entry(3, traps: true)])
        let packets = try (0..<3).map { try Fixture.packet(payload: $0) }
        #expect(a.seal(packets).isEmpty)
        #expect(a.lastVerdicts == [.held, .held, .held])
        let source = try #require(IPAddress("10.1.0.5"))
        let destination = try #require(IPAddress("10.2.0.9"))
        let event = ESPEvent.trapped(tunnel: 3, source: source, destination: destination, ipProtocol: 17)
        #expect(a.engine.takeEvents() == [event])
        try a.engine.install(Fixture.description(isA: true))
        let held = a.engine.takeHeld(forSA: 1)
        #expect(held == packets && a.engine.heldCount == 0)
        #expect(a.seal(held).count == 3)
        #expect(a.droppedOnly())
    }

    @Test func withoutTrapOrTunnelPacketsAreDropped() throws {
        let a = try EngineHost()
        a.engine.setTunnels([try entry(3, traps: false)])
        let packets = [try Fixture.packet(), try Fixture.packet("10.9.0.1"), [0x45, 0, 0]]
        #expect(a.seal(packets).isEmpty)
        #expect(a.drops(.noSA) == 1 && a.drops(.noPolicy) == 1)
        a.engine.setTunnels([])
        #expect(a.seal([packets[0]]).isEmpty && a.drops(.noPolicy) == 2)
    }

    @Test func narrowerTunnelWithoutSAIsNotCarriedByAWiderOne() throws {
        let a = try EngineHost(Fixture.description(isA: true))
        a.engine.setTunnels([try entry(3, traps: false, remote: "10.2.7.0/24"), try entry(4, traps: true)])
        #expect(try a.seal([Fixture.packet("10.1.0.5", "10.2.7.1")]).isEmpty)
        #expect(a.drops(.noSA) == 1)
        #expect(try a.seal([Fixture.packet("10.1.0.5", "10.2.8.1")]).count == 1)
    }

    @Test func heldPacketsExpire() throws {
        let a = try EngineHost()
        a.engine.setTunnels([try entry(3, traps: true)])
        _ = try a.seal([Fixture.packet()])
        a.engine.tick(at: Instant(sinceStart: .seconds(10)))
        #expect(a.engine.heldCount == 1)
        a.engine.tick(at: Instant(sinceStart: .milliseconds(10_001)))
        #expect(a.engine.heldCount == 0 && a.drops(.heldExpired) == 1)
    }

    @Test func segmentSizeOfSYNsIsClampedBothWays() throws {
        func syn(_ source: String, _ destination: String) throws -> [UInt8] {
            var packet = try Fixture.packet(source, destination, ipProtocol: 6, payload: 20)
            packet[20 + 12] = 0x60
            packet[20 + 13] = 2
            packet.replaceSubrange(40..<44, with: [2, 4, 5, 0xb4])
            return packet
        }
        let transform = CipherTransform.null(.hmacSHA1_96)
        let a = try EngineHost(Fixture.description(isA: true, transform), maximumMTU: 1300)
        let b = try EngineHost(Fixture.description(isA: false, transform), maximumMTU: 1200)
        let sealed = a.seal([try syn("10.1.0.5", "10.2.0.9")])
        #expect(sealed.map { Array($0[8 + 40..<8 + 44]) } == [[2, 4, 0x04, 0xec]])
        #expect(b.open(sealed).map { Array(($0 ?? [])[40..<44]) } == [[2, 4, 0x04, 0x88]])
    }
}
