import IPPackets
import Primitives

/// Identities as swanctl.conf writes them.
extension Identity {
    /// Reads an identity by the rules of strongSwan; nil when the text says a type that it does not fit.
    ///
    /// - `%any` (or empty, `*`, `0.0.0.0`, `::`) is everybody;
    /// - `ipv4:`, `ipv6:`, `ipv4net:`, `ipv6net:`, `ipv4range:`, `ipv6range:`, `fqdn:`, `dns:`, `email:`, `rfc822:`,
    ///   `userfqdn:`, `keyid:`, `asn1dn:`, `asn1gn:` and `{number}:` say the type plainly, with `#hex` for octets;
    /// - text with `=` is a distinguished name, or a key-id if it is none;
    /// - `@#hex` is a key-id, `@@user` and `user@host` are e-mail addresses, `@name` is a name;
    /// - an address, a network or a range; any other text with `:` is a key-id, and without a name.
    public init?(swanctl text: String) {
        guard !text.utf8.contains(0), text.utf8.count <= 1024 else { return nil }
        if let end = text.firstIndex(of: ":"), let type = Self.prefixes[text[..<end].lowercased()] {
            self.init(type, String(text[text.index(after: end)...]))
            return
        }
        if text.hasPrefix("{"), let identity = Self.numbered(text) {
            self = identity
        } else if text.contains("=") {
            self = DistinguishedName(text: text).map { .distinguishedName($0) } ?? .keyID(Array(text.utf8))
        } else if text.contains("@") {
            self = Self.withAt(text)
        } else if ["", "%any", "%any6", "0.0.0.0", "*", "::", "0::0"].contains(text) {
            self = .any
        } else if let identity = Self.addresses(text) {
            self = identity
        } else {
            self = text.contains(":") ? .keyID(Array(text.utf8)) : .fqdn(text)
        }
    }

    private enum Prefix {
        case v4, v6, v4Network, v6Network, v4Range, v6Range, fqdn, email, keyID, name, generalName
    }

    private static let prefixes: [String: Prefix] = [
        "ipv4": .v4, "ipv6": .v6, "ipv4net": .v4Network, "ipv6net": .v6Network, "ipv4range": .v4Range,
        "ipv6range": .v6Range, "fqdn": .fqdn, "dns": .fqdn, "email": .email, "rfc822": .email,
        "userfqdn": .email, "keyid": .keyID, "asn1dn": .name, "asn1gn": .generalName,
    ]

    private init?(_ prefix: Prefix, _ text: String) {
        let octets: [UInt8]
        if text.hasPrefix("#") {
            guard let decoded = Hex.decode(String(text.dropFirst())) else { return nil }
            octets = decoded
        } else {
            octets = Array(text.utf8)
        }
        guard !octets.isEmpty else { return nil }
        switch prefix {
        case .v4, .v6:
            let isV4 = if case .v4 = prefix { true } else { false }
            let address = text.hasPrefix("#") ? IPAddress(octets: octets) : IPAddress(text)
            guard let address, address.bitWidth == (isV4 ? 32 : 128) else { return nil }
            self = .address(address)
        case .v4Network, .v6Network, .v4Range, .v6Range:
            let isV4 =
                switch prefix {
                case .v4Network, .v4Range: true
                default: false
                }
            guard case .network(let first, let last)? = Self.addresses(text),
                first.bitWidth == (isV4 ? 32 : 128)
            else { return nil }
            self = .network(first, last)
        case .fqdn: self.init(type: 2, data: octets)
        case .email: self.init(type: 3, data: octets)
        case .keyID: self = .keyID(octets)
        case .name:
            let name =
                text.hasPrefix("#") ? DistinguishedName(encoded: octets) : DistinguishedName(text: text)
            guard let name else { return nil }
            self = .distinguishedName(name)
        case .generalName: self = .other(type: 10, data: octets)
        }
    }

    /// `{11}:text` or `{11}:#hex`.
    private static func numbered(_ text: String) -> Identity? {
        guard let end = text.firstIndex(of: "}") else { return nil }
        let colon = text.index(after: end)
        guard colon < text.endIndex, text[colon] == ":",
            let type = UInt8(text[text.index(after: text.startIndex)..<end])
        else { return nil }
        let rest = text[text.index(after: colon)...]
        guard rest.hasPrefix("#") else { return Identity(type: type, data: Array(rest.utf8)) }
        return Hex.decode(String(rest.dropFirst())).map { Identity(type: type, data: $0) }
    }

    private static func withAt(_ text: String) -> Identity {
        guard text.hasPrefix("@") else { return .email(text) }
        let rest = String(text.dropFirst())
        if rest.hasPrefix("#"), let octets = Hex.decode(String(rest.dropFirst())), !octets.isEmpty {
            return .keyID(octets)
        }
        return rest.hasPrefix("@") ? .email(String(rest.dropFirst())) : .fqdn(rest)
    }

    /// `192.0.2.1`, `192.0.2.0/24` (host bits are cleared), `192.0.2.1-192.0.2.9`.
    private static func addresses(_ text: String) -> Identity? {
        if let address = IPAddress(text) { return .address(address) }
        if let slash = text.firstIndex(of: "/") {
            guard let address = IPAddress(text[..<slash]),
                let length = Int(text[text.index(after: slash)...]),
                let prefix = IPPrefix(address, length: length)
            else { return nil }
            return .network(prefix.address, prefix.last)
        }
        guard let dash = text.firstIndex(of: "-"), let first = IPAddress(text[..<dash]),
            let last = IPAddress(text[text.index(after: dash)...]), first.bitWidth == last.bitWidth,
            first <= last
        else { return nil }
        return .network(first, last)
    }
}
