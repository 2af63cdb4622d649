import Cryptography
import Dispatch
import ESP
import Foundation
import IPPackets
import IPsecTypes
import Testing

@testable import PacketPump

@Suite(.serialized, .enabled(if: NamespaceHost.isRoot, "needs root: makes network namespaces"))
struct LivePumpTests {
    @Test func heldPacketTriggersThenPassesAndAnswersComeBack() throws {
        let lab = try Lab()
        defer { lab.end() }
        lab.a.pump.setTunnels([try tunnel("10.1.0.0/16", "10.2.0.0/16")])
        // Calls return before the worker has acted; counting waits for it.
        _ = lab.a.pump.counters()
        let near = try lab.a.host.run { try TestSocket(port: 7000, to: (hostB, 7000)) }
        let far = try lab.b.host.run { try TestSocket(port: 7000, to: (hostA, 7000)) }
        near.send([1, 2, 3])
        let trapped = lab.a.events.first { if case .trapped(7, _, _, 17) = $0 { true } else { false } }
        #expect(trapped != nil)
        let (a, b) = try descriptions(id: 1)
        lab.b.pump.install(b)
        // The peer answers IKE when its SA is there.
        _ = lab.b.pump.counters()
        lab.a.pump.install(a)
        #expect(far.receive() == [1, 2, 3])
        for size in [0, 1, 100, 1400] {
            let text = [UInt8](repeating: UInt8(size & 255), count: size)
            far.send(text)
            #expect(near.receive() == text)
        }
        #expect(lab.b.events.first { $0 == .firstInbound(saID: 1) } != nil)
        let counters = lab.b.pump.counters()
        #expect(counters.perSA[1]?.packetsIn == 1)
        #expect(counters.perSA[1]?.packetsOut == 4)
        #expect(counters.perSA[1]?.lastIn != nil)
        // The steering program left none of it to the IKE socket.
        #expect(lab.a.strays.all.isEmpty && lab.b.strays.all.isEmpty)
    }

    @Test func carriesBatchesOfManyPacketsWithEachKindOfTransform() throws {
        let lab = try Lab()
        defer { lab.end() }
        let near = try lab.a.host.run { try TestSocket(port: 7000, to: (hostB, 7000)) }
        let far = try lab.b.host.run { try TestSocket(port: 7000, to: (hostA, 7000)) }
        let transforms: [CipherTransform] = [
            .aesGCM16(keyBits: 128), .chacha20Poly1305, .aesCBC(keyBits: 256, .hmacSHA256_128),
            .null(.hmacSHA1_96),
        ]
        for (index, transform) in transforms.enumerated() {
            let (a, b) = try descriptions(id: UInt32(index + 1), transform)
            lab.b.pump.install(b)
            _ = lab.b.pump.counters()
            lab.a.pump.install(a)
            _ = lab.a.pump.counters()
            // A burst that the socket of the receiver holds, so that a loss is the pump's.
            for number in 0..<50 { near.send([UInt8](repeating: UInt8(number), count: 1300 + number)) }
            var received = 0
            while received < 50, far.receive() == [UInt8](repeating: UInt8(received), count: 1300 + received)
            {
                received += 1
            }
            #expect(received == 50)
            #expect(lab.b.pump.counters().perSA[UInt32(index + 1)]?.packetsIn == 50)
            // The old SA goes later, as in a rekey.
            lab.a.pump.remove(saID: UInt32(index))
            lab.b.pump.remove(saID: UInt32(index))
        }
        #expect(lab.b.pump.counters().drops.allSatisfy { $0.count == 0 || $0.reason == "noPolicy" })
    }

    @Test func tellsSendersThePathMTU() throws {
        let lab = try Lab()
        defer { lab.end() }
        let (a, b) = try descriptions(id: 1)
        lab.b.pump.install(b)
        lab.a.pump.install(a)
        _ = lab.b.pump.counters()
        _ = lab.a.pump.counters()
        let near = try lab.a.host.run {
            try TestSocket(port: 7000, to: (hostB, 7000), dontFragment: true)
        }
        #expect(near.pathMTU == 1500)
        near.send([UInt8](repeating: 7, count: 1472))
        for _ in 0..<100 where near.pathMTU == 1500 { usleep(10_000) }
        #expect(near.pathMTU == 1438)
        #expect(lab.a.pump.counters().dropped(.tooBig) == 1)
        let far = try lab.b.host.run { try TestSocket(port: 7000) }
        near.send([UInt8](repeating: 7, count: 1438 - 28))
        // The first call may only report the error of the datagram before.
        near.send([UInt8](repeating: 7, count: 1438 - 28))
        #expect(far.receive()?.count == 1438 - 28)
    }

    @Test func roamingAndOuterIPv6AreReportedOnceAndFollowed() throws {
        let lab = try Lab()
        defer { lab.end() }
        let (a, b) = try descriptions(id: 1)
        lab.b.pump.install(b)
        lab.a.pump.install(a)
        _ = lab.b.pump.counters()
        let near = try lab.a.host.run { try TestSocket(port: 7000, to: (hostB, 7000)) }
        let far = try lab.b.host.run { try TestSocket(port: 7000, to: (hostA, 7000)) }
        try lab.a.host.shell("ip addr add 192.0.2.9/24 dev w0")
        lab.a.pump.updatePath(saID: 1, path: try path("192.0.2.9", "192.0.2.2"))
        _ = lab.a.pump.counters()
        for _ in 0..<3 {
            near.send([5])
            #expect(far.receive() == [5])
        }
        let moved = PumpEvent.inboundFrom(saID: 1, remote: try endpoint("192.0.2.9"))
        #expect(lab.b.events.first { $0 == moved } != nil)
        #expect(lab.b.events.all.count { $0 == moved } == 1)
        lab.a.pump.updatePath(saID: 1, path: try path("fd00::1", "fd00::2"))
        lab.b.pump.updatePath(saID: 1, path: try path("fd00::2", "fd00::1"))
        _ = lab.a.pump.counters()
        _ = lab.b.pump.counters()
        near.send([6])
        #expect(far.receive() == [6])
        far.send([7])
        #expect(near.receive() == [7])
    }

