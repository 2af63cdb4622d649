import IPPackets
import IPsecTypes

/// Reads traffic selectors: `10.1.0.0/16`, `10.0.0.1-10.0.0.9`, with `[tcp/443]` behind.
enum SelectorText {
    private static let expected = "accepted: 10.1.0.0/16, 10.0.0.1-10.0.0.9, each also with [tcp/443] behind"

    private static let protocols: [(name: String, number: UInt8)] = [
        ("icmp", 1), ("tcp", 6), ("udp", 17), ("dccp", 33), ("gre", 47), ("esp", 50), ("ipv6-icmp", 58),
        ("ospf", 89), ("sctp", 132), ("udplite", 136),
    ]
    private static let protocolsWithPorts: Set<UInt8> = [6, 17, 33, 132, 136]

    static func selector(_ text: String) throws(Refusal) -> TrafficSelector {
        guard let bracket = text.firstIndex(of: "[") else { return try range(text, 0, 0...65535) }
        let addresses = String(text[..<bracket])
        let traffic = text[text.index(after: bracket)...]
        guard traffic.last == "]" else {
            throw Refusal("\(quoted(text)) is not a selector: ']' is missing; \(expected)")
        }
        let parts = traffic.dropLast().split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let number = try protocolNumber(parts.first ?? "")
        guard parts.count == 2 else { return try range(addresses, number, 0...65535) }
        guard protocolsWithPorts.contains(number) else {
            throw Refusal("\(quoted(text)): only tcp, udp, dccp, sctp and udplite have ports")
        }
        return try range(addresses, number, ports(parts[1]))
    }

    private static func protocolNumber(_ text: Substring) throws(Refusal) -> UInt8 {
        if let known = protocols.first(where: { $0.name == text }) { return known.number }
        if text.utf8.allSatisfy({ (48...57).contains($0) }), let number = UInt8(text), number > 0 {
            return number
        }
        let names = protocols.map { $0.name }.joined(separator: ", ")
        throw Refusal("\(quoted(String(text))) is not a protocol; accepted: \(names) or 1 to 255")
    }

    private static func ports(_ text: Substring) throws(Refusal) -> ClosedRange<UInt16> {
        let parts = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
        let numbers = parts.compactMap { part in
            part.utf8.allSatisfy { (48...57).contains($0) } ? UInt16(part) : nil
        }
        guard numbers.count == parts.count, let low = numbers.first, let high = numbers.last, low <= high
        else {
            throw Refusal("\(quoted(String(text))) is not a port; accepted: 443 or 1000-1999, at most 65535")
        }
        return low...high
    }

    private static func range(
        _ text: String,
        _ ipProtocol: UInt8,
        _ ports: ClosedRange<UInt16>
    ) throws(Refusal) -> TrafficSelector {
        for separator in ["..", "-"] {
            guard let middle = text.firstRange(of: separator) else { continue }
            guard let first = IPAddress(text[..<middle.lowerBound]),
                let last = IPAddress(text[middle.upperBound...])
            else {
                throw Refusal("\(quoted(text)) is not a range of addresses; \(expected)")
            }
            guard let selector = TrafficSelector(first, last, ipProtocol: ipProtocol, ports: ports) else {
                throw Refusal("\(quoted(text)) ends before it starts, or mixes IPv4 and IPv6; \(expected)")
            }
            return selector
        }
        return TrafficSelector(try ScalarText.prefix(text), ipProtocol: ipProtocol, ports: ports)
    }
}
