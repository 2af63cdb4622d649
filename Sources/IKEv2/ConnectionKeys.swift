import Cryptography
import IKECore
import IKEMessages
import IPPackets
import Policy

/// Which pre-shared key a connection takes for which peer.
extension ConnectionPolicy {
    /// The key by which we prove `ours` to a peer that has not said who it is; nil when there is none.
    func ownKey(as ours: Identity, _ common: SACommon) -> SecretKey? {
        let expected = effectiveRemoteIdentity.flatMap { $0.isPattern ? nil : $0 }
        return keys(with: expected, as: ours, common).first
    }

    /// The keys that a peer may have to prove that it is `theirs`, the likeliest first.
    func keys(with theirs: Identity?, as ours: Identity, _ common: SACommon) -> [SecretKey] {
        sharedKeys.keys(
            local: ours,
            remote: theirs,
            localAddress: common.local.address,
            remoteAddress: common.remote.address
        )
    }

    /// True when no other IKE_SA with the peer is there, so that it may drop those that it believes in.
    ///
    /// RFC 7296 §2.4 leaves saying so to us: strongSwan does only where uniqueness is asked for, and so do we for what it
    /// configures.
    func saysInitialContact(as ours: Identity, _ context: EngineContext) -> Bool {
        guard uniqueness != .never, context.establishedCounts[name, default: 0] == 0 else { return false }
        guard let theirs = effectiveRemoteIdentity, !theirs.isPattern else { return !isFromVici }
        if isFromVici, uniqueness == .no { return false }
        return !context.contacts.has(Contacts.Pair(ours, theirs))
    }

    /// Why there is no key to prove `ours` with.
    func missingKey(as ours: Identity) -> String {
        let theirs = effectiveRemoteIdentity ?? .any
        return "no pre-shared key is for '\(ours)' and '\(theirs)' (\(origin(of: "psk-file")))"
    }

    /// Why a peer that claims to be `theirs` was not believed by any of `connections`.
    fileprivate static func refusal(
        of theirs: Identity,
        _ auth: AUTHPayload,
        hasKeys: Bool,
        by connections: [ConnectionPolicy]
    ) -> DownCause {
        guard auth.method == SignedOctets.sharedKeyMethod,
            connections.contains(where: { $0.remoteAuthentication.acceptsSharedKey })
        else {
            let key = connections.first?.remoteAuthentication.acceptsSharedKey == true ? "psk-file" : "ca"
            let accepted = key == "ca" ? "a signature" : "a pre-shared key"
            let origin = connections.first.map { " (\($0.origin(of: key)))" } ?? ""
            return .authenticationFailed(
                "'\(theirs)' authenticates by \(auth.methodName), accepted is \(accepted) alone\(origin)"
            )
        }
        let files = connections.prefix(4).map { $0.origin(of: "psk-file").description }.joined(
            separator: ", "
        )
        return .authenticationFailed(
            hasKeys
                ? "'\(theirs)' has another pre-shared key than \(files)"
                : "no pre-shared key is for '\(theirs)' (\(files))"
        )
    }
}

/// The check of one AUTH payload against the keys of several connections; each key is tried once.
struct AuthenticationTrial {
    /// More keys than any peer has: what a stranger can make us compute stays small.
    private static let mostKeys = 1024

    private let auth: AUTHPayload
    private let identity: Identity
    private let octets: SignedOctets
    private var tried: [ObjectIdentifier: VerifiedPeer?] = [:]

    init(_ auth: AUTHPayload, identity: Identity, octets: SignedOctets) {
        self.auth = auth
        self.identity = identity
        self.octets = octets
    }

    /// The proof by the first key of a connection that fits; nil when none does.
    mutating func prove(to connection: ConnectionPolicy, _ common: SACommon)
        -> (peer: VerifiedPeer, key: SecretKey)?
    {
        guard auth.method == SignedOctets.sharedKeyMethod,
            connection.remoteAuthentication.acceptsSharedKey
        else { return nil }
        let ours = connection.effectiveLocalIdentity(at: common.local.address)
        for key in connection.keys(with: identity, as: ours, common) {
            if let peer = check(key) { return (peer, key) }
        }
        return nil
    }

    private mutating func check(_ key: SecretKey) -> VerifiedPeer? {
        let id = ObjectIdentifier(key)
        if let known = tried[id] { return known }
        guard tried.count < Self.mostKeys else { return nil }
        let peer = try? VerifiedPeer.verifying(auth, identity: identity, sharedKey: key, octets: octets)
        tried[id] = .some(peer)
        return peer
    }

    /// Why none of the connections believes the peer.
    func refusal(by connections: [ConnectionPolicy]) -> DownCause {
        ConnectionPolicy.refusal(
            of: identity,
            auth,
            hasKeys: !tried.isEmpty,
            by: connections
        )
    }
}
