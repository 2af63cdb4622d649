import Cryptography
import EAP
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// IKE_AUTH is out; the responder's proof and CHILD_SA are awaited (RFC 7296 §1.2), or the next step towards them.
struct InitiatorAwaitingAuth {
    var progress: InitiatorProgress
    var request: OutstandingRequest
    /// The payloads of a response whose signature is being checked elsewhere.
    private var pending: [Payload]?
    /// A step of EAP is being carried out elsewhere.
    var isComputingEAP = false

    init(progress: InitiatorProgress, request: OutstandingRequest) {
        self.progress = progress
        self.request = request
    }

    var attempt: InitiatorAttempt { progress.attempt }
    var channel: SecureChannel { progress.channel }

    /// A response is being worked on.
    var isBusy: Bool { pending != nil || isComputingEAP }

    /// When the request is to be sent again; not while its response is being worked on.
    var deadline: Instant? { isBusy ? nil : request.nextAt }

    mutating func timeout(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard !isBusy else { return .stay }
        switch request.check(at: context.now) {
        case .wait:
            return .stay
        case .retransmit:
            progress.channel.shrink(&request, &context)
            context.transmit(request.message, from: common.local, to: common.remote)
            return .stay
        case .giveUp:
            let seconds = request.sentAt.duration(to: context.now).wholeSeconds
            let cause = DownCause.noAnswer(to: "IKE_AUTH", attempts: request.attempts, seconds: seconds)
            return progress.giveUp(cause, common, &context)
        }
    }

    mutating func handle(
        _ message: ReceivedMessage,
        _ datagram: IKEDatagram,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard message.header.isResponse, message.header.exchange == .ikeAuth, !isBusy,
            message.header.messageID == request.messageID, case .encrypted(let content) = message.content
        else {
            context.count(.unexpected)
            return .stay
        }
        let payloads: [Payload]
        do throws(EncryptedContent.OpenError) {
            payloads = try progress.channel.open(content)
        } catch {
            switch error {
            case .notAuthentic:
                context.count(.notAuthentic)
                return .stay
            case .malformed(let wire):
                context.count(.malformed)
                let cause = DownCause.protocolError("its IKE_AUTH cannot be read: \(wire)")
                return progress.giveUp(cause, common, &context)
            }
        }
        context.took(payloads, message.header, datagram)
        return take(payloads, &common, &context)
    }

    private mutating func take(
        _ payloads: [Payload],
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if let error = payloads.errorNotification, payloads.authentication == nil, payloads.eap == nil,
            !(isLastAnswer && error.type.isAboutChild)
        {
            let cause = DownCause.peerRefused(error.type, hint: attempt.hint(for: error.type))
            return progress.giveUp(cause, common, &context)
        }
        guard payloads.unsupportedCritical == nil else {
            return refuse("its IKE_AUTH holds an unknown critical payload", common, &context)
        }
        progress.gather(payloads)
        let named = payloads.notification(.ppkIdentity) != nil && progress.namesPostquantumKey
        let mixed = named ? progress.postquantum?.keys : nil
        if progress.namesPostquantumKey, mixed == nil, progress.postquantum?.isRequired == true {
            let origin = attempt.connection.origin(of: "ppk-id")
            return progress.refuse(.postquantumKey("the peer did without (\(origin))"), common, &context)
        }
        if progress.eap?.outcome != nil {
            guard let auth = payloads.authentication else {
                return refuse("it does not prove that it knows the key of EAP", common, &context)
            }
            if let cause = checkEAP(auth, mixed ?? channel.keys) {
                return progress.refuse(cause, common, &context)
            }
            return proceed(payloads, &common, &context)
        }
        guard let auth = payloads.authentication else { return unproved(payloads, &common, &context) }
        switch verify(auth, payloads, mixed ?? channel.keys, common) {
        case .refused(let cause): return progress.refuse(cause, common, &context)
        case .proved(let peer): return proved(peer, payloads, &common, &context)
        case .signed(let check):
            pending = payloads
            _ = context.compute(.check(check), for: common)
            return .stay
        }
    }

    /// Nothing more than the CHILD_SA is to come.
    private var isLastAnswer: Bool {
        progress.eap == nil && !progress.hasFurtherProof && progress.isPeerProved
    }

    private mutating func refuse(
        _ text: String,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        progress.refuse(.protocolError(text), common, &context)
    }

    /// A response without AUTH: with EAP alone (RFC 5998), within EAP, or behind the last proof (RFC 4739 §2.4).
    private mutating func unproved(
        _ payloads: [Payload],
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if progress.responderID == nil {
            guard payloads.eap != nil, let id = payloads.responderID else {
                return refuse("its IKE_AUTH holds neither AUTH nor an error", common, &context)
            }
            if let cause = identityRefusal(id) { return progress.refuse(cause, common, &context) }
            let methods = progress.connection.remoteAuthentication.eapMethods
            guard !methods.isEmpty else {
                let origin = attempt.connection.origin(of: "eap-only")
                let cause = DownCause.authenticationFailed(
                    "the peer wants to prove itself by EAP alone, which \(origin) does not allow"
                )
                return progress.refuse(cause, common, &context)
            }
            progress.responderID = id
            progress.eap?.provePeer(by: methods)
            progress.owesProof = false
        } else if progress.owesProof, payloads.eap == nil {
            return refuse("its IKE_AUTH lacks the further proof that it announced", common, &context)
        }
        return proceed(payloads, &common, &context)
    }

