import Cryptography
import DequeModule
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// IKE_AUTH is out; the responder's proof and CHILD_SA are awaited (RFC 7296 §1.2).
struct InitiatorAwaitingAuth {
    let attempt: InitiatorAttempt
    var channel: SecureChannel
    let nat: NATDetection
    let responderNonce: [UInt8]
    let intermediate: Intermediate
    /// RealMessage2 of RFC 7296 §2.15.
    let responseOctets: [UInt8]
    let offers: [Proposal]
    let inboundSPI: SPI
    let localIdentity: Identity
    let encapsulation: Encapsulation
    /// The tunnel comes up by a CREATE_CHILD_SA exchange of its own (RFC 6023).
    let isChildless: Bool
    /// The post-quantum key that we named.
    let postquantum: PostquantumUse?
    var request: OutstandingRequest

    /// The payloads of a response whose signature is being checked elsewhere.
    private var pending: [Payload]?

    init(
        _ proof: InitiatorSigning,
        _ channel: SecureChannel,
        offers: [Proposal],
        inboundSPI: SPI,
        request: OutstandingRequest
    ) {
        attempt = proof.attempt
        self.channel = channel
        nat = proof.derived.nat
        responderNonce = proof.derived.responderNonce
        intermediate = proof.intermediate
        responseOctets = proof.derived.responseOctets
        self.offers = offers
        self.inboundSPI = inboundSPI
        localIdentity = proof.identity
        encapsulation = proof.derived.travelsInUDP ? .udp : .none
        isChildless = proof.derived.isChildless
        postquantum = proof.postquantum
        self.request = request
    }

    /// A response is being checked.
    var isBusy: Bool { pending != nil }

    /// When the request is to be sent again; not while its response is being checked.
    var deadline: Instant? { pending == nil ? request.nextAt : nil }

    /// Sends IKE_AUTH with our proof; `plain` is the one without the post-quantum key, for a peer that lacks it.
    static func send(
        _ proof: InitiatorSigning,
        _ auth: AUTHPayload,
        plain: [UInt8]?,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let attempt = proof.attempt
        let connection = attempt.connection
        var channel = proof.channel
        let inbound = context.newInboundSPI(for: attempt.tunnel.resource)
        let offers = ChildNegotiation.offers(attempt.tunnel, spi: inbound, withGroups: false)
        let messageID = proof.intermediate.messageID
        guard
            let message = channel.seal(
                payloads(proof, auth, plain, offers: offers, common, context),
                header: common.header(.ikeAuth, messageID: messageID, isResponse: false),
                entropy: &context.entropy
            )
        else {
            context.release(inbound)
            attempt.fail(.protocolError("IKE_AUTH could not be written"), common, &context)
            return .close
        }
        context.send(message, from: common.local, to: common.remote)
        context.report(
            .progress(
                connection: connection.name,
                text: "sending IKE_AUTH as '\(proof.identity)' to \(common.remote)"
            )
        )
        let request = OutstandingRequest(
            messageID: messageID,
            message: message,
            policy: connection.retransmission,
            at: context.now
        )
        return .move(
            .initiatorAwaitingAuth(
                InitiatorAwaitingAuth(
                    proof,
                    channel,
                    offers: offers,
                    inboundSPI: inbound,
                    request: request
                )
            )
        )
    }

    private static func payloads(
        _ proof: InitiatorSigning,
        _ auth: AUTHPayload,
        _ plain: [UInt8]?,
        offers: [Proposal],
        _ common: SACommon,
        _ context: EngineContext
    ) -> [Payload] {
        let (derived, identity) = (proof.derived, proof.identity)
        let connection = derived.attempt.connection
        var payloads: [Payload] = [
            .initiatorID(IDPayload(type: identity.type, data: identity.data))
        ]
        payloads += proof.certificates
        if connection.saysInitialContact(as: identity, context) {
            payloads.append(.notify(NotifyPayload(.initialContact)))
        }
        if let request = connection.requestedAuthorities.flatMap({ Payload.certificateRequest(of: $0) }) {
            payloads.append(request)
        }
        if let wanted = connection.remoteIdentity, !wanted.isPattern {
            payloads.append(.responderID(IDPayload(type: wanted.type, data: wanted.data)))
        }
        payloads.append(.authentication(auth))
        if let postquantum = proof.postquantum { payloads.append(postquantum.notification) }
        if let plain { payloads.append(.notify(NotifyPayload(.noPPKAuth, data: plain))) }
        let wishes = derived.attempt.requestedAddresses(context)
        if !wishes.isEmpty { payloads.append(.configuration(.request(wishes))) }
        if !derived.isChildless {
            let (tunnel, ends) = (derived.attempt.tunnel, derived.attempt.offeredEnds(common))
            payloads +=
                [
                    .securityAssociation(SAPayload(offers)),
                    .initiatorSelectors(TSPayload(tunnel.local(at: ends.local))),
                    .responderSelectors(TSPayload(tunnel.remote(at: ends.remote))),
                ] + ChildNegotiation.resourceInfo(derived.attempt.tunnel)
        }
        return payloads + connection.mobikeNotifications(common, derived.nat, isRequest: true, context)
    }

