import Primitives

/// How many new attempts the whole gateway may begin: a burst, then a steady rate.
///
/// A thousand tunnels whose path comes back must not shake hands all at once, whatever each of them waits for. An attempt
/// that succeeds is given back: peers that answer are brought up as fast as they do, within the limit of those under way.
struct RetryBudget: Equatable, Sendable {
    static let burst = 64.0
    static let perSecond = 16.0

    private var tokens = RetryBudget.burst
    private var filledAt = Instant.zero

    /// Takes one attempt out; false when none is left.
    mutating func take(at now: Instant) -> Bool {
        let passed = max(0, filledAt.duration(to: now).fractionalSeconds)
        tokens = min(Self.burst, tokens + passed * Self.perSecond)
        filledAt = max(filledAt, now)
        guard tokens >= 1 else { return false }
        tokens -= 1
        return true
    }

    /// Gives an attempt back that led to a tunnel.
    mutating func giveBack() { tokens = min(Self.burst, tokens + 1) }

    /// From when on the next attempt is there.
    var availableAt: Instant {
        guard tokens < 1 else { return filledAt }
        // A millisecond more than computed, so that rounding never wakes too early.
        return filledAt.advanced(by: .milliseconds(Int64(1000 * (1 - tokens) / Self.perSecond) + 1))
    }
}