    /// The peer's signature was checked, or a step of EAP carried out.
    mutating func handle(
        _ result: ComputeResult,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        switch result.outcome {
        case .advanced(let outcome): return converse(outcome, common, &context)
        case .checked(let verdict):
            guard let payloads = pending else { return .stay }
            pending = nil
            guard let proof = verdict.proof else {
                let id = payloads.responderID.map { "\(Identity(type: $0.type, data: $0.data))" } ?? ""
                let cause = DownCause.authenticationFailed(
                    "'\(id)' is not believed: " + verdict.refusals.joined(separator: "; ")
                )
                return progress.refuse(cause, common, &context)
            }
            return proved(proof.peer, payloads, &common, &context)
        case .failure(let error): return progress.refuse(.cryptography(error), common, &context)
        case .keyPair, .secret, .answer, .signature: return .stay
        }
    }

    /// What a response proves.
    private enum Verdict {
        case refused(DownCause)
        case proved(VerifiedPeer)
        /// That is to be seen elsewhere.
        case signed(SignatureCheck)
    }

    private func identityRefusal(_ id: IDPayload) -> DownCause? {
        let (connection, identity) = (progress.connection, Identity(type: id.type, data: id.data))
        guard let wanted = connection.effectiveRemoteIdentity, !wanted.matches(identity) else { return nil }
        return .authenticationFailed(
            "the peer says it is '\(identity)', \(connection.origin(of: "remote-id")) expects '\(wanted)'"
        )
    }

    /// The responder must prove the configured identity by what the configuration accepts.
    private mutating func verify(
        _ auth: AUTHPayload,
        _ payloads: [Payload],
        _ keys: IKEKeys,
        _ common: SACommon
    ) -> Verdict {
        guard let id = payloads.responderID else { return .refused(.protocolError("its IKE_AUTH lacks IDr")) }
        guard progress.owesProof, !progress.isPeerProved else {
            return .refused(
                .authenticationFailed("it brings more proofs than \(attempt.connection.origin) asks for")
            )
        }
        if let cause = identityRefusal(id) { return .refused(cause) }
        progress.responderID = id
        let (connection, identity) = (progress.connection, Identity(type: id.type, data: id.data))
        let octets = progress.octets(of: id, keys)
        if SignatureMethod.numbers.contains(auth.method), connection.remoteAuthentication.acceptsSignature {
            return .signed(
                SignatureCheck(
                    auth,
                    identity: identity,
                    octets: octets,
                    certificates: payloads.certificates,
                    connections: [connection]
                )
            )
        }
        var trial = AuthenticationTrial(auth, identity: identity, octets: octets)
        if let proof = trial.prove(to: connection, common) { return .proved(proof.peer) }
        return .refused(trial.refusal(by: [connection]))
    }

    /// A proof of the peer's holds.
    private mutating func proved(
        _ peer: VerifiedPeer,
        _ payloads: [Payload],
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        progress.peer = progress.peer ?? peer
        progress.remoteRound += 1
        progress.owesProof = payloads.notification(.anotherAuthFollows) != nil
        return proceed(payloads, &common, &context)
    }

    /// What comes next: EAP, a further proof of ours or of the peer's, or the end.
    private mutating func proceed(
        _ payloads: [Payload],
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if let octets = payloads.eap { return converse(octets, common, &context) }
        guard progress.eap == nil else { return refuse("it does not go on with EAP", common, &context) }
        if payloads.notification(.ppkIdentity) != nil, progress.namesPostquantumKey,
            let mixed = progress.postquantum?.keys
        {
            progress.channel.take(mixed)
            progress.mixesPPK = true
        }
        if progress.hasFurtherProof {
            progress.localRound += 1
            return InitiatorSigning.prove(progress, common, &context)
        }
        if progress.owesProof { return progress.send([], "for its next proof", common, &context) }
        guard progress.isPeerProved, let peer = progress.peer else {
            let cause = DownCause.authenticationFailed(
                "it proved itself \(progress.remoteRound) times, \(attempt.connection.origin) asks for "
                    + "\(attempt.connection.laterRemoteRounds.count + 1)"
            )
            return progress.refuse(cause, common, &context)
        }
        if !progress.derived.isChildless, progress.gathered.securityAssociation == nil,
            progress.gathered.errorNotification == nil, progress.gathered.notification(.redirect) == nil,
            progress.attempt.connection.hasSeveralRounds
        {
            return refuse("it proves nothing more, and agrees to no CHILD_SA", common, &context)
        }
        return progress.establish(peer, &common, &context)
    }
}

extension NotifyType {
    /// Errors that concern the CHILD_SA of an IKE_AUTH exchange alone (RFC 7296 §2.21.2).
    fileprivate var isAboutChild: Bool {
        switch self {
        case .noProposalChosen, .tsUnacceptable, .singlePairRequired, .internalAddressFailure,
            .failedCPRequired, .noAdditionalSAs:
            true
        default: false
        }
    }
}
