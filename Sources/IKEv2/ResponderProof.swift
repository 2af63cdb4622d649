import Cryptography
import IKECore
import IKEMessages
import IPPackets
import Policy

/// An IKE_AUTH request that was opened.
struct AuthRequest {
    let payloads: [Payload]
    let datagram: IKEDatagram
    /// Who the peer says it is.
    let identity: Identity
}

/// A connection to which the peer proved itself.
struct ProvedConnection {
    let connection: ConnectionPolicy
    let peer: VerifiedPeer
    /// The pre-shared key, if it was one.
    let key: SecretKey?
}

/// What the response to IKE_AUTH says of us.
struct ResponderProof {
    let connection: ConnectionPolicy
    let peer: VerifiedPeer
    let identity: Identity
    /// The CERT payloads.
    let certificates: [Payload]
}

/// An IKE_AUTH request that waits for cryptography done elsewhere.
struct PendingProof {
    /// What it waits for.
    enum Step {
        /// Whether these connections believe the peer.
        case checking([ConnectionPolicy])
        /// Our signature.
        case signing(ResponderProof)
    }

    let request: AuthRequest
    let step: Step
}

/// Proofs that take their time (RFC 7296 §2.15): the peer's is checked, ours is made.
extension ResponderAwaitingAuth {
    /// Proves who we are, at once with a pre-shared key.
    mutating func proveOurselves(
        _ chosen: ProvedConnection,
        _ request: AuthRequest,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let connection = chosen.connection
        let identity = connection.effectiveLocalIdentity(at: common.local.address)
        var wishes = initial.wishes
        // It is the first request that asks for certificates.
        if let rounds { wishes.note(rounds.request.payloads) }
        wishes.note(request.payloads)
        let proof: OwnProof
        switch connection.ownProof(of: identity, wishes, sharing: chosen.key, common) {
        case .failure(let cause):
            let notify = NotifyPayload(.authenticationFailed)
            return refuse(notify, cause, connection.name, request.datagram, common, &context)
        case .success(let found): proof = found
        }
        let octets = SignedOctets(
            prf: channel.suite.prf,
            message: cached.message.first,
            nonce: initial.initiatorNonce,
            identity: IDPayload(type: identity.type, data: identity.data),
            macKey: channel.keys.skPr,
            intermediate: intermediate.authenticated
        )
        switch proof {
        case .eap:
            let cause = DownCause.authenticationFailed(
                "we prove ourselves by EAP, which is an initiator's alone (\(connection.origin(of: "eap")))"
            )
            let notify = NotifyPayload(.authenticationFailed)
            return refuse(notify, cause, connection.name, request.datagram, common, &context)
        case .sharedKey(let key):
            guard let auth = try? octets.sharedKeyAUTH(key) else { return .close }
            let ours = ResponderProof(
                connection: connection,
                peer: chosen.peer,
                identity: identity,
                certificates: []
            )
            let payload = AUTHPayload(method: SignedOctets.sharedKeyMethod, data: auth)
            return answer(ours, payload, request, common, &context)
        case .signature(let key, let method, let certificates):
            let ours = ResponderProof(
                connection: connection,
                peer: chosen.peer,
                identity: identity,
                certificates: certificates
            )
            pendingProof = PendingProof(request: request, step: .signing(ours))
            _ = context.compute(.sign(octets, key, method), for: common)
            return .stay
        }
    }

    /// What the pending proof waited for is there.
    mutating func proved(
        _ pending: PendingProof,
        _ outcome: ComputeResult.Outcome,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let request = pending.request
        switch (pending.step, outcome) {
        case (.checking(let connections), .checked(let verdict)):
            pendingProof = nil
            guard let proof = verdict.proof else {
                let cause = DownCause.authenticationFailed(
                    "'\(request.identity)' is not believed: " + verdict.refusals.joined(separator: "; ")
                )
                return refuse(
                    NotifyPayload(.authenticationFailed),
                    cause,
                    connections.first?.name,
                    request.datagram,
                    common,
                    &context
                )
            }
            let proved = proof.connections.filter { connections.indices.contains($0) }.map {
                ProvedConnection(connection: connections[$0], peer: proof.peer, key: nil)
            }
            return proceed(proved, request, common, &context)
        case (.signing(let ours), .signature(let payload)):
            pendingProof = nil
            return answer(ours, payload, request, common, &context)
        case (let step, .failure(let error)):
            pendingProof = nil
            let name: String? = if case .signing(let ours) = step { ours.connection.name } else { nil }
            let notify = NotifyPayload(.authenticationFailed)
            return refuse(notify, .cryptography(error), name, request.datagram, common, &context)
        default: return .stay
        }
    }
}
