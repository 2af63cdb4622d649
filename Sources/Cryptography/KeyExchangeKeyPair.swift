import CSodium

/// One side's key of one key exchange; the private value stays in the arena.
public final class KeyExchangeKeyPair: Sendable {
    /// The group of the exchange.
    public let group: KeyExchangeGroup
    /// Our Key Exchange Data in wire form.
    public let publicValue: [UInt8]
    /// Nil for an answer to an encapsulation key, which has none.
    private let privateValue: SecretKey?

    /// A new random pair.
    public convenience init(group: KeyExchangeGroup) throws(CryptoError) {
        let privateValue: SecretKey
        switch group.family {
        case .modular:
            privateValue = try ModularGroup.of(group).randomExponent()
        case .ellipticCurve:
            privateValue = try EllipticCurve.of(group).randomScalar()
        case .curve25519:
            privateValue = try SecretKey.random(count: 32)
        case .curve448:
            privateValue = try SecretKey.random(count: Curve448.length)
        case .moduleLattice:
            privateValue = try SecretKey.random(count: ModuleLattice.seedLength)
        }
        try self.init(group: group, privateValue: privateValue)
    }

    /// The pair of a given private value, big-endian but for Curve25519 and Curve448: for vectors and replay.
    public init(group: KeyExchangeGroup, privateValue: SecretKey) throws(CryptoError) {
        self.group = group
        self.privateValue = privateValue
        switch group.family {
        case .modular:
            publicValue = try ModularGroup.of(group).publicValue(privateValue)
        case .ellipticCurve:
            publicValue = try EllipticCurve.of(group).publicValue(privateValue)
        case .curve25519:
            publicValue = try Curve25519.publicValue(privateValue)
        case .curve448:
            publicValue = try Curve448.publicValue(privateValue)
        case .moduleLattice:
            publicValue = try ModuleLattice.publicValue(group, privateValue)
        }
    }

    private init(group: KeyExchangeGroup, answer: [UInt8]) {
        self.group = group
        publicValue = answer
        privateValue = nil
    }

    /// The responder's part: its value, and the shared secret with the initiator's.
    public static func answer(_ group: KeyExchangeGroup, to peer: [UInt8]) throws(CryptoError) -> (
        KeyExchangeKeyPair, SecretKey
    ) {
        guard peer.count == group.publicValueLength else { throw .invalidPublicValue("wrong length") }
        guard group.family == .moduleLattice else {
            let pair = try KeyExchangeKeyPair(group: group)
            return (pair, try pair.sharedSecret(with: peer))
        }
        let (ciphertext, secret) = try ModuleLattice.encapsulate(group, to: peer)
        return (KeyExchangeKeyPair(group: group, answer: ciphertext), secret)
    }

    /// The initiator's shared secret with the responder's value, after the checks that the group demands.
    public func sharedSecret(with peer: [UInt8]) throws(CryptoError) -> SecretKey {
        guard peer.count == group.answerLength else { throw .invalidPublicValue("wrong length") }
        guard let privateValue else { throw .unsupported(group.name) }
        switch group.family {
        case .modular:
            return try ModularGroup.of(group).sharedSecret(privateValue, peer)
        case .ellipticCurve:
            return try EllipticCurve.of(group).sharedSecret(privateValue, peer)
        case .curve25519:
            return try Curve25519.sharedSecret(privateValue, peer)
        case .curve448:
            return try Curve448.sharedSecret(privateValue, peer)
        case .moduleLattice:
            return try ModuleLattice.decapsulate(group, privateValue, peer)
        }
    }
}

extension KeyExchangeGroup {
    /// Octets of our private values.
    var privateValueLength: Int {
        get throws(CryptoError) {
            switch family {
            case .modular: try ModularGroup.of(self).exponentLength
            case .ellipticCurve, .curve25519, .curve448: sharedSecretLength
            case .moduleLattice: ModuleLattice.seedLength
            }
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
