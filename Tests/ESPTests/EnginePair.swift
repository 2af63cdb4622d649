import Cryptography
import IPPackets
import IPsecTypes
import Primitives
import Testing

@testable import ESP

/// What tests of the engine share: keys, descriptions, packets, and the way of a packet through it.
enum Fixture {
    static let transforms: [CipherTransform] =
        [128, 192, 256].map { .aesGCM16(keyBits: $0) } + [.chacha20Poly1305]
        + IntegrityAlgorithm.allCases.flatMap { integrity in
            [128, 192, 256].map { CipherTransform.aesCBC(keyBits: $0, integrity) } + [.null(integrity)]
        }

    static func keys(_ transform: CipherTransform, _ octet: UInt8) throws -> SAKeys {
        func key(_ count: Int) throws -> SecretKey {
            try SecretKey(copying: (0..<count).map { octet &+ UInt8(truncatingIfNeeded: $0) })
        }
        let length = transform.integrityKeyLength
        return SAKeys(
            encryption: try key(transform.encryptionKeyLength),
            integrity: length == 0 ? nil : try key(length)
        )
    }

    static func selector(_ text: String, ipProtocol: UInt8 = 0, ports: ClosedRange<UInt16> = 0...65_535)
        throws
        -> TrafficSelector
    {
        TrafficSelector(try #require(IPPrefix(text)), ipProtocol: ipProtocol, ports: ports)
    }

    /// Side `isA` talks from 10.1.0.0/16 and fd01::/64 to 10.2.0.0/16 and fd02::/64.
    static func description(
        isA: Bool,
        id: UInt32 = 1,
        _ transform: CipherTransform = .aesGCM16(keyBits: 128),
        esn: Bool = false,
        local: [TrafficSelector]? = nil,
        remote: [TrafficSelector]? = nil,
        tunnel: String = "t",
        softLimit: SAVolume = SAVolume(),
        limit: SAVolume = SAVolume(),
        inboundKeys: SAKeys? = nil,
        inboundSPI: UInt32? = nil,
        encapsulation: Encapsulation = .udp,
        outer: String = "192.0.2.1",
        replayWindow: Int = 1024,
        padding: TrafficFlowPadding = .none,
        copying: HeaderCopying = HeaderCopying()
    ) throws -> ChildSADescription {
        let near = [try selector("10.1.0.0/16"), try selector("fd01::/64")]
        let far = [try selector("10.2.0.0/16"), try selector("fd02::/64")]
        let end = Endpoint(try #require(IPAddress(outer)), 4500)
        let (spiA, spiB) = (0xa000 + id, 0xb000 + id)
        return ChildSADescription(
            id: id,
            connection: "c",
            tunnel: tunnel,
            inboundSPI: try #require(SPI(inboundSPI ?? (isA ? spiA : spiB))),
            outboundSPI: try #require(SPI(isA ? spiB : spiA)),
            transform: transform,
            usesESN: esn,
            inboundKeys: try inboundKeys ?? keys(transform, isA ? 0x40 : 0x80),
            outboundKeys: try keys(transform, isA ? 0x80 : 0x40),
            localSelectors: local ?? (isA ? near : far),
            remoteSelectors: remote ?? (isA ? far : near),
            path: OuterPath(local: end, remote: end, encapsulation: encapsulation),
            replayWindow: replayWindow,
            softLimit: softLimit,
            limit: limit,
            padding: padding,
            copying: copying
        )
    }

    static func packet(
        _ source: String = "10.1.0.5",
        _ destination: String = "10.2.0.9",
        ipProtocol: UInt8 = 17,
        payload: Int = 20,
        dontFragment: Bool = false,
        ports: UInt32 = 0x1111_2222,
        trafficClass: UInt8 = 0
    ) throws -> [UInt8] {
        let source = try #require(IPAddress(source))
        let destination = try #require(IPAddress(destination))
        let data = (0..<payload).map { UInt8(truncatingIfNeeded: $0) }
        var writer = ByteWriter()
        if source.bitWidth == 128 {
            writer.u32(0x6000_0000 | UInt32(trafficClass) << 20)
            writer.u16(UInt16(payload + 4))
            writer.u8(ipProtocol)
            writer.u8(64)
        } else {
            writer.u16(0x4500 | UInt16(trafficClass))
            writer.u16(UInt16(24 + payload))
            writer.u32(dontFragment ? 0x4000 : 0)
            writer.u8(64)
            writer.u8(ipProtocol)
            writer.u16(0)
        }
        writer.append(source.octets)
        writer.append(destination.octets)
        writer.u32(ports)
        writer.append(data)
        return writer.bytes
    }
}

/// What became of a packet that was to go out.
enum Outcome: Hashable {
    case queued
    case tooBig(mtu: Int)
    case toBeCut(mtu: Int)
    case held
    case dropped
}

/// An engine with an arena of its own, one packet at a time or some.
final class EngineHost {
    var engine: ESPEngine
    var arena = PacketArena(capacity: 1 << 20)
    var lastVerdicts = [Outcome]()
    /// Octets left free behind each inner packet.
    var room = 128
    var lastSealed = [SealedPacket]()

    init(_ descriptions: ChildSADescription..., maximumMTU: Int? = nil) throws {
        engine = ESPEngine(maximumMTU: maximumMTU)
        for description in descriptions { try engine.install(description) }
    }

    /// The ESP packets that become of `packets`, in pieces if need be.
    func seal(_ packets: [[UInt8]]) -> [[UInt8]] {
        var cursor = 64
        lastVerdicts = []
        lastSealed = []
        for packet in packets {
            arena.write(packet, at: cursor)
            let verdict = prepare(at: cursor, length: packet.count)
            lastVerdicts.append(verdict)
            cursor += packet.count + room
            if case .toBeCut(let mtu) = verdict { cut(packet, mtu, &cursor) }
        }
        engine.sealBatch(in: &arena, at: .zero)
        var result = [[UInt8]]()
        for index in 0..<engine.sealCount {
            let job = engine.sealed(index).job
            lastSealed.append(engine.sealed(index))
            guard job.status == .done else { continue }
            result.append(arena.octets(Int(job.offset)..<Int(job.offset + job.length)))
        }
        engine.clearSealed()
        return result
    }

    private func prepare(at offset: Int, length: Int) -> Outcome {
        guard let header = PacketHeader(arena.span, at: offset, length: length) else { return .dropped }
        switch engine.decide(header, length: header.totalLength) {
        case .protect(let protection):
            let end = engine.frame(header, length: header.totalLength, at: offset, in: &arena, protection)
            return end == nil ? .dropped : .queued
        case .tooBig(let mtu): return .tooBig(mtu: mtu)
        case .toBeCut(let mtu): return .toBeCut(mtu: mtu)
        case .trap(let tunnel):
            engine.hold(header, arena.octets(offset..<offset + header.totalLength), tunnel: tunnel, at: .zero)
            return .held
        case .elsewhere, .dropped: return .dropped
        }
    }

    private func cut(_ packet: [UInt8], _ mtu: Int, _ cursor: inout Int) {
        guard let header = PacketHeader(packet.span, at: 0, length: packet.count),
            var pieces = IPv4Fragments(header, in: packet.span, at: 0, mtu: mtu)
        else { return }
        while !pieces.isDone {
            var piece = [UInt8](repeating: 0, count: mtu)
            var span = piece.mutableSpan
            guard let length = pieces.writeNext(from: packet.span, to: &span, at: 0) else { return }
            arena.write(Array(piece.prefix(length)), at: cursor)
            lastVerdicts.append(prepare(at: cursor, length: length))
            cursor += length + 128
        }
    }

    /// The inner packets that become of ESP packets; nil for each that was dropped.
    func open(_ packets: [[UInt8]], trafficClass: UInt8 = 0) -> [[UInt8]?] {
        var cursor = 64
        var result = [[UInt8]?](repeating: nil, count: packets.count)
        for (token, packet) in packets.enumerated() {
            arena.write(packet, at: cursor)
            _ = engine.receive(
                packetAt: cursor,
                length: packet.count,
                token: token,
                trafficClass: trafficClass,
                in: arena
            )
            cursor += packet.count + room
        }
        engine.openBatch(in: &arena, at: .zero)
        for index in 0..<engine.openCount {
            let entry = engine.opened(index)
            guard entry.state == .delivered else { continue }
            result[Int(entry.token)] = arena.octets(Int(entry.offset)..<Int(entry.offset + entry.length))
        }
        engine.clearOpened()
        return result
    }

    var hasEvents: Bool { engine.hasEvents }

    func drops(_ reason: DropReason) -> UInt64 { engine.drops[reason] }

    /// True when nothing was dropped but for these reasons.
    func droppedOnly(_ reasons: DropReason...) -> Bool {
        DropReason.allCases.allSatisfy { reasons.contains($0) || engine.drops[$0] == 0 }
    }
}
