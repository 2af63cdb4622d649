public import IKECore

/// What an engine needs to know of its gateway, policies aside.
public struct EngineConfiguration: Sendable {
    /// UDP port of IKE without NAT.
    public var ikePort: UInt16
    /// UDP port of IKE and ESP with NAT traversal.
    public var natTraversalPort: UInt16
    /// Bounds on unauthenticated peers.
    public var halfOpen: HalfOpenLimits
    /// Octets of an IP datagram with a fragment of a message, at most.
    public var fragmentSize: Int
    /// Bounds on fragments received.
    public var fragments: FragmentLimits
    /// How many low bits of an inbound SPI name the worker that owns it; the engine varies them evenly.
    public var maximumSAs: Int

    /// Makes a configuration.
    public init(
        ikePort: UInt16 = 500,
        natTraversalPort: UInt16 = 4500,
        halfOpen: HalfOpenLimits = HalfOpenLimits(),
        fragmentSize: Int = 1280,
        fragments: FragmentLimits = FragmentLimits(),
        maximumSAs: Int = 65536
    ) {
        self.ikePort = ikePort
        self.natTraversalPort = natTraversalPort
        self.halfOpen = halfOpen
        self.fragmentSize = fragmentSize
        self.fragments = fragments
        self.maximumSAs = maximumSAs
    }
}
