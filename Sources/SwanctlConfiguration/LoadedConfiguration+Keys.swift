public import Cryptography
import Primitives
public import Vici

/// A private key that a vici client loaded.
public struct LoadedKey: Sendable {
    /// SHA-1 of its subjectPublicKey in hexadecimal, as `get-keys` lists it.
    public let identifier: String
    /// The key.
    public let key: PrivateKeyInfo
}

extension LoadedConfiguration {
    /// The identifiers of private keys: the answer to `get-keys`.
    public var keyIdentifiers: [String] { privateKeys.names }

    /// The private key of an identifier.
    public func privateKey(_ identifier: String) -> LoadedKey? { privateKeys[identifier] }

    /// Carries out `load-key`: `type` (any, rsa, ecdsa, ed25519, ed448) and `data`, as DER or PEM.
    ///
    /// A key that is there already is no error.
    /// - Returns: The identifier for the answer's `id`.
    public mutating func loadKey(_ message: ViciMessage) throws(LoadRefusal) -> String {
        var message = message
        return try loadKey(wiping: &message)
    }

    /// The same; the message has no `data` afterwards, and its octets are zeros if nobody else holds it.
    public mutating func loadKey(wiping message: inout ViciMessage) throws(LoadRefusal) -> String {
        guard let type = message.string("type") else { throw LoadRefusal("key type missing") }
        let wanted = SignatureKeyAlgorithm(rawValue: type.uppercased())
        guard wanted != nil || type.lowercased() == "any" else {
            throw LoadRefusal("invalid key type: \(type)")
        }
        guard var data = message.take("data"), !data.isEmpty else {
            throw LoadRefusal("key data missing")
        }
        guard data.count <= PrivateKeyInfo.longestEncoding else {
            throw .limit(PrivateKeyInfo.longestEncoding, "octets of a private key")
        }
        let refusal = LoadRefusal("parsing \(type.uppercased()) private key failed")
        let key: PrivateKeyInfo
        do throws(CryptoError) {
            key = try PrivateKeyInfo(wiping: &data)
        } catch {
            throw refusal
        }
        guard wanted == nil || key.algorithm == wanted else { throw refusal }
        let identifier = Hex.encode(key.keyID)
        guard privateKeys[identifier] != nil || privateKeys.count < LoadLimits.privateKeys else {
            throw .limit(LoadLimits.privateKeys, "private keys")
        }
        privateKeys.set(identifier, LoadedKey(identifier: identifier, key: key))
        credentialsChanged()
        return identifier
    }

    /// Carries out `unload-key`; the identifier is hexadecimal in any case.
    public mutating func unloadKey(_ id: String) throws(LoadRefusal) {
        guard privateKeys.remove(id.lowercased()) != nil else { throw LoadRefusal("key not found") }
        credentialsChanged()
    }
}
