/// Where an engine takes nonces, SPIs and jitter from: the system's generator, or a seed in tests.
public protocol EntropySource: Sendable {
    /// The next `count` octets.
    mutating func bytes(_ count: Int) -> [UInt8]
}

extension EntropySource {
    /// The next 32-bit number.
    public mutating func nextUInt32() -> UInt32 {
        bytes(4).reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// The next 64-bit number.
    public mutating func nextUInt64() -> UInt64 {
        bytes(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// A number in 0..<1, for jitter.
    public mutating func fraction() -> Double {
        Double(nextUInt64() >> 11) / 9_007_199_254_740_992
    }
}

/// A reproducible generator for tests and the simulator (splitmix64).
///
/// Never for keys.
public struct SeededEntropy: EntropySource {
    private var state: UInt64

    /// Equal seeds give equal sequences.
    public init(seed: UInt64) {
        state = seed
    }

    /// The next `count` octets of the sequence.
    public mutating func bytes(_ count: Int) -> [UInt8] {
        var result = [UInt8]()
        while result.count < count {
            state &+= 0x9e37_79b9_7f4a_7c15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
            mixed ^= mixed >> 31
            for shift in stride(from: UInt64(0), to: 64, by: 8) where result.count < count {
                result.append(UInt8(truncatingIfNeeded: mixed >> shift))
            }
        }
        return result
    }
}
