import COpenSSL
import CSodium

/// The challenge and response of MS-CHAP-V2 (RFC 2759) with its keys (RFC 3079), as EAP uses them.
///
/// Its DES with 56 bits and its MD4 protect nothing by themselves: it belongs inside of a channel to a peer that is known.
public struct MSCHAPv2: Sendable {
    /// Octets of either side's challenge.
    public static let challengeLength = 16
    /// Octets of the NT hash of a password.
    public static let hashLength = 16
    /// Octets of a response.
    public static let responseLength = 24

    /// The NT hash of the password.
    private let hash: SecretKey
    /// ChallengeHash of RFC 2759 §8.2.
    private let challenge: [UInt8]
    /// The response to the challenge.
    public let response: [UInt8]

    /// The response to a challenge of the authenticator's.
    ///
    /// - Parameters:
    ///   - hash: the NT hash of the password.
    ///   - userName: the name as it is sent; what stands before a backslash is a domain and no part of it (§4).
    /// - Throws: `CryptoError.invalidLength` when a challenge or the hash has another length.
    public init(
        hash: SecretKey,
        userName: [UInt8],
        peerChallenge: [UInt8],
        authenticatorChallenge: [UInt8]
    ) throws(CryptoError) {
        guard hash.count == Self.hashLength, peerChallenge.count == Self.challengeLength,
            authenticatorChallenge.count == Self.challengeLength
        else { throw .invalidLength }
        let name = userName.lastIndex(of: UInt8(ascii: "\\")).map { userName[($0 + 1)...] } ?? userName[...]
        self.hash = hash
        challenge = Array(
            try Digest.sha1([peerChallenge, authenticatorChallenge, Array(name)]).prefix(8)
        )
        response = try Self.response(hash, challenge)
    }

