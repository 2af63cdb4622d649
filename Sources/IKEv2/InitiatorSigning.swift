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
        let octets = SignedOctets(
            prf: channel.suite.prf,
            message: derived.requestOctets,
            nonce: derived.responderNonce,
            identity: IDPayload(type: identity.type, data: identity.data),
            macKey: channel.keys.skPi,
            intermediate: intermediate.authenticated
        )
        var certificates: [Payload] = []
        if case .signature(_, _, let payloads) = proof { certificates = payloads }
        let state = InitiatorSigning(
            derived: derived,
            channel: channel,
            intermediate: intermediate,
            identity: identity,
            certificates: certificates
        )
        switch proof {
        case .sharedKey(let key):
            guard let auth = try? octets.sharedKeyAUTH(key) else {
                derived.attempt.fail(.protocolError("IKE_AUTH could not be written"), common, &context)
                return .close
            }
            let payload = AUTHPayload(method: SignedOctets.sharedKeyMethod, data: auth)
            return InitiatorAwaitingAuth.send(state, payload, common, &context)
        case .signature(let key, let method, _):
            _ = context.compute(.sign(octets, key, method), for: common)
            return .move(.initiatorSigning(state))
        }
    }

    func handle(_ result: ComputeResult, _ common: SACommon, _ context: inout EngineContext) -> Transition {
        switch result.outcome {
        case .signature(let payload): return InitiatorAwaitingAuth.send(self, payload, common, &context)
        case .failure(let error):
            attempt.fail(.cryptography(error), common, &context)
            return .close
        case .keyPair, .secret, .answer, .checked: return .stay
        }
    }
}
