public import IPPackets
public import IPsecTypes

/// A traffic selector as configured.
public enum ConfiguredSelector: Hashable, Sendable, CustomStringConvertible {
    /// These addresses.
    case fixed(TrafficSelector)
    /// The outer address in use of its side, with a protocol (0 is any) and ports.
    case dynamic(ipProtocol: UInt8, ports: ClosedRange<UInt16>)

    /// The selector while `address` is the outer address of its side.
    public func resolved(at address: IPAddress) -> TrafficSelector {
        switch self {
        case .fixed(let selector): selector
        case .dynamic(let ipProtocol, let ports):
            TrafficSelector(IPPrefix(host: address), ipProtocol: ipProtocol, ports: ports)
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
            let sample = resolved(at: .v4(.any)).description
            return "dynamic" + sample.dropFirst("0.0.0.0/32".count)
        }
    }
}
