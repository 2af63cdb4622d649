import Synchronization

/// A count of octets that wait, from any queue.
final class Backlog: Sendable {
    private let value = Atomic(0)
    private let isOverflowed = Atomic(false)
    private let isAbandoned = Atomic(false)

    var octets: Int { value.load(ordering: .relaxed) }

    func add(_ count: Int) { value.wrappingAdd(count, ordering: .relaxed) }

    /// True once the client has left.
    var hasLeft: Bool { isAbandoned.load(ordering: .relaxed) }

    func leave() { isAbandoned.store(true, ordering: .relaxed) }

    func remove(_ count: Int) { value.wrappingSubtract(count, ordering: .relaxed) }

    /// Marks that the bound was exceeded; true the first time.
    func overflow() -> Bool { !isOverflowed.exchange(true, ordering: .relaxed) }

    /// Adds `count` unless the sum would exceed `limit`.
    func add(_ count: Int, limit: Int) -> Bool {
        guard octets + count <= limit else { return false }
        add(count)
        return true
    }
}
