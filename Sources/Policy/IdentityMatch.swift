import IPPackets

/// How well a configured identity fits an asserted one; the better compares as greater.
public struct IdentityMatch: Hashable, Comparable, Sendable {
    private let rank: Int

    /// It does not fit.
    public static let none = IdentityMatch(rank: 0)
    /// Everybody fits.
    public static let any = IdentityMatch(rank: 1)
    /// It is that one and no other.
    public static let exact = IdentityMatch(rank: 1000)

    /// A pattern with so many wildcards.
    public static func wildcards(_ count: Int) -> IdentityMatch {
        IdentityMatch(rank: max(500, exact.rank - max(1, count)))
    }

    /// A block of addresses with so many bits in common.
    public static func block(bits: Int) -> IdentityMatch { IdentityMatch(rank: 2 + min(max(0, bits), 128)) }

    /// Compares by how much is left open.
    public static func < (left: IdentityMatch, right: IdentityMatch) -> Bool { left.rank < right.rank }
}

extension Identity {
    /// True when it stands for many: `%any`, `*.domain`, a network, a distinguished name with `*`.
    public var isPattern: Bool {
        switch self {
        case .any, .network: true
        case .fqdn(let name), .email(let name): name.utf8.first == UInt8(ascii: "*")
        case .distinguishedName(let name): name.hasWildcards
        case .address, .keyID, .other: false
        }
    }

    /// True when a peer that asserted `other` is one that this configured identity names.
    public func matches(_ other: Identity) -> Bool { match(other) != .none }

    /// How well this configured identity fits a peer that asserted `other`.
    ///
    /// Names compare without ASCII's case (RFC 4945 §3.1.2), not by Unicode's equivalences, under which other
    /// octets would pass for a name; a leading `*` stands for any text, and distinguished names compare part by
    /// part; everything else octet by octet, whole length. What a peer asserts is never a pattern.
    public func match(_ other: Identity) -> IdentityMatch {
        switch (self, other) {
        case (.any, _): .any
        case (.fqdn(let mine), .fqdn(let theirs)), (.email(let mine), .email(let theirs)):
            Self.match(Self.folded(mine), Self.folded(theirs))
        case (.distinguishedName(let mine), .distinguishedName(let theirs)): mine.match(theirs)
        case (.network(let first, let last), .address(let address)):
            first.bitWidth == address.bitWidth && first <= address && address <= last
                ? .block(bits: Self.commonBits(first, last)) : .none
        default: type == other.type && data == other.data ? .exact : .none
        }
    }

    private static func match(_ pattern: [UInt8], _ name: [UInt8]) -> IdentityMatch {
        if pattern == name { return .exact }
        guard pattern.first == UInt8(ascii: "*"), name.count >= pattern.count else { return .none }
        // A single asterisk is no better than %any.
        if pattern.count == 1 { return .any }
        return name.suffix(pattern.count - 1) == pattern.dropFirst() ? .wildcards(1) : .none
    }

    static func commonBits(_ first: IPAddress, _ last: IPAddress) -> Int {
        var bits = 0
        for (left, right) in zip(first.octets, last.octets) {
            guard left == right else { return bits + (left ^ right).leadingZeroBitCount }
            bits += 8
        }
        return bits
    }

    /// One form for all identities that one without wildcards fits: a key for tables.
    public var normalized: Identity {
        switch self {
        case .fqdn(let name): .fqdn(String(decoding: Self.folded(name), as: UTF8.self))
        case .email(let name): .email(String(decoding: Self.folded(name), as: UTF8.self))
        case .distinguishedName(let name): .other(type: type, data: name.folded)
        case .any, .address, .network, .keyID, .other: self
        }
    }

    static func folded(_ name: String) -> [UInt8] { folded(name.utf8) }

    static func folded(_ octets: some Sequence<UInt8>) -> [UInt8] {
        octets.map { (65...90).contains($0) ? $0 + 32 : $0 }
    }
}
