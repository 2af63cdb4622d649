import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy

/// Our proof of identity is being made; then IKE_AUTH goes out (RFC 7296 §2.15).
struct InitiatorSigning {
    let derived: InitiatorDeriving
    let channel: SecureChannel
    let intermediate: Intermediate
    let identity: Identity
    /// The CERT payloads.
    let certificates: [Payload]
    /// The post-quantum key, if one is used.
    let postquantum: PostquantumUse?
    /// How we prove who we are.
    let proof: OwnProof
    /// What a proof without that key covers, for a peer that lacks it; nil when there is to be none.
    let plainOctets: SignedOctets?
    /// Our proof with the key, while the one without is made.
    var mixedProof: AUTHPayload?

    var attempt: InitiatorAttempt { derived.attempt }

    /// Proves who we are: at once with a pre-shared key, else by a signature that is made elsewhere.
    static func begin(
        _ derived: InitiatorDeriving,
        _ channel: SecureChannel,
        _ intermediate: Intermediate,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let connection = derived.attempt.connection
        if derived.floatsPorts { common.floatPorts(context.configuration) }
        let identity = connection.effectiveLocalIdentity(at: common.local.address)
        let proof: OwnProof
        switch connection.ownProof(of: identity, derived.wishes, common) {
        case .failure(let cause):
            derived.attempt.fail(cause, common, &context)
            return .close
        case .success(let found): proof = found
        }
        let postquantum = derived.usesPPK ? connection.postquantumUse(channel) : nil
        let covered = { (keys: IKEKeys) in
            SignedOctets(
                prf: channel.suite.prf,
                message: derived.requestOctets,
                nonce: derived.responderNonce,
                identity: IDPayload(type: identity.type, data: identity.data),
                macKey: keys.skPi,
                intermediate: intermediate.authenticated
            )
        }
        let octets = covered(postquantum?.keys ?? channel.keys)
        var certificates: [Payload] = []
        if case .signature(_, _, let payloads) = proof { certificates = payloads }
        let state = InitiatorSigning(
            derived: derived,
            channel: channel,
            intermediate: intermediate,
            identity: identity,
            certificates: certificates,
            postquantum: postquantum,
            proof: proof,
            plainOctets: postquantum?.isRequired == false ? covered(channel.keys) : nil
        )
        switch proof {
        case .sharedKey(let key):
            let auth: [UInt8]
            var plain: [UInt8]?
            do throws(CryptoError) {
                auth = try octets.sharedKeyAUTH(key)
                if let octets = state.plainOctets { plain = try octets.sharedKeyAUTH(key) }
            } catch {
                derived.attempt.fail(.protocolError("IKE_AUTH could not be written"), common, &context)
                return .close
            }
            let payload = AUTHPayload(method: SignedOctets.sharedKeyMethod, data: auth)
            return InitiatorAwaitingAuth.send(state, payload, plain: plain, common, &context)
        case .signature(let key, let method, _):
            _ = context.compute(.sign(octets, key, method), for: common)
            return .move(.initiatorSigning(state))
        }
    }

    mutating func handle(_ result: ComputeResult, _ common: SACommon, _ context: inout EngineContext)
        -> Transition
    {
        switch result.outcome {
        case .signature(let payload):
            guard let plainOctets, case .signature(let key, let method, _) = proof else {
                return InitiatorAwaitingAuth.send(self, payload, plain: nil, common, &context)
            }
            if let mixedProof {
                return InitiatorAwaitingAuth.send(self, mixedProof, plain: payload.data, common, &context)
            }
            mixedProof = payload
            _ = context.compute(.sign(plainOctets, key, method), for: common)
            return .stay
        case .failure(let error):
            attempt.fail(.cryptography(error), common, &context)
            return .close
        case .keyPair, .secret, .answer, .checked: return .stay
        }
    }
}

extension ConnectionPolicy {
    /// The keys of an IKE_SA with our post-quantum key mixed in; nil without such a key.
    fileprivate func postquantumUse(_ channel: SecureChannel) -> PostquantumUse? {
        guard let policy = postquantum, let (name, key) = policy.own,
            let keys = try? channel.keys.mixing(key, prf: channel.suite.prf)
        else { return nil }
        return PostquantumUse(keys: keys, name: name, isRequired: policy.isRequired)
    }
}
