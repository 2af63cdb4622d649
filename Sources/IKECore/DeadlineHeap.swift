import HeapModule
public import IPsecTypes
public import Primitives

/// All deadlines of an engine in one heap; a deadline that moved leaves a stale entry that is skipped.
public struct DeadlineHeap: Sendable {
    private struct Entry: Comparable, Sendable {
        let instant: Instant
        let spi: IKESPI

        static func < (left: Entry, right: Entry) -> Bool {
            (left.instant, left.spi) < (right.instant, right.spi)
        }
    }

    private var heap = Heap<Entry>()
    private var current: [IKESPI: Instant] = [:]

    /// An empty heap.
    public init() {}

    /// Sets or clears the one deadline of an IKE_SA.
    public mutating func set(_ instant: Instant?, for spi: IKESPI) {
        guard current[spi] != instant else { return }
        current[spi] = instant
        if let instant { heap.insert(Entry(instant: instant, spi: spi)) }
        dropStale()
    }

    /// The earliest deadline.
    public var earliest: Instant? { heap.min?.instant }

    /// Takes one IKE_SA whose deadline has come at `now`.
    public mutating func popDue(at now: Instant) -> IKESPI? {
        guard let entry = heap.min, entry.instant <= now else { return nil }
        heap.removeMin()
        current[entry.spi] = nil
        dropStale()
        return entry.spi
    }

    private mutating func dropStale() {
        while let entry = heap.min, current[entry.spi] != entry.instant { heap.removeMin() }
    }
}
