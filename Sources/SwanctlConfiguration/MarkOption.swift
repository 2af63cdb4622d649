import IPsecTypes

/// A Netfilter mark with its mask, or the number of an XFRM interface.
enum MarkOption: Hashable {
    /// `value` or `value/mask`.
    case value(UInt32, mask: UInt32)
    /// `%unique`, `%unique-dir` or `%same`.
    case special(String)

    /// `mark_in`, `mark_out`.
    init?(mark octets: [UInt8]) {
        self.init(octets, ["%unique", "%unique-dir"], hasMask: true)
    }

    /// `set_mark_in`, `set_mark_out`.
    init?(setMark octets: [UInt8]) {
        self.init(octets, ["%unique", "%unique-dir", "%same"], hasMask: true)
    }

    /// `if_id_in`, `if_id_out`.
    init?(interfaceID octets: [UInt8]) {
        self.init(octets, ["%unique", "%unique-dir"], hasMask: false)
    }

    private init?(_ octets: [UInt8], _ words: [String], hasMask: Bool) {
        guard let text = OptionText.word(octets) else { return nil }
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            .map { String($0) }
        guard let first = parts.first, parts.count == 1 || hasMask else { return nil }
        var mask = UInt32.max
        if parts.count == 2 {
            guard let number = OptionText.number(Array(parts[1].utf8), as: UInt32.self) else { return nil }
            mask = number
        }
        if words.contains(first.lowercased()) {
            self = .special(text)
        } else if let value = OptionText.number(Array(first.utf8), as: UInt32.self) {
            self = .value(value & mask, mask: mask)
        } else {
            return nil
        }
    }

    /// True for the default, which marks nothing.
    var isZero: Bool {
        if case .value(0, let mask) = self { mask == 0 || mask == .max } else { false }
    }

    /// As it can be written.
    var description: String {
        switch self {
        case .value(let value, .max): String(value)
        case .value(let value, let mask): "\(value)/0x" + String(mask, radix: 16)
        case .special(let text): text
        }
    }
}

/// `tfc_padding`.
enum PaddingOption: Hashable {
    /// Up to the path's MTU.
    case mtu
    /// At least so many octets.
    case octets(UInt32)

    init?(_ octets: [UInt8]) {
        if octets == Array("mtu".utf8) {
            self = .mtu
        } else if let number = OptionText.number(octets, as: UInt32.self) {
            self = .octets(number)
        } else {
            return nil
        }
    }

    /// What the data plane works by.
    var padding: TrafficFlowPadding {
        switch self {
        case .mtu: .mtu
        case .octets(0): .none
        case .octets(let number): .octets(Int(number))
        }
    }
}
