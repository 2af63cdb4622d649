import COpenSSL

/// X448 of RFC 7748 by OpenSSL.
enum Curve448 {
    static let length = 56

    static func publicValue(_ privateValue: SecretKey) throws(CryptoError) -> [UInt8] {
        let key = try Key(privateValue)
        var result = [UInt8](repeating: 0, count: length)
        var count = length
        try check(
            unsafe EVP_PKEY_get_raw_public_key(key.pointer, &result, &count),
            "EVP_PKEY_get_raw_public_key"
        )
        return result
    }

    static func sharedSecret(_ privateValue: SecretKey, _ peer: [UInt8]) throws(CryptoError) -> SecretKey {
        let key = try Key(privateValue)
        let other = try Key(public: peer)
        guard let context = unsafe EVP_PKEY_CTX_new(key.pointer, nil) else { throw .exhausted }
        defer { unsafe EVP_PKEY_CTX_free(context) }
        try check(unsafe EVP_PKEY_derive_init(context), "EVP_PKEY_derive_init")
        try check(unsafe EVP_PKEY_derive_set_peer(context, other.pointer), "EVP_PKEY_derive_set_peer")
        return try unsafe SecretKey(count: length) { (target) throws(CryptoError) in
            var count = length
            let derived = unsafe EVP_PKEY_derive(context, target.baseAddress, &count)
            // RFC 8031 §3.2: the all-zero result of a low-order point must be refused; OpenSSL reports it.
            guard derived == 1, count == length, unsafe target.contains(where: { $0 != 0 }) else {
                ERR_clear_error()
                throw .invalidPublicValue("low order")
            }
        }
    }

    /// Safe: it owns its pointer and nothing shares it.
    @safe
    private struct Key: ~Copyable {
        let pointer: OpaquePointer

        init(_ privateValue: SecretKey) throws(CryptoError) {
            let made = unsafe privateValue.withOctets { octets in
                unsafe EVP_PKEY_new_raw_private_key(EVP_PKEY_X448, nil, octets.baseAddress, octets.count)
            }
            guard let made = unsafe made else { throw .invalidKeyLength }
            unsafe pointer = made
        }

        init(public octets: [UInt8]) throws(CryptoError) {
            guard let made = unsafe EVP_PKEY_new_raw_public_key(EVP_PKEY_X448, nil, octets, octets.count)
            else {
                throw .invalidPublicValue("wrong length")
            }
            unsafe pointer = made
        }

        deinit { unsafe EVP_PKEY_free(pointer) }
    }
}
