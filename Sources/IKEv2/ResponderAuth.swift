import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// IKE_SA_INIT was answered; the initiator's proof is awaited, after further key exchanges if there are any.
struct ResponderAwaitingAuth {
    let initial: ResponderComputing
    var channel: SecureChannel
    let responderNonce: [UInt8]
    let cached: CachedResponse
    let hidesSource: Bool
    var intermediate: Intermediate
    /// The IKE_INTERMEDIATE request that is being computed.
    var pendingIntermediate: PendingIntermediate?
    /// The last response to one.
    var cachedIntermediate: CachedResponse?
    /// What protected it.
    var previousChannel: SecureChannel?
    let expiresAt: Instant
    /// The IKE_AUTH request whose proof is being checked, or answered, elsewhere.
    var pendingProof: PendingProof?
    /// A post-quantum key is mixed in.
    var mixesPPK = false
    /// Proofs after the first, where the connection has some.
    var rounds: ResponderRounds?
    /// IKE_AUTH requests that were answered, and the last answer.
    var answered: UInt32 = 0
    var cachedAuth: CachedResponse?

    /// Message ID of the IKE_AUTH request that is awaited.
    var messageID: UInt32 { intermediate.messageID &+ answered }

    func timeout(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard context.now >= expiresAt else { return .stay }
        context.report(failure(.halfOpenExpired, nil, common))
        return .close
    }

    func failure(_ cause: DownCause, _ connection: String?, _ common: SACommon) -> EngineEvent {
        .attemptFailed(
            AttemptFailure(
                ikeID: common.id,
                connection: connection,
                tunnel: nil,
                isInitiator: false,
                remote: common.remote,
                cause: cause
            )
        )
    }

    mutating func handle(
        _ message: ReceivedMessage,
        _ datagram: IKEDatagram,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if message.header.exchange == .ikeSAInit, cached.answers(datagram.octets) {
            context.transmit(cached.message, from: datagram.local, to: datagram.remote)
            return .stay
        }
        if message.header.exchange == .ikeIntermediate {
            return handleIntermediate(message, datagram, &common, &context)
        }
        if message.header.exchange == .ikeAuth, let cachedAuth, cachedAuth.answers(datagram.octets) {
            context.transmit(cachedAuth.message, from: datagram.local, to: datagram.remote)
            return .stay
        }
        guard !message.header.isResponse, message.header.exchange == .ikeAuth,
            intermediate.remaining.isEmpty, message.header.messageID == messageID,
            pendingProof == nil, case .encrypted(let content) = message.content
        else {
            context.count(.unexpected)
            return .stay
        }
        do throws(EncryptedContent.OpenError) {
            let payloads = try channel.open(content)
            context.took(payloads, message.header, datagram)
            common.local = datagram.local
            common.remote = datagram.remote
            return rounds == nil
                ? authenticate(payloads, datagram, common, &context)
                : handleRound(payloads, datagram, common, &context)
        } catch {
            switch error {
            case .notAuthentic:
                // RFC 8019 §4.6: whoever sent this knows no key; the keys stay for the real peer.
                context.count(.notAuthentic)
                return .stay
            case .malformed(let wire):
                context.count(.malformed)
                let cause = DownCause.protocolError("its IKE_AUTH cannot be read: \(wire)")
                return refuse(NotifyPayload(.invalidSyntax), cause, nil, datagram, common, &context)
            }
        }
    }

    /// What a proof of the peer's covers.
    func octets(of id: IDPayload) -> SignedOctets {
        SignedOctets(
            prf: channel.suite.prf,
            message: initial.requestOctets,
            nonce: responderNonce,
            identity: id,
            macKey: channel.keys.skPi,
            intermediate: intermediate.authenticated
        )
    }

