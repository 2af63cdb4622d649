import COpenSSL

/// A MODP group: a safe prime and the generator 2 (RFC 3526, RFC 7296 appendix B), or a prime whose generator has a
/// smaller order (RFC 5114).
///
/// Safe to share: its numbers are made once, never changed and never freed.
@safe
struct ModularGroup: @unchecked Sendable {
    private let prime: OpaquePointer
    private let generator: OpaquePointer
    /// The order of the generator where it is smaller than (p-1)/2.
    private let order: OpaquePointer?
    private let montgomery: OpaquePointer
    private let length: Int
    /// Octets of our exponents: the upper estimate of RFC 3526 §8, rounded up, or those of the order.
    let exponentLength: Int

    private static let modp768 = unsafe ModularGroup(BN_get_rfc2409_prime_768(nil), 30)
    private static let modp1024 = unsafe ModularGroup(BN_get_rfc2409_prime_1024(nil), 30)
    private static let modp1536 = unsafe ModularGroup(BN_get_rfc3526_prime_1536(nil), 30)
    private static let modp2048 = unsafe ModularGroup(BN_get_rfc3526_prime_2048(nil), 40)
    private static let modp3072 = unsafe ModularGroup(BN_get_rfc3526_prime_3072(nil), 53)
    private static let modp4096 = unsafe ModularGroup(BN_get_rfc3526_prime_4096(nil), 60)
    private static let modp6144 = unsafe ModularGroup(BN_get_rfc3526_prime_6144(nil), 68)
    private static let modp8192 = unsafe ModularGroup(BN_get_rfc3526_prime_8192(nil), 78)
    private static let modp1024s160 = unsafe ModularGroup(subgroup: DH_get_1024_160())
    private static let modp2048s224 = unsafe ModularGroup(subgroup: DH_get_2048_224())
    private static let modp2048s256 = unsafe ModularGroup(subgroup: DH_get_2048_256())

    static func of(_ group: KeyExchangeGroup) throws(CryptoError) -> ModularGroup {
        let found: ModularGroup?
        switch group {
        case .modp768: found = modp768
        case .modp1024: found = modp1024
        case .modp1536: found = modp1536
        case .modp2048: found = modp2048
        case .modp3072: found = modp3072
        case .modp4096: found = modp4096
        case .modp6144: found = modp6144
        case .modp8192: found = modp8192
        case .modp1024s160: found = modp1024s160
        case .modp2048s224: found = modp2048s224
        case .modp2048s256: found = modp2048s256
        default: throw .unsupported(group.name)
        }
        guard let found else { throw .backend("BN_MONT_CTX_set") }
        return found
    }

    private init?(_ prime: OpaquePointer?, _ exponentLength: Int) {
        guard let two = unsafe BN_new(), unsafe BN_set_word(two, 2) == 1 else { return nil }
        unsafe self.init(prime, generator: two, order: nil, exponentLength)
    }

    private init?(subgroup group: OpaquePointer?) {
        guard let group = unsafe group else { return nil }
        var prime: OpaquePointer?
        var order: OpaquePointer?
        var generator: OpaquePointer?
        unsafe DH_get0_pqg(group, &prime, &order, &generator)
        guard let order = unsafe order else { return nil }
        unsafe self.init(prime, generator: generator, order: order, (Int(BN_num_bits(order)) + 7) / 8)
    }

    private init?(
        _ prime: OpaquePointer?,
        generator: OpaquePointer?,
        order: OpaquePointer?,
        _ exponentLength: Int
    ) {
        guard let prime = unsafe prime, let generator = unsafe generator,
            let montgomery = unsafe BN_MONT_CTX_new(), let scratch = unsafe BN_CTX_new()
        else { return nil }
        defer { unsafe BN_CTX_free(scratch) }
        guard unsafe BN_MONT_CTX_set(montgomery, prime, scratch) == 1 else { return nil }
        unsafe self.prime = prime
        unsafe self.generator = generator
        unsafe self.order = order
        unsafe self.montgomery = montgomery
        length = unsafe (Int(BN_num_bits(prime)) + 7) / 8
        self.exponentLength = exponentLength
    }

    /// The prime, big-endian.
    func primeOctets() throws(CryptoError) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: length)
        guard unsafe BN_bn2binpad(prime, &result, Int32(length)) == Int32(length) else {
            throw .backend("BN_bn2binpad")
        }
        return result
    }

    func randomExponent() throws(CryptoError) -> SecretKey {
        try SecretKey.random(count: exponentLength)
    }

    func publicValue(_ exponent: SecretKey) throws(CryptoError) -> [UInt8] {
        let result = try BigNumber()
        try unsafe power(generator, exponent, into: result)
        guard unsafe isInside(result.pointer) else { throw .invalidKeyLength }
        return try result.octets(length)
    }

    func sharedSecret(_ exponent: SecretKey, _ peer: [UInt8]) throws(CryptoError) -> SecretKey {
        let base = try BigNumber(peer)
        // RFC 6989 §2.1: 1 < r < p-1. With a safe prime nothing else has a small order.
        guard unsafe isInside(base.pointer) else { throw .invalidPublicValue("outside 1 < y < p-1") }
        guard try unsafe isInSubgroup(base.pointer) else { throw .invalidPublicValue("not in the subgroup") }
        let result = try BigNumber()
        try unsafe power(base.pointer, exponent, into: result)
        return try result.secret(length)
    }

    private func power(
        _ base: OpaquePointer,
        _ exponent: SecretKey,
        into result: borrowing BigNumber
    ) throws(CryptoError) {
        guard exponent.count > 0, exponent.count <= length else { throw .invalidKeyLength }
        let power = try BigNumber(secret: exponent)
        guard !power.isZero else { throw .invalidKeyLength }
        let scratch = try BigNumberScratch()
        try check(
            unsafe BN_mod_exp_mont_consttime(
                result.pointer,
                base,
                power.pointer,
                prime,
                scratch.pointer,
                montgomery
            ),
            "BN_mod_exp_mont_consttime"
        )
    }

    /// RFC 6989 §2.2: y^q = 1 mod p, else a peer could learn our exponent modulo the small factors of (p-1)/q.
    private func isInSubgroup(_ value: OpaquePointer) throws(CryptoError) -> Bool {
        guard let order = unsafe order else { return true }
        let result = try BigNumber()
        let scratch = try BigNumberScratch()
        try check(
            unsafe BN_mod_exp_mont(result.pointer, value, order, prime, scratch.pointer, montgomery),
            "BN_mod_exp_mont"
        )
        return unsafe BN_is_one(result.pointer) == 1
    }

    /// 1 < value < p-1.
    private func isInside(_ value: OpaquePointer) -> Bool {
        guard unsafe BN_is_zero(value) == 0, unsafe BN_is_one(value) == 0,
            let last = unsafe BN_dup(prime)
        else { return false }
        defer { unsafe BN_free(last) }
        return unsafe BN_sub_word(last, 1) == 1 && BN_cmp(value, last) < 0
    }
}
