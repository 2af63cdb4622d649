import IPPackets
import IPsecTypes
import Primitives
import Testing

@testable import ESP

private func header(_ octets: [UInt8]) throws -> PacketHeader {
    let header = PacketHeader(octets.span, at: 0, length: octets.count)
    return try #require(header)
}

private func packet(_ source: UInt32, _ destination: UInt32, _ ipProtocol: UInt8, _ ports: UInt32) -> [UInt8]
{
    var writer = ByteWriter()
    writer.u32(0x4500_0018)
    writer.u32(0)
    writer.u8(64)
    writer.u8(ipProtocol)
    writer.u16(0)
    writer.u32(source)
    writer.u32(destination)
    writer.u32(ports)
    return writer.bytes
}

/// One owner with one remote prefix, as the slow list holds it.
private struct Entry {
    let owner: SPDCache.Owner
    let action: SPDAction
    let rank: Int
    let local: TrafficSelector
    let remote: TrafficSelector
    let length: Int
}

struct SPDCacheTests {
    private func slowAction(_ entries: [Entry], _ header: PacketHeader) -> SPDAction {
        let matching = entries.filter {
            SelectorRule($0.local).matchesSource(of: header)
                && $0.remote.first <= header.destination.address
                && header.destination.address <= $0.remote.last
                && ($0.remote.ipProtocol == 0 || $0.remote.ipProtocol == header.ipProtocol)
                && (!header.hasPorts || $0.remote.ports.contains(header.destinationPort))
                && (header.hasPorts || $0.remote.ports == 0...65_535)
        }
        return matching.max { ($0.length, $0.rank) < ($1.length, $1.rank) }?.action ?? .noPolicy
    }

    private func randomSelector(_ random: inout SplitMix64) -> (TrafficSelector, Int)? {
        let length = [0, 4, 8, 12, 24, 28, 30, 31, 32].randomElement(using: &random) ?? 0
        // Few different addresses, so that they meet.
        let address = IPv4Address(
            UInt32.random(in: 0..<4, using: &random) << 30 | .random(in: 0..<16, using: &random)
        )
        guard let prefix = IPPrefix(.v4(address), length: length) else { return nil }
        let isPort = UInt8.random(in: 0..<4, using: &random) == 0
        let low = UInt16.random(in: 0..<4, using: &random)
        return (
            TrafficSelector(prefix, ipProtocol: isPort ? 17 : 0, ports: isPort ? low...low + 1 : 0...65_535),
            length
        )
    }

    @Test func agreesWithASlowList() throws {
        var random = SplitMix64(state: 11)
        var cache = SPDCache()
        var entries = [Entry]()
        var differences = 0
        for round in 0..<600 {
            if entries.count > 60 {
                let gone = entries.remove(at: Int.random(in: 0..<entries.count, using: &random))
                cache.remove(gone.owner)
            }
            let (local, _) = try #require(randomSelector(&random))
            let (remote, length) = try #require(randomSelector(&random))
            let owner: SPDCache.Owner
            let action: SPDAction
            if round % 3 == 0 {
                owner = .tunnel(UInt32(round))
                let traps = round % 2 == 0
                action = traps ? .trap(tunnel: UInt32(round)) : .discard(tunnel: UInt32(round))
                cache.insert(
                    SPDEntry(
                        id: UInt32(round),
                        connection: "c",
                        tunnel: "t",
                        local: [local],
                        remote: [remote],
                        traps: traps
                    )
                )
            } else {
                owner = .sa(slot: round)
                action = .protect(slot: round)
                let name = TunnelName(connection: "c", tunnel: "\(round % 7)")
                cache.insert(slot: round, tunnel: name, local: [local], remote: [remote])
            }
            // SAs before tunnels, new SAs before old, old tunnels before new.
            let rank = round % 3 == 0 ? -round : round + 1
            entries.append(
                Entry(owner: owner, action: action, rank: rank, local: local, remote: remote, length: length)
            )
            for _ in 0..<200 {
                let octets = packet(
                    UInt32.random(in: 0..<4, using: &random) << 30 | .random(in: 0..<16, using: &random),
                    UInt32.random(in: 0..<4, using: &random) << 30 | .random(in: 0..<16, using: &random),
                    [6, 17, 47].randomElement(using: &random) ?? 6,
                    UInt32.random(in: 0..<5, using: &random) << 16 | .random(in: 0..<5, using: &random)
                )
                let header = try header(octets)
                if cache.action(for: header) != slowAction(entries, header) { differences += 1 }
            }
        }
        #expect(differences == 0)
    }

