import COpenSSL

/// A cipher with its key set once: each message sets only the IV.
///
/// Safe within its rule: a plain pointer that whoever called `make` frees once; one thread uses it at a time.
@safe
struct CipherState {
    private let context: OpaquePointer

    /// Which half of the cipher the context is keyed for.
    enum Direction { case encrypt, decrypt }

    /// Sets the key, without the salt.
    static func make(
        _ cipher: Fetched,
        key: UnsafeBufferPointer<UInt8>,
        direction: Direction
    ) throws(CryptoError) -> CipherState {
        guard let algorithm = unsafe cipher.pointer else { throw .backend("EVP_CIPHER_fetch") }
        guard unsafe EVP_CIPHER_get_key_length(algorithm) == Int32(clamping: key.count) else {
            throw .invalidKeyLength
        }
        guard let context = unsafe EVP_CIPHER_CTX_new() else { throw .exhausted }
        let encrypts: Int32 = direction == .encrypt ? 1 : 0
        guard unsafe EVP_CipherInit_ex(context, algorithm, nil, key.baseAddress, nil, encrypts) == 1,
            unsafe EVP_CIPHER_CTX_set_padding(context, 0) == 1
        else {
            unsafe EVP_CIPHER_CTX_free(context)
            throw .backend("EVP_CipherInit_ex")
        }
        return unsafe CipherState(context: context)
    }

    /// Makes the state of a transform's cipher, or nil for a transform without one.
    static func make(
        _ transform: CipherTransform,
        key: SecretKey,
        direction: Direction
    ) throws(CryptoError) -> CipherState? {
        guard let cipher = try transform.fetched else { return nil }
        let saltLength = transform.isAEAD ? CipherTransform.saltLength : 0
        return try unsafe key.withOctets { (octets) throws(CryptoError) -> CipherState in
            let bare = unsafe UnsafeBufferPointer(rebasing: octets.dropLast(saltLength))
            return try unsafe make(cipher, key: bare, direction: direction)
        }
    }

    /// Encrypts `count` octets in place and writes the 16-octet ICV.
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
            unsafe aadCount == 0 || EVP_EncryptUpdate(context, nil, &written, aad, Int32(aadCount)) == 1,
            unsafe count == 0 || EVP_EncryptUpdate(context, text, &written, text, Int32(count)) == 1,
            unsafe EVP_EncryptFinal_ex(context, text + count, &written) == 1
        else { return false }
        return unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, icv) == 1
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
            && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, 16, icv) == 1
            && (aadCount == 0 || EVP_DecryptUpdate(context, nil, &written, aad, Int32(aadCount)) == 1)
            && (count == 0 || EVP_DecryptUpdate(context, text, &written, text, Int32(count)) == 1)
            && EVP_DecryptFinal_ex(context, text + count, &written) == 1
    }

    /// Runs CBC over `count` octets in place: whole blocks, no padding.
    func runCBC(iv: UnsafePointer<UInt8>, text: UnsafeMutablePointer<UInt8>, count: Int) -> Bool {
        var written: Int32 = 0
        return unsafe EVP_CipherInit_ex(context, nil, nil, nil, iv, -1) == 1
            && EVP_CipherUpdate(context, text, &written, text, Int32(count)) == 1
            && Int(written) == count
    }

    /// Frees the context, which OpenSSL wipes.
    func free() { unsafe EVP_CIPHER_CTX_free(context) }
}
