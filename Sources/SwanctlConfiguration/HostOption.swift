import IPPackets

/// One entry of `local_addrs` or `remote_addrs`.
enum HostOption: Equatable {
    /// `%any`, or with one family `%any4`, `%any6`.
    case any(isIPv6: Bool?)
    case address(IPAddress)
    case prefix(IPPrefix)
    case range(IPAddress, IPAddress)
    case name(String)

    /// charon takes every text here and finds out later that a name cannot be looked up; what can be no host is
    /// refused at once.
    init?(_ octets: [UInt8]) {
        guard let text = OptionText.word(octets) else { return nil }
        switch text {
        case "%any": self = .any(isIPv6: nil)
        case "%any4", "0.0.0.0", "0.0.0.0/0": self = .any(isIPv6: false)
        case "%any6", "::", "::/0": self = .any(isIPv6: true)
        default:
            if let address = IPAddress(text) {
                self = address.isUnspecified ? .any(isIPv6: address.bitWidth == 128) : .address(address)
            } else if text.contains("/") {
                guard let prefix = IPPrefix(anyHostBits: text) else { return nil }
                self = .prefix(prefix)
            } else if let (first, last) = Self.range(text) {
                guard first.bitWidth == last.bitWidth, first <= last else { return nil }
                self = .range(first, last)
            } else if Self.isName(text) {
                self = .name(text)
            } else {
                return nil
            }
        }
    }

    private static func range(_ text: String) -> (IPAddress, IPAddress)? {
        guard let dash = text.firstIndex(of: "-"), let first = IPAddress(text[..<dash]),
            let last = IPAddress(text[text.index(after: dash)...])
        else { return nil }
        return (first, last)
    }

    /// Labels of letters, digits, hyphens and underscores, at least one of them not a number.
    private static func isName(_ text: String) -> Bool {
        let labels = (text.hasSuffix(".") ? text.dropLast() : text[...])
            .split(separator: ".", omittingEmptySubsequences: false)
        let isLabel = { (label: Substring) in
            (1...63).contains(label.utf8.count)
                && label.utf8.allSatisfy {
                    (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45
                        || $0 == 95
                }
        }
        return text.utf8.count <= 253 && !labels.isEmpty && labels.allSatisfy(isLabel)
            && labels.contains { !$0.utf8.allSatisfy { (48...57).contains($0) } }
    }
}
