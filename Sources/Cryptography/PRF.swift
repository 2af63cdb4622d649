import CSodium

/// A pseudo-random function of IKE: one key, one message, a fixed output (RFC 7296 §2.13).
public enum PRFAlgorithm: Hashable, Sendable, CaseIterable {
    /// PRF_HMAC_SHA1 (RFC 2104).
    case hmacSHA1
    /// PRF_HMAC_SHA2_256 (RFC 4868).
    case hmacSHA256
    /// PRF_HMAC_SHA2_384 (RFC 4868).
    case hmacSHA384
    /// PRF_HMAC_SHA2_512 (RFC 4868).
    case hmacSHA512

    /// Octets of one output.
    public var outputLength: Int { hash.outputLength }
    /// Octets of the preferred key: those of the output.
    public var keyLength: Int { hash.outputLength }

    var hash: HashFunction {
        switch self {
        case .hmacSHA1: .sha1
        case .hmacSHA256: .sha256
        case .hmacSHA384: .sha384
        case .hmacSHA512: .sha512
        }
    }
}

/// A key or a part of a message: public octets, or secret ones that stay in the arena.
public enum PRFInput: Sendable {
    /// Public octets: nonces, SPIs, messages.
    case bytes([UInt8])
    /// Secret octets.
    case secret(SecretKey)

    @unsafe func withOctets<Result, Failure: Error>(
        _ body: (UnsafeBufferPointer<UInt8>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        switch self {
        case .secret(let key): return try unsafe key.withOctets(body)
        case .bytes(let octets):
            // The standard accessor does not forward a typed error.
            let outcome = unsafe octets.withUnsafeBufferPointer { buffer -> Swift.Result<Result, Failure> in
                do throws(Failure) {
                    return .success(try unsafe body(buffer))
                } catch {
                    return .failure(error)
                }
            }
            return try outcome.get()
        }
    }
}

/// prf and prf+ of RFC 7296 §2.13.
public enum PRF {
    /// prf(key, data) as a secret.
    public static func compute(
        _ algorithm: PRFAlgorithm,
        key: PRFInput,
        _ data: [PRFInput]
    ) throws(CryptoError) -> SecretKey {
        let state = try state(algorithm, key)
        defer { state.free() }
        return try unsafe SecretKey(count: algorithm.outputLength) { (target) throws(CryptoError) in
            try unsafe run(state, data, into: target)
        }
    }

    /// prf(key, data) as a public value: AUTH payloads, cookies.
    public static func tag(
        _ algorithm: PRFAlgorithm,
        key: PRFInput,
        _ data: [PRFInput]
    ) throws(CryptoError) -> [UInt8] {
        try compute(algorithm, key: key, data).copied()
    }

    /// prf+(key, seed), cut to `count` octets: at most 255 blocks, and at most 8,192 octets.
    public static func expand(
        _ algorithm: PRFAlgorithm,
        key: SecretKey,
        seed: [PRFInput],
        count: Int
    ) throws(CryptoError) -> SecretKey {
        let blockLength = algorithm.outputLength
        // RFC 7296 §2.13: "prf+ ... is not defined beyond 255 times the size of the prf function output".
        guard count >= 0, count <= 255 * blockLength else { throw .invalidLength }
        let state = try state(algorithm, .secret(key))
        defer { state.free() }
        return try unsafe SecretKey(count: count) { (target) throws(CryptoError) in
            var previous = [PRFInput]()
            var number: UInt8 = 1
            var next = 0
            while next < count {
                let message = previous + seed + [.bytes([number])]
                let block = try unsafe SecretKey(count: blockLength) { (piece) throws(CryptoError) in
                    try unsafe run(state, message, into: piece)
                }
                let taken = min(blockLength, count - next)
                unsafe block.withOctets { octets in
                    for index in 0..<taken { unsafe target[next + index] = octets[index] }
                }
                previous = [.secret(block)]
                next += taken
                number &+= 1
            }
        }
    }

    private static func state(_ algorithm: PRFAlgorithm, _ key: PRFInput) throws(CryptoError) -> HMACState {
        try unsafe key.withOctets { (octets) throws(CryptoError) -> HMACState in
            try unsafe HMACState.make(algorithm.hash, key: octets)
        }
    }

    private static func run(
        _ state: HMACState,
        _ data: [PRFInput],
        into target: UnsafeMutableBufferPointer<UInt8>
    ) throws(CryptoError) {
        guard let result = target.baseAddress, target.count == state.digestLength else {
            throw .invalidLength
        }
        var ok = state.begin()
        for part in data {
            let added = unsafe part.withOctets { octets in
                unsafe state.update(octets.baseAddress, octets.count)
            }
            ok = ok && added
        }
        guard ok, unsafe state.finish(result) else { throw .backend("EVP_DigestFinal_ex") }
    }
}

extension SecretKey {
    /// The octets of a result that is public by its protocol.
    func copied() -> [UInt8] {
        unsafe withOctets { octets in unsafe Array(octets) }
    }
}
