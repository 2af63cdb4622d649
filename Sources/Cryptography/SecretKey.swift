import COpenSSL
import CSodium

/// Immutable secret octets in a slot of the guarded key arena; the slot is wiped when the last owner goes.
public final class SecretKey: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible {
    /// Octets of the key.
    public let count: Int
    let slot: KeySlot

    /// Takes a slot and lets `fill` write its octets before anyone can see them.
    init(
        count: Int,
        fill: (UnsafeMutableBufferPointer<UInt8>) throws(CryptoError) -> Void
    ) throws(CryptoError) {
        let slot = try KeyArena.shared.acquire(count)
        do throws(CryptoError) {
            try unsafe fill(Self.buffer(slot, count))
        } catch {
            KeyArena.shared.release(slot)
            throw error
        }
        self.slot = slot
        self.count = count
    }

    /// Copies `octets`; the caller's array still holds them.
    public convenience init(copying octets: [UInt8]) throws(CryptoError) {
        try unsafe self.init(count: octets.count) { target in
            _ = unsafe target.update(fromContentsOf: octets)
        }
    }

    /// Moves `octets` here: the array is filled with zeros, also on failure.
    public convenience init(wiping octets: inout [UInt8]) throws(CryptoError) {
        defer { Sodium.wipe(&octets) }
        try self.init(copying: octets)
    }

    deinit {
        KeyArena.shared.release(slot)
    }

    /// A key of `count` octets of the system's generator.
    public static func random(count: Int) throws(CryptoError) -> SecretKey {
        try unsafe SecretKey(count: count) { (target) throws(CryptoError) in
            guard let base = target.baseAddress, !target.isEmpty else { return }
            try check(unsafe RAND_priv_bytes(base, Int32(count)), "RAND_priv_bytes")
        }
    }

    /// The octets of `range` as a key of their own.
    public func slice(_ range: Range<Int>) throws(CryptoError) -> SecretKey {
        guard range.lowerBound >= 0, range.upperBound <= count else { throw .invalidLength }
        return try unsafe SecretKey(count: range.count) { target in
            unsafe withOctets { octets in
                _ = unsafe target.update(fromContentsOf: UnsafeBufferPointer(rebasing: octets[range]))
            }
        }
    }

    /// All parts, one after the other.
    public static func concatenating(_ parts: [SecretKey]) throws(CryptoError) -> SecretKey {
        var total = 0
        for part in parts { total += part.count }
        return try unsafe SecretKey(count: total) { target in
            var next = 0
            for part in parts {
                unsafe part.withOctets { octets in
                    let range = next..<next + octets.count
                    let piece = unsafe UnsafeMutableBufferPointer(rebasing: target[range])
                    _ = unsafe piece.update(fromContentsOf: octets)
                }
                next += part.count
            }
        }
    }

    /// Compares in constant time; only the lengths show.
    public static func == (left: SecretKey, right: SecretKey) -> Bool {
        ConstantTime.equal(left, right)
    }

    /// The length; never an octet.
    public var description: String { "SecretKey(\(count) octets)" }
    /// The length; never an octet.
    public var debugDescription: String { description }

    /// The octets, out of the arena: for a protocol that hands the secret itself over (EAP-GTC), in a message that is sealed.
    public func disclosed() -> [UInt8] {
        unsafe withOctets { octets in unsafe Array(octets) }
    }

    /// The octets, out of the arena: for vectors and golden tests only.
    public func exposedForTesting() -> [UInt8] {
        unsafe withOctets { octets in unsafe Array(octets) }
    }

    /// Lends the octets to `body`; the pointer must not outlive the call.
    @unsafe func withOctets<Result, Failure: Error>(
        _ body: (UnsafeBufferPointer<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try unsafe body(UnsafeBufferPointer(Self.buffer(slot, count)))
    }

    private static func buffer(_ slot: KeySlot, _ count: Int) -> UnsafeMutableBufferPointer<UInt8> {
        unsafe UnsafeMutableBufferPointer(
            start: UnsafeMutablePointer<UInt8>(bitPattern: slot.address),
            count: count
        )
    }
}
