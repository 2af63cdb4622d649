import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// Messages from the peer.
extension Established {
    mutating func handle(
        _ message: ReceivedMessage,
        _ datagram: IKEDatagram,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard case .encrypted(let content) = message.content else {
            return handleClear(message, datagram, common, &context)
        }
        let header = message.header
        if header.isResponse {
            guard let active, header.messageID == active.request?.messageID,
                header.exchange == active.exchangeType
            else {
                context.count(.messageID)
                return .stay
            }
        } else if header.messageID != expectedRequestID {
            return handleOutOfWindow(header, content, datagram, common, &context)
        }
        // Until the collision that made it is settled, only its deletion concerns this IKE_SA; the peer asks again.
        if awaitsHandover, header.exchange != .informational {
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
            case .malformed:
                context.count(.malformed)
                noteAuthentic(datagram, &common, &context)
                return handleMalformed(header, datagram, common, &context)
            }
        }
        context.took(payloads, header, datagram)
        if awaitsHandover, !payloads.deletesIKE {
            context.count(.unexpected)
            return .stay
        }
        noteAuthentic(datagram, &common, &context)
        guard !header.isResponse else {
            takeOver(&context)
            if let end = noteResponse(payloads, header, datagram, &common, &context) { return end }
            return complete(payloads, common, &context)
        }
        expectedRequestID &+= 1
        addressAnswer = noteRequest(payloads, header, datagram, &common, &context)
        return handleRequest(payloads, header, datagram, common, &context)
    }

    /// A message in clear proves nothing; an INVALID_IKE_SPI is a reason to ask whether the peer lives.
    private mutating func handleClear(
        _ message: ReceivedMessage,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard case .clear(let payloads) = message.content, message.header.isResponse,
            payloads.notification(.invalidIKESPI) != nil
        else {
            context.count(.unexpected)
            return .stay
        }
        context.took(payloads, message.header, datagram)
        // Nothing authentic says so, but a peer that restarted cannot say more: it is asked a few times more, and soon.
        if isKnownToPeer, var request = active?.request, message.header.messageID == request.messageID {
            request.hasten(at: context.now)
            active?.phase = .requested(request)
            return .move(.established(self))
        }
        return suspectDead(common, &context)
    }

    /// The last request again gets the last response again; anything else outside the window gets nothing.
    private func handleOutOfWindow(
        _ header: IKEHeader,
        _ content: EncryptedContent,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard header.messageID == expectedRequestID &- 1, let cached,
            cached.answers(datagram.octets) || isReplacement(header, content)
        else {
            context.count(.messageID)
            return .stay
        }
        context.transmit(
            cached.message,
            from: replySource(datagram, common, context),
            to: datagram.remote
        )
        return .stay
    }

    /// True for an authentic INFORMATIONAL that took the place of a larger one, whose answers were lost
    /// (`replaceProbe`).
    private func isReplacement(_ header: IKEHeader, _ content: EncryptedContent) -> Bool {
        guard header.exchange == .informational, let payloads = try? channel.open(content) else {
            return false
        }
        return payloads.isEmpty
    }

    /// An authentic message is a sign of life, and tells where a peer behind a NAT is now (RFC 7296 §2.23).
    private mutating func noteAuthentic(
        _ datagram: IKEDatagram,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) {
        lastInbound = context.now
        isKnownToPeer = true
        // With MOBIKE the peer says where it is (RFC 4555 §3.8).
        if mobility == nil, nat.isRemoteBehindNAT, !nat.isLocalBehindNAT {
            follow(datagram.remote, &common, &context)
        }
    }

    /// Moves this IKE_SA and its CHILD_SAs to the peer's new outer address.
    mutating func follow(_ remote: Endpoint, _ common: inout SACommon, _ context: inout EngineContext) {
        guard remote != common.remote else { return }
        common.remote = remote
        moveChildren(to: remote, common, &context)
        context.report(.ikeMoved(snapshot(common)))
    }

    /// Authentic but unreadable: RFC 7296 §2.21.3, INVALID_SYNTAX ends this IKE_SA and no other.
    private mutating func handleMalformed(
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let cause = DownCause.protocolError("an authentic \(header.exchange) message cannot be read")
        guard !header.isResponse else { return close(cause, common, &context) }
        _ = respond(
            [.notify(NotifyPayload(.invalidSyntax))],
            to: datagram,
            exchange: header.exchange,
            messageID: header.messageID,
            common,
            &context
        )
        return linger(cause, common, &context)
    }

    /// Ends the IKE_SA but keeps the last response for retransmissions.
    mutating func linger(
        _ cause: DownCause,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let last = cached
        _ = close(cause, common, &context)
        guard let last else { return .close }
        return .move(.lingering(Lingering(last, at: context.now)))
    }

    private mutating func handleRequest(
        _ payloads: [Payload],
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let reply = {
            (payloads: [Payload], state: inout Established, context: inout EngineContext) -> Transition in
            state.respond(
                payloads,
                to: datagram,
                exchange: header.exchange,
                messageID: header.messageID,
                common,
                &context
            )
        }
        if let type = payloads.unsupportedCritical {
            let notify = NotifyPayload(.unsupportedCriticalPayload, data: [type])
            return reply([.notify(notify)], &self, &context)
        }
        switch header.exchange {
        case .informational:
            return handleInformational(payloads, reply, common, &context)
        case .createChildSA:
            return handleCreateChild(payloads, header, datagram, common, &context)
        case .ikeFollowUpKE:
            return handleFollowUp(payloads, header, datagram, common, &context)
        case .ikeSAInit, .ikeAuth, .ikeIntermediate, .unknown:
            context.count(.unexpected)
            return reply([.notify(NotifyPayload(.invalidSyntax))], &self, &context)
        }
    }

    private mutating func handleInformational(
        _ payloads: [Payload],
        _ reply: ([Payload], inout Established, inout EngineContext) -> Transition,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if payloads.notification(.authenticationFailed) != nil {
            // The initiator did not believe our AUTH (RFC 7296 §2.21.2).
            _ = reply([], &self, &context)
            let hint =
                "it does not accept our identity '\(localIdentity)', or the pre-shared keys differ "
                + "(\(connection.origin(of: "psk-file")))"
            return linger(.peerRefused(.authenticationFailed, hint: hint), common, &context)
        }
        if let lost = payloads.notification(.invalidSPI) { peerLost(lost, common, &context) }
        var answer = addressAnswer
        addressAnswer = []
        for case .delete(let delete) in payloads {
            if delete.securityProtocol == .ike {
                if let active, active.task == .rekeyIKE, active.rival != nil, !active.isFollowingUp,
                    case .deriving = active.phase
                {
                    // Its answer to our rekey is here: of the two new IKE_SAs the redundant one is told apart, and
                    // deleted by its initiator, as soon as the keys of ours are computed (§2.8.2).
                    isDeletedByPeer = true
                    return reply([], &self, &context)
                }
                // RFC 7296 §2.25.2: a rekey of ours that crosses it is forgotten.
                forgetIKERekey(common, &context)
                _ = reply([], &self, &context)
                return linger(.peerDeleted, common, &context)
            }
            guard delete.securityProtocol == .esp else { continue }
            let answered = peerDeletes(delete.spis, common, &context)
            if !answered.isEmpty { answer.append(.delete(.esp(answered))) }
        }
        if case .close = reply(answer, &self, &context) { return .close }
        noteAuthLifetime(payloads, common, context)
        if let notify = payloads.notification(.redirect) { redirected(by: notify, common, &context) }
        if case .close = sendNext(common, &context) { return .close }
        return .move(.established(self))
    }

    /// The peer deletes this IKE_SA while we rekey it: if it has made one itself, that one takes over.
    private mutating func forgetIKERekey(_ common: SACommon, _ context: inout EngineContext) {
        guard let exchange = active, exchange.task == .rekeyIKE else { return }
        active = nil
        if let rival = exchange.rival { handOver(to: rival.spi, common, &context) }
    }
}

extension [Payload] {
    /// True if the message deletes its IKE_SA.
    fileprivate var deletesIKE: Bool {
        contains { payload in
            guard case .delete(let delete) = payload else { return false }
            return delete.securityProtocol == .ike
        }
    }
}
