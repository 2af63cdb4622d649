import Primitives

/// Packets that wait for the SA of their tunnel: few, and not for long.
struct HeldPackets: Sendable {
    /// Packets of one tunnel.
    static let packetsPerTunnel = 32
    /// Octets of one tunnel.
    static let octetsPerTunnel = 64 * 1024
    /// Packets of all tunnels.
    static let packets = 1000
    /// The longest wait.
    static let patience = Duration.seconds(10)

    private struct Packet: Sendable {
        let tunnel: UInt32
        let octets: [UInt8]
        let since: Instant
    }

    private struct Use: Sendable {
        var packets = 0
        var octets = 0
    }

    /// From the oldest to the youngest.
    private var queue = [Packet]()
    private var uses = [UInt32: Use]()

    var count: Int { queue.count }

    /// Takes a packet; the result is how many older ones gave way.
    ///
    /// A tunnel's own go first.
    mutating func add(_ octets: [UInt8], tunnel: UInt32, at now: Instant) -> Int {
        guard octets.count <= Self.octetsPerTunnel else { return 1 }
        var dropped = 0
        while let use = uses[tunnel],
            use.packets >= Self.packetsPerTunnel || use.octets + octets.count > Self.octetsPerTunnel,
            let oldest = queue.firstIndex(where: { $0.tunnel == tunnel })
        {
            remove(at: oldest)
            dropped += 1
        }
        if queue.count >= Self.packets {
            remove(at: 0)
            dropped += 1
        }
        queue.append(Packet(tunnel: tunnel, octets: octets, since: now))
        uses[tunnel, default: Use()].packets += 1
        uses[tunnel, default: Use()].octets += octets.count
        return dropped
    }

    /// The packets of `tunnel` in order of arrival, which are held no longer.
    mutating func take(_ tunnel: UInt32) -> [[UInt8]] {
        guard uses.removeValue(forKey: tunnel) != nil else { return [] }
        let taken = queue.filter { $0.tunnel == tunnel }.map(\.octets)
        queue.removeAll { $0.tunnel == tunnel }
        return taken
    }

    /// Drops what has waited too long; the result is how many.
    mutating func expire(at now: Instant) -> Int {
        var dropped = 0
        while let oldest = queue.first, oldest.since.duration(to: now) > Self.patience {
            remove(at: 0)
            dropped += 1
        }
        return dropped
    }

    private mutating func remove(at index: Int) {
        let packet = queue.remove(at: index)
        guard var use = uses[packet.tunnel] else { return }
        use.packets -= 1
        use.octets -= packet.octets.count
        uses[packet.tunnel] = use.packets == 0 ? nil : use
    }
}