    private mutating func authenticate(
        _ payloads: [Payload],
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if let type = payloads.unsupportedCritical {
            let notify = NotifyPayload(.unsupportedCriticalPayload, data: [type])
            let cause = DownCause.protocolError("its critical payload \(type) is not known here")
            return refuse(notify, cause, nil, datagram, common, &context)
        }
        guard let id = payloads.initiatorID, let auth = payloads.authentication else {
            let cause = DownCause.authenticationFailed(
                payloads.initiatorID == nil
                    ? "its IKE_AUTH has no IDi"
                    : "it wants EAP, which no connection for it allows (no AUTH payload)"
            )
            return refuse(NotifyPayload(.authenticationFailed), cause, nil, datagram, common, &context)
        }
        let identity = Identity(type: id.type, data: id.data)
        let request = AuthRequest(payloads: payloads, datagram: datagram, identity: identity)
        switch select(identity, payloads.responderID, common) {
        case .failure(let cause):
            return refuse(NotifyPayload(.authenticationFailed), cause, nil, datagram, common, &context)
        case .success(let fitting):
            let choice: PostquantumChoice
            switch postquantum(payloads, auth, fitting) {
            case .failure(let cause):
                let name = fitting.first?.name
                return refuse(NotifyPayload(.authenticationFailed), cause, name, datagram, common, &context)
            case .success(let found): choice = found
            }
            let (connections, auth) = (choice.connections, choice.auth)
            if let mixed = choice.keys { channel.take(mixed) }
            mixesPPK = choice.keys != nil
            let signed = octets(of: id)
            let signers = connections.filter { $0.remoteAuthentication.acceptsSignature }
            if SignatureMethod.numbers.contains(auth.method), !signers.isEmpty {
                let check = SignatureCheck(
                    auth,
                    identity: identity,
                    octets: signed,
                    certificates: payloads.certificates,
                    connections: signers
                )
                pendingProof = PendingProof(request: request, step: .checking(signers))
                _ = context.compute(.check(check), for: common)
                return .stay
            }
            var trial = AuthenticationTrial(auth, identity: identity, octets: signed)
            let proved = connections.compactMap { connection in
                trial.prove(to: connection, common).map {
                    ProvedConnection(connection: connection, peer: $0.peer, key: $0.key)
                }
            }
            guard !proved.isEmpty else {
                let cause = trial.refusal(by: connections)
                let name = connections.first?.name
                return refuse(NotifyPayload(.authenticationFailed), cause, name, datagram, common, &context)
            }
            return proceed(proved, request, common, &context)
        }
    }

    /// The peer proved itself to some connections: takes one of them and proves who we are.
    mutating func proceed(
        _ believing: [ProvedConnection],
        _ request: AuthRequest,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if rounds != nil { return roundDone(request, common, &context) }
        let (payloads, datagram, identity) = (request.payloads, request.datagram, request.identity)
        let proved: [ProvedConnection]
        switch Self.announcing(believing, payloads) {
        case .failure(let cause):
            let name = believing.first?.connection.name
            return refuse(NotifyPayload(.authenticationFailed), cause, name, datagram, common, &context)
        case .success(let found): proved = found
        }
        // As in strongSwan: what asks for a CHILD_SA goes to the connection that has one like it.
        let fitting = proved.first {
            ChildNegotiation.fits(payloads, $0.connection.tunnels, path: common.ends)
        }
        guard let chosen = fitting ?? proved.first else { return .close }
        let connection = chosen.connection
        if connection.mobike, Mobility.findsNAT(payloads, datagram) {
            let notify = NotifyPayload(.unexpectedNATDetected)
            let cause = DownCause.protocolError("a NAT is on the path, and it knows no NAT traversal")
            return refuse(notify, cause, connection.name, datagram, common, &context)
        }
        guard connection.childless.accepts(hasChild: payloads.securityAssociation != nil) else {
            let cause = DownCause.protocolError(
                "its IKE_AUTH asks for \(payloads.securityAssociation == nil ? "no" : "a") CHILD_SA, "
                    + "childless = \(connection.childless.rawValue) (\(connection.origin))"
            )
            let name = connection.name
            return refuse(NotifyPayload(.invalidSyntax), cause, name, datagram, common, &context)
        }
        let isAlone = payloads.notification(.initialContact) != nil
        if !isAlone, let cause = conflict(identity, connection, common, context) {
            let notify = NotifyPayload(.authenticationFailed)
            return refuse(notify, cause, connection.name, datagram, common, &context)
        }
        if connection.hasSeveralRounds {
            rounds = ResponderRounds(
                connection: connection,
                peer: chosen.peer,
                identity: connection.effectiveLocalIdentity(at: common.local.address),
                request: request
            )
        }
        return proveOurselves(chosen, request, common, &context)
    }

    /// Why a peer may not have a second IKE_SA (unique = keep); one from where its first is may replace that.
    private func conflict(
        _ identity: Identity,
        _ connection: ConnectionPolicy,
        _ common: SACommon,
        _ context: EngineContext
    ) -> DownCause? {
        guard connection.uniqueness == .keep else { return nil }
        let ours = connection.effectiveLocalIdentity(at: common.local.address)
        let others = context.contacts.established(Contacts.Pair(ours, identity), of: connection.name)
        guard let other = others.first(where: { $0.remote != common.remote }) else { return nil }
        return .authenticationFailed(
            "'\(identity)' has an IKE_SA from \(other.remote) that is kept (unique, \(connection.origin(of: "unique")))"
        )
    }

