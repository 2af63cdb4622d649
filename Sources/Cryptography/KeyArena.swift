import CSodium
import Synchronization

/// A piece of the key arena: an address is kept instead of a pointer, so that a slot is `Sendable`.
struct KeySlot: Hashable, Sendable {
    /// Where the octets are.
    let address: UInt
    /// The class of the slot: a power of two.
    let capacity: Int
}

/// The process's guarded memory for keys.
///
/// Slabs come from `sodium_malloc` (guard pages, locked, not in a core dump); a fork's child reads zeros.
/// A mapping for each key would end at the kernel's limit, about 16,000 keys; a slab holds up to 2,048.
/// Slabs stay for the life of the process: their number is bounded by the most keys that lived at once.
final class KeyArena: Sendable {
    /// The arena of all keys.
    static let shared = KeyArena()

    static let slabOctets = 65_536
    static let smallestSlot = 32
    static let largestSlot = 8_192

    private struct State {
        /// Free addresses of each class, smallest class first.
        var free = [[UInt]](repeating: [], count: 9)
        var liveSlots = 0
        var slabs = 0
    }

    private let state = Mutex(State())

    /// Slots in use now.
    var liveSlots: Int { state.withLock { $0.liveSlots } }
    /// Slabs allocated since the start.
    var slabs: Int { state.withLock { $0.slabs } }

    /// A zeroed slot for `count` octets.
    func acquire(_ count: Int) throws(CryptoError) -> KeySlot {
        guard count >= 0, count <= Self.largestSlot else { throw .invalidLength }
        guard Sodium.isReady else { throw .backend("sodium_init") }
        let index = Self.sizeClass(of: count)
        let capacity = Self.smallestSlot << index
        let address = try state.withLock { (state: inout State) throws(CryptoError) -> UInt in
            if state.free[index].isEmpty {
                state.free[index] = try Self.slab(of: capacity)
                state.slabs += 1
            }
            guard let address = state.free[index].popLast() else { throw .exhausted }
            state.liveSlots += 1
            return address
        }
        return KeySlot(address: address, capacity: capacity)
    }

    /// Wipes the slot and takes it back.
    func release(_ slot: KeySlot) {
        unsafe sodium_memzero(UnsafeMutableRawPointer(bitPattern: slot.address), slot.capacity)
        state.withLock { state in
            state.free[Self.sizeClass(of: slot.capacity)].append(slot.address)
            state.liveSlots -= 1
        }
    }

    private static func sizeClass(of count: Int) -> Int {
        var index = 0
        while smallestSlot << index < count { index += 1 }
        return index
    }

    /// The addresses of a new slab's slots, the lowest last.
    private static func slab(of capacity: Int) throws(CryptoError) -> [UInt] {
        // Refusal by RLIMIT_MEMLOCK does not fail the allocation: the slab is then merely not locked.
        guard let base = unsafe sodium_malloc(slabOctets) else { throw .exhausted }
        unsafe sodium_memzero(base, slabOctets)
        _ = unsafe csodium_wipe_on_fork(base, slabOctets)
        let first = UInt(bitPattern: base)
        return stride(from: slabOctets - capacity, through: 0, by: -capacity).map { first + UInt($0) }
    }
}
