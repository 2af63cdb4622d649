/// Which of the CHILD_SAs that share one tunnel's traffic a tunnel is (RFC 9611).
///
/// Each belongs to another worker of the data plane, so that one site uses several cores.
public struct ChildResource: Hashable, Sendable {
    /// The most that one tunnel can have.
    public static let most = 64

    /// The tunnel's name in the configuration.
    public let tunnel: String
    /// Its number; that with number 0 comes first and carries what has no other one (RFC 9611 §2).
    public let number: Int
    /// How many there are.
    public let count: Int

    /// Describes one of several.
    public init(tunnel: String, number: Int, count: Int) {
        self.tunnel = tunnel
        self.number = number
        self.count = count
    }

    /// What the low bits of its inbound SPI are: workers own SAs by these bits.
    public var steering: (bits: UInt32, mask: UInt32) {
        var size: UInt32 = 1
        while size < UInt32(clamping: count) { size <<= 1 }
        return (UInt32(truncatingIfNeeded: number) & (size - 1), size - 1)
    }
}

extension TunnelPolicy {
    /// True for one that stands beside the first one and comes up with it.
    public var isFurther: Bool { (resource?.number ?? 0) > 0 }

    /// The name in the configuration.
    public var configuredName: String { resource?.tunnel ?? name }

    /// The tunnel as `count` ones with the same selectors, of which the first keeps the name.
    public func spread(over count: Int) -> [TunnelPolicy] {
        guard count > 1 else { return [self] }
        return (0..<count).map { number in
            var one = self
            one.resource = ChildResource(tunnel: name, number: number, count: count)
            guard number > 0 else { return one }
            one.name = "\(name)#\(number)"
            one.start = .passive
            one.updown = nil
            return one
        }
    }
}
