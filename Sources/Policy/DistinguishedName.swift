import Primitives

/// A distinguished name (X.501) as an identity: ID_DER_ASN1_DN (RFC 7296 §3.5).
///
/// It keeps the octets that a peer sent, and compares by the parts in them.
public struct DistinguishedName: Hashable, Sendable, CustomStringConvertible {
    /// One attribute of a relative distinguished name.
    struct Attribute: Hashable, Sendable {
        /// The contents of the OBJECT IDENTIFIER.
        let oid: [UInt8]
        /// The tag of the value.
        let tag: UInt8
        /// The contents of the value.
        let value: [UInt8]

        var isWildcard: Bool { value == [UInt8(ascii: "*")] }

        /// The octets under which equal values meet: printable strings and e-mail addresses without their case.
        var ignoresCase: Bool {
            tag == DER.printableString || (tag == DER.ia5String && oid == AttributeTypes.email)
        }
    }

    /// The DER encoding.
    public let encoded: [UInt8]
    let attributes: [Attribute]

    private static let longest = 4096
    private static let mostAttributes = 64

    /// Reads DER: `SEQUENCE OF SET OF SEQUENCE { OBJECT IDENTIFIER, value }`; nil for anything else, an empty name,
    /// and one of more than 64 parts.
    public init?(encoded: [UInt8]) {
        guard encoded.count <= Self.longest, let attributes = try? Self.parse(encoded), !attributes.isEmpty
        else { return nil }
        self.encoded = encoded
        self.attributes = attributes
    }

    init?(_ attributes: [Attribute]) {
        guard (1...Self.mostAttributes).contains(attributes.count) else { return nil }
        let parts = attributes.flatMap { attribute in
            let pair = DER.wrap(DER.oid, attribute.oid) + DER.wrap(attribute.tag, attribute.value)
            return DER.wrap(DER.set, DER.wrap(DER.sequence, pair))
        }
        encoded = DER.wrap(DER.sequence, parts)
        self.attributes = attributes
        guard encoded.count <= Self.longest else { return nil }
    }

    private static func parse(_ octets: [UInt8]) throws(WireError) -> [Attribute] {
        var reader = ByteReader(octets.span)
        var name = try DER.contents(DER.sequence, of: &reader)
        try reader.expectEnd()
        var attributes = [Attribute]()
        while !name.isAtEnd {
            var set = try DER.contents(DER.set, of: &name)
            while !set.isAtEnd {
                var pair = try DER.contents(DER.sequence, of: &set)
                var oid = try DER.contents(DER.oid, of: &pair)
                let (tag, value) = try DER.value(of: &pair)
                try pair.expectEnd()
                guard attributes.count < mostAttributes else {
                    throw WireError(.limitExceeded("attributes of a name"), at: set.offset)
                }
                attributes.append(Attribute(oid: oid.rest(), tag: tag, value: value))
            }
        }
        return attributes
    }

    /// True when the value of a part is `*`.
    var hasWildcards: Bool { attributes.contains { $0.isWildcard } }

    /// All of it without case: equal for all names that match this one.
    var folded: [UInt8] {
        attributes.flatMap { attribute in attribute.oid + [0] + Identity.folded(attribute.value) + [0] }
    }

    /// How well it fits another, part by part in order; a part whose value is `*` fits every value.
    func match(_ other: DistinguishedName) -> IdentityMatch {
        if encoded == other.encoded { return .exact }
        guard attributes.count == other.attributes.count else { return .none }
        var wildcards = 0
        for (mine, theirs) in zip(attributes, other.attributes) {
            guard mine.oid == theirs.oid else { return .none }
            if mine.isWildcard {
                wildcards += 1
            } else if mine.tag == theirs.tag && mine.ignoresCase {
                guard Identity.folded(mine.value) == Identity.folded(theirs.value) else { return .none }
            } else if mine.value != theirs.value {
                return .none
            }
        }
        return wildcards == 0 ? .exact : .wildcards(wildcards)
    }