    mutating func timeout(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard pending == nil else { return .stay }
        switch request.check(at: context.now) {
        case .wait:
            return .stay
        case .retransmit:
            channel.shrink(&request, &context)
            context.transmit(request.message, from: common.local, to: common.remote)
            return .stay
        case .giveUp:
            let seconds = request.sentAt.duration(to: context.now).wholeSeconds
            let cause = DownCause.noAnswer(to: "IKE_AUTH", attempts: request.attempts, seconds: seconds)
            return giveUp(cause, common, &context)
        }
    }

    /// Ends the attempt and takes back what it reserved.
    func giveUp(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) -> Transition {
        context.release(inboundSPI)
        attempt.fail(cause, common, &context)
        return .close
    }

    mutating func handle(
        _ message: ReceivedMessage,
        _ datagram: IKEDatagram,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard message.header.isResponse, message.header.exchange == .ikeAuth, pending == nil,
            message.header.messageID == request.messageID, case .encrypted(let content) = message.content
        else {
            context.count(.unexpected)
            return .stay
        }
        let payloads: [Payload]
        do throws(EncryptedContent.OpenError) {
            payloads = try channel.open(content)
        } catch {
            switch error {
            case .notAuthentic:
                context.count(.notAuthentic)
                return .stay
            case .malformed(let wire):
                context.count(.malformed)
                return giveUp(.protocolError("its IKE_AUTH cannot be read: \(wire)"), common, &context)
            }
        }
        context.took(payloads, message.header, datagram)
        guard payloads.authentication != nil else { return refused(payloads, common, &context) }
        switch verify(payloads, common) {
        case .refused(let cause): return refuse(cause, common, &context)
        case .proved(let peer): return establish(peer, payloads, &common, &context)
        case .signed(let check):
            pending = payloads
            _ = context.compute(.check(check), for: common)
            return .stay
        }
    }

    private mutating func refuse(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext)
        -> Transition
    {
        tellPeer(common, &context)
        return giveUp(cause, common, &context)
    }

    /// The peer's signature was checked.
    mutating func handle(
        _ result: ComputeResult,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard let payloads = pending else { return .stay }
        switch result.outcome {
        case .checked(let verdict):
            pending = nil
            guard let proof = verdict.proof else {
                let id = payloads.responderID.map { "\(Identity(type: $0.type, data: $0.data))" } ?? ""
                let cause = DownCause.authenticationFailed(
                    "'\(id)' is not believed: " + verdict.refusals.joined(separator: "; ")
                )
                return refuse(cause, common, &context)
            }
            return establish(proof.peer, payloads, &common, &context)
        case .failure(let error): return refuse(.cryptography(error), common, &context)
        case .keyPair, .secret, .answer, .signature: return .stay
        }
    }

    private func refused(_ payloads: [Payload], _ common: SACommon, _ context: inout EngineContext)
        -> Transition
    {
        guard let error = payloads.errorNotification else {
            return giveUp(.protocolError("its IKE_AUTH holds neither AUTH nor an error"), common, &context)
        }
        return giveUp(.peerRefused(error.type, hint: attempt.hint(for: error.type)), common, &context)
    }

    /// What a response proves.
    private enum Verdict {
        case refused(DownCause)
        case proved(VerifiedPeer)
        /// That is to be seen elsewhere.
        case signed(SignatureCheck)
    }

