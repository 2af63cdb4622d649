/// A point on the monotonic clock that a caller hands in; this layer has no clock of its own.
public struct Instant: InstantProtocol, Hashable, Sendable {
    /// Time since an arbitrary, fixed start.
    public let sinceStart: Duration

    /// The instant that lies `sinceStart` after the clock's start.
    public init(sinceStart: Duration) {
        self.sinceStart = sinceStart
    }

    /// The clock's start.
    public static let zero = Instant(sinceStart: .zero)

    /// The instant that lies `duration` later.
    public func advanced(by duration: Duration) -> Instant {
        Instant(sinceStart: sinceStart + duration)
    }

    /// The time from here to `other`; negative when `other` is earlier.
    public func duration(to other: Instant) -> Duration {
        other.sinceStart - sinceStart
    }

    /// Order in time.
    public static func < (left: Instant, right: Instant) -> Bool {
        left.sinceStart < right.sinceStart
    }
}

extension Duration {
    /// Whole seconds, without the fraction.
    public var wholeSeconds: Int64 { components.seconds }

    /// Whole milliseconds; saturates instead of overflowing.
    public var wholeMilliseconds: Int64 {
        let (product, overflow) = components.seconds.multipliedReportingOverflow(by: 1000)
        guard !overflow else { return components.seconds < 0 ? .min : .max }
        let (sum, carry) = product.addingReportingOverflow(components.attoseconds / 1_000_000_000_000_000)
        guard !carry else { return components.seconds < 0 ? .min : .max }
        return sum
    }

    /// Seconds as a fraction.
    public var fractionalSeconds: Double {
        Double(components.seconds) + Double(components.attoseconds) / 1e18
    }
}
