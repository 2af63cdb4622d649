import IPPackets
import IPsecTypes
import Policy

/// Reads the texts of single values; each refusal says what is accepted.
enum ScalarText {
    static func text(_ text: String) throws(Refusal) -> String {
        guard !text.isEmpty, text.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control })
        else {
            throw Refusal("\(quoted(text)) is not accepted; expected a text without control characters")
        }
        return text
    }

    /// Names of connections, tunnels and sites: what vici, logs and Azure take without quoting.
    static func name(_ text: String, maximum: Int = 80) throws(Refusal) -> String {
        let isPlain = text.utf8.allSatisfy { octet in
            switch octet {
            case 48...57, 65...90, 97...122, UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"): true
            default: false
            }
        }
        guard isPlain, (1...maximum).contains(text.utf8.count) else {
            throw Refusal("\(quoted(text)) is not a name; accepted: 1 to \(maximum) of A-Z a-z 0-9 . _ -")
        }
        return text
    }

    static func gatewayName(_ text: String) throws(Refusal) -> String {
        let expected = "1 to 32 of A-Z a-z 0-9 _ -"
        guard !text.contains("."), let name = try? name(text, maximum: 32) else {
            throw Refusal("\(quoted(text)) is not a gateway name; accepted: \(expected)")
        }
        return name
    }

    static func interfaceName(_ text: String) throws(Refusal) -> String {
        guard text != ".", text != "..", (1...15).contains(text.utf8.count),
            text.utf8.allSatisfy({ (0x21...0x7e).contains($0) && !"/:%*\"'\\".utf8.contains($0) })
        else {
            throw Refusal(
                "\(quoted(text)) is not an interface name; accepted: 1 to 15 printable characters, "
                    + "none of / : % * \" ' \\ or space"
            )
        }
        return text
    }

    static func socketPath(_ text: String) throws(Refusal) -> String {
        guard text.hasPrefix("/"), text.utf8.count <= 107, let path = try? self.text(text) else {
            throw Refusal(
                "\(quoted(text)) is not a socket path; accepted: an absolute path of at most 107 octets"
            )
        }
        return path
    }

    static func integer(_ text: String, in range: ClosedRange<Int>) throws(Refusal) -> Int {
        guard let number = number(text), range.contains(number) else {
            throw Refusal(
                "\(quoted(text)) is not accepted; expected a whole number of \(range.lowerBound) to \(range.upperBound)"
            )
        }
        return number
    }

    static func unsigned32(_ text: String) throws(Refusal) -> UInt32 {
        guard let number = number(text), number > 0, let value = UInt32(exactly: number) else {
            throw Refusal(
                "\(quoted(text)) is not accepted; expected a number of 1 to 4294967295, or 0x1 to 0xffffffff"
            )
        }
        return value
    }

    /// Decimal digits, or hexadecimal ones after `0x`; at most 18, so that nothing overflows.
    private static func number(_ text: String) -> Int? {
        let isHexadecimal = text.hasPrefix("0x")
        let digits = isHexadecimal ? text.dropFirst(2) : Substring(text)
        guard (1...18).contains(digits.utf8.count), digits.utf8.first != UInt8(ascii: "+"),
            digits.utf8.first != UInt8(ascii: "-")
        else { return nil }
        return Int(digits, radix: isHexadecimal ? 16 : 10)
    }

    /// A factor of 1 to 10 with at most three decimals.
    static func factor(_ text: String) throws(Refusal) -> Double {
        let isDecimal = text.utf8.count <= 6 && text.utf8.allSatisfy { (48...57).contains($0) || $0 == 46 }
        guard isDecimal, let value = Double(text), (1...10).contains(value) else {
            throw Refusal("\(quoted(text)) is not accepted; expected a number of 1 to 10, such as 1.8")
        }
        return value
    }

    static func boolean(_ text: String) throws(Refusal) -> Bool {
        switch text {
        case "true": true
        case "false": false
        default: throw Refusal("\(quoted(text)) is not accepted; expected true or false")
        }
    }

    /// `30`, `30s`, `500ms`, `5m`, `1h`.
    static func duration(_ text: String, in range: ClosedRange<Duration>) throws(Refusal) -> Duration {
        let units: [(suffix: String, milliseconds: Int64)] = [
            ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("", 1000),
        ]
        let unit = units.first { text.hasSuffix($0.suffix) } ?? ("", 1000)
        let digits = text.dropLast(unit.suffix.utf8.count)
        guard digits.utf8.count <= 9, digits.utf8.allSatisfy({ (48...57).contains($0) }),
            let count = Int64(digits)
        else {
            throw Refusal("\(quoted(text)) is not a duration; accepted: 30, 30s, 500ms, 5m, 1h")
        }
        let duration = Duration.milliseconds(count * unit.milliseconds)
        guard range.contains(duration) else {
            throw Refusal(
                "\(quoted(text)) is not accepted; expected \(words(range.lowerBound)) to \(words(range.upperBound))"
            )
        }
        return duration
    }

    /// `1048576`, `64K`, `100M`, `10G`, `1T`, each unit 1024 times the one before.
    static func size(_ text: String, in range: ClosedRange<UInt64>) throws(Refusal) -> UInt64 {
        let shifts: [Character: UInt64] = ["k": 10, "m": 20, "g": 30, "t": 40]
        let shift = text.last.flatMap { shifts[Character($0.lowercased())] }
        let digits = shift == nil ? text[...] : text.dropLast()
        guard (1...15).contains(digits.utf8.count), digits.utf8.allSatisfy({ (48...57).contains($0) }),
            let count = UInt64(digits)
        else {
            throw Refusal("\(quoted(text)) is not an amount of octets; accepted: 1048576, 64K, 100M, 10G, 1T")
        }
        let (value, overflow) = count.multipliedReportingOverflow(by: 1 << (shift ?? 0))
        guard !overflow, range.contains(value) else {
            throw Refusal(
                "\(quoted(text)) is not accepted; expected \(range.lowerBound) to \(range.upperBound) octets"
            )
        }
        return value
    }

    private static func words(_ duration: Duration) -> String {
        let (seconds, fraction) = duration.components
        return fraction == 0 ? "\(seconds)s" : "\(seconds * 1000 + fraction / 1_000_000_000_000_000)ms"
    }

    static func address(_ text: String) throws(Refusal) -> IPAddress {
        guard let address = IPAddress(text), !address.isUnspecified else {
            throw Refusal(
                "\(quoted(text)) is not an address; accepted: an IPv4 or IPv6 address, such as 192.0.2.1"
            )
        }
        return address
    }

    /// Nil stands for any address.
    static func remoteHost(_ text: String) throws(Refusal) -> RemoteHost? {
        if ["any", "%any", "%any4", "%any6"].contains(text) { return nil }
        if let address = IPAddress(text), !address.isUnspecified { return .address(address) }
        if text.contains("/"), let prefix = try? prefix(text) { return .prefix(prefix) }
        if isHostName(text) { return .name(text.lowercased()) }
        throw Refusal(
            "\(quoted(text)) is not an address; accepted: an IPv4 or IPv6 address, a DNS name, a network for peers "
                + "that call, a list of these, or any"
        )
    }

    /// RFC 1123 §2.1, and underscores; what consists of digits and dots is a mistaken address.
    private static func isHostName(_ text: String) -> Bool {
        let name = text.hasSuffix(".") ? text.dropLast() : text[...]
        let labels = name.split(separator: ".", omittingEmptySubsequences: false)
        guard name.utf8.count <= 253, let last = labels.last,
            !last.utf8.allSatisfy({ (48...57).contains($0) })
        else { return false }
        return labels.allSatisfy { label in
            (1...63).contains(label.utf8.count) && label.utf8.first != 45 && label.utf8.last != 45
                && label.utf8.allSatisfy { octet in
                    switch octet {
                    case 48...57, 65...90, 97...122, 45, 95: true
                    default: false
                    }
                }
        }
    }

    static func prefix(_ text: String) throws(Refusal) -> IPPrefix {
        if let prefix = IPPrefix(text) { return prefix }
        let parts = text.split(separator: "/", maxSplits: 1)
        if parts.count == 2, let address = IPAddress(parts[0]), let length = Int(parts[1]),
            let prefix = IPPrefix(address, length: length)
        {
            throw Refusal("\(quoted(text)) has bits set behind its prefix; expected \(prefix)")
        }
        throw Refusal("\(quoted(text)) is not a network; accepted: 10.1.0.0/16, 2001:db8::/32 or an address")
    }

    static func identity(_ text: String) throws(Refusal) -> Identity {
        guard text.utf8.count <= 1024, let plain = try? self.text(text),
            let identity = Identity(configured: plain)
        else {
            throw Refusal(
                "\(quoted(text)) is not an identity; accepted: an address, a host name, user@host, @name, "
                    + "@#hexadecimal or keyid:, fqdn:, email: before the text"
            )
        }
        return identity
    }

    /// An identity of ours, which cannot be a pattern.
    static func ownIdentity(_ text: String) throws(Refusal) -> Identity {
        let identity = try identity(text)
        guard !identity.isPattern else {
            throw Refusal("\(quoted(text)) stands for many names; accepted: one identity")
        }
        return identity
    }

    /// One of `words`; the nearest one is proposed.
    static func choice<Value>(_ text: String, _ words: [(word: String, value: Value)]) throws(Refusal)
        -> Value
    {
        if let match = words.first(where: { $0.word == text }) { return match.value }
        let names = words.map { $0.word }
        let nearest = NearestWord.nearest(to: text, among: names).map { ", did you mean '\($0)'?" } ?? ""
        throw Refusal("\(quoted(text)) is not accepted\(nearest); accepted: " + names.joined(separator: ", "))
    }
}
