import Cryptography
import ESP
import IPPackets
import IPsecTypes
import Primitives

// One thread, no sockets: what a packet costs of our own time. Prints Markdown.

/// Nanoseconds of one call of `body`, which does `count` things: the least of some rounds.
func nanoseconds(_ count: Int, rounds: Int = 9, _ body: () -> Void) -> Int {
    var least = Duration.seconds(10)
    for _ in 0..<rounds { least = min(least, ContinuousClock().measure(body)) }
    return Int(least.components.attoseconds / 1_000_000_000) / count
}

func key(_ count: Int) throws -> SecretKey {
    try SecretKey(copying: (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ 5) })
}

/// Seals or opens batches of 48 packets of one length.
func cipherTime(
    _ transform: CipherTransform,
    _ backend: PacketBackend,
    _ direction: PacketCipher.Direction,
    payload: Int
) throws -> Int? {
    func make(_ direction: PacketCipher.Direction) throws -> PacketCipher {
        try PacketCipher(
            transform,
            encryptionKey: key(transform.encryptionKeyLength),
            integrityKey: transform.isAEAD ? nil : key(transform.integrityKeyLength),
            esn: true,
            direction: direction,
            backend: backend
        )
    }
    var sealing = try make(.seal)
    var opening = try make(.open)
    guard sealing.backend == backend else { return nil }
    let count = 48
    let length = 8 + transform.ivLength + payload + transform.icvLength
    var arena = PacketArena(capacity: count * length)
    var number: UInt64 = 1
    var least = Int.max
    for _ in 0..<40 {
        var jobs = (0..<count).map { index in
            PacketJob(offset: Int32(index * length), length: Int32(length), sequence: number + UInt64(index))
        }
        number += UInt64(count)
        let seal = nanoseconds(count, rounds: 1) { sealing.seal(&jobs, range: 0..<count, in: &arena) }
        let open = nanoseconds(count, rounds: 1) { opening.open(&jobs, range: 0..<count, in: &arena) }
        least = min(least, direction == .seal ? seal : open)
    }
    return least
}

func printCiphers() throws {
    print(
        "| nanoseconds a packet | library | seal 64 | seal 576 | seal 1408 | open 64 | open 576 | open 1408 |"
    )
    print("|---|---|---|---|---|---|---|---|")
    let transforms: [CipherTransform] = [
        .aesGCM16(keyBits: 128), .aesGCM16(keyBits: 256), .chacha20Poly1305,
        .aesCBC(keyBits: 128, .hmacSHA1_96), .aesCBC(keyBits: 256, .hmacSHA256_128),
        .aesCBC(keyBits: 256, .hmacSHA512_256), .null(.hmacSHA256_128),
    ]
    for transform in transforms {
        for backend in [PacketBackend.openSSL, .multiBuffer] {
            var cells = [String]()
            for direction in [PacketCipher.Direction.seal, .open] {
                for payload in [64, 576, 1408] {
                    guard let time = try cipherTime(transform, backend, direction, payload: payload) else {
                        continue
                    }
                    cells.append(String(time))
                }
            }
            guard !cells.isEmpty else { continue }
            print("| \(transform.name) | \(backend.name) | " + cells.joined(separator: " | ") + " |")
        }
    }
}

/// A TCP super-packet of 45 segments of 1,360 octets with right checksums but for TCP's, which is the kernel's sum.
func superPacket() -> (OffloadHeader, [UInt8]) {
    let payload = 45 * 1360
    var packet: [UInt8] = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1]
    packet[2] = UInt8((40 + payload) >> 8)
    packet[3] = UInt8((40 + payload) & 255)
    packet += [0x12, 0x34, 0x56, 0x78, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]
    packet += (0..<payload).map { UInt8(truncatingIfNeeded: $0) }
    var offload = OffloadHeader()
    offload.kind = .tcp4
    offload.segmentSize = 1360
    return (offload, packet)
}

func printPackets() {
    let (offload, packet) = superPacket()
    var source = PacketArena(capacity: 1 << 17)
    var target = PacketArena(capacity: 1 << 17)
    source.write(packet, at: 0)
    guard let header = PacketHeader(source.span, at: 0, length: packet.count),
        let whole = SuperPacket(header, offload, in: source.span, at: 0)
    else { return }
    let length = whole.largestPiece
    let stride = length + 64
    let cut = nanoseconds(whole.count) {
        for piece in 0..<whole.count {
            let start = piece * stride + 16
            target.copy(from: source, 0..<whole.headerLength, to: start)
            let payload = start + whole.headerLength
            let sum = target.copySumming(from: source, whole.payload(of: piece), to: payload)
            var span = target.mutableSpan
            whole.finish(piece, payloadSum: sum, in: &span, at: start)
        }
    }
    var plan = Coalescer(capacity: 64)
    let merge = nanoseconds(whole.count) {
        plan.clear()
        for piece in 0..<whole.count {
            plan.add(target.span, at: piece * stride + 16, length: length) { target.onesComplementSum($0) }
        }
    }
    let groups = plan.groups.count
    print("\n| nanoseconds a packet of 1400 octets | |\n|---|---|")
    print(
        "| checksum | \(nanoseconds(1000) { for _ in 0..<1000 { _ = source.onesComplementSum(40..<1400) } }) |"
    )
    print("| cut from a super-packet, with copy and checksum | \(cut) |")
    print("| merged into one, checksum verified (\(groups) group) | \(merge) |")
}

if CommandLine.arguments.count == 4, CommandLine.arguments[1] == "tunnels",
    let tunnels = Int(CommandLine.arguments[2]), let packets = Int(CommandLine.arguments[3])
{
    // For a counter of instructions: what differs between two counts of packets is theirs.
    var ends = try EngineEnds(tunnels: tunnels)
    print("\(ends.carry(packets)) of \(packets) packets arrived, \(tunnels) tunnels")
} else {
    try printCiphers()
    printPackets()
    try printEngine()
}
