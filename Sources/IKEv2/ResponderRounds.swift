import Cryptography
import IKECore
import IKEMessages
import IPPackets
import Policy
import Primitives

/// Proofs after the first, of either side, as responder (RFC 4739).
struct ResponderRounds {
    /// The connection as it is configured.
    let connection: ConnectionPolicy
    /// Who the peer proved to be first: whose the IKE_SA is.
    let peer: VerifiedPeer
    /// Who we are first.
    let identity: Identity
    /// The first request, which asks for the CHILD_SA.
    let request: AuthRequest
    /// Our proof at hand.
    var local = 0
    /// The peer's proof that was checked last.
    var remote = 0

    /// The connection with the proofs at hand.
    var current: ConnectionPolicy { connection.inRound(local: local, remote: remote) }
    var hasFurtherProof: Bool { local < connection.laterLocalRounds.count }
    var awaitsFurtherProof: Bool { remote < connection.laterRemoteRounds.count }
}

extension ResponderAwaitingAuth {
    /// Of the connections that believe the peer those that ask for a further proof just if it announced one.
    static func announcing(
        _ proved: [ProvedConnection],
        _ payloads: [Payload]
    ) -> Result<[ProvedConnection], DownCause> {
        let announces = payloads.notification(.anotherAuthFollows) != nil
        let supports = payloads.notification(.multipleAuthSupported) != nil
        let fitting = proved.filter { one in
            one.connection.laterRemoteRounds.isEmpty == !announces
                && (supports || one.connection.laterLocalRounds.isEmpty)
        }
        guard fitting.isEmpty, let first = proved.first?.connection else { return .success(fitting) }
        guard announces != first.laterRemoteRounds.isEmpty else {
            return .failure(
                .authenticationFailed(
                    announces
                        ? "it announces a further proof, \(first.origin(of: "remote-proofs")) asks for one alone"
                        : "it brings one proof, \(first.origin(of: "remote-proofs")) asks for "
                            + "\(first.laterRemoteRounds.count + 1)"
                )
            )
        }
        return .failure(
            .authenticationFailed("it takes one proof of ours, \(first.origin(of: "proofs")) has several")
        )
    }

    /// A request behind the first: the peer's next proof, or just room for ours.
    mutating func handleRound(
        _ payloads: [Payload],
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard var rounds else { return .close }
        guard rounds.awaitsFurtherProof, payloads.unsupportedCritical == nil else {
            let request = AuthRequest(payloads: payloads, datagram: datagram, identity: rounds.peer.identity)
            guard payloads.unsupportedCritical == nil else {
                return refuseRound(
                    "its IKE_AUTH holds an unknown critical payload",
                    request,
                    common,
                    &context
                )
            }
            guard payloads.authentication == nil else {
                return refuseRound("it brings more proofs than it announced", request, common, &context)
            }
            return roundDone(request, common, &context)
        }
        rounds.remote += 1
        self.rounds = rounds
        let connection = rounds.current
        let id = payloads.initiatorID
        let identity = id.map { Identity(type: $0.type, data: $0.data) } ?? rounds.peer.identity
        let request = AuthRequest(payloads: payloads, datagram: datagram, identity: identity)
        guard let id, let auth = payloads.authentication else {
            let text = "its further proof has no IDi or no AUTH; EAP is none that \(connection.origin) takes"
            return refuseRound(text, request, common, &context)
        }
        if let wanted = connection.effectiveRemoteIdentity, !wanted.matches(identity) {
            let text =
                "in its further proof the peer says it is '\(identity)', "
                + "\(connection.origin(of: "remote-id")) expects '\(wanted)'"
            return refuseRound(text, request, common, &context)
        }
        guard (payloads.notification(.anotherAuthFollows) != nil) == rounds.awaitsFurtherProof else {
            let text = "\(connection.origin(of: "remote-proofs")) asks for another number of proofs"
            return refuseRound(text, request, common, &context)
        }
        let octets = octets(of: id)
        if SignatureMethod.numbers.contains(auth.method), connection.remoteAuthentication.acceptsSignature {
            let check = SignatureCheck(
                auth,
                identity: identity,
                octets: octets,
                certificates: payloads.certificates,
                connections: [connection]
            )
            pendingProof = PendingProof(request: request, step: .checking([connection]))
            _ = context.compute(.check(check), for: common)
            return .stay
        }
        var trial = AuthenticationTrial(auth, identity: identity, octets: octets)
        guard trial.prove(to: connection, common) != nil else {
            let cause = trial.refusal(by: [connection])
            let notify = NotifyPayload(.authenticationFailed)
            return refuse(notify, cause, connection.name, datagram, common, &context)
        }
        return roundDone(request, common, &context)
    }

    private mutating func refuseRound(
        _ text: String,
        _ request: AuthRequest,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let notify = NotifyPayload(.authenticationFailed)
        let name = rounds?.connection.name
        return refuse(notify, .authenticationFailed(text), name, request.datagram, common, &context)
    }

    /// The peer's part of a request behind the first is done: ours follows.
    mutating func roundDone(
        _ request: AuthRequest,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard var rounds else { return .close }
        guard rounds.hasFurtherProof else { return answer(nil, nil, request, common, &context) }
        rounds.local += 1
        self.rounds = rounds
        let chosen = ProvedConnection(connection: rounds.current, peer: rounds.peer, key: nil)
        return proveOurselves(chosen, request, common, &context)
    }

    /// Our part of a request is done: the response goes out, which is the last one or asks for more.
    mutating func answer(
        _ proof: ResponderProof?,
        _ auth: AUTHPayload?,
        _ request: AuthRequest,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        var head: [Payload] = []
        if let proof, let auth {
            let identity = IDPayload(type: proof.identity.type, data: proof.identity.data)
            head = [.responderID(identity)] + proof.certificates + [.authentication(auth)]
        }
        if mixesPPK, rounds == nil { head.append(.notify(NotifyPayload(.ppkIdentity))) }
        guard let rounds else {
            guard let proof else { return .close }
            return establish(proof, head, request, request.datagram, common, &context)
        }
        if rounds.hasFurtherProof { head.append(.notify(NotifyPayload(.anotherAuthFollows))) }
        guard rounds.hasFurtherProof || rounds.awaitsFurtherProof else {
            let whole = ResponderProof(
                connection: rounds.connection,
                peer: rounds.peer,
                identity: rounds.identity,
                certificates: []
            )
            return establish(whole, head, rounds.request, request.datagram, common, &context)
        }
        let header = common.header(.ikeAuth, messageID: messageID, isResponse: true)
        guard let message = channel.seal(head, header: header, entropy: &context.entropy),
            let cached = CachedResponse(to: request.datagram.octets, message)
        else { return .close }
        cachedAuth = cached
        answered += 1
        context.send(message, from: common.local, to: common.remote)
        return .stay
    }
}
