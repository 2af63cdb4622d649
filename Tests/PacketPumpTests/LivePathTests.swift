import ESP
import Foundation
import IPPackets
import IPsecTypes
import Testing

@testable import PacketPump

// One suite with the others, so that no two of them run at once.

/// ESP over each kind of path: IPv4 and IPv6 outside, in UDP and without, IPv4 and IPv6 inside.
extension LivePumpTests {
    private static let host6A: [UInt8] = [0xfd, 1] + [UInt8](repeating: 0, count: 13) + [1]
    private static let host6B: [UInt8] = [0xfd, 2] + [UInt8](repeating: 0, count: 13) + [1]

    /// A socket behind each gateway, connected to the other.
    private func sockets(_ lab: Lab, isIPv6: Bool, dontFragment: Bool = false) throws -> (
        TestSocket, TestSocket
    ) {
        func socket(_ gateway: Gateway, _ host: UInt32, _ host6: [UInt8]) throws -> TestSocket {
            try gateway.host.run {
                isIPv6
                    ? try TestSocket(port: 7000, to6: (host6, 7000), dontFragment: dontFragment)
                    : try TestSocket(port: 7000, to: (host, 7000), dontFragment: dontFragment)
            }
        }
        return (try socket(lab.a, hostB, Self.host6B), try socket(lab.b, hostA, Self.host6A))
    }

    @Test(arguments: Way.all)
    func carriesBothFamiliesInside(way: Way) throws {
        let lab = try Lab()
        defer { lab.end() }
        try lab.install(over: way)
        for isIPv6 in [false, true] {
            let (near, far) = try sockets(lab, isIPv6: isIPv6)
            for size in [0, 1, 100, 1300] {
                let text = [UInt8](repeating: UInt8(size & 255), count: size)
                near.send(text)
                #expect(far.receive() == text)
                far.send(text)
                #expect(near.receive() == text)
            }
        }
        let counters = lab.b.pump.counters()
        #expect(counters.perSA[1]?.packetsIn == 8 && counters.perSA[1]?.packetsOut == 8)
        // The kernel's own router solicitations and reports apart, which are no tunnel's.
        #expect(counters.drops.allSatisfy { $0.count == 0 || $0.reason == "noPolicy" })
        let raw = way.encapsulation == .none
        #expect(lab.b.events.all.allSatisfy { if case .inboundFrom = $0 { !raw } else { true } })
    }

    @Test func rawESPForNobodyIsToldWithItsEnds() throws {
        let lab = try Lab()
        defer { lab.end() }
        for way in Way.all where way.encapsulation == .none {
            let (a, _) = try descriptions(id: 1, over: way)
            lab.a.pump.install(a)
            _ = lab.a.pump.counters()
            let (near, _) = try sockets(lab, isIPv6: true)
            near.send([1])
            let path = try way.path(isA: false, isRouted: false)
            let unknown = PumpEvent.unknownSPI(
                a.outboundSPI,
                local: Endpoint(path.local.address, 0),
                remote: Endpoint(path.remote.address, 0)
            )
            #expect(lab.b.events.first { $0 == unknown } != nil)
            lab.a.pump.remove(saID: 1)
            _ = lab.a.pump.counters()
        }
        // Nobody told the sender that the protocol were unreachable.
        #expect(lab.a.pump.counters().dropped(.sendFailed) == 0)
    }

    @Test func withoutRawSocketsSuchAnSACannotSend() throws {
        let lab = try Lab()
        defer { lab.end() }
        lab.a.pump.stop()
        let plain = try lab.a.host.run {
            try DataPlane(configuration: PumpConfiguration(tunName: "cw0", mark: 0x77)) { _ in }
        }
        defer { plain.stop() }
        plain.start()
        plain.install(try descriptions(id: 1, over: Way(isIPv6: false, encapsulation: .none)).a)
        _ = plain.counters()
        let (near, _) = try sockets(lab, isIPv6: false)
        near.send([1])
        for _ in 0..<100 where plain.counters().dropped(.noSocket) == 0 { usleep(10_000) }
        #expect(plain.counters().dropped(.noSocket) == 1)
    }
}
