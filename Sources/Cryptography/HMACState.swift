import COpenSSL
import CSodium

/// HMAC with its key absorbed once (RFC 2104 §4): a message costs two copies of a hash state and no key schedule.
///
/// The hash states are plain values, which OpenSSL's older functions work on: a copy of an `EVP_MD_CTX` allocates
/// memory, twice a packet.
/// Safe within its rule: plain memory that whoever called `make` frees once; one thread uses it at a time.
@safe
struct HMACState {
    /// Three hash states: with the inner pad absorbed, with the outer pad absorbed, and the one at work.
    private let inner: UnsafeMutableRawPointer
    private let outer: UnsafeMutableRawPointer
    private let work: UnsafeMutableRawPointer
    private let hash: HashFunction
    /// Octets that `finish` writes.
    let digestLength: Int

    /// Octets of the largest hash state, held to whole cache lines.
    private static let stateSize =
        (max(MemoryLayout<SHA512_CTX>.size, MemoryLayout<SHA256_CTX>.size) + 63) & ~63

    /// Absorbs `key` of any length.
    static func make(
        _ hash: HashFunction,
        key: UnsafeBufferPointer<UInt8>
    ) throws(CryptoError) -> HMACState {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 3 * stateSize, alignment: 64)
        unsafe memory.initializeMemory(as: UInt8.self, repeating: 0, count: 3 * stateSize)
        let state = unsafe HMACState(
            inner: memory,
            outer: memory + stateSize,
            work: memory + 2 * stateSize,
            hash: hash,
            digestLength: hash.outputLength
        )
        guard unsafe state.absorb(key) else {
            state.free()
            throw .backend("SHA_Init")
        }
        return state
    }

    private func absorb(_ key: UnsafeBufferPointer<UInt8>) -> Bool {
        let blockLength = hash.blockLength
        return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 128) { block in
            defer { unsafe sodium_memzero(block.baseAddress, 128) }
            unsafe block.initialize(repeating: 0)
            guard let start = block.baseAddress else { return false }
            if key.count <= blockLength {
                for index in key.indices { unsafe block[index] = key[index] }
            } else {
                // RFC 2104 §2: a key longer than a block is replaced by its hash.
                guard unsafe begin(work) && update(work, key.baseAddress, key.count) && end(work, start)
                else {
                    return false
                }
            }
            for index in 0..<blockLength { unsafe block[index] ^= 0x36 }
            guard unsafe begin(inner) && update(inner, start, blockLength) else { return false }
            for index in 0..<blockLength { unsafe block[index] ^= 0x36 ^ 0x5c }
            return unsafe begin(outer) && update(outer, start, blockLength)
        }
    }

    private func begin(_ state: UnsafeMutableRawPointer) -> Bool {
        switch hash {
        case .md5: unsafe MD5_Init(state.assumingMemoryBound(to: MD5_CTX.self)) == 1
        case .sha1: unsafe SHA1_Init(state.assumingMemoryBound(to: SHA_CTX.self)) == 1
        case .sha256: unsafe SHA256_Init(state.assumingMemoryBound(to: SHA256_CTX.self)) == 1
        case .sha384: unsafe SHA384_Init(state.assumingMemoryBound(to: SHA512_CTX.self)) == 1
        case .sha512: unsafe SHA512_Init(state.assumingMemoryBound(to: SHA512_CTX.self)) == 1
        }
    }

    private func update(
        _ state: UnsafeMutableRawPointer,
        _ octets: UnsafePointer<UInt8>?,
        _ count: Int
    ) -> Bool {
        switch hash {
        case .md5: unsafe MD5_Update(state.assumingMemoryBound(to: MD5_CTX.self), octets, count) == 1
        case .sha1: unsafe SHA1_Update(state.assumingMemoryBound(to: SHA_CTX.self), octets, count) == 1
        case .sha256: unsafe SHA256_Update(state.assumingMemoryBound(to: SHA256_CTX.self), octets, count) == 1
        case .sha384: unsafe SHA384_Update(state.assumingMemoryBound(to: SHA512_CTX.self), octets, count) == 1
        case .sha512: unsafe SHA512_Update(state.assumingMemoryBound(to: SHA512_CTX.self), octets, count) == 1
        }
    }

    private func end(_ state: UnsafeMutableRawPointer, _ result: UnsafeMutablePointer<UInt8>) -> Bool {
        switch hash {
        case .md5: unsafe MD5_Final(result, state.assumingMemoryBound(to: MD5_CTX.self)) == 1
        case .sha1: unsafe SHA1_Final(result, state.assumingMemoryBound(to: SHA_CTX.self)) == 1
        case .sha256: unsafe SHA256_Final(result, state.assumingMemoryBound(to: SHA256_CTX.self)) == 1
        case .sha384: unsafe SHA384_Final(result, state.assumingMemoryBound(to: SHA512_CTX.self)) == 1
        case .sha512: unsafe SHA512_Final(result, state.assumingMemoryBound(to: SHA512_CTX.self)) == 1
        }
    }

    /// Starts a message.
    func begin() -> Bool {
        unsafe work.copyMemory(from: inner, byteCount: Self.stateSize)
        return true
    }

    /// Adds octets of the message.
    func update(_ octets: UnsafePointer<UInt8>?, _ count: Int) -> Bool {
        unsafe count == 0 || update(work, octets, count)
    }

    /// Writes `digestLength` octets to `result`.
    func finish(_ result: UnsafeMutablePointer<UInt8>) -> Bool {
        guard unsafe end(work, result) else { return false }
        unsafe work.copyMemory(from: outer, byteCount: Self.stateSize)
        return unsafe update(work, result, digestLength) && end(work, result)
    }

    /// Wipes and frees the states.
    func free() {
        unsafe sodium_memzero(inner, 3 * Self.stateSize)
        unsafe inner.deallocate()
    }
}
