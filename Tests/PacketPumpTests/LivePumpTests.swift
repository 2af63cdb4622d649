import Cryptography
import Dispatch
import ESP
import Foundation
import IPPackets
import IPsecTypes
import Testing

@testable import PacketPump

/// A gateway in a namespace: device, pump, IKE sockets.
private final class Gateway: Sendable {
    let host: NamespaceHost
    let ike: IKESocketSet
    let pump: DataPlane
    let events = Inbox<PumpEvent>()
    let datagrams = Inbox<OuterDatagram>()
    let strays = Inbox<[UInt8]>()

    init(_ host: NamespaceHost) throws {
        self.host = host
        let (events, datagrams, strays) = (events, datagrams, strays)
        (ike, pump) = try host.run {
            let ike = try IKESocketSet(
                ikePort: 500,
                natTraversalPort: 4500,
                mark: 0x77,
                queue: DispatchQueue(label: "ike")
            ) { datagrams.add($0) }
            let configuration = PumpConfiguration(tunName: "cw0", mark: 0x77)
            return (ike, try DataPlane(configuration: configuration) { events.add($0) })
        }
        ike.setStrayESPHandler { octets, _, _ in strays.add(octets) }
    }
}

/// Two gateways on one wire, 192.0.2.1 and .2, with 10.1.0.1 and 10.2.0.1 behind them.
private struct Lab {
    let a: Gateway
    let b: Gateway

    init() throws {
        let (first, second) = (try NamespaceHost(), try NamespaceHost())
        try first.shell("ip link add w0 type veth peer name w0 netns \(second.threadID)")
        for (number, host) in [(1, first), (2, second)] {
            try host.shell("ip link set lo up && ip link set w0 up")
            try host.shell("ip addr add 192.0.2.\(number)/24 dev w0")
            try host.shell("ip addr add fd00::\(number)/64 dev w0 nodad")
        }
        a = try Gateway(first)
        b = try Gateway(second)
        for (number, host) in [(1, first), (2, second)] {
            try host.shell("ip link set cw0 up && ip addr add 10.\(number).0.1/32 dev cw0")
            try host.shell("ip route add 10.\(3 - number).0.0/16 dev cw0 src 10.\(number).0.1")
        }
        a.pump.start()
        b.pump.start()
    }

    func end() {
        for gateway in [a, b] {
            gateway.pump.stop()
            gateway.ike.close()
            gateway.host.end()
        }
    }
}

private func selector(_ text: String) throws -> TrafficSelector {
    TrafficSelector(try #require(IPPrefix(text)))
}

private func endpoint(_ text: String, _ port: UInt16 = 4500) throws -> Endpoint {
    Endpoint(try #require(IPAddress(text)), port)
}

private func path(_ local: String, _ remote: String) throws -> OuterPath {
    OuterPath(local: try endpoint(local), remote: try endpoint(remote), encapsulation: .udp)
}

private func descriptions(
    id: UInt32,
    _ transform: CipherTransform = .aesGCM16(keyBits: 256)
) throws -> (a: ChildSADescription, b: ChildSADescription) {
    func keys(_ octet: UInt8) throws -> SAKeys {
        func key(_ count: Int) throws -> SecretKey {
            try SecretKey(copying: [UInt8](repeating: octet, count: count))
        }
        let length = transform.integrityKeyLength
        return SAKeys(
            encryption: try key(transform.encryptionKeyLength),
            integrity: length == 0 ? nil : try key(length)
        )
    }
    func make(
        _ spis: (UInt32, UInt32),
        _ keys: (SAKeys, SAKeys),
        _ nets: (String, String),
        _ path: OuterPath
    ) throws -> ChildSADescription {
        ChildSADescription(
            id: id,
            connection: "c",
            tunnel: "t",
            inboundSPI: try #require(SPI(spis.0)),
            outboundSPI: try #require(SPI(spis.1)),
            transform: transform,
            usesESN: true,
            inboundKeys: keys.0,
            outboundKeys: keys.1,
            localSelectors: [try selector(nets.0)],
            remoteSelectors: [try selector(nets.1)],
            path: path,
            replayWindow: 1024,
            limit: SAVolume()
        )
    }
    let (one, two) = (try keys(0x11), try keys(0x22))
    let (near, far) = ("10.1.0.0/16", "10.2.0.0/16")
    let first = id * 0x1_0001
    let (spiA, spiB) = (0xa000_0000 | first, 0xb000_0000 | first)
    return (
        try make((spiA, spiB), (one, two), (near, far), try path("192.0.2.1", "192.0.2.2")),
        try make((spiB, spiA), (two, one), (far, near), try path("192.0.2.2", "192.0.2.1"))
    )
}

private func tunnel(_ local: String, _ remote: String, traps: Bool = true) throws -> DataPlaneTunnel {
    DataPlaneTunnel(
        id: 7,
        connection: "c",
        tunnel: "t",
        local: [try selector(local)],
        remote: [try selector(remote)],
        traps: traps
    )
}

private let hostA: UInt32 = 0x0a01_0001
private let hostB: UInt32 = 0x0a02_0001

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
            let remote = try endpoint("192.0.2.1", port)
            #expect(lab.b.events.first { $0 == .unknownSPI(spi, from: remote) } != nil)
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
        let unknown = PumpEvent.unknownSPI(spi, from: try endpoint("192.0.2.2", 9000))
        #expect(lab.a.events.first { $0 == unknown } != nil)
    }

    @Test func strayESPOfTheIKESocketReachesTheWorker() throws {
        let lab = try Lab()
        defer { lab.end() }
        let remote = try endpoint("192.0.2.1")
        let packet: [UInt8] = [0xde, 0xad, 0, 1] + [UInt8](repeating: 0, count: 30)
        lab.b.pump.strayESP(octets: packet, local: try endpoint("192.0.2.2"), remote: remote)
        let spi = try #require(SPI(0xdead_0001))
        #expect(lab.b.events.first { $0 == .unknownSPI(spi, from: remote) } != nil)
    }
}
