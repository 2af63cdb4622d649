/// A keyed function from octets of any number to some: what integrity algorithms and PRFs are made of.
enum MACFunction: Hashable, Sendable {
    /// HMAC (RFC 2104).
    case hmac(HashFunction)
    /// AES-XCBC-MAC with a key of 128 bits (RFC 3566).
    case xcbc
    /// AES-CMAC with a key of 128 bits (RFC 4493).
    case cmac

    var outputLength: Int {
        switch self {
        case .hmac(let hash): hash.outputLength
        case .xcbc, .cmac: BlockMACState.blockLength
        }
    }
}

/// A keyed function with its key absorbed.
///
/// Safe within its rule: plain memory that whoever called `make` frees once; one thread uses it at a time.
@safe
enum MACState {
    case hmac(HMACState)
    case block(BlockMACState)

    /// Absorbs `key`, which has 16 octets for the functions of a block cipher.
    static func make(
        _ function: MACFunction,
        key: UnsafeBufferPointer<UInt8>
    ) throws(CryptoError) -> MACState {
        switch function {
        case .hmac(let hash): .hmac(try unsafe HMACState.make(hash, key: key))
        case .xcbc: .block(try unsafe BlockMACState.make(.xcbc, key: key))
        case .cmac: .block(try unsafe BlockMACState.make(.cmac, key: key))
        }
    }

    /// Octets that `finish` writes.
    var digestLength: Int {
        switch self {
        case .hmac(let state): state.digestLength
        case .block: BlockMACState.blockLength
        }
    }

    /// Starts a message.
    func begin() -> Bool {
        switch self {
        case .hmac(let state): state.begin()
        case .block(let state): state.begin()
        }
    }

    /// Adds octets of the message.
    func update(_ octets: UnsafePointer<UInt8>?, _ count: Int) -> Bool {
        switch self {
        case .hmac(let state): unsafe state.update(octets, count)
        case .block(let state): unsafe state.update(octets, count)
        }
    }

    /// Writes `digestLength` octets to `result`.
    func finish(_ result: UnsafeMutablePointer<UInt8>) -> Bool {
        switch self {
        case .hmac(let state): unsafe state.finish(result)
        case .block(let state): unsafe state.finish(result)
        }
    }

    /// Wipes and frees the state.
    func free() {
        switch self {
        case .hmac(let state): state.free()
        case .block(let state): state.free()
        }
    }
}
