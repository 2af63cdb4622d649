import CSodium

/// Comparisons whose duration does not depend on the octets.
public enum ConstantTime {
    /// True when both have the same octets; the lengths are no secret.
    public static func equal(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        guard a.count == b.count else { return false }
        return unsafe sodium_memcmp(a, b, a.count) == 0
    }

    /// True when both keys have the same octets.
    public static func equal(_ a: SecretKey, _ b: SecretKey) -> Bool {
        guard a.count == b.count else { return false }
        return unsafe a.withOctets { first in
            unsafe b.withOctets { second in
                unsafe sodium_memcmp(first.baseAddress, second.baseAddress, first.count) == 0
            }
        }
    }

    /// True when the key has these octets.
    public static func equal(_ a: SecretKey, _ b: [UInt8]) -> Bool {
        guard a.count == b.count else { return false }
        return unsafe a.withOctets { first in unsafe sodium_memcmp(first.baseAddress, b, b.count) == 0 }
    }
}
