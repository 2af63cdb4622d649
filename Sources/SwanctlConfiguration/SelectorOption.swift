import IPPackets
import IPsecTypes

/// A traffic selector of `local_ts` or `remote_ts`.
///
/// `10.1.0.0/16`, `10.1.0.1-10.1.0.9`, `dynamic`, each with `[protocol/port]` behind it or without.
struct SelectorOption: Equatable {
    enum Addresses: Equatable {
        /// The outer address, or the virtual IP, of the side.
        case dynamic
        case range(IPAddress, IPAddress)
    }

    var addresses = Addresses.dynamic
    var ipProtocol: UInt8 = 0
    var ports: ClosedRange<UInt16> = 0...65535
    var isOpaque = false

    init() {}

    init?(_ octets: [UInt8]) {
        guard let text = OptionText.word(octets) else { return nil }
        guard let bracket = text.firstIndex(of: "[") else {
            guard let addresses = Self.addresses(text[...]) else { return nil }
            self.addresses = addresses
            return
        }
        let rest = text[text.index(after: bracket)...]
        guard rest.last == "]", let addresses = Self.addresses(text[..<bracket]) else { return nil }
        self.addresses = addresses
        guard readProtocol(rest.dropLast()) else { return nil }
    }

    private static func addresses(_ text: Substring) -> Addresses? {
        if text == "dynamic" { return .dynamic }
        if let dash = text.firstIndex(of: "-") {
            let last = text[text.index(after: dash)...]
            guard let first = IPAddress(text[..<dash]), let last = IPAddress(last),
                first.bitWidth == last.bitWidth, first <= last
            else { return nil }
            return .range(first, last)
        }
        return IPPrefix(anyHostBits: text).map { .range($0.address, $0.last) }
    }

    /// `tcp/ssh`, `17/4500-4600`, `any/any`, `tcp/opaque`, `tcp`.
    private mutating func readProtocol(_ text: Substring) -> Bool {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let name = parts.first.map({ String($0) }) else { return false }
        if name != "any", !name.isEmpty {
            guard
                let number = ProtocolNames.number(protocol: name)
                    ?? OptionText.number(Array(name.utf8), as: UInt8.self)
            else { return false }
            ipProtocol = number
        }
        guard parts.count == 2, !parts[1].isEmpty, parts[1] != "any" else { return true }
        let port = String(parts[1])
        if port == "opaque" {
            isOpaque = true
            return true
        }
        if let number = ProtocolNames.port(service: port) {
            ports = number...number
            return true
        }
        let ends = port.split(separator: "-", omittingEmptySubsequences: false).map {
            OptionText.number(Array($0.utf8), as: UInt16.self)
        }
        guard ends.count <= 2, case let first?? = ends.first, case let last?? = ends.last, first <= last
        else { return false }
        ports = first...last
        return true
    }

    /// charon's text, which for `dynamic` names no address.
    var description: String {
        switch addresses {
        case .range(let first, let last):
            let selector = TrafficSelector(
                first,
                last,
                ipProtocol: ipProtocol,
                ports: ports,
                isOpaque: isOpaque
            )
            return selector?.description ?? ""
        case .dynamic:
            // The suffix that a selector of some address has.
            let any = IPAddress.v4(.any)
            let selector = TrafficSelector(any, any, ipProtocol: ipProtocol, ports: ports, isOpaque: isOpaque)
            let text = selector?.description ?? ""
            return "dynamic" + (text.firstIndex(of: "[").map { String(text[$0...]) } ?? "")
        }
    }
}

extension IPPrefix {
    /// An address, or a block whose host bits, if any are set, are cleared as charon does.
    init?(anyHostBits text: some StringProtocol) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let address = IPAddress(first) else { return nil }
        guard parts.count == 2 else {
            self.init(host: address)
            return
        }
        guard (1...3).contains(parts[1].utf8.count), let length = UInt8(parts[1]),
            parts[1].utf8.allSatisfy({ (48...57).contains($0) })
        else { return nil }
        self.init(address, length: Int(length))
    }
}