    /// The connections whose identities fit; the peer's IDr, if it sent one, must be ours.
    private func select(
        _ identity: Identity,
        _ wanted: IDPayload?,
        _ common: SACommon
    ) -> Result<[ConnectionPolicy], DownCause> {
        let forPeer = initial.candidates.matching(identity)
        guard !forPeer.isEmpty else {
            let expected = initial.candidates.examples.map { connection in
                let id = connection.effectiveRemoteIdentity?.description ?? "%any"
                return "'\(id)' (\(connection.origin(of: "remote-id")))"
            }
            return .failure(
                .authenticationFailed(
                    "the peer says it is '\(identity)', expected " + expected.joined(separator: " or ")
                )
            )
        }
        guard let wanted else { return .success(forPeer) }
        let wantedIdentity = Identity(type: wanted.type, data: wanted.data)
        let forUs = forPeer.compactMap { $0.speaking(as: wantedIdentity, at: common.local.address) }
        guard forUs.isEmpty else { return .success(forUs) }
        let ours = forPeer.prefix(8).map { connection in
            "'\(connection.effectiveLocalIdentity(at: common.local.address))' "
                + "(\(connection.origin(of: "local-id")))"
        }
        return .failure(
            .authenticationFailed(
                "the peer wants to speak to '\(wantedIdentity)', we are " + ours.joined(separator: " or ")
            )
        )
    }

    /// Answers with one error and keeps just the answer.
    mutating func refuse(
        _ notify: NotifyPayload,
        _ cause: DownCause,
        _ connection: String?,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        context.report(failure(cause, connection, common))
        let header = common.header(.ikeAuth, messageID: messageID, isResponse: true)
        guard let message = channel.seal([.notify(notify)], header: header, entropy: &context.entropy),
            let cached = CachedResponse(to: datagram.octets, message)
        else { return .close }
        context.send(message, from: common.local, to: common.remote)
        return .move(.lingering(Lingering(cached, at: context.now)))
    }

    /// Both ends are proved.
    ///
    /// - Parameters:
    ///   - head: what the response begins with.
    ///   - request: the first one.
    ///   - datagram: the last one.
    mutating func establish(
        _ proof: ResponderProof,
        _ head: [Payload],
        _ request: AuthRequest,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let (connection, identity) = (proof.connection, proof.identity)
        let payloads = request.payloads
        let nat = initial.nat
        let travelsInUDP = nat.isLocalBehindNAT || nat.isRemoteBehindNAT || hidesSource
        var established = Established(
            connection: connection,
            peer: proof.peer,
            localIdentity: identity,
            channel: channel,
            nat: nat,
            encapsulation: travelsInUDP ? .udp : .none,
            nonces: (initial.initiatorNonce, responderNonce),
            nextRequestID: 0,
            expectedRequestID: messageID + 1,
            &context
        )
        established.mobility = Mobility(connection, payloads, isOriginalInitiator: false)
        established.mobility?.announced = connection.otherAddresses(common, context)
        established.mixesPPK = mixesPPK
        established.followsRedirects = initial.followsRedirects
        if payloads.notification(.initialContact) != nil, connection.uniqueness != .never {
            context.initialContacts.append(
                EngineContext.InitialContact(
                    pair: Contacts.Pair(identity, proof.peer.identity),
                    keep: common.localSPI,
                    since: common.createdAt
                )
            )
        }
        if connection.uniqueness == .replace { context.supersessions.append(common.localSPI) }
        context.report(.ikeUp(established.snapshot(common)))
        let nonces = (initiator: initial.initiatorNonce, responder: responderNonce)
        let mobile =
            established.mobility == nil
            ? [] : connection.mobikeNotifications(common, nat, isRequest: false, context)
        let redirect = initial.followsRedirects ? Redirects.payload(for: connection.redirect) : nil
        let child: [Payload]
        if let redirect {
            // It deletes this IKE_SA, or is left after a while.
            established.redirectAnswered(context)
            child = [redirect]
        } else {
            child = established.answerChild(payloads, nonces: nonces, common, &context)
        }
        return established.respond(
            head + child + mobile + established.authLifetimePayloads(context),
            to: datagram,
            exchange: .ikeAuth,
            messageID: messageID,
            common,
            &context
        )
    }
}