    /// Of several SAs for one tunnel's traffic a worker sends by its own (RFC 9611).
    @Test func anSAOfThisWorkerGoesBeforeOthersOfItsTunnel() throws {
        let all = TrafficSelector(try #require(IPPrefix("10.0.0.0/8")))
        let header = try header(packet(0x0a00_0001, 0x0a01_0001, 17, 0x0001_0002))
        func name(_ tunnel: String, _ group: String) -> TunnelName {
            TunnelName(connection: "c", tunnel: tunnel, group: group)
        }
        var cache = SPDCache()
        func insert(_ slot: Int, _ name: TunnelName, isOwned: Bool, sends: Bool = true) {
            cache.insert(
                slot: slot,
                tunnel: name,
                sends: sends,
                isOwned: isOwned,
                local: [all],
                remote: [all]
            )
        }
        insert(1, name("t", "t"), isOwned: false)
        #expect(cache.action(for: header) == .protect(slot: 1), "the only one, although it is elsewhere")
        insert(2, name("t#1", "t"), isOwned: true)
        insert(3, name("t#2", "t"), isOwned: false)
        #expect(cache.action(for: header) == .protect(slot: 2))
        // Nor is an older one of ours where a newer one of the same is elsewhere: the peer may have deleted it.
        insert(6, name("v", "v"), isOwned: true)
        insert(7, name("v", "v"), isOwned: false)
        #expect(cache.action(for: header) == .protect(slot: 7))
        cache.remove(.sa(slot: 6))
        cache.remove(.sa(slot: 7))
        // Another tunnel's is no substitute.
        insert(4, name("u", "u"), isOwned: false)
        #expect(cache.action(for: header) == .protect(slot: 4))
        cache.remove(.sa(slot: 4))
        // A replacement sends once it may, and not before.
        insert(5, name("t#1", "t"), isOwned: true, sends: false)
        #expect(cache.action(for: header) == .protect(slot: 2))
        cache.useForSending(slot: 5)
        #expect(cache.action(for: header) == .protect(slot: 5))
        cache.remove(.sa(slot: 2))
        cache.remove(.sa(slot: 5))
        #expect(cache.action(for: header) == .protect(slot: 3), "the newest of the others")
    }

    @Test func rangesThatAreNoPrefixMatchExactly() throws {
        var cache = SPDCache()
        let all = TrafficSelector(try #require(IPPrefix("0.0.0.0/0")))
        let (first, last): (UInt32, UInt32) = (0x0a00_0003, 0x0a00_01f9)
        let remote = try #require(TrafficSelector(.v4(IPv4Address(first)), .v4(IPv4Address(last))))
        cache.insert(
            slot: 0,
            tunnel: TunnelName(connection: "c", tunnel: "t"),
            local: [all],
            remote: [remote]
        )
        for (address, isIn) in [
            (first - 1, false), (first, true), (0x0a00_0100, true), (last, true), (last + 1, false),
        ] {
            let octets = packet(1, address, 6, 0)
            let header = try header(octets)
            let action = cache.action(for: header)
            #expect(action == (isIn ? .protect(slot: 0) : .noPolicy))
        }
    }
}

struct SPITableTests {
    @Test func agreesWithADictionary() {
        var random = SplitMix64(state: 12)
        var table = SPITable()
        var dictionary = [UInt32: Int]()
        var differences = 0
        for round in 0..<20_000 {
            let spi = UInt32.random(in: 256..<1000, using: &random) &* 0x0100_0100
            if dictionary[spi] == nil, Bool.random(using: &random) {
                table.insert(spi, slot: round)
                dictionary[spi] = round
            } else {
                table.remove(spi)
                dictionary[spi] = nil
            }
            let other = UInt32.random(in: 256..<1000, using: &random) &* 0x0100_0100
            if table.slot(of: other) != dictionary[other] { differences += 1 }
            if table.slot(of: spi) != dictionary[spi] { differences += 1 }
        }
        #expect(differences == 0)
        #expect(table.count == dictionary.count)
        let nothing = table.slot(of: 0)
        #expect(nothing == nil)
    }
}

struct HeldPacketsTests {
    @Test func ownOldestGiveWayAndWaitingEnds() {
        var held = HeldPackets()
        var dropped = 0
        for number in 0..<40 { dropped += held.add([UInt8(number)], tunnel: 1, at: .zero) }
        #expect(dropped == 8 && held.count == 32)
        let later = Instant(sinceStart: .seconds(5))
        dropped = held.add([UInt8](repeating: 0, count: 65_530), tunnel: 2, at: later)
        #expect(dropped == 0)
        dropped = held.add([UInt8](repeating: 1, count: 7), tunnel: 2, at: later)
        #expect(dropped == 1)
        let expired = held.expire(at: Instant(sinceStart: .seconds(11)))
        #expect(expired == 32)
        let taken = held.take(2)
        #expect(taken == [[UInt8](repeating: 1, count: 7)])
        #expect(held.count == 0)
    }

    @Test func allTunnelsTogetherAreBounded() {
        var held = HeldPackets()
        var dropped = 0
        for number in 0..<1500 { dropped += held.add([1], tunnel: UInt32(number), at: .zero) }
        #expect(held.count == 1000 && dropped == 500)
        let (oldest, youngest) = (held.take(0), held.take(1499))
        #expect(oldest.isEmpty && youngest == [[1]])
    }
}
