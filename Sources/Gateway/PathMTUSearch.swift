import Primitives

/// Finds the largest IP packet that reaches a peer, by probes that the peer answers (RFC 8899 in spirit).
///
/// Pure: told what became of probes, asked what is due. It begins with a size that almost every path carries and
/// the size of our own interface, then tries the sizes that paths usually have and halves what gap is left. It
/// confirms what it found from time to time, looks whether more fits now, and falls back to the base when the
/// size that used to arrive is lost: that needs no ICMP message, and none is believed further than as a hint to
/// look again.
struct PathMTUSearch: Equatable, Sendable {
    /// Sizes with which paths are met in practice: VLANs, PPPoE, mobile networks, tunnels in clouds.
    static let commonSizes = [
        1280, 1300, 1320, 1340, 1360, 1380, 1400, 1420, 1428, 1440, 1454, 1460, 1472, 1480, 1492, 1500,
    ]
    /// Every IPv6 path carries this (RFC 8200 §5), and in effect every IPv4 path.
    static let base = 1280
    /// The least that is tried where not even the base arrives (RFC 791 §3.2).
    static let smallest = 576
    /// A gap that is not worth a probe.
    static let grain = 4
    /// Lost probes of a size that used to arrive before the path counts as changed; each was sent three times.
    static let tries = 2
    static let raiseInterval = Duration.seconds(600)
    static let confirmInterval: (least: Duration, most: Duration) = (.seconds(300), .seconds(600))
    /// A probe that was never answered, not even by its loss, counts as lost after this.
    static let patience = Duration.seconds(120)

    /// What the search is about.
    enum Phase: Equatable, Sendable {
        /// Nothing is known to arrive: the base is tried.
        case base
        /// Between the largest size that arrived and the least that did not.
        case searching
        /// The largest size is known.
        case complete
    }

    /// A probe that is under way.
    private struct Probe: Equatable, Sendable {
        let octets: Int
        let sentAt: Instant
    }

    private(set) var phase = Phase.base
    /// What the path carries as far as packets should be made by it; nil before anything is known.
    private(set) var estimate: Int?
    /// The largest size that arrived.
    private var confirmed: Int?
    /// The least size that is known not to arrive; beyond the ceiling while there is none.
    private var tooLarge: Int
    private let ceiling: Int
    private var candidate: Int
    private var losses = 0
    private var probe: Probe?
    private var nextAt: Instant
    private var raiseAt: Instant?
    private var lastArrival: Instant?
    /// What a router said, until a probe showed whether that is true.
    private var hinted: Int?

    /// A search that begins at `now`; `ceiling` is the MTU of the interface that leads there.
    init(ceiling: Int, at now: Instant) {
        self.ceiling = max(Self.smallest, ceiling)
        tooLarge = self.ceiling + 1
        candidate = min(Self.base, self.ceiling)
        nextAt = now
    }

    /// When `takeProbe` has something to say.
    var deadline: Instant {
        if let probe { return probe.sentAt.advanced(by: Self.patience) }
        return raiseAt.map { min($0, nextAt) } ?? nextAt
    }

    /// The size of the probe to send now, if one is due; one at a time.
    mutating func takeProbe(at now: Instant, entropy: inout some EntropySource) -> Int? {
        if let probe {
            guard probe.sentAt.advanced(by: Self.patience) <= now else { return nil }
            _ = answered(probe.octets, arrived: false, at: now, entropy: &entropy)
        }
        if let raiseAt, raiseAt <= now, phase == .complete {
            tooLarge = ceiling + 1
            search(at: now, entropy: &entropy)
        }
        guard nextAt <= now else { return nil }
        probe = Probe(octets: candidate, sentAt: now)
        return candidate
    }

