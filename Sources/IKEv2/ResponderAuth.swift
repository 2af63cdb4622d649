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
    let expiresAt: Instant

    func timeout(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard context.now >= expiresAt else { return .stay }
        context.report(failure(.halfOpenExpired, nil, common))
        return .close
    }

    func failure(_ cause: DownCause, _ connection: String?, _ common: SACommon) -> EngineEvent {
        .attemptFailed(
            connection: connection,
            tunnel: nil,
            isInitiator: false,
            remote: common.remote,
            cause: cause
        )
    }

    mutating func handle(
        _ message: ReceivedMessage,
        _ datagram: IKEDatagram,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if message.header.exchange == .ikeSAInit, cached.answers(datagram.octets) {
            let again = IKEDatagram(octets: cached.octets, local: datagram.local, remote: datagram.remote)
            context.emit(.transmit(again))
            return .stay
        }
        if message.header.exchange == .ikeIntermediate {
            return handleIntermediate(message, datagram, &common, &context)
        }
        guard !message.header.isResponse, message.header.exchange == .ikeAuth,
            intermediate.remaining.isEmpty, message.header.messageID == intermediate.messageID,
            case .encrypted(let content) = message.content
        else {
            context.count(.unexpected)
            return .stay
        }
        do throws(EncryptedContent.OpenError) {
            let payloads = try channel.open(content)
            common.local = datagram.local
            common.remote = datagram.remote
            return authenticate(payloads, datagram, common, &context)
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
        switch select(identity, payloads.responderID, common) {
        case .failure(let cause):
            return refuse(NotifyPayload(.authenticationFailed), cause, nil, datagram, common, &context)
        case .success(let connections):
            let signed = SignedOctets(
                prf: channel.suite.prf,
                message: initial.requestOctets,
                nonce: responderNonce,
                identity: id,
                macKey: channel.keys.skPi,
                intermediate: intermediate.authenticated
            )
            for connection in connections {
                guard
                    let peer = try? VerifiedPeer.verifying(
                        auth,
                        identity: identity,
                        sharedKey: connection.sharedKey,
                        octets: signed
                    )
                else { continue }
                return establish(peer, connection, payloads, datagram, common, &context)
            }
            let cause = Self.wrongKey(identity, auth, connections)
            let name = connections.first?.name
            return refuse(NotifyPayload(.authenticationFailed), cause, name, datagram, common, &context)
        }
    }

    private static func wrongKey(
        _ identity: Identity,
        _ auth: AUTHPayload,
        _ connections: [ConnectionPolicy]
    ) -> DownCause {
        guard auth.method == SignedOctets.sharedKeyMethod else {
            return .authenticationFailed(
                "'\(identity)' authenticates by method \(auth.method), not by a pre-shared key"
            )
        }
        let files = connections.prefix(4).map { $0.origin(of: "psk-file").description }.joined(
            separator: ", "
        )
        return .authenticationFailed("'\(identity)' has another pre-shared key than \(files)")
    }

    /// The connections whose identities fit; the peer's IDr, if it sent one, must be ours.
    private func select(
        _ identity: Identity,
        _ wanted: IDPayload?,
        _ common: SACommon
    ) -> Result<[ConnectionPolicy], DownCause> {
        let forPeer = initial.candidates.filter { $0.effectiveRemoteIdentity?.matches(identity) ?? true }
        guard !forPeer.isEmpty else {
            let expected = initial.candidates.prefix(8).map { connection in
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
        let forUs = forPeer.filter { connection in
            connection.effectiveLocalIdentity(at: common.local.address).matches(wantedIdentity)
        }
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
    private mutating func refuse(
        _ notify: NotifyPayload,
        _ cause: DownCause,
        _ connection: String?,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        context.report(failure(cause, connection, common))
        let header = common.header(.ikeAuth, messageID: intermediate.messageID, isResponse: true)
        guard let octets = channel.seal([.notify(notify)], header: header, entropy: &context.entropy),
            let cached = CachedResponse(to: datagram.octets, octets)
        else { return .close }
        context.emit(.transmit(common.datagram(octets)))
        return .move(.lingering(Lingering(cached, at: context.now)))
    }

    private mutating func establish(
        _ peer: VerifiedPeer,
        _ connection: ConnectionPolicy,
        _ payloads: [Payload],
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let identity = connection.effectiveLocalIdentity(at: common.local.address)
        let idPayload = IDPayload(type: identity.type, data: identity.data)
        let signed = SignedOctets(
            prf: channel.suite.prf,
            message: cached.octets,
            nonce: initial.initiatorNonce,
            identity: idPayload,
            macKey: channel.keys.skPr,
            intermediate: intermediate.authenticated
        )
        guard let auth = try? signed.sharedKeyAUTH(connection.sharedKey) else { return .close }
        let nat = initial.nat
        let travelsInUDP = nat.isLocalBehindNAT || nat.isRemoteBehindNAT || hidesSource
        var established = Established(
            connection: connection,
            peer: peer,
            localIdentity: identity,
            channel: channel,
            nat: nat,
            encapsulation: travelsInUDP ? .udp : .none,
            nonces: (initial.initiatorNonce, responderNonce),
            nextRequestID: 0,
            expectedRequestID: intermediate.messageID + 1,
            &context
        )
        if payloads.notification(.initialContact) != nil {
            context.initialContacts.append(
                EngineContext.InitialContact(
                    connection: connection.name,
                    identity: peer.identity,
                    keep: common.localSPI,
                    since: common.createdAt
                )
            )
        }
        context.report(.ikeUp(established.snapshot(common)))
        let head: [Payload] = [
            .responderID(idPayload),
            .authentication(AUTHPayload(method: SignedOctets.sharedKeyMethod, data: auth)),
        ]
        let nonces = (initiator: initial.initiatorNonce, responder: responderNonce)
        let child = established.answerChild(payloads, nonces: nonces, common, &context)
        return established.respond(
            head + child,
            to: datagram,
            exchange: .ikeAuth,
            messageID: intermediate.messageID,
            common,
            &context
        )
    }
}
