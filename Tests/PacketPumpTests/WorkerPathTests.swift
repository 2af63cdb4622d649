import AllocationCounter
import CLinux
import Cryptography
import ESP
import IPPackets
import IPsecTypes
import Testing

@testable import PacketPump

/// The whole way of packets through a worker, there and back.
@Suite(.serialized) struct WorkerPathTests {
    static let transforms: [CipherTransform] = [
        .aesGCM16(keyBits: 128), .aesGCM16(keyBits: 256), .chacha20Poly1305,
        .aesCBC(keyBits: 256, .hmacSHA256_128), .aesCBC(keyBits: 128, .hmacSHA1_96),
        .aesCBC(keyBits: 256, .hmacSHA384_192), .aesCBC(keyBits: 256, .hmacSHA512_256),
        .null(.hmacSHA256_128),
    ]

    private static let backends: [Offloads] = [.all, Offloads.all.subtracting(.multiBuffer)]

    @Test(arguments: transforms, backends)
    func superPacketComesBackAsOne(_ transform: CipherTransform, _ offloads: Offloads) throws {
        let worker = try LoopbackWorker(transform, offloads: offloads)
        let (offload, packet) = SuperPacketBuilder.tcp(payload: 60_000, segment: 1300)
        worker.give(offload, packet)
        worker.turn()
        let count = worker.take()
        #expect(count == packet.count + 10)
        let whole = worker.received.prefix(count)
        #expect(Array(whole.dropFirst(10)) == packet)
        #expect(OffloadHeader(worker.received.span, before: 10) == offload)
        #expect(worker.take() == 0 && worker.drops.isEmpty)
        #expect(worker.state.counters().perSA[1]?.packetsIn == 47)
    }

    /// Without an offload packets go one by one, and all the same arrive.
    @Test(arguments: [
        Offloads.all, Offloads.all.subtracting(.multiBuffer), [.tunTCP, .tunUDP], [.tunTCP, .sendSegments],
        [.receiveSegments], [],
    ])
    func eachOffloadCanBeMissing(_ offloads: Offloads) throws {
        let worker = try LoopbackWorker(.aesGCM16(keyBits: 128), offloads: offloads)
        let (offload, packet) = SuperPacketBuilder.tcp(payload: 20_000, segment: 1300)
        worker.give(offload, packet)
        worker.turn()
        var payload = [UInt8]()
        while case let count = worker.take(), count > 0 { payload += worker.received[50..<count] }
        #expect(payload == Array(packet.dropFirst(40)))
        for _ in 0..<40 {
            let (offload, packet) = SuperPacketBuilder.udp(payload: 700)
            worker.give(offload, packet)
        }
        worker.turn()
        var octets = 0
        while case let count = worker.take(), count > 0 { octets += count - 38 }
        #expect(octets == 40 * 700 && worker.drops.isEmpty)
        #expect(worker.state.counters().perSA[1]?.packetsIn == 16 + 40)
        #expect(worker.state.counters().offloads.isSubset(of: offloads))
    }

    /// A million packets there and back, and not one allocation.
    @Test(arguments: transforms, backends)
    func packetsCostNoAllocation(_ transform: CipherTransform, _ offloads: Offloads) throws {
        guard allocation_counter_works() != 0 else { return }
        let worker = try LoopbackWorker(transform, offloads: offloads)
        let (offload, packet) = SuperPacketBuilder.tcp(payload: 60_000, segment: 1300)
        let small = SuperPacketBuilder.udp(payload: 64)
        var (packets, allocations) = (0, UInt64(0))
        let goal = 1_000_000 / Self.transforms.count
        for round in 0... {
            worker.give(offload, packet)
            for _ in 0..<20 { worker.give(small.0, small.1) }
            allocation_counter_start()
            worker.turn()
            let counted = allocation_counter_stop()
            // The first turns make what is made lazily.
            if round > 4 { allocations += counted }
            while worker.take() > 0 {}
            packets += 47 + 20
            if packets >= goal { break }
        }
        #expect(allocations == 0)
        #expect(worker.drops.isEmpty)
        #expect(worker.state.counters().perSA[1]?.packetsIn == UInt64(packets))
    }
}
