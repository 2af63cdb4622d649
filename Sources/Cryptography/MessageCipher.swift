import CSodium

/// Protects IKE messages, one at a time: the SK and SKF payloads of RFC 7296 §3.14 and RFC 5282.
///
/// Keeps keys only; a context lives for one call, so a value may be used from several threads.
public final class MessageCipher: Sendable {
    /// What it protects with.
    public let transform: CipherTransform
    private let encryptionKey: SecretKey
    private let integrityKey: SecretKey?

    /// The cipher of one direction of one IKE SA; `integrityKey` is nil (or empty) for an AEAD.
    public init(
        _ transform: CipherTransform,
        encryptionKey: SecretKey,
        integrityKey: SecretKey?
    ) throws(CryptoError) {
        try transform.checkKeys(encryptionKey, integrityKey)
        // RFC 7296 §5, RFC 4543 §8: an IKE message is encrypted in any case.
        if transform.mode == .gmac { throw .unsupported(transform.name) }
        self.transform = transform
        self.encryptionKey = encryptionKey
        self.integrityKey = integrityKey
    }

    /// Ciphertext and ICV of `plaintext`, which is padded already where the cipher has blocks.
    ///
    /// `aad` is the message up to the IV (RFC 5282 §5.1); an HMAC covers `aad`, `iv` and the ciphertext.
    public func seal(aad: [UInt8], iv: [UInt8], plaintext: [UInt8]) throws(CryptoError) -> [UInt8] {
        try checkLengths(aad: aad, iv: iv, text: plaintext.count)
        var text = plaintext
        guard let integrity = transform.integrity, let integrityKey else {
            return try sealAEAD(aad, iv, text)
        }
        try run(&text, iv: iv, direction: .encrypt)
        let icv = try mac(integrity, integrityKey, [aad, iv, text])
        return text + icv
    }

    /// The plaintext of `sealed` (ciphertext and ICV), still padded, after its ICV was verified.
    public func open(aad: [UInt8], iv: [UInt8], sealed: [UInt8]) throws(CryptoError) -> [UInt8] {
        let count = sealed.count - transform.icvLength
        guard count >= 0 else { throw .invalidLength }
        try checkLengths(aad: aad, iv: iv, text: count)
        var text = Array(sealed[..<count])
        let icv = Array(sealed[count...])
        guard let integrity = transform.integrity, let integrityKey else {
            return try openAEAD(aad, iv, text, icv)
        }
        guard ConstantTime.equal(try mac(integrity, integrityKey, [aad, iv, text]), icv) else {
            throw .authenticationFailed
        }
        try run(&text, iv: iv, direction: .decrypt)
        return text
    }

    private func checkLengths(aad: [UInt8], iv: [UInt8], text: Int) throws(CryptoError) {
        let limit = 1 << 24
        guard iv.count == transform.ivLength, aad.count <= limit, text <= limit else { throw .invalidLength }
        if transform.mode == .cbc, text % transform.blockLength != 0 { throw .invalidLength }
    }

    private func sealAEAD(_ aad: [UInt8], _ iv: [UInt8], _ plaintext: [UInt8]) throws(CryptoError) -> [UInt8]
    {
        guard let state = try CipherState.make(transform, key: encryptionKey, direction: .encrypt) else {
            throw .invalidKeyLength
        }
        defer { state.free() }
        var nonce = nonce(iv)
        defer { Sodium.wipe(&nonce) }
        var text = plaintext
        let count = text.count
        text.append(contentsOf: [UInt8](repeating: 0, count: transform.icvLength))
        let sealed = unsafe text.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return false }
            return unsafe state.sealAEAD(
                nonce: nonce,
                aad: aad,
                aadCount: aad.count,
                text: base,
                count: count,
                icv: base + count
            )
        }
        guard sealed else {
            Sodium.wipe(&text)
            throw .backend("EVP_EncryptFinal_ex")
        }
        return text
    }

    private func openAEAD(
        _ aad: [UInt8],
        _ iv: [UInt8],
        _ ciphertext: [UInt8],
        _ icv: [UInt8]
    ) throws(CryptoError) -> [UInt8] {
        guard let state = try CipherState.make(transform, key: encryptionKey, direction: .decrypt) else {
            throw .invalidKeyLength
        }
        defer { state.free() }
        var nonce = nonce(iv)
        defer { Sodium.wipe(&nonce) }
        // The ICV rides behind the text, so that the buffer has an address even when there is no text.
        var text = ciphertext + icv
        let count = ciphertext.count
        let isAuthentic = unsafe text.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return false }
            return unsafe state.openAEAD(
                nonce: nonce,
                aad: aad,
                aadCount: aad.count,
                text: base,
                count: count,
                icv: base + count
            )
        }
        guard isAuthentic else {
            Sodium.wipe(&text)
            throw .authenticationFailed
        }
        text.removeLast(icv.count)
        return text
    }

    /// salt | iv (RFC 5282 §4, RFC 7634 §2).
    private func nonce(_ iv: [UInt8]) -> [UInt8] {
        unsafe encryptionKey.withOctets { octets in
            unsafe Array(octets.suffix(transform.saltLength))
        } + iv
    }

    /// CBC over whole blocks or CTR in place; nothing for a transform without a cipher.
    func run(_ text: inout [UInt8], iv: [UInt8], direction: CipherState.Direction) throws(CryptoError) {
        guard let state = try CipherState.make(transform, key: encryptionKey, direction: direction) else {
            return
        }
        defer { state.free() }
        // RFC 3686 §4: nonce | IV | a counter that starts with one.
        var start = transform.mode == .ctr ? nonce(iv) + [0, 0, 0, 1] : iv
        defer { Sodium.wipe(&start) }
        let done = unsafe text.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress, !buffer.isEmpty else { return true }
            return unsafe state.run(iv: start, text: base, count: buffer.count)
        }
        guard done else {
            Sodium.wipe(&text)
            throw .backend("EVP_CipherUpdate")
        }
    }

    private func mac(
        _ integrity: IntegrityAlgorithm,
        _ key: SecretKey,
        _ parts: [[UInt8]]
    ) throws(CryptoError) -> [UInt8] {
        let state = try unsafe key.withOctets { (octets) throws(CryptoError) -> MACState in
            try unsafe MACState.make(integrity.function, key: octets)
        }
        defer { state.free() }
        var result = [UInt8](repeating: 0, count: state.digestLength)
        var ok = state.begin()
        for part in parts { ok = unsafe ok && state.update(part, part.count) }
        guard ok, unsafe state.finish(&result) else { throw .backend("EVP_DigestFinal_ex") }
        return Array(result[..<integrity.icvLength])
    }
}
