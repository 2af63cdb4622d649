import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

/// A CREATE_CHILD_SA request of the peer whose key exchange is being computed elsewhere.
struct PendingAnswer {
    /// What is being answered.
    enum Subject {
        /// A CHILD_SA, perhaps in place of another one; that one the peer deletes.
        case child(ChildNegotiation.Agreement, rekeys: UInt32?)
        /// The IKE_SA itself.
        case ike(IKESuite, Proposal, peerSPI: IKESPI)
    }

    let subject: Subject

    /// What strongSwan calls its task for the same.
    var listedName: String {
        switch subject {
        case .child(_, let rekeyed): rekeyed == nil ? "CHILD_CREATE" : "CHILD_REKEY"
        case .ike: "IKE_REKEY"
        }
    }

    /// The request at hand.
    var datagram: IKEDatagram
    var messageID: UInt32
    let initiatorNonce: [UInt8]
    var job: UInt64 = 0
    /// The further key exchanges, once CREATE_CHILD_SA itself was answered.
    var followUp: FollowUp?

    /// What has to be kept until the last key exchange (RFC 9370 §2.2.4).
    struct FollowUp {
        /// Our nonce.
        let nonce: [UInt8]
        /// Our SPI of the IKE_SA to be made.
        let ikeSPI: IKESPI?
        /// The secrets of the exchanges that are complete.
        var secrets: [SecretKey]
        /// The groups of those to come.
        var remaining: [KeyExchangeGroup]
        /// What the peer's next request has to name.
        let link: [UInt8]
        var expiresAt: Instant
    }
}

/// CREATE_CHILD_SA as responder (RFC 7296 §1.3, §2.8): further CHILD_SAs, and rekeys that the peer begins.
extension Established {
    /// More CHILD_SAs than any peer needs on one IKE_SA.
    static let maximumChildren = 256

    mutating func handleCreateChild(
        _ payloads: [Payload],
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard let offered = payloads.securityAssociation?.proposals, let nonce = payloads.nonce else {
            return refuse(.invalidSyntax, header, datagram, common, &context)
        }
        // With one request at a time, a new one says that the peer has given up the last.
        forgetFollowUp(&context)
        let isIKE = offered.contains { $0.securityProtocol == .ike }
        let own = ownWork
        guard !(isIKE ? Collisions.postponesIKERekey(own) : Collisions.postponesChild(own)) else {
            return refuse(.temporaryFailure, header, datagram, common, &context)
        }
        switch isIKE ? judgeIKERekey(offered, payloads) : judgeChild(payloads, common, &context) {
        case .failure(let refusal):
            if let cause = refusal.cause {
                context.report(.childFailed(snapshot(common), tunnel: nil, cause: cause))
            }
            return refuse(refusal.notify, header, datagram, common, &context)
        case .success(let subject):
            var pending = PendingAnswer(
                subject: subject,
                datagram: datagram,
                messageID: header.messageID,
                initiatorNonce: nonce
            )
            guard let group = subject.group else { return finish(pending, nil, common, &context) }
            guard let exchange = payloads.keyExchange, exchange.group == group.rawValue,
                exchange.data.count == group.publicValueLength
            else {
                abandon(subject, &context)
                let data = [
                    UInt8(truncatingIfNeeded: group.rawValue >> 8), UInt8(truncatingIfNeeded: group.rawValue),
                ]
                let notify = NotifyPayload(.invalidKEPayload, data: data)
                return refuse(notify, header, datagram, common, &context)
            }
            pending.job = context.compute(.answer(group, peer: exchange.data), for: common)
            pendingAnswer = pending
            return .stay
        }
    }

    /// Answers a request by one notification.
    mutating func refuse(
        _ notify: NotifyPayload,
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        respond(
            [.notify(notify)],
            to: datagram,
            exchange: header.exchange,
            messageID: header.messageID,
            common,
            &context
        )
    }

