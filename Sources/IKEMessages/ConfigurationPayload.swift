public import IPPackets
import Primitives

/// A Configuration payload: what one end asks of the other's network, or gives (RFC 7296 §3.15).
public struct ConfigurationPayload: Hashable, Sendable {
    /// What the payload is (RFC 7296 §3.15).
    public enum Kind: Hashable, Sendable {
        /// CFG_REQUEST.
        case request
        /// CFG_REPLY.
        case reply
        /// CFG_SET.
        case set
        /// CFG_ACK.
        case acknowledgement
        /// A number that we do not know.
        case unknown(UInt8)

        /// The kind of this wire number.
        public init(_ number: UInt8) {
            switch number {
            case 1: self = .request
            case 2: self = .reply
            case 3: self = .set
            case 4: self = .acknowledgement
            default: self = .unknown(number)
            }
        }

        /// The wire number.
        public var number: UInt8 {
            switch self {
            case .request: 1
            case .reply: 2
            case .set: 3
            case .acknowledgement: 4
            case .unknown(let number): number
            }
        }
    }

    /// One attribute; a request asks by an empty value or wishes one.
    public struct Attribute: Hashable, Sendable {
        /// IANA's number, 15 bits.
        public var type: UInt16
        /// Its value.
        public var value: [UInt8]

        /// Makes an attribute.
        public init(type: UInt16, value: [UInt8] = []) {
            self.type = type & 0x7fff
            self.value = value
        }
    }

    /// Attribute types (RFC 7296 §3.15.1, RFC 8598 §4).
    public enum AttributeType {
        /// INTERNAL_IP4_ADDRESS: 0 or 4 octets.
        public static let ipv4Address: UInt16 = 1
        /// INTERNAL_IP4_DNS: 0 or 4 octets.
        public static let ipv4DNS: UInt16 = 3
        /// INTERNAL_IP6_ADDRESS: 0 or 17 octets, the last one a prefix length.
        public static let ipv6Address: UInt16 = 8
        /// INTERNAL_IP6_DNS: 0 or 16 octets.
        public static let ipv6DNS: UInt16 = 10
        /// INTERNAL_DNS_DOMAIN: a name.
        public static let dnsDomain: UInt16 = 25
    }

    /// More attributes than anybody sends.
    static let limit = 256

    /// What it is.
    public var kind: Kind
    /// What it asks or says, in order.
    public var attributes: [Attribute]

    /// Makes a payload.
    public init(_ kind: Kind, _ attributes: [Attribute]) {
        self.kind = kind
        self.attributes = attributes
    }

    init(parsing reader: inout ByteReader) throws(WireError) {
        kind = Kind(try reader.u8())
        try reader.skip(3)
        attributes = []
        while reader.remaining > 0 {
            guard attributes.count < Self.limit else {
                throw WireError(.limitExceeded("256 attributes"), at: reader.offset)
            }
            // The highest bit is reserved and ignored.
            let type = try reader.u16()
            let length = Int(try reader.u16())
            attributes.append(Attribute(type: type, value: try reader.bytes(length)))
        }
    }

    func write(into writer: inout ByteWriter) throws(WireError) {
        writer.u8(kind.number)
        writer.zeros(3)
        for attribute in attributes {
            guard let length = UInt16(exactly: attribute.value.count) else {
                throw WireError(.overflow("attribute"), at: writer.count)
            }
            writer.u16(attribute.type)
            writer.u16(length)
            writer.append(attribute.value)
        }
    }

    /// Asks for these addresses, an unspecified one meaning any, and for name servers of their families.
    public static func request(_ addresses: [IPAddress]) -> ConfigurationPayload {
        var attributes = addresses.map { address in
            let isIPv6 = address.bitWidth == 128
            let type = isIPv6 ? AttributeType.ipv6Address : AttributeType.ipv4Address
            let wish = isIPv6 ? address.octets + [128] : address.octets
            return Attribute(type: type, value: address.isUnspecified ? [] : wish)
        }
        if addresses.contains(where: { $0.bitWidth == 32 }) {
            attributes.append(Attribute(type: AttributeType.ipv4DNS))
        }
        if addresses.contains(where: { $0.bitWidth == 128 }) {
            attributes.append(Attribute(type: AttributeType.ipv6DNS))
        }
        if !addresses.isEmpty { attributes.append(Attribute(type: AttributeType.dnsDomain)) }
        return ConfigurationPayload(.request, attributes)
    }

    /// The addresses that it gives or wishes, each once.
    public var addresses: [IPAddress] {
        unique { attribute in
            switch (attribute.type, attribute.value.count) {
            case (AttributeType.ipv4Address, 4): IPAddress(octets: attribute.value)
            // RFC 7296 §3.15.1: 16 octets and a prefix length, which some leave out.
            case (AttributeType.ipv6Address, 16...17): IPAddress(octets: Array(attribute.value.prefix(16)))
            default: nil
            }
        }
    }

    /// The name servers that it gives, each once.
    public var nameServers: [IPAddress] {
        unique { attribute in
            switch (attribute.type, attribute.value.count) {
            case (AttributeType.ipv4DNS, 4), (AttributeType.ipv6DNS, 16): IPAddress(octets: attribute.value)
            default: nil
            }
        }
    }

    /// The domains that its name servers know (RFC 8598 §4), as far as they are names.
    public var domains: [String] {
        var result = [String]()
        for attribute in attributes
        where attribute.type == AttributeType.dnsDomain && (1...253).contains(attribute.value.count) {
            guard
                attribute.value.allSatisfy({
                    (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 45
                        || $0 == 46 || $0 == 95
                })
            else { continue }
            let name = String(decoding: attribute.value, as: UTF8.self)
            if !result.contains(name) { result.append(name) }
        }
        return result
    }

    private func unique(_ read: (Attribute) -> IPAddress?) -> [IPAddress] {
        var result = [IPAddress]()
        for address in attributes.compactMap(read) where !address.isUnspecified && !result.contains(address) {
            result.append(address)
        }
        return result
    }
}
