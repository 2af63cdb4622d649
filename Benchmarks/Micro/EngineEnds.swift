import Cryptography
import ESP
import IPPackets
import IPsecTypes
import Primitives

/// Two ESP engines with the same tunnels; packets go by the first one.
struct EngineEnds: ~Copyable {
    private var near = ESPEngine(allowsMultiBuffer: false)
    private var far = ESPEngine(allowsMultiBuffer: false)
    private var arena = PacketArena(capacity: 1 << 18)
    private let packet: [UInt8]

    init(tunnels: Int) throws {
        packet = Self.packet(1400)
        for number in 0..<tunnels {
            try near.install(Self.description(number, isNear: true))
            try far.install(Self.description(number, isNear: false))
        }
    }

    /// UDP from 10.0.0.1 to 11.0.0.1 with the ports 1 and 2.
    static func packet(_ length: Int) -> [UInt8] {
        var packet: [UInt8] = [0x45, 0, UInt8(length >> 8), UInt8(length & 255), 0, 0, 0x40, 0, 64, 17, 0, 0]
        packet += [10, 0, 0, 1, 11, 0, 0, 1, 0, 1, 0, 2, 0, 0, 0, 0]
        return packet + [UInt8](repeating: 0x5a, count: length - packet.count)
    }

    private static func description(_ number: Int, isNear: Bool) throws -> ChildSADescription {
        let (near, far) = (selector(10, number), selector(11, number))
        let spi = { (base: UInt32) in SPI(base + UInt32(number)) }
        guard let first = spi(0x1000_0000), let second = spi(0x2000_0000), let near, let far,
            let local = IPAddress("192.0.2.1"), let remote = IPAddress("192.0.2.2")
        else { throw CryptoError.invalidLength }
        let transform = CipherTransform.aesGCM16(keyBits: 128)
        func keys(_ seed: Int) throws -> SAKeys {
            let octets = (0..<transform.encryptionKeyLength).map {
                UInt8(truncatingIfNeeded: $0 &* 31 &+ number &* 7 &+ seed)
            }
            return SAKeys(encryption: try SecretKey(copying: octets), integrity: nil)
        }
        let (there, back) = (try keys(1), try keys(2))
        return ChildSADescription(
            id: UInt32(number + 1),
            connection: "c\(number)",
            tunnel: "t",
            inboundSPI: isNear ? first : second,
            outboundSPI: isNear ? second : first,
            transform: transform,
            usesESN: true,
            inboundKeys: isNear ? back : there,
            outboundKeys: isNear ? there : back,
            localSelectors: [isNear ? near : far],
            remoteSelectors: [isNear ? far : near],
            path: OuterPath(
                local: Endpoint(isNear ? local : remote, 4500),
                remote: Endpoint(isNear ? remote : local, 4500),
                encapsulation: .udp
            ),
            replayWindow: 1024,
            limit: SAVolume()
        )
    }

    /// A /24 of its own for each.
    private static func selector(_ first: Int, _ number: Int) -> TrafficSelector? {
        IPPrefix("\(first).\(number >> 8 & 255).\(number & 255).0/24").map { TrafficSelector($0) }
    }

    /// Sends so many packets by the first tunnel; the result is how many came out.
    mutating func carry(_ count: Int) -> Int {
        var (left, arrived) = (count, 0)
        while left > 0 {
            let batch = min(48, left)
            left -= batch
            var cursor = 0
            for _ in 0..<batch { cursor = place(at: cursor) }
            near.sealBatch(in: &arena, at: .zero)
            for index in 0..<near.sealCount {
                let job = near.sealed(index).job
                _ = far.receive(packetAt: Int(job.offset), length: Int(job.length), token: -1, in: arena)
            }
            near.clearSealed()
            far.openBatch(in: &arena, at: .zero)
            for index in 0..<far.openCount where far.opened(index).state == .delivered { arrived += 1 }
            far.clearOpened()
        }
        return arrived
    }

    private mutating func place(at cursor: Int) -> Int {
        let inner = cursor + 16
        arena.write(packet, at: inner)
        guard let header = PacketHeader(arena.span, at: inner, length: packet.count),
            case .protect(let protection) = near.decide(header, length: packet.count),
            let end = near.frame(header, length: packet.count, at: inner, in: &arena, protection)
        else { return cursor }
        return end
    }

    /// Decides `count` times on a packet whose flow is known, or on one of another flow each time.
    mutating func decide(_ count: Int, newFlows: Bool) -> Int {
        var packet = packet
        var protected = 0
        for number in 0..<count {
            if newFlows {
                // More flows than the cache has places for, and each another one than the last in its place.
                packet[20] = UInt8(truncatingIfNeeded: number >> 8)
                packet[21] = UInt8(truncatingIfNeeded: number)
                packet[22] = UInt8(truncatingIfNeeded: number >> 16)
            }
            guard let header = PacketHeader(packet.span, at: 0, length: packet.count) else { continue }
            if case .protect = near.decide(header, length: 100) { protected += 1 }
        }
        return protected
    }
}

/// Look-ups and the replay window.
func printEngine() throws {
    print("\n| nanoseconds a packet | 1 tunnel | 10,000 tunnels |\n|---|---|---|")
    var one = try EngineEnds(tunnels: 1)
    var many = try EngineEnds(tunnels: 10_000)
    for (name, newFlows) in [("policy, a flow seen before", false), ("policy, a flow not seen before", true)]
    {
        let times = [
            nanoseconds(20_000) { _ = one.decide(20_000, newFlows: newFlows) },
            nanoseconds(20_000) { _ = many.decide(20_000, newFlows: newFlows) },
        ]
        print("| \(name) | \(times[0]) | \(times[1]) |")
    }
    let times = [
        nanoseconds(9_600) { _ = one.carry(9_600) },
        nanoseconds(9_600) { _ = many.carry(9_600) },
    ]
    print("| both ends, AES-GCM by OpenSSL, 1400 octets | \(times[0]) | \(times[1]) |")
    var window = ReplayWindow(size: 1024, usesESN: true)
    var next: UInt64 = 1
    let replay = nanoseconds(20_000) {
        for _ in 0..<20_000 {
            if window.isFresh(next) { _ = window.accept(next) }
            next += 1
        }
    }
    print("\nThe replay window takes \(replay) ns a packet.")
}
