import Cryptography
import ESP
import Foundation
import IPPackets
import IPsecTypes
import Testing

@testable import PacketPump

/// What crosses between workers comes out as it went in, in order, or is refused.
@Suite struct CrossingTests {
    private struct Seeded: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 29
        }
    }

    @Test func ringKeepsOrderAndIsBounded() {
        var random = Seeded(state: 5)
        var ring = Crossing.Ring()
        var source = PacketArena(capacity: 70_000)
        var target = PacketArena(capacity: 70_000)
        var waiting = [(kind: Crossing.Kind, octets: [UInt8], trafficClass: UInt8)]()
        var (refused, passed) = (0, 0)
        for _ in 0..<20_000 {
            let isFilling = Int.random(in: 0..<100, using: &random) < (waiting.count > 400 ? 30 : 60)
            if isFilling {
                let length =
                    Int.random(in: 0..<20, using: &random) == 0
                    ? 65_000 : Int.random(in: 8...1500, using: &random)
                let octets = [UInt8](repeating: UInt8.random(in: 0...255, using: &random), count: length)
                let kind: Crossing.Kind = Bool.random(using: &random) ? .esp : .devicePacket
                let trafficClass = UInt8.random(in: 0...255, using: &random)
                source.write(octets, at: 100)
                let entry = Crossing.Entry(kind: kind, octets: length, trafficClass: trafficClass)
                if ring.push(entry, from: source, at: 100) {
                    waiting.append((kind, octets, trafficClass))
                } else {
                    refused += 1
                    #expect(waiting.reduce(0) { $0 + $1.octets.count } > Crossing.capacity / 2)
                }
            } else if let next = waiting.first {
                let other: Crossing.Kind = next.kind == .esp ? .devicePacket : .esp
                #expect(ring.pop(other, to: &target, at: 0, room: 65_536) == nil)
                let entry = ring.pop(next.kind, to: &target, at: 0, room: 65_536)
                #expect(entry?.octets == next.octets.count && entry?.trafficClass == next.trafficClass)
                #expect(target.octets(0..<next.octets.count) == next.octets)
                waiting.removeFirst()
                passed += 1
            }
            #expect(ring.count == waiting.count)
        }
        #expect(refused > 10 && passed > 1000)
    }

    @Test func workersAreAPowerOfTwo() {
        #expect([1, 2, 3, 4, 7, 8, 1000].map { DataPlane.workers(wanted: $0) } == [1, 2, 2, 4, 4, 8, 64])
        #expect(DataPlane.workers(wanted: 0) == 1 && DataPlane.workers(wanted: nil) >= 1)
    }
}

extension LivePumpTests {
    /// SAs of both workers, packets of many flows: each comes to a worker that may not own its SA.
    @Test(arguments: Way.all)
    func workersShareTheTraffic(way: Way) throws {
        let lab = try Lab(workers: 2)
        defer { lab.end() }
        for id: UInt32 in 1...2 {
            try lab.install(id: id, over: way)
            for port in 7000..<(7012 as UInt16) {
                let near = try lab.a.host.run { try TestSocket(port: port, to: (hostB, port)) }
                let far = try lab.b.host.run { try TestSocket(port: port, to: (hostA, port)) }
                for size in [1, 900] {
                    let text = [UInt8](repeating: UInt8(port & 255), count: size)
                    near.send(text)
                    let there = far.receive() == text
                    far.send(text)
                    let back = near.receive() == text
                    #expect(there && back, "port \(port)")
                }
            }
        }
        let counters = lab.b.pump.counters()
        #expect(counters.workers == 2)
        #expect(counters.perSA[1]?.packetsIn == 24 && counters.perSA[2]?.packetsIn == 24)
        #expect(counters.drops.allSatisfy { $0.count == 0 || $0.reason == "noPolicy" })
        // The old SA goes, and the control plane is told nothing strange.
        lab.a.pump.remove(saID: 1)
        lab.b.pump.remove(saID: 1)
        #expect(lab.b.pump.counters().perSA.count == 1)
        #expect(lab.b.events.all.allSatisfy { if case .unknownSPI = $0 { false } else { true } })
    }

    @Test func heldPacketsOfAnyWorkerGoOutBySAsOfAnother() throws {
        let lab = try Lab(workers: 2)
        defer { lab.end() }
        lab.a.pump.setTunnels([try tunnel("10.1.0.0/16", "10.2.0.0/16")])
        _ = lab.a.pump.counters()
        let ports = 7000..<(7008 as UInt16)
        let near = try ports.map { port in
            try lab.a.host.run { try TestSocket(port: port, to: (hostB, port)) }
        }
        let far = try ports.map { port in try lab.b.host.run { try TestSocket(port: port, to: (hostA, port)) }
        }
        for socket in near { socket.send([1, 2, 3]) }
        #expect(lab.a.events.first { if case .trapped(7, _, _, 17) = $0 { true } else { false } } != nil)
        for _ in 0..<100 where lab.a.pump.counters().held < ports.count { usleep(10_000) }
        let (a, b) = try descriptions(id: 1)
        lab.b.pump.install(b)
        _ = lab.b.pump.counters()
        lab.a.pump.install(a)
        for socket in far { #expect(socket.receive() == [1, 2, 3]) }
    }

    /// One message of the kernel's for packets of two SAs and an IKE message: each finds its way.
    @Test func aTrainIsSortedPacketByPacket() throws {
        let lab = try Lab(workers: 2)
        defer { lab.end() }
        let sender = try lab.a.host.run { try TestSocket(port: 9000, to: (0xc000_0202, 4500)) }
        let spis: [UInt32] = [0xdead_0001, 0xdead_0002, 0, 0xdead_0003, 0xdead_0004]
        var train = [UInt8]()
        for spi in spis {
            train += (0..<4).map { UInt8(truncatingIfNeeded: spi >> (24 - 8 * UInt32($0))) }
            train += [UInt8](repeating: 0xaa, count: 28)
        }
        #expect(sender.send(train, segment: 32) == train.count)
        let ike = lab.b.events.first {
            if case .strayIKE(let octets, _, _) = $0 {
                octets == [UInt8](repeating: 0xaa, count: 28)
            } else {
                false
            }
        }
        #expect(ike != nil)
        for _ in 0..<100 where lab.b.pump.counters().dropped(.unknownSPI) < 4 { usleep(10_000) }
        #expect(lab.b.pump.counters().dropped(.unknownSPI) == 4)
    }
}
