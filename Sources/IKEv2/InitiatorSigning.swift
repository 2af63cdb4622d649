import Cryptography
import EAP
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy

/// A proof of our identity is being made; then IKE_AUTH goes out (RFC 7296 §2.15).
struct InitiatorSigning {
    let progress: InitiatorProgress
    /// The CERT payloads.
    let certificates: [Payload]
    /// What signs.
    let key: PrivateKeyInfo
    let method: SignatureMethod
    /// What a proof without the post-quantum key covers, for a peer that lacks it; nil when there is to be none.
    let plainOctets: SignedOctets?
    /// Our proof with that key, while the one without is made.
    var mixedProof: AUTHPayload?

    var attempt: InitiatorAttempt { progress.attempt }

    /// Begins the IKE_AUTH exchanges.
    static func begin(
        _ derived: InitiatorDeriving,
        _ channel: SecureChannel,
        _ intermediate: Intermediate,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if derived.floatsPorts { common.floatPorts(context.configuration) }
        var progress = InitiatorProgress(derived, channel, intermediate, common)
        let connection = derived.attempt.connection
        if connection.hasSeveralRounds, !derived.takesSeveralProofs {
            let cause = "it takes one proof of identity, \(connection.origin) has several"
            return progress.giveUp(.authenticationFailed(cause), common, &context)
        }
        progress.postquantum = derived.usesPPK ? connection.postquantumUse(channel) : nil
        return prove(progress, common, &context)
    }

    /// Proves who we are: at once with a pre-shared key, by a signature that is made elsewhere, or by EAP, which the peer
    /// begins.
    static func prove(
        _ started: InitiatorProgress,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        var progress = started
        let connection = progress.connection
        progress.identity = connection.effectiveLocalIdentity(at: common.local.address)
        switch connection.ownProof(of: progress.identity, progress.derived.wishes, common) {
        case .failure(let cause): return progress.giveUp(cause, common, &context)
        case .success(.eap(let options)):
            progress.eap = EAPConversation(
                connection.credentials(for: options, of: progress.identity, common)
            )
            return progress.sendProof(nil, plain: nil, certificates: [], common, &context)
        case .success(.sharedKey(let key)):
            do throws(CryptoError) {
                let (auth, plain) = try progress.sharedKeyProof(key)
                return progress.sendProof(auth, plain: plain, certificates: [], common, &context)
            } catch {
                return progress.giveUp(.cryptography(error), common, &context)
            }
        case .success(.signature(let key, let method, let certificates)):
            let octets = progress.octets(progress.postquantum?.keys ?? progress.channel.keys)
            _ = context.compute(.sign(octets, key, method), for: common)
            let takesBoth = progress.postquantum?.isRequired == false
            return .move(
                .initiatorSigning(
                    InitiatorSigning(
                        progress: progress,
                        certificates: certificates,
                        key: key,
                        method: method,
                        plainOctets: takesBoth ? progress.octets(progress.channel.keys) : nil
                    )
                )
            )
        }
    }

    mutating func handle(_ result: ComputeResult, _ common: SACommon, _ context: inout EngineContext)
        -> Transition
    {
        switch result.outcome {
        case .signature(let payload):
            if let mixedProof {
                return send(mixedProof, plain: payload.data, common, &context)
            }
            guard let plainOctets else { return send(payload, plain: nil, common, &context) }
            mixedProof = payload
            _ = context.compute(.sign(plainOctets, key, method), for: common)
            return .stay
        case .failure(let error): return progress.giveUp(.cryptography(error), common, &context)
        case .keyPair, .secret, .answer, .checked, .advanced: return .stay
        }
    }

    private func send(
        _ auth: AUTHPayload,
        plain: [UInt8]?,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        progress.sendProof(auth, plain: plain, certificates: certificates, common, &context)
    }
}

extension InitiatorProgress {
    /// The proof by a shared key, and the one without the post-quantum key where the peer may do without.
    ///
    /// - Parameter key: nil for SK_pi itself: what EAP methods without a key prove by (RFC 7296 §2.16).
    func sharedKeyProof(_ key: SecretKey?) throws(CryptoError) -> (auth: AUTHPayload, plain: [UInt8]?) {
        let keys = postquantum?.keys ?? channel.keys
        let auth = try octets(keys).sharedKeyAUTH(key ?? keys.skPi)
        var plain: [UInt8]?
        if postquantum?.isRequired == false {
            plain = try octets(channel.keys).sharedKeyAUTH(key ?? channel.keys.skPi)
        }
        return (AUTHPayload(method: SignedOctets.sharedKeyMethod, data: auth), plain)
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
