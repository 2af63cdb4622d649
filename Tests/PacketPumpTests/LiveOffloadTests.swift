import CLinux
import Cryptography
import ESP
import Foundation
import IPPackets
import IPsecTypes
import Testing

@testable import PacketPump

/// Super-packets of the real kernel, on both sides of the device and of the sockets.
extension LivePumpTests {
    @Test(arguments: Way.all)
    func aTrainOfDatagramsArrivesAsItWasSent(way: Way) throws {
        let lab = try Lab()
        defer { lab.end() }
        try lab.install(over: way)
        let near = try lab.a.host.run { try TestSocket(port: 7000, to: (hostB, 7000)) }
        let far = try lab.b.host.run { try TestSocket(port: 7000, to: (hostA, 7000)) }
        let train = (0..<30).flatMap { [UInt8](repeating: UInt8($0), count: $0 == 29 ? 500 : 1200) }
        #expect(near.send(train, segment: 1200) == train.count)
        for number in 0..<30 {
            let expected = [UInt8](repeating: UInt8(number), count: number == 29 ? 500 : 1200)
            let isAsSent = far.receive() == expected
            #expect(isAsSent, "datagram \(number)")
        }
        let counters = lab.b.pump.counters()
        #expect(counters.perSA[1]?.packetsIn == 30)
        #expect(counters.drops.allSatisfy { $0.count == 0 || $0.reason == "noPolicy" })
        #expect(counters.offloads.isSuperset(of: [.tunTCP, .tunUDP, .sendSegments, .receiveSegments]))
    }

    /// The kernel refuses a message whose datagrams do not fit the device; then each is tried, and tells its size.
    @Test func aTrainThatDoesNotFitTheDeviceTellsWhy() throws {
        let lab = try Lab()
        defer { lab.end() }
        try lab.a.host.shell("ip link set w0 mtu 1320")
        try lab.install(over: Way(isIPv6: false, encapsulation: .udp))
        let near = try lab.a.host.run { try TestSocket(port: 7000, to: (hostB, 7000)) }
        let far = try lab.b.host.run { try TestSocket(port: 7000, to: (hostA, 7000)) }
        let train = [UInt8](repeating: 2, count: 5 * 1380)
        #expect(near.send(train, segment: 1380) == train.count)
        #expect(lab.a.events.first { $0 == .pathTooBig(saID: 1, mtu: 1320) } != nil)
        #expect(lab.a.pump.counters().dropped(.sendFailed) == 5)
        // The device can do it all the same.
        let fitting = [UInt8](repeating: 4, count: 4 * 1000)
        #expect(near.send(fitting, segment: 1000) == fitting.count)
        for _ in 0..<4 { #expect(far.receive()?.count == 1000) }
        #expect(lab.a.pump.counters().offloads.contains(.sendSegments))
    }

    @Test func offloadsThatAreTurnedOffAreNotUsed() throws {
        let lab = try Lab()
        defer { lab.end() }
        lab.a.pump.stop()
        let plain = try lab.a.host.run {
            try DataPlane(configuration: PumpConfiguration(tunName: "cw0", mark: 0x77, offloads: [])) { _ in }
        }
        defer { plain.stop() }
        plain.start()
        try lab.a.host.waitForLinks()
        let (a, b) = try descriptions(id: 1)
        lab.b.pump.install(b)
        plain.install(a)
        _ = lab.b.pump.counters()
        #expect(plain.counters().offloads == [])
        let near = try lab.a.host.run { try TestSocket(port: 7000, to: (hostB, 7000)) }
        let far = try lab.b.host.run { try TestSocket(port: 7000, to: (hostA, 7000)) }
        // The kernel cuts it before the device.
        let train = [UInt8](repeating: 5, count: 8 * 1000)
        #expect(near.send(train, segment: 1000) == train.count)
        for _ in 0..<8 { #expect(far.receive()?.count == 1000) }
        far.send([1])
        #expect(near.receive() == [1])
    }
}
