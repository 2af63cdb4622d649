import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Policy

/// A post-quantum key that both ends said to have (RFC 8784 §3).
struct PostquantumUse {
    /// The keys of the IKE_SA with it mixed in.
    let keys: IKEKeys
    /// Its name on the wire.
    let name: [UInt8]
    /// Without it there is no IKE_SA.
    let isRequired: Bool

    /// PPK_ID_FIXED, the only type that others have (RFC 8784 §5.1).
    private static let fixedType: UInt8 = 2

    /// Names the key to the responder.
    var notification: Payload { .notify(NotifyPayload(.ppkIdentity, data: [Self.fixedType] + name)) }

    /// The name in a PPK_IDENTITY; nil for an opaque one (type 1), which nobody here could have made.
    static func name(in notify: NotifyPayload) -> [UInt8]? {
        guard notify.data.count >= 2, notify.data[0] == fixedType else { return nil }
        return Array(notify.data.dropFirst())
    }
}

extension InitiatorAttempt {
    /// We say that we can mix a key in.
    var offersPostquantumKey: Bool { connection.postquantum?.own != nil }

    /// Why a response to IKE_SA_INIT is none that the policy takes; nil when it is one.
    func postquantumRefusal(_ payloads: [Payload]) -> DownCause? {
        guard let policy = connection.postquantum, policy.isRequired else { return nil }
        let origin = connection.origin(of: "ppk-id")
        guard policy.own != nil else {
            return .postquantumKey(
                "no key is named '\(policy.identity)' here, and one is required (\(origin))"
            )
        }
        guard payloads.notification(.usePPK) == nil else { return nil }
        return .postquantumKey("the peer does not take one, and it is required (\(origin))")
    }
}

extension ResponderAwaitingAuth {
    /// What becomes of an IKE_AUTH request's post-quantum key.
    struct PostquantumChoice {
        /// The connections that take it so.
        var connections: [ConnectionPolicy]
        /// The proof that counts.
        var auth: AUTHPayload
        /// The keys with it mixed in; nil without one.
        var keys: IKEKeys?
    }

    /// The key that the peer names, or none where both ends can do without (RFC 8784 §3).
    func postquantum(
        _ payloads: [Payload],
        _ auth: AUTHPayload,
        _ connections: [ConnectionPolicy]
    ) -> Result<PostquantumChoice, DownCause> {
        var missing = "the peer does not use one"
        if initial.usesPPK, let notify = payloads.notification(.ppkIdentity) {
            let name = PostquantumUse.name(in: notify) ?? []
            let having = connections.compactMap { one in one.postquantum?.key(named: name).map { (one, $0) } }
            if let key = having.first?.1, let keys = try? channel.keys.mixing(key, prf: channel.suite.prf) {
                let same = having.filter { $0.1 == key }.map { $0.0 }
                return .success(PostquantumChoice(connections: same, auth: auth, keys: keys))
            }
            missing = "no key is named '\(Identity.keyID(name))' here"
            guard payloads.notification(.noPPKAuth) != nil else {
                return .failure(.postquantumKey(missing + ", and the peer does not do without"))
            }
        }
        let without = connections.filter { $0.postquantum?.isRequired != true }
        guard !without.isEmpty else {
            let origin = connections.first?.origin(of: "ppk-id")
            return .failure(
                .postquantumKey(missing + ", and it is required (\(origin.map { "\($0)" } ?? "-"))")
            )
        }
        // AUTH itself is made with the key; this one without.
        let plain = initial.usesPPK ? payloads.notification(.noPPKAuth) : nil
        let proof = plain.map { AUTHPayload(method: auth.method, data: $0.data) } ?? auth
        return .success(PostquantumChoice(connections: without, auth: proof, keys: nil))
    }
}