    /// The same for one without data.
    mutating func refuse(
        _ type: NotifyType,
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        refuse(NotifyPayload(type), header, datagram, common, &context)
    }

    /// Why a request is refused, and whether that is worth a line.
    private struct Refusal: Error {
        let notify: NotifyPayload
        var cause: DownCause?
    }

    private func judgeChild(
        _ payloads: [Payload],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Result<PendingAnswer.Subject, Refusal> {
        var rekeys: UInt32?
        var tunnels = tunnels(for: payloads, path: ends(common))
        if let rekey = payloads.notification(.rekeySA) {
            switch rekeyed(rekey) {
            case .failure(let refusal): return .failure(refusal)
            case .success(let old):
                tunnels = connection.tunnels.filter { $0.name == old.snapshot.tunnel }.map {
                    $0.pinned(to: old.snapshot)
                }
                rekeys = old.id
            }
        }
        guard let tunnels else { return .failure(Refusal(notify: NotifyPayload(.tsMaxQueue))) }
        guard children.count < Self.maximumChildren else {
            return .failure(Refusal(notify: NotifyPayload(.noAdditionalSAs)))
        }
        let answer = ChildNegotiation.answer(
            payloads,
            connection: connection,
            tunnels: tunnels,
            path: ends(common),
            of: peer,
            keyExchange: .negotiated
        ) { context.newInboundSPI(for: $0) }
        switch answer {
        case .success(let agreement): return .success(.child(agreement, rekeys: rekeys))
        case .failure(let cause):
            return .failure(Refusal(notify: ChildNegotiation.notification(for: cause), cause: cause))
        }
    }

    /// The CHILD_SA that a request wants to replace (RFC 7296 §2.25.1): one that is going is not replaced, one that is
    /// gone is named as not found.
    private func rekeyed(_ notify: NotifyPayload) -> Result<ChildSA, Refusal> {
        let spi = SPI(octets: notify.spi)
        let old = children.first { $0.snapshot.outboundSPI == spi }
        // While a request of ours is out the peer may have made what we have not heard of yet.
        let isUncertain = old == nil && ownWork.isChangingChildren
        if notify.securityProtocol == .esp, let spi,
            closingChildren[spi] != nil || old?.isCurrent == false || isUncertain
        {
            return .failure(Refusal(notify: NotifyPayload(.temporaryFailure)))
        }
        guard let old, notify.securityProtocol == .esp else {
            return .failure(
                Refusal(
                    notify: NotifyPayload(
                        .childSANotFound,
                        securityProtocol: notify.securityProtocol,
                        spi: notify.spi
                    )
                )
            )
        }
        return .success(old)
    }

    private func judgeIKERekey(
        _ offered: [Proposal],
        _ payloads: [Payload]
    ) -> Result<PendingAnswer.Subject, Refusal> {
        do throws(ProposalRefusal) {
            let accepted = connection.proposals.map { proposal in
                payloads.keyExchange.map { proposal.preferring($0.group) } ?? proposal
            }
            let chosen = try ProposalRefusal.choose(
                from: offered,
                accepting: accepted,
                origin: connection.origin(of: "ike-proposals")
            ).proposal
            guard let suite = IKESuite(chosen), let spi = IKESPI(octets: chosen.spi) else {
                return .failure(Refusal(notify: NotifyPayload(.invalidSyntax)))
            }
            return .success(.ike(suite, chosen, peerSPI: spi))
        } catch {
            return .failure(
                Refusal(notify: NotifyPayload(.noProposalChosen), cause: .noProposalChosen(error))
            )
        }
    }

    /// Gives back what a request had reserved.
    func abandon(_ subject: PendingAnswer.Subject, _ context: inout EngineContext) {
        if case .child(let agreement, _) = subject { context.release(agreement.inboundSPI) }
    }

    /// The key exchange of the pending request is done.
    mutating func answerComputed(
        _ result: ComputeResult,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard let pending = pendingAnswer else { return .stay }
        pendingAnswer = nil
        let transition: Transition
        // It may have begun to be deleted, or replaced, meanwhile: then nothing may outlive it.
        if closing != nil || successor != nil {
            abandon(pending.subject, &context)
            transition = answer(pending, [.notify(NotifyPayload(.temporaryFailure))], common, &context)
        } else if case .answer(let pair, let secret) = result.outcome {
            transition =
                pending.followUp == nil
                ? finish(pending, (pair, secret), common, &context)
                : answerFollowUp(pending, pair, secret, common, &context)
        } else {
            abandon(pending.subject, &context)
            transition = answer(pending, [.notify(NotifyPayload(.invalidSyntax))], common, &context)
        }
        if case .close = transition { return .close }
        return sendNext(common, &context)
    }

    private mutating func finish(
        _ pending: PendingAnswer,
        _ exchange: (pair: KeyExchangeKeyPair, secret: SecretKey)?,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let nonce = context.entropy.bytes(32)
        let head: [Payload] =
            exchange.map {
                [.keyExchange(KEPayload(group: $0.pair.group.rawValue, data: $0.pair.publicValue))]
            } ?? []
        if let exchange, !pending.subject.additionalGroups.isEmpty {
            return answerFirst(pending, exchange.secret, nonce, head, common, &context)
        }
        do throws(CryptoError) {
            switch pending.subject {
            case .child(let agreement, let rekeys):
                return try finishChild(
                    agreement,
                    rekeys,
                    pending,
                    nonce,
                    exchange.map { [$0.secret] } ?? [],
                    answering: responsePayloads(pending.subject, nonce, ikeSPI: nil, head),
                    common,
                    &context
                )
            case .ike(let suite, _, let peerSPI):
                guard let secret = exchange?.secret else { throw .invalidLength }
                let spi = context.newIKESPI()
                try succeed(suite, [secret], pending, nonce, spi, peerSPI, common, &context)
                let payloads = responsePayloads(pending.subject, nonce, ikeSPI: spi, head)
                return answer(pending, payloads, common, &context)
            }
        } catch {
            abandon(pending.subject, &context)
            return answer(pending, [.notify(NotifyPayload(.temporaryFailure))], common, &context)
        }
    }

    /// What answers a CREATE_CHILD_SA request; `head` holds our key exchange value.
    func responsePayloads(
        _ subject: PendingAnswer.Subject,
        _ nonce: [UInt8],
        ikeSPI: IKESPI?,
        _ head: [Payload]
    ) -> [Payload] {
        switch subject {
        case .child(let agreement, _):
            var chosen = agreement.proposal
            chosen.spi = agreement.inboundSPI.octets
            return [.securityAssociation(SAPayload([chosen])), .nonce(nonce)] + head + [
                .initiatorSelectors(TSPayload(agreement.remoteSelectors)),
                .responderSelectors(TSPayload(agreement.localSelectors)),
            ] + agreement.resourceInfo
        case .ike(_, let proposal, _):
            var chosen = proposal
            chosen.spi = ikeSPI?.octets ?? []
            return [.securityAssociation(SAPayload([chosen])), .nonce(nonce)] + head
        }
    }

    mutating func finishChild(
        _ agreement: ChildNegotiation.Agreement,
        _ rekeys: UInt32?,
        _ pending: PendingAnswer,
        _ nonce: [UInt8],
        _ secrets: [SecretKey],
        answering payloads: [Payload],
        _ common: SACommon,
        _ context: inout EngineContext
    ) throws(CryptoError) -> Transition {
        let old = rekeys.flatMap { id in children.first { $0.id == id && $0.isCurrent } }
        guard rekeys == nil || old != nil else {
            // Our own rekey of it was complete first, and its DELETE is under way.
            abandon(pending.subject, &context)
            return answer(pending, [.notify(NotifyPayload(.temporaryFailure))], common, &context)
        }
        let waits = old == nil && isCarriedElsewhere(agreement.tunnel.name, common, context)
        var child = try installChild(
            agreement,
            nonces: (pending.initiatorNonce, nonce),
            secrets: secrets,
            initiatedByUs: false,
            // The peer has no keys before our response arrives: the old one sends until the new one was heard.
            sendsAtOnce: old == nil && !waits,
            common,
            &context
        )
        if waits { child.takesOverAt = context.now.advanced(by: ChildSA.longTakeover) }
        let twin = rekeys == nil ? current(like: agreement) : nil
        children.append(child)
        noteRival(child, rekeys ?? twin?.id)
        if let twin {
            // A peer that makes the same once more does not know the first, or not any more: they settle to one.
            setRole(.superseded, of: twin.id, until: context.now.advanced(by: Self.twinGrace))
            markTwin(twin.id)
            context.report(.childRekeyed(snapshot(common), old: twin.snapshot, new: child.snapshot))
        } else if let old {
            setRole(.superseded, of: old.id, until: context.now.advanced(by: Self.abandonment))
            context.report(.childRekeyed(snapshot(common), old: old.snapshot, new: child.snapshot))
        } else {
            context.report(.childUp(snapshot(common), child.snapshot))
        }
        return answer(pending, payloads, common, &context)
    }

    /// A request of the peer for the same CHILD_SA as ours crossed it: nonces will decide.
    private mutating func noteRival(_ child: ChildSA, _ rekeys: UInt32?) {
        guard let active, active.isOut else { return }
        switch active.task {
        case .rekeyChild(let id) where id == rekeys: self.active?.rivalChild = child.id
        case .createChild(let tunnel) where tunnel == child.snapshot.tunnel:
            self.active?.rivalChild = child.id
        default: break
        }
    }

    mutating func answer(
        _ pending: PendingAnswer,
        _ payloads: [Payload],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        respond(
            payloads,
            to: pending.datagram,
            exchange: pending.followUp == nil ? .createChildSA : .ikeFollowUpKE,
            messageID: pending.messageID,
            common,
            &context
        )
    }

    /// Makes the IKE_SA that takes over and inherits the CHILD_SAs.
    ///
    /// The peer deletes this one (RFC 7296 §2.8, §2.18). With a rekey of ours under way the nonces decide first (§2.8.2).
    mutating func succeed(
        _ suite: IKESuite,
        _ secrets: [SecretKey],
        _ pending: PendingAnswer,
        _ nonce: [UInt8],
        _ spi: IKESPI,
        _ peerSPI: IKESPI,
        _ common: SACommon,
        _ context: inout EngineContext
    ) throws(CryptoError) {
        let nonces = (initiator: pending.initiatorNonce, responder: nonce)
        let next = SACommon(
            id: context.newID(),
            isInitiator: false,
            localSPI: spi,
            remoteSPI: peerSPI.value,
            local: common.local,
            remote: common.remote,
            createdAt: context.now
        )
        try makeSuccessor(next, suite, secrets, nonces, &context)
        if active?.task == .rekeyIKE {
            if active?.isOut == true {
                active?.rival = (spi, Collisions.lowest(nonces))
                return
            }
            active = nil
        }
        handOver(to: spi, common, &context)
        abandonedAt = context.now.advanced(by: Self.abandonment)
    }
}

extension PendingAnswer.Subject {
    /// The group of the key exchange, or nil without PFS.
    fileprivate var group: KeyExchangeGroup? {
        switch self {
        case .child(let agreement, _): agreement.proposal.transform(of: .keyExchange)?.keyExchangeGroup
        case .ike(let suite, _, _): suite.group
        }
    }

    /// The groups of the further key exchanges.
    var additionalGroups: [KeyExchangeGroup] {
        switch self {
        case .child(let agreement, _): agreement.proposal.additionalGroups
        case .ike(let suite, _, _): suite.additionalGroups
        }
    }
}
