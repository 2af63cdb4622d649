public import IPPackets
public import IPsecTypes

/// A traffic selector as configured.
public enum ConfiguredSelector: Hashable, Sendable, CustomStringConvertible {
    /// These addresses.
    case fixed(TrafficSelector)
    /// The addresses of its side, virtual ones or else the outer one in use, with a protocol (0 is any) and ports.
    case dynamic(ipProtocol: UInt8, ports: ClosedRange<UInt16>)

    /// The selectors while these are the addresses of its side; an unspecified one, not known yet, is all of its family.
    public func resolved(at addresses: [IPAddress]) -> [TrafficSelector] {
        switch self {
        case .fixed(let selector): [selector]
        case .dynamic(let ipProtocol, let ports):
            addresses.map { address in
                let any = address.isUnspecified ? IPPrefix(address, length: 0) : nil
                return TrafficSelector(any ?? IPPrefix(host: address), ipProtocol: ipProtocol, ports: ports)
            }
        }
    }

    /// The selector if it does not depend on an address.
    public var fixed: TrafficSelector? {
        if case .fixed(let selector) = self { selector } else { nil }
    }

    /// strongSwan's text: `10.1.0.0/16`, `dynamic[tcp/22]`.
    public var description: String {
        switch self {
        case .fixed(let selector): return selector.description
        case .dynamic:
            let sample = resolved(at: [.v4(IPv4Address(1))]).first?.description ?? ""
            return "dynamic" + sample.dropFirst("0.0.0.1/32".count)
        }
    }
}