    /// `C=CH, O=strongSwan Project, CN=moon`, as charon prints it; what is not printable ASCII becomes `?`.
    public var description: String {
        attributes.prefix(32).map { attribute in
            let type =
                AttributeTypes.name(of: attribute.oid) ?? Identity.colonHex(attribute.oid.prefix(32))
            let value = attribute.value.prefix(256).map { (0x20...0x7e).contains($0) ? $0 : 0x3f }
            return type + "=" + String(decoding: value, as: UTF8.self)
        }.joined(separator: ", ")
    }
}

extension DistinguishedName {
    /// Reads `C=CH, O=strongSwan Project, CN=moon` or `/C=CH/O=strongSwan Project/CN=moon`; nil when a part has no
    /// type that is known.
    ///
    /// A value has no separator in it: charon knows no way to write one.
    public init?(text: String) {
        let octets = Array(text.utf8)
        let trimmed = octets.drop { $0 == 0x20 }
        let separator = trimmed.first == UInt8(ascii: "/") ? UInt8(ascii: "/") : UInt8(ascii: ",")
        var attributes = [Attribute]()
        for part in trimmed.split(separator: separator) {
            let word = Self.trim(part)
            if word.isEmpty { continue }
            guard let equals = word.firstIndex(of: UInt8(ascii: "=")) else { return nil }
            let name = String(decoding: Self.trim(word[..<equals]), as: UTF8.self)
            guard let oid = AttributeTypes.oid(of: name) else { return nil }
            let value = Array(Self.trim(word[word.index(after: equals)...]))
            attributes.append(Attribute(oid: oid, tag: Self.tag(for: value, oid), value: value))
        }
        self.init(attributes)
    }

    private static func trim(_ octets: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        guard let last = octets.lastIndex(where: { $0 != 0x20 }) else { return [] }
        return octets[...last].drop { $0 == 0x20 }
    }

    private static func tag(for value: [UInt8], _ oid: [UInt8]) -> UInt8 {
        if AttributeTypes.isIA5(oid) { return DER.ia5String }
        let isPrintable = value.allSatisfy { octet in
            switch octet {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x20: true
            default: "'()+,-./:=?".utf8.contains(octet)
            }
        }
        return isPrintable ? DER.printableString : DER.utf8String
    }
}

/// The little of DER that names need (X.690).
enum DER {
    static let oid: UInt8 = 0x06
    static let utf8String: UInt8 = 0x0c
    static let printableString: UInt8 = 0x13
    static let ia5String: UInt8 = 0x16
    static let sequence: UInt8 = 0x30
    static let set: UInt8 = 0x31

    /// Identifier, length and contents.
    static func wrap(_ tag: UInt8, _ contents: [UInt8]) -> [UInt8] {
        let count = contents.count
        let length: [UInt8] =
            switch count {
            case ..<128: [UInt8(truncatingIfNeeded: count)]
            case ..<256: [0x81, UInt8(truncatingIfNeeded: count)]
            default: [0x82, UInt8(truncatingIfNeeded: count >> 8), UInt8(truncatingIfNeeded: count)]
            }
        return [tag] + length + contents
    }

    /// A cursor over the contents of the next element, which must have this tag.
    @_lifetime(copy reader)
    static func contents(_ tag: UInt8, of reader: inout ByteReader) throws(WireError) -> ByteReader {
        let offset = reader.offset
        guard try reader.u8() == tag else { throw WireError(.invalidValue("tag"), at: offset) }
        return try reader.sub(try length(&reader))
    }

    /// The next element with its tag.
    @_lifetime(reader: copy reader)
    static func value(of reader: inout ByteReader) throws(WireError) -> (tag: UInt8, contents: [UInt8]) {
        let tag = try reader.u8()
        return (tag, try reader.bytes(try length(&reader)))
    }

    /// A definite length in its shortest form, of at most two octets.
    @_lifetime(reader: copy reader)
    private static func length(_ reader: inout ByteReader) throws(WireError) -> Int {
        let offset = reader.offset
        let first = try reader.u8()
        switch first {
        case ..<0x80: return Int(first)
        case 0x81:
            let length = Int(try reader.u8())
            guard length >= 128 else { throw WireError(.invalidLength(length), at: offset) }
            return length
        case 0x82:
            let length = Int(try reader.u16())
            guard length >= 256 else { throw WireError(.invalidLength(length), at: offset) }
            return length
        default: throw WireError(.invalidLength(Int(first)), at: offset)
        }
    }
}
