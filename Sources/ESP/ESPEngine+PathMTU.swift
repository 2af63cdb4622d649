import Cryptography
public import IPPackets
import IPsecTypes

/// What an ICMP error shows of the ESP packet that it answers.
public struct QuotedPacket: Hashable, Sendable {
    /// The SPI of the packet that did not pass.
    public let spi: UInt32
    /// The low half of its sequence number.
    public let sequence: UInt32
    /// Where it was to go.
    public let remote: IPAddress
    /// The MTU of the link that it did not fit; 0 when the router told none.
    public let mtu: Int

    /// Makes the description of an error.
    public init(spi: UInt32, sequence: UInt32, remote: IPAddress, mtu: Int) {
        self.spi = spi
        self.sequence = sequence
        self.remote = remote
        self.mtu = mtu
    }
}

extension ESPEngine {
    /// The path MTU until something else is known.
    public static let defaultPathMTU = 1500
    /// How far behind the newest packet a quoted one may be.
    private static let quotedWindow: UInt32 = 1 << 20
    /// RFC 1191 §7.1: what to try when a router tells no MTU.
    private static let plateaus = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 576]

    /// The least that a path is believed to carry: less would be an attack (RFC 791 §3.2, RFC 8200 §5).
    private static func floor(isIPv6: Bool) -> Int { isIPv6 ? 1280 : 576 }

    /// Sets what the path of an SA carries, the outer header included.
    public mutating func setPathMTU(saID: UInt32, octets: Int) {
        guard let slot = slot(ofSA: saID) else { return }
        let least = Self.floor(isIPv6: outbound[slot].remote.isIPv6)
        setPathMTU(slot, min(max(octets, least), 65_535))
    }

    /// What the path of an SA is believed to carry.
    public func pathMTU(ofSA saID: UInt32) -> Int? { slot(ofSA: saID).map { outbound[$0].pathMTU } }

    mutating func setPathMTU(_ slot: Int, _ octets: Int) {
        guard let pair = ciphers[slot] else { return }
        outbound[slot].pathMTU = octets
        outbound[slot].innerMTU = innerMTU(octets, pair.path, pair.transform)
    }

    /// Lowers the path MTU of an SA, and of all that go the same way, if the error answers a packet of its own.
    ///
    /// RFC 4301 §8.2: such messages are not authenticated. Who sees none of our packets knows neither a SPI nor
    /// its sequence numbers; who sees them can hardly do worse than drop them, since there is a floor.
    public mutating func pathTooBig(_ quoted: QuotedPacket) {
        let remote = AddressBits(quoted.remote)
        guard quoted.spi > 255 else { return }
        for slot in outbound.indices
        where outbound[slot].spi == quoted.spi && outbound[slot].remote == remote && ciphers[slot] != nil {
            let newest = UInt32(truncatingIfNeeded: outbound[slot].sequence)
            guard newest &- quoted.sequence < Self.quotedWindow, outbound[slot].sequence > 0 else { continue }
            let believed = outbound[slot].pathMTU
            let mtu = quoted.mtu > 0 ? quoted.mtu : Self.plateaus.first { $0 < believed } ?? 576
            lowerPathMTU(remote: remote, isUDP: outbound[slot].isUDP, to: mtu)
            return
        }
    }

    /// Lowers the path MTU of all SAs to `remote`: the device that leads there takes no more.
    public mutating func deviceTooSmall(remote: IPAddress, mtu: Int) {
        let remote = AddressBits(remote)
        lowerPathMTU(remote: remote, isUDP: true, to: mtu)
        lowerPathMTU(remote: remote, isUDP: false, to: mtu)
    }

    private mutating func lowerPathMTU(remote: AddressBits, isUDP: Bool, to mtu: Int) {
        let lower = max(mtu, Self.floor(isIPv6: remote.isIPv6))
        for slot in outbound.indices
        where outbound[slot].remote == remote && outbound[slot].isUDP == isUDP
            && outbound[slot].pathMTU > lower
            && ciphers[slot] != nil
        {
            setPathMTU(slot, lower)
            events.append(.pathTooBig(saID: outbound[slot].id, mtu: lower))
        }
    }

    /// What other SAs have learnt of the same way: a rekey must not forget it.
    func knownPathMTU(_ path: OuterPath) -> Int {
        let remote = AddressBits(path.remote.address)
        var known: Int?
        for slot in outbound.indices
        where outbound[slot].remote == remote && outbound[slot].isUDP == path.encapsulation.isUDP
            && ciphers[slot] != nil
        { known = min(known ?? .max, outbound[slot].pathMTU) }
        return known ?? Self.defaultPathMTU
    }

    func innerMTU(_ pathMTU: Int, _ path: OuterPath, _ transform: CipherTransform) -> Int {
        let fitting = TunnelMTU.innerMTU(
            path: pathMTU,
            outerIsIPv6: path.remote.address.bitWidth == 128,
            encapsulation: path.encapsulation,
            transform: transform
        )
        return min(fitting, maximumMTU)
    }
}

extension Encapsulation {
    var isUDP: Bool {
        switch self {
        case .udp: true
        case .none: false
        }
    }
}
