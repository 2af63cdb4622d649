import COpenSSL
import CSodium

/// HMAC with its key absorbed once (RFC 2104 §4): a message costs three context copies and no key schedule.
///
/// Safe within its rule: plain pointers that whoever called `make` frees once; one thread uses it at a time.
@safe
struct HMACState {
    private let inner: OpaquePointer
    private let outer: OpaquePointer
    private let work: OpaquePointer
    /// Octets that `finish` writes.
    let digestLength: Int

    /// Absorbs `key` of any length.
    static func make(
        _ hash: HashFunction,
        key: UnsafeBufferPointer<UInt8>
    ) throws(CryptoError) -> HMACState {
        guard let digest = unsafe hash.fetched.pointer else { throw .backend("EVP_MD_fetch") }
        guard let inner = unsafe EVP_MD_CTX_new() else { throw .exhausted }
        guard let outer = unsafe EVP_MD_CTX_new() else {
            unsafe EVP_MD_CTX_free(inner)
            throw .exhausted
        }
        guard let work = unsafe EVP_MD_CTX_new() else {
            unsafe EVP_MD_CTX_free(inner)
            unsafe EVP_MD_CTX_free(outer)
            throw .exhausted
        }
        let state = unsafe HMACState(
            inner: inner,
            outer: outer,
            work: work,
            digestLength: hash.outputLength
        )
        guard unsafe state.absorb(key, digest: digest, blockLength: hash.blockLength) else {
            state.free()
            throw .backend("EVP_DigestInit_ex")
        }
        return state
    }

    private func absorb(
        _ key: UnsafeBufferPointer<UInt8>,
        digest: OpaquePointer,
        blockLength: Int
    ) -> Bool {
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 128) { block in
            defer { unsafe sodium_memzero(block.baseAddress, 128) }
            unsafe block.initialize(repeating: 0)
            if key.count <= blockLength {
                for index in key.indices { unsafe block[index] = key[index] }
            } else {
                // RFC 2104 §2: a key longer than a block is replaced by its hash.
                guard unsafe EVP_DigestInit_ex(work, digest, nil) == 1,
                    unsafe EVP_DigestUpdate(work, key.baseAddress, key.count) == 1,
                    unsafe EVP_DigestFinal_ex(work, block.baseAddress, nil) == 1
                else { return false }
            }
            for index in 0..<blockLength { unsafe block[index] ^= 0x36 }
            guard unsafe EVP_DigestInit_ex(inner, digest, nil) == 1,
                unsafe EVP_DigestUpdate(inner, block.baseAddress, blockLength) == 1
            else { return false }
            for index in 0..<blockLength { unsafe block[index] ^= 0x36 ^ 0x5c }
            return unsafe EVP_DigestInit_ex(outer, digest, nil) == 1
                && EVP_DigestUpdate(outer, block.baseAddress, blockLength) == 1
        }
    }

    /// Starts a message.
    func begin() -> Bool {
        unsafe EVP_MD_CTX_copy_ex(work, inner) == 1
    }

    /// Adds octets of the message.
    func update(_ octets: UnsafePointer<UInt8>?, _ count: Int) -> Bool {
        unsafe count == 0 || EVP_DigestUpdate(work, octets, count) == 1
    }

    /// Writes `digestLength` octets to `result`.
    func finish(_ result: UnsafeMutablePointer<UInt8>) -> Bool {
        unsafe EVP_DigestFinal_ex(work, result, nil) == 1
            && EVP_MD_CTX_copy_ex(work, outer) == 1
            && EVP_DigestUpdate(work, result, digestLength) == 1
            && EVP_DigestFinal_ex(work, result, nil) == 1
    }

    /// Frees the contexts, which OpenSSL wipes.
    func free() {
        unsafe EVP_MD_CTX_free(inner)
        unsafe EVP_MD_CTX_free(outer)
        unsafe EVP_MD_CTX_free(work)
    }
}
