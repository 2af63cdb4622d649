import COpenSSL

/// A MODP group of RFC 3526: a safe prime and the generator 2.
///
/// Safe to share: prime and Montgomery constants are made once, never changed and never freed.
@safe
struct ModularGroup: @unchecked Sendable {
    private let prime: OpaquePointer
    private let montgomery: OpaquePointer
    private let length: Int
    /// Octets of our exponents: the upper estimate of RFC 3526 §8, rounded up.
    private let exponentLength: Int

    private static let modp2048 = unsafe ModularGroup(BN_get_rfc3526_prime_2048(nil), 256, 40)
    private static let modp3072 = unsafe ModularGroup(BN_get_rfc3526_prime_3072(nil), 384, 53)
    private static let modp4096 = unsafe ModularGroup(BN_get_rfc3526_prime_4096(nil), 512, 60)

    static func of(_ group: KeyExchangeGroup) throws(CryptoError) -> ModularGroup {
        let found: ModularGroup?
        switch group {
        case .modp2048: found = modp2048
        case .modp3072: found = modp3072
        case .modp4096: found = modp4096
        case .ecp256, .ecp384, .ecp521, .x25519: throw .unsupported(group.name)
        }
        guard let found else { throw .backend("BN_MONT_CTX_set") }
        return found
    }

    private init?(_ prime: OpaquePointer?, _ length: Int, _ exponentLength: Int) {
        guard let prime = unsafe prime, let montgomery = unsafe BN_MONT_CTX_new(),
            let scratch = unsafe BN_CTX_new()
        else { return nil }
        defer { unsafe BN_CTX_free(scratch) }
        guard unsafe BN_MONT_CTX_set(montgomery, prime, scratch) == 1 else { return nil }
        unsafe self.prime = prime
        unsafe self.montgomery = montgomery
        self.length = length
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
        let base = try BigNumber([2])
        let result = try BigNumber()
        try power(base, exponent, into: result)
        guard unsafe isInside(result.pointer) else { throw .invalidKeyLength }
        return try result.octets(length)
    }

    func sharedSecret(_ exponent: SecretKey, _ peer: [UInt8]) throws(CryptoError) -> SecretKey {
        let base = try BigNumber(peer)
        // RFC 6989 §2.1: 1 < r < p-1. With a safe prime nothing else has a small order.
        guard unsafe isInside(base.pointer) else { throw .invalidPublicValue("outside 1 < y < p-1") }
        let result = try BigNumber()
        try power(base, exponent, into: result)
        return try result.secret(length)
    }

    private func power(
        _ base: borrowing BigNumber,
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
                base.pointer,
                power.pointer,
                prime,
                scratch.pointer,
                montgomery
            ),
            "BN_mod_exp_mont_consttime"
        )
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
