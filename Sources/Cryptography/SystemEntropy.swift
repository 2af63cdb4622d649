import CSodium
public import Primitives

/// The system's random generator.
public struct SystemEntropy: EntropySource {
    /// Needs no seed.
    public init() {}

    /// `count` octets; the process ends when the system has none, it never returns weak ones.
    public mutating func bytes(_ count: Int) -> [UInt8] {
        precondition(Sodium.isReady, "libsodium cannot be initialised")
        var result = [UInt8](repeating: 0, count: count)
        unsafe randombytes_buf(&result, count)
        return result
    }
}

/// What every use of libsodium needs.
enum Sodium {
    /// True once the library is initialised.
    static let isReady = sodium_init() >= 0

    /// Fills the array with zeros in a way that no optimiser removes.
    static func wipe(_ octets: inout [UInt8]) {
        let count = octets.count
        unsafe sodium_memzero(&octets, count)
    }
}
