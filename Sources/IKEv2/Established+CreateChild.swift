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
        /// A CHILD_SA; the peer deletes the one that it rekeys.
        case child(ChildNegotiation.Agreement)
        /// The IKE_SA itself.
        case ike(IKESuite, Proposal, peerSPI: IKESPI)
    }

    let subject: Subject
    let datagram: IKEDatagram
    let messageID: UInt32
    let initiatorNonce: [UInt8]
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
        let refuse = {
            (notify: NotifyPayload, state: inout Established, context: inout EngineContext) -> Transition in
            state.respond(
                [.notify(notify)],
                to: datagram,
                exchange: .createChildSA,
                messageID: header.messageID,
                common,
                &context
            )
        }
        // RFC 7296 §2.25.2: an IKE_SA that is being deleted makes nothing new.
        guard closing == nil, pendingAnswer == nil else {
            return refuse(NotifyPayload(.temporaryFailure), &self, &context)
        }
        guard let offered = payloads.securityAssociation?.proposals, let nonce = payloads.nonce else {
            return refuse(NotifyPayload(.invalidSyntax), &self, &context)
        }
        let isIKE = offered.contains { $0.securityProtocol == .ike }
        switch isIKE ? judgeIKERekey(offered, payloads) : judgeChild(payloads, &context) {
        case .failure(let refusal):
            if let cause = refusal.cause {
                context.report(.childFailed(snapshot(common), tunnel: nil, cause: cause))
            }
            return refuse(refusal.notify, &self, &context)
        case .success(let subject):
            let pending = PendingAnswer(
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
                return refuse(NotifyPayload(.invalidKEPayload, data: data), &self, &context)
            }
            pendingAnswer = pending
            _ = context.compute(.answer(group, peer: exchange.data), for: common)
            return .stay
        }
    }

    /// Why a request is refused, and whether that is worth a line.
    private struct Refusal: Error {
        let notify: NotifyPayload
        var cause: DownCause?
    }

    private func judgeChild(
        _ payloads: [Payload],
        _ context: inout EngineContext
    ) -> Result<PendingAnswer.Subject, Refusal> {
        var tunnels = connection.tunnels
        if let rekey = payloads.notification(.rekeySA) {
            guard let spi = SPI(octets: rekey.spi), rekey.securityProtocol == .esp,
                let old = children.first(where: { $0.snapshot.outboundSPI == spi })
            else {
                // RFC 7296 §2.25: the notification names what was not found.
                let notify = NotifyPayload(
                    .childSANotFound,
                    securityProtocol: rekey.securityProtocol,
                    spi: rekey.spi
                )
                return .failure(Refusal(notify: notify))
            }
            tunnels.removeAll { $0.name != old.snapshot.tunnel }
        }
        guard children.count < Self.maximumChildren else {
            return .failure(Refusal(notify: NotifyPayload(.noAdditionalSAs)))
        }
        let answer = ChildNegotiation.answer(
            payloads,
            connection: connection,
            tunnels: tunnels,
            keyExchange: .negotiated
        ) { context.newInboundSPI() }
        switch answer {
        case .success(let agreement): return .success(.child(agreement))
        case .failure(let cause):
            return .failure(Refusal(notify: ChildNegotiation.notification(for: cause), cause: cause))
        }
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
            guard let suite = IKESuite(chosen), chosen.spi.count == 8,
                let spi = IKESPI(chosen.spi.reduce(0) { $0 << 8 | UInt64($1) })
            else { return .failure(Refusal(notify: NotifyPayload(.invalidSyntax))) }
            return .success(.ike(suite, chosen, peerSPI: spi))
        } catch {
            return .failure(
                Refusal(notify: NotifyPayload(.noProposalChosen), cause: .noProposalChosen(error))
            )
        }
    }

    /// Gives back what a request had reserved.
    func abandon(_ subject: PendingAnswer.Subject, _ context: inout EngineContext) {
        if case .child(let agreement) = subject { context.release(agreement.inboundSPI) }
    }

    /// The key exchange of the pending request is done.
    mutating func handle(
        _ result: ComputeResult,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard let pending = pendingAnswer else { return .stay }
        pendingAnswer = nil
        // It may have begun to be deleted meanwhile: then nothing may outlive it.
        guard closing == nil else {
            abandon(pending.subject, &context)
            return answer(pending, [.notify(NotifyPayload(.temporaryFailure))], common, &context)
        }
        switch result.outcome {
        case .answer(let pair, let secret):
            return finish(pending, (pair, secret), common, &context)
        case .failure, .keyPair, .secret:
            abandon(pending.subject, &context)
            return answer(pending, [.notify(NotifyPayload(.invalidSyntax))], common, &context)
        }
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
        do throws(CryptoError) {
            switch pending.subject {
            case .child(let agreement):
                var chosen = agreement.proposal
                chosen.spi = agreement.inboundSPI.octets
                try installChild(
                    agreement,
                    nonces: (pending.initiatorNonce, nonce),
                    sharedSecret: exchange?.secret,
                    initiatedByUs: false,
                    common,
                    &context
                )
                let tail: [Payload] = [
                    .initiatorSelectors(TSPayload(agreement.remoteSelectors)),
                    .responderSelectors(TSPayload(agreement.localSelectors)),
                ]
                let payloads = [.securityAssociation(SAPayload([chosen])), .nonce(nonce)] + head + tail
                return answer(pending, payloads, common, &context)
            case .ike(let suite, let proposal, let peerSPI):
                guard let secret = exchange?.secret else { throw .invalidLength }
                let spi = context.newIKESPI()
                try succeed(suite, secret, pending, nonce, spi, peerSPI, common, &context)
                var chosen = proposal
                chosen.spi = spi.octets
                let payloads = [.securityAssociation(SAPayload([chosen])), .nonce(nonce)] + head
                return answer(pending, payloads, common, &context)
            }
        } catch {
            abandon(pending.subject, &context)
            return answer(pending, [.notify(NotifyPayload(.temporaryFailure))], common, &context)
        }
    }

    private mutating func answer(
        _ pending: PendingAnswer,
        _ payloads: [Payload],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        respond(
            payloads,
            to: pending.datagram,
            exchange: .createChildSA,
            messageID: pending.messageID,
            common,
            &context
        )
    }

    /// Makes the IKE_SA that takes over; it inherits the CHILD_SAs, and the peer deletes this one
    /// (RFC 7296 §2.8, §2.18).
    private mutating func succeed(
        _ suite: IKESuite,
        _ secret: SecretKey,
        _ pending: PendingAnswer,
        _ nonce: [UInt8],
        _ spi: IKESPI,
        _ peerSPI: IKESPI,
        _ common: SACommon,
        _ context: inout EngineContext
    ) throws(CryptoError) {
        let keys = try IKEKeys(
            rekeying: channel.keys,
            oldPRF: channel.suite.prf,
            suite: suite,
            sharedSecret: secret,
            initiatorNonce: pending.initiatorNonce,
            responderNonce: nonce,
            initiatorSPI: peerSPI,
            responderSPI: spi
        )
        let next = SACommon(
            id: context.newID(),
            isInitiator: false,
            localSPI: spi,
            remoteSPI: peerSPI.value,
            local: common.local,
            remote: common.remote
        )
        var successor = Established(
            connection: connection,
            peer: peer,
            localIdentity: localIdentity,
            channel: SecureChannel(suite: suite, keys: keys, isInitiator: false),
            nat: nat,
            encapsulation: encapsulation,
            nextRequestID: 0,
            expectedRequestID: 0,
            at: context.now
        )
        successor.children = children
        children = []
        context.report(.ikeUp(successor.snapshot(next)))
        context.successors.append(IKESA(common: next, state: .established(successor)))
    }
}

extension PendingAnswer.Subject {
    /// The group of the key exchange, or nil without PFS.
    fileprivate var group: KeyExchangeGroup? {
        switch self {
        case .child(let agreement): agreement.proposal.transform(of: .keyExchange)?.keyExchangeGroup
        case .ike(let suite, _, _): suite.group
        }
    }
}
