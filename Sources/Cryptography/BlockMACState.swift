import COpenSSL
import CSodium

/// AES-CMAC (RFC 4493) and AES-XCBC-MAC (RFC 3566): a CBC-MAC whose last block is mixed with a key of its own.
///
/// Both are one construction with other sub-keys, and OpenSSL has the second one not at all: its part here is AES-CBC.
/// Safe within its rule: plain memory that whoever called `make` frees once; one thread uses it at a time.
@safe
struct BlockMACState {
    /// How the sub-keys come from the key.
    enum Kind { case cmac, xcbc }

    static let blockLength = 16

    /// Offsets into the memory.
    private enum Place {
        /// Mixed into a last block that is whole, and into one that was padded.
        static let whole = 0
        static let padded = 16
        /// Octets that wait for more: the last block must be known as such.
        static let pending = 32
        static let zeroIV = 48
        static let output = 64
        /// How many octets wait.
        static let count = output + outputLength
        static let octets = count + 16
        static let outputLength = 256
    }

    private let context: OpaquePointer
    private let memory: UnsafeMutablePointer<UInt8>

    static func make(
        _ kind: Kind,
        key: UnsafeBufferPointer<UInt8>
    ) throws(CryptoError) -> BlockMACState {
        guard key.count == blockLength, let start = key.baseAddress else { throw .invalidKeyLength }
        guard let algorithm = unsafe Fetched.aes128CBC.pointer else { throw .backend("EVP_CIPHER_fetch") }
        guard let context = unsafe EVP_CIPHER_CTX_new() else { throw .exhausted }
        let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: Place.octets)
        unsafe memory.initialize(repeating: 0, count: Place.octets)
        let state = unsafe BlockMACState(context: context, memory: memory)
        guard unsafe EVP_EncryptInit_ex(context, algorithm, nil, start, memory + Place.zeroIV) == 1,
            unsafe EVP_CIPHER_CTX_set_padding(context, 0) == 1,
            state.deriveKeys(kind)
        else {
            state.free()
            throw .backend("EVP_EncryptInit_ex")
        }
        return state
    }

    private func deriveKeys(_ kind: Kind) -> Bool {
        let whole = unsafe memory + Place.whole
        let padded = unsafe memory + Place.padded
        switch kind {
        case .cmac:
            guard unsafe encryptBlock(0, whole) else { return false }
            unsafe Self.double(whole)
            unsafe padded.update(from: whole, count: Self.blockLength)
            unsafe Self.double(padded)
            return true
        case .xcbc:
            let working = unsafe memory + Place.output
            defer { unsafe sodium_memzero(working, Self.blockLength) }
            // K1, K2 and K3 of RFC 3566 §3; K1 becomes the key of the cipher.
            return unsafe encryptBlock(2, whole) && encryptBlock(3, padded) && encryptBlock(1, working)
                && EVP_EncryptInit_ex(context, nil, nil, working, nil) == 1
        }
    }

    /// The cipher of a block of equal octets.
    private func encryptBlock(_ octet: UInt8, _ target: UnsafeMutablePointer<UInt8>) -> Bool {
        var written: Int32 = 0
        unsafe target.update(repeating: octet, count: Self.blockLength)
        return unsafe begin() && EVP_EncryptUpdate(context, target, &written, target, 16) == 1
    }

    /// Multiplies by x in GF(2^128) (RFC 4493 §2.3), without a branch on the secret.
    private static func double(_ block: UnsafeMutablePointer<UInt8>) {
        var carry: UInt8 = 0
        for index in stride(from: blockLength - 1, through: 0, by: -1) {
            let octet = unsafe block[index]
            unsafe block[index] = octet << 1 | carry
            carry = octet >> 7
        }
        unsafe block[blockLength - 1] ^= 0x87 & (0 &- carry)
    }

    /// Starts a message.
    func begin() -> Bool {
        unsafe memory[Place.count] = 0
        return unsafe EVP_EncryptInit_ex(context, nil, nil, nil, memory + Place.zeroIV) == 1
    }

    /// Adds octets of the message.
    func update(_ octets: UnsafePointer<UInt8>?, _ count: Int) -> Bool {
        guard var next = unsafe octets else { return count == 0 }
        var rest = count
        var written: Int32 = 0
        while rest > 0 {
            let held = Int(unsafe memory[Place.count])
            if held == Self.blockLength {
                guard
                    unsafe EVP_EncryptUpdate(
                        context,
                        memory + Place.output,
                        &written,
                        memory + Place.pending,
                        16
                    )
                        == 1
                else { return false }
                unsafe memory[Place.count] = 0
            } else if held == 0, rest > Self.blockLength {
                let taken = min((rest - 1) & ~(Self.blockLength - 1), Place.outputLength)
                guard
                    unsafe EVP_EncryptUpdate(context, memory + Place.output, &written, next, Int32(taken))
                        == 1
                else { return false }
                unsafe next += taken
                rest -= taken
            } else {
                let taken = min(Self.blockLength - held, rest)
                unsafe (memory + Place.pending + held).update(from: next, count: taken)
                unsafe memory[Place.count] = UInt8(truncatingIfNeeded: held + taken)
                unsafe next += taken
                rest -= taken
            }
        }
        return true
    }

    /// Writes 16 octets to `result`.
    func finish(_ result: UnsafeMutablePointer<UInt8>) -> Bool {
        let held = Int(unsafe memory[Place.count])
        let pending = unsafe memory + Place.pending
        if held < Self.blockLength {
            unsafe pending[held] = 0x80
            for index in held + 1..<Self.blockLength { unsafe pending[index] = 0 }
        }
        let key = unsafe memory + (held == Self.blockLength ? Place.whole : Place.padded)
        for index in 0..<Self.blockLength { unsafe pending[index] ^= key[index] }
        var written: Int32 = 0
        return unsafe EVP_EncryptUpdate(context, result, &written, pending, 16) == 1 && written == 16
    }

    /// Wipes and frees the state.
    func free() {
        unsafe EVP_CIPHER_CTX_free(context)
        unsafe sodium_memzero(memory, Place.octets)
        unsafe memory.deallocate()
    }
}
