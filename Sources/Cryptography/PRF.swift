import CSodium

/// A pseudo-random function of IKE: one key, one message, a fixed output (RFC 7296 §2.13).
public enum PRFAlgorithm: Hashable, Sendable, CaseIterable {
    /// PRF_HMAC_MD5 (RFC 2104).
    case hmacMD5
    /// PRF_HMAC_SHA1 (RFC 2104).
    case hmacSHA1
    /// PRF_AES128_XCBC (RFC 4434).
    case aesXCBC
    /// PRF_HMAC_SHA2_256 (RFC 4868).
    case hmacSHA256
    /// PRF_HMAC_SHA2_384 (RFC 4868).
    case hmacSHA384
    /// PRF_HMAC_SHA2_512 (RFC 4868).
    case hmacSHA512
    /// PRF_AES128_CMAC (RFC 4615).
    case aesCMAC

    /// Octets of one output.
    public var outputLength: Int { function.outputLength }
    /// Octets of the preferred key: those of the output.
    public var keyLength: Int { function.outputLength }

    /// How many octets of each nonce make the key of SKEYSEED; nil for all of them.
    ///
    /// RFC 7296 §2.14: only 64 bits of each for AES-XCBC-PRF-128 and AES-CMAC-PRF-128.
    public var nonceOctetsInSeedKey: Int? {
        switch self {
        case .aesXCBC, .aesCMAC: 8
        case .hmacMD5, .hmacSHA1, .hmacSHA256, .hmacSHA384, .hmacSHA512: nil
        }
    }

    var function: MACFunction {
        switch self {
        case .hmacMD5: .hmac(.md5)
        case .hmacSHA1: .hmac(.sha1)
        case .aesXCBC: .xcbc
        case .hmacSHA256: .hmac(.sha256)
        case .hmacSHA384: .hmac(.sha384)
        case .hmacSHA512: .hmac(.sha512)
        case .aesCMAC: .cmac
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

    private static func state(_ algorithm: PRFAlgorithm, _ key: PRFInput) throws(CryptoError) -> MACState {
        try unsafe key.withOctets { (octets) throws(CryptoError) -> MACState in
            switch algorithm {
            case .aesXCBC, .aesCMAC: try unsafe blockState(algorithm.function, octets)
            case .hmacMD5, .hmacSHA1, .hmacSHA256, .hmacSHA384, .hmacSHA512:
                try unsafe MACState.make(algorithm.function, key: octets)
            }
        }
    }

    /// Brings a key of any length to the 16 octets of the cipher: RFC 4434 §2 pads a shorter one for XCBC; a longer one,
    /// and for CMAC any other one (RFC 4615 §3), is replaced by its MAC under a key of zeros.
    private static func blockState(
        _ function: MACFunction,
        _ key: UnsafeBufferPointer<UInt8>
    ) throws(CryptoError) -> MACState {
        let length = BlockMACState.blockLength
        if key.count == length { return try unsafe MACState.make(function, key: key) }
        let fitted = try unsafe SecretKey(count: length) { (target) throws(CryptoError) in
            if function == .xcbc, key.count < length {
                for index in 0..<length { unsafe target[index] = index < key.count ? key[index] : 0 }
                return
            }
            let zeros = [UInt8](repeating: 0, count: length)
            let outer = try unsafe PRFInput.bytes(zeros).withOctets {
                (octets) throws(CryptoError) -> MACState in
                try unsafe MACState.make(function, key: octets)
            }
            defer { outer.free() }
            guard let result = target.baseAddress, outer.begin(),
                unsafe outer.update(key.baseAddress, key.count), unsafe outer.finish(result)
            else { throw .backend("EVP_EncryptUpdate") }
        }
        return try unsafe fitted.withOctets { (octets) throws(CryptoError) -> MACState in
            try unsafe MACState.make(function, key: octets)
        }
    }

    private static func run(
        _ state: MACState,
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
