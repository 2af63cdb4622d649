import IPPackets
import IPsecTypes

/// A traffic selector made ready for comparing with packets.
struct SelectorRule: Sendable {
    let first: AddressBits
    let last: AddressBits
    let ipProtocol: UInt8
    let lowPort: UInt16
    let highPort: UInt16
    let isAnyPort: Bool
    let isOpaque: Bool

    init(_ selector: TrafficSelector) {
        first = AddressBits(selector.first)
        last = AddressBits(selector.last)
        ipProtocol = selector.ipProtocol
        lowPort = selector.ports.lowerBound
        highPort = selector.ports.upperBound
        isOpaque = selector.isOpaque
        isAnyPort = !selector.isOpaque && selector.ports == 0...65_535
    }

    /// RFC 4301 §4.4.1.1: ANY also matches ports that cannot be seen; OPAQUE matches only those.
    func matches(_ address: AddressBits, _ ipProtocol: UInt8, hasPorts: Bool, port: UInt16) -> Bool {
        guard first <= address, address <= last, self.ipProtocol == 0 || self.ipProtocol == ipProtocol else {
            return false
        }
        if isAnyPort { return true }
        return isOpaque ? !hasPorts : hasPorts && lowPort <= port && port <= highPort
    }

    func matchesSource(of header: PacketHeader) -> Bool {
        matches(header.source, header.ipProtocol, hasPorts: header.hasPorts, port: header.sourcePort)
    }

    func matchesDestination(of header: PacketHeader) -> Bool {
        matches(
            header.destination,
            header.ipProtocol,
            hasPorts: header.hasPorts,
            port: header.destinationPort
        )
    }

    /// True when some traffic is both sides' own; ports and protocols aside.
    static func meet(_ one: [SelectorRule], _ other: [SelectorRule]) -> Bool {
        one.contains { rule in
            other.contains { rule.first <= $0.last && $0.first <= rule.last }
        }
    }
}
