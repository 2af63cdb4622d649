import COpenSSL

/// A cipher with its key set once: each message sets only the IV.
///
/// Safe within its rule: a plain pointer that whoever called `make` frees once; one thread uses it at a time.
@safe
struct CipherState {
    private let context: OpaquePointer
    /// Octets of the ICV of a combined mode.
    private let icvLength: Int32
    private let mode: CipherTransform.Mode

    /// Which half of the cipher the context is keyed for.
    enum Direction { case encrypt, decrypt }

    /// Makes the state of a transform's cipher, keyed without the salt, or nil for a transform without one.
    static func make(
        _ transform: CipherTransform,
        key: SecretKey,
        direction: Direction
    ) throws(CryptoError) -> CipherState? {
        guard let cipher = try transform.fetched else { return nil }
        if case .desCBC = transform {
            // DES is the triple one with three equal keys; alone, OpenSSL has it in its legacy provider only.
            let tripled = try unsafe SecretKey(count: 3 * key.count) { target in
                unsafe key.withOctets { octets in
                    for index in target.indices { unsafe target[index] = octets[index % octets.count] }
                }
            }
            return try unsafe tripled.withOctets { (octets) throws(CryptoError) -> CipherState in
                try unsafe make(transform, cipher, key: octets, direction: direction)
            }
        }
        return try unsafe key.withOctets { (octets) throws(CryptoError) -> CipherState in
            let bare = unsafe UnsafeBufferPointer(rebasing: octets.dropLast(transform.saltLength))
            return try unsafe make(transform, cipher, key: bare, direction: direction)
        }
    }

    private static func make(
        _ transform: CipherTransform,
        _ cipher: Fetched,
        key: UnsafeBufferPointer<UInt8>,
        direction: Direction
    ) throws(CryptoError) -> CipherState {
        guard let algorithm = unsafe cipher.pointer else { throw .backend("EVP_CIPHER_fetch") }
        guard unsafe EVP_CIPHER_get_key_length(algorithm) == Int32(clamping: key.count) else {
            throw .invalidKeyLength
        }
        guard let context = unsafe EVP_CIPHER_CTX_new() else { throw .exhausted }
        let state = unsafe CipherState(
            context: context,
            icvLength: Int32(transform.icvLength),
            mode: transform.mode
        )
        guard unsafe state.setKey(algorithm, key, direction) else {
            state.free()
            throw .backend("EVP_CipherInit_ex")
        }
        return state
    }

    private func setKey(
        _ algorithm: OpaquePointer,
        _ key: UnsafeBufferPointer<UInt8>,
        _ direction: Direction
    ) -> Bool {
        let encrypts: Int32 = direction == .encrypt ? 1 : 0
        guard unsafe EVP_CipherInit_ex(context, algorithm, nil, nil, nil, encrypts) == 1 else { return false }
        if mode == .ccm {
            // CCM derives its first block from the lengths of nonce (RFC 4309 §4) and ICV.
            guard unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_IVLEN, 11, nil) == 1,
                unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, icvLength, nil) == 1
            else { return false }
        }
        return unsafe EVP_CipherInit_ex(context, nil, nil, key.baseAddress, nil, encrypts) == 1
            && EVP_CIPHER_CTX_set_padding(context, 0) == 1
    }

    /// Encrypts `count` octets in place and writes the ICV.
    func sealAEAD(
        nonce: UnsafePointer<UInt8>,
        aad: UnsafePointer<UInt8>,
        aadCount: Int,
        text: UnsafeMutablePointer<UInt8>,
        count: Int,
        icv: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        var written: Int32 = 0
        guard unsafe EVP_EncryptInit_ex(context, nil, nil, nil, nonce) == 1,
            announce(count),
            unsafe aadCount == 0 || EVP_EncryptUpdate(context, nil, &written, aad, Int32(aadCount)) == 1,
            unsafe takesText(count) == false
                || EVP_EncryptUpdate(context, text, &written, text, Int32(count)) == 1,
            unsafe EVP_EncryptFinal_ex(context, text + count, &written) == 1
        else { return false }
        return unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, icvLength, icv) == 1
    }

    /// Decrypts `count` octets in place; false when the ICV is wrong, and then the octets mean nothing.
    func openAEAD(
        nonce: UnsafePointer<UInt8>,
        aad: UnsafePointer<UInt8>,
        aadCount: Int,
        text: UnsafeMutablePointer<UInt8>,
        count: Int,
        icv: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        var written: Int32 = 0
        return unsafe EVP_DecryptInit_ex(context, nil, nil, nil, nonce) == 1
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, icvLength, icv) == 1
            && announce(count)
            && (aadCount == 0 || EVP_DecryptUpdate(context, nil, &written, aad, Int32(aadCount)) == 1)
            && (takesText(count) == false
                || EVP_DecryptUpdate(context, text, &written, text, Int32(count)) == 1)
            // CCM verifies with its text and has nothing to finish.
            && (mode == .ccm || EVP_DecryptFinal_ex(context, text + count, &written) == 1)
    }

    /// CCM must know the length of the text before the associated data.
    private func announce(_ count: Int) -> Bool {
        guard mode == .ccm else { return true }
        var written: Int32 = 0
        return unsafe EVP_CipherUpdate(context, nil, &written, nil, Int32(count)) == 1
    }

    /// CCM computes and verifies its ICV with the text, also with an empty one.
    private func takesText(_ count: Int) -> Bool { count > 0 || mode == .ccm }

    /// Writes the ICV over associated data in two parts: GMAC.
    func sealGMAC(
        nonce: UnsafePointer<UInt8>,
        aad: UnsafePointer<UInt8>,
        aadCount: Int,
        text: UnsafePointer<UInt8>,
        count: Int,
        icv: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        var written: Int32 = 0
        return unsafe EVP_EncryptInit_ex(context, nil, nil, nil, nonce) == 1
            && EVP_EncryptUpdate(context, nil, &written, aad, Int32(aadCount)) == 1
            && EVP_EncryptUpdate(context, nil, &written, text, Int32(count)) == 1
            && EVP_EncryptFinal_ex(context, icv, &written) == 1
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, icvLength, icv) == 1
    }

    /// True when the ICV over associated data in two parts is right.
    func openGMAC(
        nonce: UnsafePointer<UInt8>,
        aad: UnsafePointer<UInt8>,
        aadCount: Int,
        text: UnsafePointer<UInt8>,
        count: Int,
        icv: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        var written: Int32 = 0
        return unsafe EVP_DecryptInit_ex(context, nil, nil, nil, nonce) == 1
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, icvLength, icv) == 1
            && EVP_DecryptUpdate(context, nil, &written, aad, Int32(aadCount)) == 1
            && EVP_DecryptUpdate(context, nil, &written, text, Int32(count)) == 1
            && EVP_DecryptFinal_ex(context, icv, &written) == 1
    }

    /// Runs CBC over whole blocks, without padding, or CTR over any `count` of octets, in place; the IV of CTR is its
    /// first counter block.
    func run(iv: UnsafePointer<UInt8>, text: UnsafeMutablePointer<UInt8>, count: Int) -> Bool {
        var written: Int32 = 0
        return unsafe EVP_CipherInit_ex(context, nil, nil, nil, iv, -1) == 1
            && EVP_CipherUpdate(context, text, &written, text, Int32(count)) == 1
            && Int(written) == count
    }

    /// Frees the context, which OpenSSL wipes.
    func free() { unsafe EVP_CIPHER_CTX_free(context) }
}
