import IPPackets

/// The addresses of a pool: `10.3.0.0/24` without the network's and the broadcast address, or
/// `10.3.0.10-10.3.0.20`.
struct PoolAddresses: Equatable {
    /// Bits of the largest pool, as in strongSwan.
    private static let mostBits = 31

    let base: IPAddress
    let size: UInt32

    init?(_ text: String) {
        if let dash = text.firstIndex(of: "-") {
            self.init(text[..<dash], text[text.index(after: dash)...])
        } else {
            self.init(block: text)
        }
    }

    /// A range whose ends differ in their last 32 bits only.
    private init?(_ first: Substring, _ last: Substring) {
        guard let first = IPAddress(first), let last = IPAddress(last), first.bitWidth == last.bitWidth,
            first <= last
        else { return nil }
        let low = AddressBits(first)
        let high = AddressBits(last)
        guard low.high == high.high, let span = UInt32(exactly: high.low - low.low), span < .max else {
            return nil
        }
        base = first
        size = span + 1
    }

    /// A block, from the given address on if that is not its first one.
    private init?(block text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let address = IPAddress(first),
            let prefix = IPPrefix(anyHostBits: text)
        else { return nil }
        let hostBits = min(address.bitWidth - prefix.length, Self.mostBits)
        let capacity = UInt32(1) << UInt32(hostBits)
        let offset = UInt32(truncatingIfNeeded: AddressBits(address).low) & (capacity - 1)
        var size = capacity - offset
        var base = address
        if capacity > 2 {
            if offset == 0, let next = address.successor {
                base = next
                size -= 1
            }
            size -= 1
        }
        guard size > 0 else { return nil }
        self.base = base
        self.size = size
    }
}

/// The attributes that a pool's lists name (RFC 7296 §3.15.1, RFC 7651, and Cisco's Unity).
enum PoolAttributes {
    private static let types: [String: (v4: UInt16, v6: UInt16)] = [
        "address": (1, 8), "netmask": (2, 9), "dns": (3, 10), "nbns": (4, 11), "dhcp": (6, 12),
        "subnet": (13, 15), "server": (23_456, 23_457), "p_cscf": (20, 21),
        "split_include": (28_676, 28_676), "split_exclude": (28_678, 28_678),
    ]

    /// An address, a block, or for a numbered attribute any octets.
    static func attribute(_ name: String, _ item: [UInt8]) throws(LoadRefusal) -> LoadedPool.Attribute {
        let named = types[name]
        let number = UInt16(name).flatMap { (1...0x7fff).contains($0) ? $0 : nil }
        guard named != nil || number != nil else { throw LoadRefusal("invalid attribute: \(name)") }
        guard let (address, value) = encoded(item) else {
            guard let number else { throw LoadRefusal("invalid attribute value for \(name)") }
            return LoadedPool.Attribute(type: number, value: item)
        }
        let type = named.map { address.bitWidth == 32 ? $0.v4 : $0.v6 } ?? number ?? 0
        return LoadedPool.Attribute(type: type, value: value)
    }

    /// An address with, behind it, an IPv4 block's mask or an IPv6 block's length.
    private static func encoded(_ item: [UInt8]) -> (IPAddress, [UInt8])? {
        guard let text = OptionText.word(item) else { return nil }
        if let address = IPAddress(text) { return (address, address.octets) }
        guard text.contains("/"), let prefix = IPPrefix(anyHostBits: text),
            let first = text.split(separator: "/").first, let address = IPAddress(first)
        else { return nil }
        switch address {
        case .v4:
            let mask = prefix.length == 0 ? 0 : UInt32.max << UInt32(32 - prefix.length)
            return (address, address.octets + IPv4Address(mask).octets)
        case .v6:
            return (address, address.octets + [UInt8(prefix.length)])
        }
    }
}
