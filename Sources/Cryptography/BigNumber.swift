import COpenSSL

/// A number of OpenSSL, wiped when it goes.
///
/// Safe: it owns its pointer and nothing shares it.
@safe
struct BigNumber: ~Copyable {
    let pointer: OpaquePointer

    /// Zero.
    init() throws(CryptoError) {
        guard let pointer = unsafe BN_new() else { throw .exhausted }
        unsafe self.pointer = pointer
    }

    /// The big-endian number in `octets`.
    init(_ octets: [UInt8]) throws(CryptoError) {
        guard let pointer = unsafe BN_bin2bn(octets, Int32(clamping: octets.count), nil) else {
            throw .exhausted
        }
        unsafe self.pointer = pointer
    }

    /// The big-endian number in `key`, marked for the constant-time paths.
    init(secret key: SecretKey) throws(CryptoError) {
        let pointer = unsafe key.withOctets { octets in
            unsafe BN_bin2bn(octets.baseAddress, Int32(clamping: octets.count), nil)
        }
        guard let pointer = unsafe pointer else { throw .exhausted }
        unsafe BN_set_flags(pointer, BN_FLG_CONSTTIME)
        unsafe self.pointer = pointer
    }

    deinit { unsafe BN_clear_free(pointer) }

    var isZero: Bool { unsafe BN_is_zero(pointer) == 1 }

    /// The number in `count` octets, zeros first.
    func octets(_ count: Int) throws(CryptoError) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: count)
        guard unsafe BN_bn2binpad(pointer, &result, Int32(count)) == Int32(count) else {
            throw .backend("BN_bn2binpad")
        }
        return result
    }

    /// The number in `count` octets of the arena, zeros first.
    func secret(_ count: Int) throws(CryptoError) -> SecretKey {
        try unsafe SecretKey(count: count) { (target) throws(CryptoError) in
            guard unsafe BN_bn2binpad(pointer, target.baseAddress, Int32(count)) == Int32(count) else {
                throw .backend("BN_bn2binpad")
            }
        }
    }
}

/// Scratch numbers of one calculation.
///
/// Safe: it owns its pointer; OpenSSL wipes the numbers.
@safe
struct BigNumberScratch: ~Copyable {
    let pointer: OpaquePointer

    init() throws(CryptoError) {
        guard let pointer = unsafe BN_CTX_new() else { throw .exhausted }
        unsafe self.pointer = pointer
    }

    deinit { unsafe BN_CTX_free(pointer) }
}
