public import IPPackets
import Primitives

/// An IKE identity (RFC 7296 §3.5), as configured or as a peer asserted it.
public enum Identity: Hashable, Sendable, CustomStringConvertible {
    /// ID_IPV4_ADDR or ID_IPV6_ADDR.
    case address(IPAddress)
    /// ID_FQDN.
    case fqdn(String)
    /// ID_RFC822_ADDR.
    case email(String)
    /// ID_DER_ASN1_DN.
    case distinguishedName(DistinguishedName)
    /// ID_KEY_ID: octets without structure.
    case keyID([UInt8])
    /// The addresses from the first to the last, of one family: only ever configured, for a peer.
    case network(IPAddress, IPAddress)
    /// Everybody: only ever configured, for a peer.
    case any
    /// Another type, kept as received.
    case other(type: UInt8, data: [UInt8])

    /// The ID Type on the wire.
    public var type: UInt8 {
        switch self {
        case .address(.v4): 1
        case .fqdn: 2
        case .email: 3
        case .address(.v6): 5
        case .distinguishedName: 9
        case .keyID: 11
        case .network(let first, _): first.bitWidth == 32 ? 7 : 8
        case .any: 0
        case .other(let type, _): type
        }
    }

    /// The Identification Data on the wire.
    public var data: [UInt8] {
        switch self {
        case .address(let address): address.octets
        case .fqdn(let name), .email(let name): Array(name.utf8)
        case .distinguishedName(let name): name.encoded
        case .keyID(let octets): octets
        case .network(let first, let last): first.octets + last.octets
        case .any: []
        case .other(_, let data): data
        }
    }

    /// The identity of an ID payload; text that is not UTF-8, or an address of a wrong length or a
    /// distinguished name that cannot be read, stays `.other`.
    public init(type: UInt8, data: [UInt8]) {
        switch type {
        case 1 where data.count == 4, 5 where data.count == 16:
            self = IPAddress(octets: data).map { .address($0) } ?? .other(type: type, data: data)
        case 2:
            self = String(validating: data, as: UTF8.self).map { .fqdn($0) } ?? .other(type: type, data: data)
        case 3:
            self =
                String(validating: data, as: UTF8.self).map { .email($0) } ?? .other(type: type, data: data)
        case 9:
            self =
                DistinguishedName(encoded: data).map { .distinguishedName($0) }
                ?? .other(type: type, data: data)
        case 11: self = .keyID(data)
        default: self = .other(type: type, data: data)
        }
    }

    /// Reads a configured identity by strongSwan's rules: an address, `user@host`, a name, `@name` for a name
    /// that looks like something else, `@#hex` for a key-id, and `keyid:`, `fqdn:`, `email:` to say it plainly.
    public init?(configured text: String) {
        guard !text.isEmpty, !text.utf8.contains(0) else { return nil }
        if let address = IPAddress(text) {
            self = .address(address)
        } else if let rest = Self.rest(of: text, after: "@#") ?? Self.rest(of: text, after: "keyid:0x") {
            guard let octets = Hex.decode(rest), !octets.isEmpty else { return nil }
            self = .keyID(octets)
        } else if let rest = Self.rest(of: text, after: "keyid:") {
            self = .keyID(Array(rest.utf8))
        } else if let rest = Self.rest(of: text, after: "fqdn:") ?? Self.rest(of: text, after: "dns:") {
            self = .fqdn(rest)
        } else if let rest = Self.rest(of: text, after: "email:") ?? Self.rest(of: text, after: "rfc822:")
            ?? Self.rest(of: text, after: "@@")
        {
            self = .email(rest)
        } else if let rest = Self.rest(of: text, after: "@") {
            self = .fqdn(rest)
        } else {
            self = text.contains("@") ? .email(text) : .fqdn(text)
        }
    }

    private static func rest(of text: String, after prefix: String) -> String? {
        guard text.hasPrefix(prefix), text.utf8.count > prefix.utf8.count else { return nil }
        return String(text.dropFirst(prefix.count))
    }

    /// Text for logs and `list-sas`: everything that is not printable ASCII is escaped, the length is bounded.
    public var description: String {
        switch self {
        case .address(let address): address.description
        case .fqdn(let name), .email(let name): Self.escaped(Array(name.utf8))
        case .distinguishedName(let name): name.description
        case .keyID(let octets): Self.keyText(octets)
        case .network(let first, let last):
            IPPrefix.covering(first, last).count == 1
                ? IPPrefix.covering(first, last)[0].description : "\(first)-\(last)"
        case .any: "%any"
        case .other(let type, let data): "(\(type))" + Hex.encode(data.prefix(64))
        }
    }

    /// As charon prints key-ids: as text if all of it is printable, and it is no SHA-1 hash.
    private static func keyText(_ octets: [UInt8]) -> String {
        guard octets.count != 20, octets.allSatisfy({ (0x20...0x7e).contains($0) }) else {
            return colonHex(octets.prefix(256))
        }
        return String(decoding: octets.prefix(256), as: UTF8.self)
    }

    /// `0a:1b`.
    static func colonHex(_ octets: some Sequence<UInt8>) -> String {
        octets.map { Hex.encode([$0]) }.joined(separator: ":")
    }

    private static func escaped(_ octets: [UInt8]) -> String {
        octets.prefix(256).map { octet in
            (0x21...0x7e).contains(octet) && octet != 0x5c
                ? String(UnicodeScalar(octet)) : "\\x" + Hex.encode([octet])
        }.joined()
    }
}