    /// A probe came to its end.
    ///
    /// - Returns: what packets should be made by from now on, if that is another size, or one that a hint had put
    ///   in doubt.
    mutating func answered(
        _ octets: Int,
        arrived: Bool,
        at now: Instant,
        entropy: inout some EntropySource
    ) -> Int? {
        guard probe?.octets == octets else { return nil }
        probe = nil
        nextAt = now
        let before = estimate
        var isRefuted = false
        if arrived {
            losses = 0
            lastArrival = now
            isRefuted = hinted.map { octets > $0 } ?? false
            hinted = nil
            confirmed = max(confirmed ?? octets, octets)
            search(at: now, entropy: &entropy)
        } else {
            losses += 1
            let isKnown = confirmed.map { octets <= $0 } ?? true
            if losses >= (isKnown ? Self.tries : 1) { lost(octets, at: now, entropy: &entropy) }
        }
        return estimate != before || isRefuted ? estimate : nil
    }

    /// A router said that packets of more than `octets` do not pass: nobody vouches for it, so it is looked into.
    mutating func hint(_ octets: Int, at now: Instant) {
        guard let confirmed, octets < confirmed, probe == nil, phase == .complete else { return }
        hinted = max(Self.smallest, octets)
        candidate = confirmed
        nextAt = now
    }

    /// Something hints at another path, or at packets that are lost: what is known is confirmed now, unless it was
    /// within `interval`.
    mutating func confirm(unlessWithin interval: Duration, at now: Instant) {
        guard phase == .complete, probe == nil, let confirmed, confirmed > Self.base,
            lastArrival.map({ $0.duration(to: now) >= interval }) ?? true
        else { return }
        nextAt = min(nextAt, now)
    }

    /// The path is another one: what was known of the old one counts no more.
    mutating func restart(at now: Instant) {
        let last = estimate
        self = PathMTUSearch(ceiling: ceiling, at: now)
        // Until something better is known.
        estimate = last
    }

    /// Probes of this size are lost.
    private mutating func lost(_ octets: Int, at now: Instant, entropy: inout some EntropySource) {
        losses = 0
        tooLarge = min(tooLarge, octets)
        if let confirmed, octets > confirmed {
            search(at: now, entropy: &entropy)
            return
        }
        // Nothing that is known to arrive is left: the base, or what a router named, or less.
        raiseAt = nil
        phase = .base
        let base = min(Self.base, ceiling)
        let next =
            hinted.flatMap { $0 < octets ? $0 : nil } ?? (octets > base ? base : (Self.smallest + octets) / 2)
        hinted = nil
        if confirmed != nil { estimate = next }
        confirmed = nil
        candidate = next
        if octets <= Self.smallest + Self.grain {
            // Nothing arrives at all: that is for the liveness check to judge.
            candidate = base
            tooLarge = ceiling + 1
            wait(at: now, entropy: &entropy)
        }
    }

    /// Chooses the next size between what arrived and what did not.
    private mutating func search(at now: Instant, entropy: inout some EntropySource) {
        guard let confirmed else { return }
        let isOpen = tooLarge > ceiling
        guard isOpen ? confirmed < ceiling : tooLarge - confirmed > Self.grain else {
            // A confirmation does not put the next look upwards off.
            let next = phase == .complete ? raiseAt : nil
            phase = .complete
            estimate = confirmed
            candidate = confirmed
            raiseAt = isOpen ? nil : next ?? now.advanced(by: Self.raiseInterval)
            wait(at: now, entropy: &entropy)
            return
        }
        phase = .searching
        raiseAt = nil
        // Most paths carry what the interface does: one probe then ends the search.
        candidate = isOpen ? ceiling : next(above: confirmed)
        if !isOpen { estimate = max(confirmed, estimate.flatMap { $0 < tooLarge ? $0 : nil } ?? 0) }
        nextAt = now
    }

    /// The middle one of the common sizes that are possible, or the middle of the gap.
    private func next(above confirmed: Int) -> Int {
        let possible = Self.commonSizes.filter { $0 > confirmed && $0 < tooLarge }
        if !possible.isEmpty { return possible[possible.count / 2] }
        return confirmed + (tooLarge - confirmed) / 2
    }

    /// The wait for the next confirmation, with jitter so that many paths do not probe at once.
    private mutating func wait(at now: Instant, entropy: inout some EntropySource) {
        let (least, most) = Self.confirmInterval
        let spread = (most - least).fractionalSeconds * entropy.fraction()
        nextAt = now.advanced(by: least + .milliseconds(Int64(spread * 1000)))
    }
}
