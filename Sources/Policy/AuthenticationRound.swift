public import EAP

/// How we take part in EAP as initiator (RFC 7296 §2.16).
public struct EAPOptions: Hashable, Sendable {
    /// The methods that the server may choose of, the preferred one first.
    public var methods: [EAPMethod]
    /// Who we say we are within EAP; nil is the IKE identity.
    public var identity: Identity?
    /// Whose certificate the server of EAP-TLS must have; nil is the responder's identity.
    public var server: Identity?

    /// Describes the part that we take.
    public init(methods: [EAPMethod] = EAPMethod.allCases, identity: Identity? = nil, server: Identity? = nil)
    {
        self.methods = methods
        self.identity = identity
        self.server = server
    }
}

/// What EAP methods prove us by, with whose it is.
public struct EAPSecrets: Sendable, Equatable {
    /// Passwords in UTF-8.
    public var passwords: SharedKeyring
    /// NT hashes of passwords.
    public var hashes: SharedKeyring

    /// Nothing.
    public static let none = EAPSecrets(passwords: SharedKeyring([]), hashes: SharedKeyring([]))

    /// Joins both.
    public init(passwords: SharedKeyring, hashes: SharedKeyring) {
        self.passwords = passwords
        self.hashes = hashes
    }
}

/// One of several proofs of ours (RFC 4739).
public struct LocalRound: Hashable, Sendable {
    /// Who we say we are; nil is the outer address in use.
    public var identity: Identity?
    /// How it is proved.
    public var authentication: LocalAuthentication

    /// Joins them.
    public init(identity: Identity?, authentication: LocalAuthentication) {
        self.identity = identity
        self.authentication = authentication
    }
}

/// One of several proofs of the peer's (RFC 4739).
public struct RemoteRound: Hashable, Sendable {
    /// Who it must be; nil is anybody who proves it.
    public var identity: Identity?
    /// How it must prove it.
    public var authentication: RemoteAuthentication

    /// Joins them.
    public init(identity: Identity?, authentication: RemoteAuthentication) {
        self.identity = identity
        self.authentication = authentication
    }
}

extension ConnectionPolicy {
    /// All proofs of ours, in order; there is one at least.
    public var localRounds: [LocalRound] {
        [LocalRound(identity: localIdentity, authentication: localAuthentication)] + laterLocalRounds
    }

    /// All proofs that the peer must bring, in order; there is one at least.
    public var remoteRounds: [RemoteRound] {
        [RemoteRound(identity: effectiveRemoteIdentity, authentication: remoteAuthentication)]
            + laterRemoteRounds
    }

    /// One of the sides proves itself more than once.
    public var hasSeveralRounds: Bool { !laterLocalRounds.isEmpty || !laterRemoteRounds.isEmpty }

    /// The same with the proofs of later rounds in place of the first.
    public func inRound(local: Int, remote: Int) -> ConnectionPolicy {
        var policy = self
        if local > 0, laterLocalRounds.indices.contains(local - 1) {
            policy.localIdentity = laterLocalRounds[local - 1].identity
            policy.localAuthentication = laterLocalRounds[local - 1].authentication
        }
        if remote > 0, laterRemoteRounds.indices.contains(remote - 1) {
            policy.remoteIdentity = laterRemoteRounds[remote - 1].identity ?? .any
            policy.remoteAuthentication = laterRemoteRounds[remote - 1].authentication
        }
        return policy
    }
}
