import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

/// Further key exchanges after CREATE_CHILD_SA, by IKE_FOLLOWUP_KE (RFC 9370 §2.2.4), as initiator.
///
/// Nothing is made before the last of them: where rekeys cross, the end whose SA would be redundant goes no further.
extension Established {
    /// Goes on with the next key exchange after one is complete.
    ///
    /// - Returns: nil when that was the last one.
    mutating func followUp(
        _ exchange: OwnExchange,
        _ answer: OwnExchange.Answer,
        _ secrets: [SecretKey],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition? {
        var followUp =
            exchange.followUp
            ?? OwnExchange.FollowUp(answer: answer, secrets: [], remaining: answer.additionalGroups)
        if exchange.followUp != nil { followUp.remaining.removeFirst() }
        guard let group = followUp.remaining.first else { return nil }
        if closing != nil || exchange.isCancelled { return abandonFollowUp(exchange, common, &context) }
        if exchange.followUp == nil, let given = giveWay(exchange, answer, common, &context) { return given }
        guard exchange.link != nil else {
            return followUpFailed(
                exchange,
                .protocolError("its answer does not name the additional key exchanges that it chose"),
                common,
                &context
            )
        }
        followUp.secrets = secrets
        followUp.keyPair = nil
        active?.followUp = followUp
        active?.phase = .preparing(job: context.compute(.generateKeyPair(group), for: common))
        return .stay
    }

    /// A rekey of the peer crossed ours: the one with the lowest nonce goes no further (RFC 7296 §2.8.1).
    private mutating func giveWay(
        _ exchange: OwnExchange,
        _ answer: OwnExchange.Answer,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition? {
        guard let nonce = exchange.offer?.nonce else { return nil }
        let complete = exchange.rivalChild.flatMap { id in
            children.first { $0.id == id && $0.isCurrent }?.lowestNonce
        }
        guard let theirs = exchange.rival?.lowestNonce ?? complete ?? crossingNonce(exchange.task) else {
            return nil
        }
        let ours = Collisions.lowest((initiator: nonce, responder: answer.nonce))
        guard Collisions.oursIsRedundant(ours: ours, theirs: theirs) else {
            forgetFollowUp(&context)
            return nil
        }
        return abandonFollowUp(exchange, common, &context)
    }

    /// Ours is not wanted any more; the peer has made nothing yet, and forgets what it keeps.
    private mutating func abandonFollowUp(
        _ exchange: OwnExchange,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        active = nil
        if let spi = exchange.offer?.inboundSPI { context.release(spi) }
        if let lost = exchange.lostRival {
            context.report(.childDown(snapshot(common), lost, cause: closing ?? .peerDeleted))
        }
        if case .createChild(let name) = exchange.task {
            if let closing {
                context.report(.childFailed(snapshot(common), tunnel: name, cause: closing))
            } else if !owedTunnels.contains(name) {
                owedTunnels.append(name)
            }
        }
        if let rival = exchange.rival {
            handOver(to: rival.spi, common, &context)
            guard closing == nil else { return sendNext(common, &context) }
            abandonedAt = context.now.advanced(by: Self.abandonment)
            return .stay
        }
        return sendNext(common, &context)
    }

    private mutating func followUpFailed(
        _ exchange: OwnExchange,
        _ cause: DownCause,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        exchange.task == .rekeyIKE
            ? ikeRekeyFailed(exchange, cause, common, &context)
            : childFailed(exchange, cause, common, &context)
    }

    /// The key pair for the next request is there.
    mutating func sendFollowUp(
        _ exchange: OwnExchange,
        _ result: ComputeResult,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard case .keyPair(let pair) = result.outcome, let link = exchange.link else {
            return followUpFailed(exchange, Self.failure(result.outcome), common, &context)
        }
        if closing != nil || exchange.isCancelled { return abandonFollowUp(exchange, common, &context) }
        guard nextRequestID < .max else {
            return close(.protocolError("message IDs used up"), common, &context)
        }
        let payloads: [Payload] = [
            .keyExchange(KEPayload(group: pair.group.rawValue, data: pair.publicValue)),
            .notify(NotifyPayload(.additionalKeyExchange, data: link)),
        ]
        let header = common.header(.ikeFollowUpKE, messageID: nextRequestID, isResponse: false)
        guard let message = channel.seal(payloads, header: header, entropy: &context.entropy) else {
            return close(.protocolError("a request could not be written"), common, &context)
        }
        active?.followUp?.keyPair = pair
        active?.phase = .requested(
            OutstandingRequest(
                messageID: nextRequestID,
                message: message,
                policy: connection.retransmission,
                at: context.now
            )
        )
        nextRequestID += 1
        lastOutbound = context.now
        context.send(message, from: common.local, to: common.remote)
        return .stay
    }

    /// The response to an IKE_FOLLOWUP_KE request of ours came.
    mutating func completeFollowUp(
        _ exchange: OwnExchange,
        _ followUp: OwnExchange.FollowUp,
        _ payloads: [Payload],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if let error = payloads.errorNotification {
            let hint =
                switch error.type {
                case .stateNotFound: "it has given up the exchange"
                case .temporaryFailure: "it is busy with a rekey or a deletion of its own"
                default: "an additional key exchange failed (RFC 9370)"
                }
            return followUpFailed(exchange, .peerRefused(error.type, hint: hint), common, &context)
        }
        guard let pair = followUp.keyPair, let theirs = payloads.keyExchange,
            theirs.group == pair.group.rawValue, theirs.data.count == pair.group.answerLength
        else {
            let cause = DownCause.protocolError("its additional key exchange is not the one it chose")
            return followUpFailed(exchange, cause, common, &context)
        }
        active?.link = payloads.notification(.additionalKeyExchange)?.data
        let job = context.compute(.deriveSecret(pair, peer: theirs.data), for: common)
        active?.phase = .deriving(job: job, followUp.answer)
        return .stay
    }
}

/// Further key exchanges as responder.
extension Established {
    /// Octets of the link that we name an exchange by.
    private static let linkLength = 8

    /// True while a CREATE_CHILD_SA exchange of the peer is not complete: ours wait.
    var isAnsweringPeer: Bool { pendingAnswer != nil || awaitedFollowUp != nil }

    /// The lower nonce of an exchange of the peer for the same as `task`, whose further key exchanges are to come.
    func crossingNonce(_ task: OwnExchange.Task) -> [UInt8]? {
        guard let awaited = awaitedFollowUp, let nonce = awaited.followUp?.nonce else { return nil }
        let crosses =
            switch (awaited.subject, task) {
            case (.ike, .rekeyIKE): true
            case (.child(_, let rekeys?), .rekeyChild(let id)): rekeys == id
            case (.child(let agreement, nil), .createChild(let tunnel)): agreement.tunnel.name == tunnel
            default: false
            }
        return crosses ? Collisions.lowest((initiator: awaited.initiatorNonce, responder: nonce)) : nil
    }

    /// The peer does not complete what ours gave way for: whoever asked for the tunnel hears of it.
    mutating func reportOwed(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) {
        let names = owedTunnels
        owedTunnels = []
        for name in names where current(of: name) == nil {
            context.report(.childFailed(snapshot(common), tunnel: name, cause: cause))
        }
    }

    /// Gives back what an exchange of the peer had reserved; if it goes on it gets STATE_NOT_FOUND.
    mutating func forgetFollowUp(_ context: inout EngineContext) {
        guard let awaited = awaitedFollowUp else { return }
        awaitedFollowUp = nil
        abandon(awaited.subject, &context)
    }

    /// Answers CREATE_CHILD_SA and keeps what the further key exchanges need.
    mutating func answerFirst(
        _ pending: PendingAnswer,
        _ secret: SecretKey,
        _ nonce: [UInt8],
        _ head: [Payload],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        var spi: IKESPI?
        if case .ike = pending.subject { spi = context.newIKESPI() }
        let link = context.entropy.bytes(Self.linkLength)
        let payloads =
            responsePayloads(pending.subject, nonce, ikeSPI: spi, head)
            + [.notify(NotifyPayload(.additionalKeyExchange, data: link))]
        let transition = answer(pending, payloads, common, &context)
        if case .close = transition { return transition }
        var awaited = pending
        awaited.followUp = PendingAnswer.FollowUp(
            nonce: nonce,
            ikeSPI: spi,
            secrets: [secret],
            remaining: pending.subject.additionalGroups,
            link: link,
            expiresAt: context.now.advanced(by: Self.abandonment)
        )
        awaitedFollowUp = awaited
        return .move(.established(self))
    }

    mutating func handleFollowUp(
        _ payloads: [Payload],
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard var awaited = awaitedFollowUp, let followUp = awaited.followUp,
            let group = followUp.remaining.first,
            payloads.notification(.additionalKeyExchange)?.data == followUp.link
        else { return refuse(.stateNotFound, header, datagram, common, &context) }
        guard closing == nil, successor == nil, isStillWanted(awaited.subject) else {
            return end(.temporaryFailure, header, datagram, common, &context)
        }
        guard let exchange = payloads.keyExchange, exchange.group == group.rawValue,
            exchange.data.count == group.publicValueLength
        else {
            return end(.invalidSyntax, header, datagram, common, &context)
        }
        awaited.datagram = datagram
        awaited.messageID = header.messageID
        awaited.job = context.compute(.answer(group, peer: exchange.data), for: common)
        awaitedFollowUp = nil
        pendingAnswer = awaited
        return .stay
    }

    /// Refuses a further key exchange, and with it all that was to come of it; ours need not wait any longer.
    private mutating func end(
        _ type: NotifyType,
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        forgetFollowUp(&context)
        if case .close = refuse(type, header, datagram, common, &context) { return .close }
        return sendNext(common, &context)
    }

    /// False once what an exchange of the peer rekeys is being deleted or was replaced.
    private func isStillWanted(_ subject: PendingAnswer.Subject) -> Bool {
        guard case .child(_, let rekeys?) = subject else { return true }
        return children.contains { $0.id == rekeys && $0.isCurrent }
    }

    /// A further key exchange is computed: answers it, and after the last one makes the SA.
    mutating func answerFollowUp(
        _ pending: PendingAnswer,
        _ pair: KeyExchangeKeyPair,
        _ secret: SecretKey,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard var followUp = pending.followUp else { return .stay }
        followUp.secrets.append(secret)
        followUp.remaining = Array(followUp.remaining.dropFirst())
        let head: [Payload] = [.keyExchange(KEPayload(group: pair.group.rawValue, data: pair.publicValue))]
        guard followUp.remaining.isEmpty else {
            followUp.expiresAt = context.now.advanced(by: Self.abandonment)
            var awaited = pending
            awaited.followUp = followUp
            awaitedFollowUp = awaited
            let link = NotifyPayload(.additionalKeyExchange, data: followUp.link)
            return answer(pending, head + [.notify(link)], common, &context)
        }
        do throws(CryptoError) {
            switch pending.subject {
            case .child(let agreement, let rekeys):
                return try finishChild(
                    agreement,
                    rekeys,
                    pending,
                    followUp.nonce,
                    followUp.secrets,
                    answering: head,
                    common,
                    &context
                )
            case .ike(let suite, _, let peerSPI):
                guard let spi = followUp.ikeSPI else { throw .invalidLength }
                try succeed(suite, followUp.secrets, pending, followUp.nonce, spi, peerSPI, common, &context)
                return answer(pending, head, common, &context)
            }
        } catch {
            abandon(pending.subject, &context)
            return answer(pending, [.notify(NotifyPayload(.temporaryFailure))], common, &context)
        }
    }
}