    /// The responder must prove the configured identity by what the configuration accepts.
    private func verify(_ payloads: [Payload], _ common: SACommon) -> Verdict {
        guard payloads.unsupportedCritical == nil, let id = payloads.responderID,
            let auth = payloads.authentication
        else {
            return .refused(.protocolError("its IKE_AUTH lacks IDr or holds an unknown critical payload"))
        }
        let connection = attempt.connection
        let identity = Identity(type: id.type, data: id.data)
        if let wanted = connection.effectiveRemoteIdentity, !wanted.matches(identity) {
            return .refused(
                .authenticationFailed(
                    "the peer says it is '\(identity)', \(connection.origin(of: "remote-id")) "
                        + "expects '\(wanted)'"
                )
            )
        }
        let mixed = payloads.notification(.ppkIdentity) != nil ? postquantum?.keys : nil
        if mixed == nil, let postquantum, postquantum.isRequired {
            return .refused(.postquantumKey("the peer did without (\(connection.origin(of: "ppk-id")))"))
        }
        let signed = SignedOctets(
            prf: channel.suite.prf,
            message: responseOctets,
            nonce: attempt.nonce,
            identity: id,
            macKey: (mixed ?? channel.keys).skPr,
            intermediate: intermediate.authenticated
        )
        if SignatureMethod.numbers.contains(auth.method), connection.remoteAuthentication.acceptsSignature {
            return .signed(
                SignatureCheck(
                    auth,
                    identity: identity,
                    octets: signed,
                    certificates: payloads.certificates,
                    connections: [connection]
                )
            )
        }
        var trial = AuthenticationTrial(auth, identity: identity, octets: signed)
        if let proof = trial.prove(to: connection, common) { return .proved(proof.peer) }
        return .refused(trial.refusal(by: [connection]))
    }

    /// RFC 7296 §2.21.2: the responder believes in this IKE_SA and is told that it failed.
    private mutating func tellPeer(_ common: SACommon, _ context: inout EngineContext) {
        let header = common.header(
            .informational,
            messageID: intermediate.messageID + 1,
            isResponse: false
        )
        let payloads: [Payload] = [.notify(NotifyPayload(.authenticationFailed)), .delete(.ike)]
        guard let message = channel.seal(payloads, header: header, entropy: &context.entropy) else { return }
        context.send(message, from: common.local, to: common.remote)
    }

    /// True when the responder mixed our post-quantum key in: then we do.
    private mutating func takePostquantumKey(_ payloads: [Payload]) -> Bool {
        guard let mixed = postquantum?.keys, payloads.notification(.ppkIdentity) != nil else { return false }
        channel.take(mixed)
        return true
    }

    private mutating func establish(
        _ peer: VerifiedPeer,
        _ payloads: [Payload],
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let isMixed = takePostquantumKey(payloads)
        var established = Established(
            connection: attempt.connection,
            peer: peer,
            localIdentity: localIdentity,
            channel: channel,
            nat: nat,
            encapsulation: encapsulation,
            nonces: (attempt.nonce, responderNonce),
            nextRequestID: intermediate.messageID + 1,
            expectedRequestID: 0,
            &context
        )
        established.mobility = Mobility(attempt.connection, payloads, isOriginalInitiator: true)
        established.mobility?.announced = attempt.connection.otherAddresses(common, context)
        // The first answer to a liveness check tells how the NAT maps us now, against which later ones are held.
        if established.mobility != nil, nat.isLocalBehindNAT { established.waiting.append(.livenessCheck) }
        established.mixesPPK = isMixed
        established.takeGrants(payloads, common, &context)
        if let gateway = payloads.notification(.redirect).flatMap({ RedirectGateway.parse($0.data)?.gateway })
        {
            context.release(inboundSPI)
            return established.redirectedInAuth(to: gateway, attempt, common, &context)
        }
        context.report(.ikeUp(established.snapshot(common)))
        for tunnel in context.takeFollowers(of: common.localSPI) where tunnel != attempt.tunnel.name {
            established.waiting.append(.createChild(tunnel: tunnel))
        }
        if established.lacksAddress, payloads.errorNotification == nil {
            context.release(inboundSPI)
            let cause = DownCause.noVirtualAddress(attempt.connection.origin(of: "vips"))
            return established.childRefused(attempt.tunnel, cause, common, &context)
        }
        if isChildless {
            context.release(inboundSPI)
            established.waiting.prepend(.createChild(tunnel: attempt.tunnel.name))
            if case .close = established.sendNext(common, &context) { return .close }
            return .move(.established(established))
        }
        if let error = payloads.errorNotification {
            context.release(inboundSPI)
            let cause = DownCause.peerRefused(error.type, hint: attempt.childHint(for: error.type))
            return established.childRefused(attempt.tunnel, cause, common, &context)
        }
        let (offered, given) = (attempt.offeredEnds(common), established.ends(common))
        switch ChildNegotiation.accept(
            payloads,
            tunnel: attempt.tunnel,
            offers: offers,
            local: attempt.tunnel.local(at: offered.local),
            remote: attempt.tunnel.remote(at: offered.remote),
            within: attempt.tunnel.local(at: given.local),
            of: peer,
            keyExchange: .none,
            inboundSPI: inboundSPI
        ) {
        case .failure(let cause):
            context.release(inboundSPI)
            return established.childRefused(attempt.tunnel, cause, common, &context)
        case .success(let agreement):
            let nonces = (initiator: attempt.nonce, responder: responderNonce)
            return established.adopt(agreement, nonces: nonces, common, &context)
        }
    }
}