    /// NtPasswordHash of RFC 2759 §8.3: MD4 of the password in UTF-16.
    ///
    /// - Parameter password: in UTF-8; up to 256 characters.
    public static func hash(ofPassword password: SecretKey) throws(CryptoError) -> SecretKey {
        try unsafe SecretKey(count: hashLength) { (target) throws(CryptoError) in
            let result = unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 512) { wide in
                defer { unsafe sodium_memzero(wide.baseAddress, 512) }
                guard let count = unsafe Self.widen(password, into: wide) else { return false }
                return unsafe MD4(wide.baseAddress, count, target.baseAddress) != nil
            }
            guard result else { throw .invalidLength }
        }
    }

    /// The octets written; nil when the password is no UTF-8, or too long.
    @unsafe private static func widen(
        _ password: SecretKey,
        into wide: UnsafeMutableBufferPointer<UInt8>
    ) -> Int? {
        unsafe password.withOctets { octets in
            var (decoder, iterator, count) = (UTF8(), unsafe octets.makeIterator(), 0)
            while true {
                switch unsafe decoder.decode(&iterator) {
                case .emptyInput: return count
                case .error: return nil
                case .scalarValue(let scalar):
                    for unit in UTF16.encode(scalar) ?? UTF16.encodedReplacementCharacter {
                        guard count + 2 <= wide.count else { return nil }
                        unsafe wide[count] = UInt8(truncatingIfNeeded: unit)
                        unsafe wide[count + 1] = UInt8(truncatingIfNeeded: unit >> 8)
                        count += 2
                    }
                }
            }
        }
    }

    /// ChallengeResponse of RFC 2759 §8.5: DES under three keys of 56 bits, which the hash with five zeros makes.
    private static func response(_ hash: SecretKey, _ challenge: [UInt8]) throws(CryptoError) -> [UInt8] {
        guard challenge.count == 8 else { throw .invalidLength }
        var result = [UInt8](repeating: 0, count: responseLength)
        unsafe hash.withOctets { octets in
            var key = unsafe Array(octets) + [UInt8](repeating: 0, count: 5)
            defer { Sodium.wipe(&key) }
            for index in 0..<3 {
                var part = Array(key[7 * index..<7 * index + 7])
                defer { Sodium.wipe(&part) }
                let block = encrypt(challenge, part)
                result.replaceSubrange(8 * index..<8 * index + 8, with: block)
            }
        }
        return result
    }

    /// One block by DES; its key has 8 octets, of which each ends in a bit that does not count (RFC 2759 §8.6).
    private static func encrypt(_ block: [UInt8], _ key: [UInt8]) -> [UInt8] {
        var bits = key.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        var spread = [UInt8](repeating: 0, count: 8)
        for index in stride(from: 7, through: 0, by: -1) {
            spread[index] = UInt8(truncatingIfNeeded: bits << 1) & 0xfe
            bits >>= 7
        }
        var schedule = DES_key_schedule()
        defer {
            Sodium.wipe(&spread)
            unsafe withUnsafeMutableBytes(of: &schedule) { unsafe sodium_memzero($0.baseAddress, $0.count) }
        }
        var result = [UInt8](repeating: 0, count: 8)
        unsafe spread.withUnsafeBytes { key in
            guard let key = unsafe key.baseAddress?.assumingMemoryBound(to: const_DES_cblock.self) else {
                return
            }
            unsafe DES_set_key_unchecked(UnsafeMutablePointer(mutating: key), &schedule)
        }
        unsafe block.withUnsafeBytes { input in
            unsafe result.withUnsafeMutableBytes { output in
                guard let input = unsafe input.baseAddress?.assumingMemoryBound(to: const_DES_cblock.self),
                    let output = unsafe output.baseAddress?.assumingMemoryBound(to: DES_cblock.self)
                else { return }
                unsafe DES_ecb_encrypt(UnsafeMutablePointer(mutating: input), output, &schedule, DES_ENCRYPT)
            }
        }
        return result
    }

    /// What the authenticator proves by that it knows the password too: the text `S=` and 40 digits (RFC 2759 §8.7).
    public func authenticatorResponse() throws(CryptoError) -> [UInt8] {
        let first = try withHashOfHash { (hashOfHash) throws(CryptoError) in
            try Digest.sha1([hashOfHash, response, Self.signing])
        }
        let digest = try Digest.sha1([first, challenge, Self.padding])
        let digits = Array("0123456789ABCDEF".utf8)
        return Array("S=".utf8) + digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
    }

    /// The master session key of 64 octets: what the authenticator receives with, what it sends with, zeros.
    public func masterSessionKey() throws(CryptoError) -> SecretKey {
        var master = try withHashOfHash { (hashOfHash) throws(CryptoError) in
            Array(try Digest.sha1([hashOfHash, response, Self.masterKey]).prefix(16))
        }
        defer { Sodium.wipe(&master) }
        let (zeros, filling) = ([UInt8](repeating: 0, count: 40), [UInt8](repeating: 0xf2, count: 40))
        var key = [UInt8]()
        for text in [Self.clientSends, Self.serverSends] {
            var part = try Digest.sha1([master, zeros, text, filling])
            key += part.prefix(16)
            Sodium.wipe(&part)
        }
        key += [UInt8](repeating: 0, count: 32)
        return try SecretKey(wiping: &key)
    }

    private func withHashOfHash<Result>(
        _ body: ([UInt8]) throws(CryptoError) -> Result
    ) throws(CryptoError) -> Result {
        var hashOfHash = [UInt8](repeating: 0, count: Self.hashLength)
        defer { Sodium.wipe(&hashOfHash) }
        let isDone = unsafe hash.withOctets { octets in
            unsafe MD4(octets.baseAddress, octets.count, &hashOfHash) != nil
        }
        guard isDone else { throw .backend("MD4") }
        return try body(hashOfHash)
    }

    private static let signing = Array("Magic server to client signing constant".utf8)
    private static let padding = Array("Pad to make it do more than one iteration".utf8)
    private static let masterKey = Array("This is the MPPE Master Key".utf8)
    private static let clientSends = Array(
        "On the client side, this is the send key; on the server side, it is the receive key.".utf8
    )
    private static let serverSends = Array(
        "On the client side, this is the receive key; on the server side, it is the send key.".utf8
    )
}

/// The response of EAP-MD5 to a challenge (RFC 3748 §5.4, RFC 1994 §4.1).
public enum MD5Challenge {
    /// MD5 of the identifier, the password and the challenge.
    public static func response(
        identifier: UInt8,
        password: SecretKey,
        challenge: [UInt8]
    ) throws(CryptoError) -> [UInt8] {
        guard let digest = unsafe HashFunction.md5.fetched.pointer else { throw .backend("EVP_MD_fetch") }
        guard let context = unsafe EVP_MD_CTX_new() else { throw .exhausted }
        defer { unsafe EVP_MD_CTX_free(context) }
        var result = [UInt8](repeating: 0, count: HashFunction.md5.outputLength)
        try check(unsafe EVP_DigestInit_ex(context, digest, nil), "EVP_DigestInit_ex")
        try check(unsafe EVP_DigestUpdate(context, [identifier], 1), "EVP_DigestUpdate")
        try unsafe password.withOctets { (octets) throws(CryptoError) in
            try check(unsafe EVP_DigestUpdate(context, octets.baseAddress, octets.count), "EVP_DigestUpdate")
        }
        try check(unsafe EVP_DigestUpdate(context, challenge, challenge.count), "EVP_DigestUpdate")
        try check(unsafe EVP_DigestFinal_ex(context, &result, nil), "EVP_DigestFinal_ex")
        return result
    }
}
