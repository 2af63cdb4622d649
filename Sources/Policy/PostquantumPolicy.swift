public import Cryptography

/// A post-quantum pre-shared key that is mixed into an IKE_SA's keys (RFC 8784): whoever records the exchange today and
/// breaks its key exchange one day still lacks this key.
public struct PostquantumPolicy: Sendable, Equatable {
    /// The key's name on the wire; a pattern lets a peer choose among those that fit, and names none of ours.
    public var identity: Identity
    /// Without the key there is no IKE_SA.
    public var isRequired: Bool
    /// The keys by their names, which are their owners.
    public var keys: SharedKeyring

    /// Describes the keys.
    public init(identity: Identity, isRequired: Bool, keys: SharedKeyring) {
        self.identity = identity
        self.isRequired = isRequired
        self.keys = keys
    }

    /// The key that we name as initiator; nil when the name is a pattern or no key has it.
    public var own: (name: [UInt8], key: SecretKey)? {
        guard !identity.isPattern else { return nil }
        return key(named: identity.data).map { (identity.data, $0) }
    }

    /// The key of a name that a peer sent, if this policy takes it.
    public func key(named name: [UInt8]) -> SecretKey? {
        guard fits(name) else { return nil }
        return keys.entries.first { entry in
            entry.owners.isEmpty ? identity.data == name : entry.owners.contains { $0.data == name }
        }?.key
    }

    private func fits(_ name: [UInt8]) -> Bool {
        if identity == .any { return true }
        guard identity.isPattern else { return identity.data == name }
        let text = String(decoding: name, as: UTF8.self)
        return identity.matches(Identity(configured: text) ?? .keyID(name))
    }

    /// True when a running IKE_SA of this policy is also one of `other`.
    func isEquivalent(to other: PostquantumPolicy, comparingKeys: Bool) -> Bool {
        identity == other.identity && isRequired == other.isRequired && (!comparingKeys || keys == other.keys)
    }
}
