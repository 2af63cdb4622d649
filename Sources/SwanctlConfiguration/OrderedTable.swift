/// Values by name in the order in which they first came; a value that is replaced keeps its place.
struct OrderedTable<Value> {
    private var positions: [String: Int] = [:]
    private var slots: [(name: String, value: Value)?] = []

    /// How many there are.
    var count: Int { positions.count }

    /// The names in order.
    var names: [String] { slots.compactMap { $0?.name } }

    /// The values in order.
    var values: [Value] { slots.compactMap { $0?.value } }

    /// The value of a name.
    subscript(_ name: String) -> Value? {
        guard let position = positions[name] else { return nil }
        return slots[position]?.value
    }

    /// Puts a value under a name.
    mutating func set(_ name: String, _ value: Value) {
        if let position = positions[name] {
            slots[position] = (name, value)
        } else {
            positions[name] = slots.count
            slots.append((name, value))
        }
    }

    /// Takes the value of a name away; nil when there is none.
    @discardableResult
    mutating func remove(_ name: String) -> Value? {
        guard let position = positions.removeValue(forKey: name) else { return nil }
        let value = slots[position]?.value
        slots[position] = nil
        // Each removal pays for half a move, so many of them stay cheap.
        if slots.count > 2 * positions.count + 8 { compact() }
        return value
    }

    /// Takes everything away.
    mutating func removeAll() {
        positions = [:]
        slots = []
    }

    private mutating func compact() {
        slots.removeAll { $0 == nil }
        for (position, slot) in slots.enumerated() {
            if let slot { positions[slot.name] = position }
        }
    }
}

extension OrderedTable: Sendable where Value: Sendable {}
