public import IPPackets

/// Where a gateway sends its peer (RFC 5685 §9.2).
public enum RedirectGateway: Hashable, Sendable, CustomStringConvertible {
    /// Types 1 and 2.
    case address(IPAddress)
    /// Type 3, a DNS name.
    case name(String)

    /// Reads type, length and identity, and the nonce data behind them.
    public static func parse(_ data: [UInt8]) -> (gateway: RedirectGateway, nonce: [UInt8])? {
        guard data.count > 2 else { return nil }
        let (type, length) = (data[0], Int(data[1]))
        let rest = data.dropFirst(2)
        guard length > 0, rest.count >= length else { return nil }
        let identity = Array(rest.prefix(length))
        let nonce = Array(rest.dropFirst(length))
        switch type {
        case 1, 2:
            guard let address = IPAddress(octets: identity), length == (type == 1 ? 4 : 16) else {
                return nil
            }
            return (.address(address), nonce)
        case 3:
            // A name is shown to people and asked of a resolver: letters, digits, dots and hyphens.
            let isName = identity.allSatisfy { octet in
                switch octet {
                case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
                    UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "."), UInt8(ascii: "-"),
                    UInt8(ascii: "_"):
                    true
                default: false
                }
            }
            guard isName, length <= 253 else { return nil }
            return (.name(String(decoding: identity, as: UTF8.self)), nonce)
        default: return nil
        }
    }

    /// Type, length and identity, as they stand in REDIRECT and REDIRECTED_FROM; nil for a name that is too long.
    public var encoded: [UInt8]? {
        let (type, octets): (UInt8, [UInt8]) =
            switch self {
            case .address(let address): (address.bitWidth == 32 ? 1 : 2, address.octets)
            case .name(let name): (3, Array(name.utf8))
            }
        guard let length = UInt8(exactly: octets.count), length > 0 else { return nil }
        return [type, length] + octets
    }

    /// The address or the name.
    public var description: String {
        switch self {
        case .address(let address): address.description
        case .name(let name): name
        }
    }
}

/// A peer sent us to another gateway: the owner finds its address and ours, and answers by `.follow`, or tells the tunnels
/// that nothing comes of it.
public struct Redirection: Sendable {
    /// The connection whose peer it is; its identities and keys are those of the new gateway too (RFC 5685 §3).
    public let connection: String
    /// What is to come up there.
    public let tunnels: [String]
    /// Where to.
    public let gateway: RedirectGateway
    /// Who sent us there.
    public let from: IPAddress

    /// Makes one.
    public init(connection: String, tunnels: [String], gateway: RedirectGateway, from: IPAddress) {
        self.connection = connection
        self.tunnels = tunnels
        self.gateway = gateway
        self.from = from
    }
}
