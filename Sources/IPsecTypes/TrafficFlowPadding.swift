/// Padding that hides how long inner packets are (traffic flow confidentiality, RFC 4303 §2.7).
public enum TrafficFlowPadding: Hashable, Sendable, CustomStringConvertible {
    /// None.
    case none
    /// Inner packets travel as if they had at least so many octets, as far as the path carries them.
    case octets(Int)
    /// All travel as the largest that the path carries.
    case mtu

    /// As it is configured: `0`, `1400`, `mtu`.
    public var description: String {
        switch self {
        case .none: "0"
        case .octets(let count): "\(count)"
        case .mtu: "mtu"
        }
    }

    /// Octets that an inner packet is padded to where at most `largest` fit.
    public func target(largest: Int) -> Int {
        switch self {
        case .none: 0
        case .octets(let count): min(count, largest)
        case .mtu: largest
        }
    }
}