    @Test func ikeGoesToTheControlPlaneAndESPToTheWorker() throws {
        let lab = try Lab()
        defer { lab.end() }
        let (near, far) = (try endpoint("192.0.2.1"), try endpoint("192.0.2.2"))
        let message = [UInt8](repeating: 0xaa, count: 28)
        lab.a.ike.send(message, from: near, to: far)
        let expected = OuterDatagram(octets: message, local: far, remote: near)
        #expect(lab.b.datagrams.first { $0 == expected } != nil)
        let (near500, far500) = (try endpoint("192.0.2.1", 500), try endpoint("192.0.2.2", 500))
        lab.a.ike.send(message, from: near500, to: far500)
        let plain = OuterDatagram(octets: message, local: far500, remote: near500)
        #expect(lab.b.datagrams.first { $0 == plain } != nil)
        let (near6, far6) = (try endpoint("fd00::1"), try endpoint("fd00::2"))
        lab.a.ike.send(message, from: near6, to: far6)
        let v6 = OuterDatagram(octets: message, local: far6, remote: near6)
        #expect(lab.b.datagrams.first { $0 == v6 } != nil)
        let local = try lab.a.host.run { lab.a.ike.localAddress(towards: far.address) }
        #expect(local == near.address)

        lab.a.ike.sendKeepalive(from: near, to: far)
        // From many ports: without the steering program the kernel would spread them by a hash.
        let spi = try #require(SPI(0xdead_beef))
        for port in 9000..<(9008 as UInt16) {
            let socket = try lab.a.host.run { try TestSocket(port: port, to: (0xc000_0202, 4500)) }
            socket.send([0xde, 0xad, 0xbe, 0xef] + [UInt8](repeating: 1, count: 40))
            let (local, remote) = (far, try endpoint("192.0.2.1", port))
            #expect(lab.b.events.first { $0 == .unknownSPI(spi, local: local, remote: remote) } != nil)
            socket.send([0, 0, 0, 0] + message)
            let datagram = OuterDatagram(octets: message, local: far, remote: remote)
            #expect(lab.b.datagrams.first { $0 == datagram } != nil)
            socket.send([0xff])
            socket.send([])
        }
        let counters = lab.b.pump.counters()
        #expect(counters.dropped(.unknownSPI) == 8)
        #expect(counters.dropped(.keepalive) == 0 && counters.dropped(.tooShort) == 0)
        #expect(lab.b.strays.all.isEmpty)
        #expect(lab.b.events.all.allSatisfy { if case .strayIKE = $0 { false } else { true } })
    }

    @Test func stopClosesSocketsAndTheDeviceStays() throws {
        let lab = try Lab()
        defer { lab.end() }
        lab.a.pump.stop()
        lab.a.pump.stop()
        #expect(lab.a.pump.counters().perSA.isEmpty)
        try lab.a.host.shell("ip link show cw0 > /dev/null")
        let again = try lab.a.host.run {
            try DataPlane(configuration: PumpConfiguration(tunName: "cw0", mark: 0x77)) { _ in }
        }
        again.start()
        try lab.a.host.waitForLinks()
        let (a, b) = try descriptions(id: 1)
        lab.b.pump.install(b)
        _ = lab.b.pump.counters()
        again.install(a)
        _ = again.counters()
        let near = try lab.a.host.run { try TestSocket(port: 7000, to: (hostB, 7000)) }
        let far = try lab.b.host.run { try TestSocket(port: 7000, to: (hostA, 7000)) }
        near.send([9])
        #expect(far.receive() == [9])
        far.send([8])
        #expect(near.receive() == [8])
        again.stop()
    }

    @Test func deviceThatIsTakenAwayStopsNothingElse() throws {
        let lab = try Lab()
        defer { lab.end() }
        try lab.a.host.shell("ip link del cw0")
        for _ in 0..<200 where lab.a.pump.counters().dropped(.deviceReadFailed) == 0 { usleep(10_000) }
        #expect(lab.a.pump.counters().dropped(.deviceReadFailed) == 1)
        let esp = try lab.b.host.run { try TestSocket(port: 9000, to: (0xc000_0201, 4500)) }
        esp.send([0xde, 0xad, 0xbe, 0xef] + [UInt8](repeating: 1, count: 40))
        let spi = try #require(SPI(0xdead_beef))
        let unknown = PumpEvent.unknownSPI(
            spi,
            local: try endpoint("192.0.2.1"),
            remote: try endpoint("192.0.2.2", 9000)
        )
        #expect(lab.a.events.first { $0 == unknown } != nil)
    }

    @Test func strayESPOfTheIKESocketReachesTheWorker() throws {
        let lab = try Lab()
        defer { lab.end() }
        let remote = try endpoint("192.0.2.1")
        let packet: [UInt8] = [0xde, 0xad, 0, 1] + [UInt8](repeating: 0, count: 30)
        lab.b.pump.strayESP(octets: packet, local: try endpoint("192.0.2.2"), remote: remote)
        let spi = try #require(SPI(0xdead_0001))
        let unknown = PumpEvent.unknownSPI(spi, local: try endpoint("192.0.2.2"), remote: remote)
        #expect(lab.b.events.first { $0 == unknown } != nil)
    }
}
