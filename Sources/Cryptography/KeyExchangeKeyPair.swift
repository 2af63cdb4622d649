import CSodium

/// One side's key of one key exchange; the private value stays in the arena.
public final class KeyExchangeKeyPair: Sendable {
    /// The group of the exchange.
    public let group: KeyExchangeGroup
    /// Our Key Exchange Data in wire form.
    public let publicValue: [UInt8]
    private let privateValue: SecretKey

    /// A new random pair.
    public convenience init(group: KeyExchangeGroup) throws(CryptoError) {
        let privateValue: SecretKey
        switch group {
        case .modp2048, .modp3072, .modp4096:
            privateValue = try ModularGroup.of(group).randomExponent()
        case .ecp256, .ecp384, .ecp521:
            privateValue = try EllipticCurve.of(group).randomScalar()
        case .x25519:
            privateValue = try SecretKey.random(count: 32)
        }
        try self.init(group: group, privateValue: privateValue)
    }

    /// The pair of a given private value, big-endian but for Curve25519: for vectors and replay.
    public init(group: KeyExchangeGroup, privateValue: SecretKey) throws(CryptoError) {
        self.group = group
        self.privateValue = privateValue
        switch group {
        case .modp2048, .modp3072, .modp4096:
            publicValue = try ModularGroup.of(group).publicValue(privateValue)
        case .ecp256, .ecp384, .ecp521:
            publicValue = try EllipticCurve.of(group).publicValue(privateValue)
        case .x25519:
            publicValue = try Curve25519.publicValue(privateValue)
        }
    }

    /// The shared secret with a peer's public value, after the checks that the group demands.
    public func sharedSecret(with peer: [UInt8]) throws(CryptoError) -> SecretKey {
        guard peer.count == group.publicValueLength else { throw .invalidPublicValue("wrong length") }
        switch group {
        case .modp2048, .modp3072, .modp4096:
            return try ModularGroup.of(group).sharedSecret(privateValue, peer)
        case .ecp256, .ecp384, .ecp521:
            return try EllipticCurve.of(group).sharedSecret(privateValue, peer)
        case .x25519:
            return try Curve25519.sharedSecret(privateValue, peer)
        }
    }
}

/// X25519 of RFC 7748 by libsodium.
enum Curve25519 {
    static func publicValue(_ privateValue: SecretKey) throws(CryptoError) -> [UInt8] {
        guard privateValue.count == 32 else { throw .invalidKeyLength }
        var result = [UInt8](repeating: 0, count: 32)
        let outcome = unsafe privateValue.withOctets { scalar -> Int32 in
            guard let scalar = scalar.baseAddress else { return -1 }
            return unsafe crypto_scalarmult_curve25519_base(&result, scalar)
        }
        guard outcome == 0 else { throw .backend("crypto_scalarmult_curve25519_base") }
        return result
    }

    static func sharedSecret(_ privateValue: SecretKey, _ peer: [UInt8]) throws(CryptoError) -> SecretKey {
        try unsafe SecretKey(count: 32) { (target) throws(CryptoError) in
            guard let result = target.baseAddress else { throw .invalidLength }
            let outcome = unsafe privateValue.withOctets { scalar -> Int32 in
                guard let scalar = scalar.baseAddress else { return -1 }
                return unsafe crypto_scalarmult_curve25519(result, scalar, peer)
            }
            // RFC 8031 §3.2: the all-zero result of a low-order point must be refused; libsodium reports it.
            guard outcome == 0, unsafe sodium_is_zero(result, 32) == 0 else {
                throw .invalidPublicValue("low order")
            }
        }
    }
}
