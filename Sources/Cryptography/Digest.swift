import COpenSSL

/// Plain hashes of public octets: NAT detection, vendor ids, certificate hashes.
public enum Digest {
    /// SHA-1 of all parts, one after the other.
    public static func sha1(_ parts: [[UInt8]]) throws(CryptoError) -> [UInt8] {
        try compute(.sha1, parts)
    }

    /// SHA-256 of all parts, one after the other.
    public static func sha256(_ parts: [[UInt8]]) throws(CryptoError) -> [UInt8] {
        try compute(.sha256, parts)
    }

    private static func compute(_ hash: HashFunction, _ parts: [[UInt8]]) throws(CryptoError) -> [UInt8] {
        guard let digest = unsafe hash.fetched.pointer else { throw .backend("EVP_MD_fetch") }
        guard let context = unsafe EVP_MD_CTX_new() else { throw .exhausted }
        defer { unsafe EVP_MD_CTX_free(context) }
        try check(unsafe EVP_DigestInit_ex(context, digest, nil), "EVP_DigestInit_ex")
        for part in parts {
            try check(unsafe EVP_DigestUpdate(context, part, part.count), "EVP_DigestUpdate")
        }
        var result = [UInt8](repeating: 0, count: hash.outputLength)
        try check(unsafe EVP_DigestFinal_ex(context, &result, nil), "EVP_DigestFinal_ex")
        return result
    }
}
