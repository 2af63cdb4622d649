import CSodium
import Crypto
import FoundationEssentials

/// ML-KEM of FIPS 203 (draft-ietf-ipsecme-ikev2-mlkem): a key encapsulation, so the responder's value is a ciphertext.
///
/// By swift-crypto, whose BoringSSL works in constant time; OpenSSL has it from 3.5 on only. Between the exchange's two
/// messages the key is its seed in the arena; the library's own copy lives as long as one call.
enum ModuleLattice {
    /// Octets of a seed, d | z.
    static let seedLength = 64

    /// The encapsulation key of the initiator.
    static func publicValue(_ group: KeyExchangeGroup, _ seed: SecretKey) throws(CryptoError) -> [UInt8] {
        guard seed.count == seedLength else { throw .invalidKeyLength }
        return try withSeed(seed) { octets throws in
            switch group {
            case .mlkem768:
                let key = try MLKEM768.PrivateKey(seedRepresentation: octets, publicKey: nil)
                return Array(key.publicKey.rawRepresentation)
            default:
                let key = try MLKEM1024.PrivateKey(seedRepresentation: octets, publicKey: nil)
                return Array(key.publicKey.rawRepresentation)
            }
        }
    }

    /// The responder's ciphertext and the shared secret.
    static func encapsulate(_ group: KeyExchangeGroup, to peer: [UInt8]) throws(CryptoError) -> (
        [UInt8], SecretKey
    ) {
        let result: KEM.EncapsulationResult
        do {
            result =
                switch group {
                case .mlkem768: try MLKEM768.PublicKey(rawRepresentation: peer).encapsulate()
                default: try MLKEM1024.PublicKey(rawRepresentation: peer).encapsulate()
                }
        } catch {
            // FIPS 203 §7.2: the modulus check of the encapsulation key.
            throw .invalidPublicValue("not an encapsulation key")
        }
        return (Array(result.encapsulated), try secret(result.sharedSecret))
    }

    /// The initiator's shared secret; a ciphertext that was changed gives another one, not an error (FIPS 203 §6.3).
    static func decapsulate(_ group: KeyExchangeGroup, _ seed: SecretKey, _ ciphertext: [UInt8])
        throws(CryptoError) -> SecretKey
    {
        let key = try withSeed(seed) { octets throws in
            switch group {
            case .mlkem768:
                try MLKEM768.PrivateKey(seedRepresentation: octets, publicKey: nil).decapsulate(ciphertext)
            default:
                try MLKEM1024.PrivateKey(seedRepresentation: octets, publicKey: nil).decapsulate(ciphertext)
            }
        }
        return try secret(key)
    }

    /// Runs `body` with a copy of the seed that is wiped afterwards.
    private static func withSeed<Result>(
        _ seed: SecretKey,
        _ body: ([UInt8]) throws -> Result
    ) throws(CryptoError) -> Result {
        var octets = seed.copied()
        defer { Sodium.wipe(&octets) }
        do { return try body(octets) } catch { throw .backend("ML-KEM") }
    }

    private static func secret(_ key: SymmetricKey) throws(CryptoError) -> SecretKey {
        try unsafe SecretKey(count: key.bitCount / 8) { target in
            unsafe key.withUnsafeBytes { octets in
                unsafe UnsafeMutableRawBufferPointer(target).copyMemory(from: octets)
            }
        }
    }
}
