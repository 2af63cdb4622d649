import Cryptography
import DequeModule
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// Requests of ours: one at a time, retransmitted until answered (RFC 7296 §2.1, §2.3).
extension Established {
    /// Appends a request and sends it if nothing else is under way.
    mutating func enqueue(
        _ task: OwnExchange.Task,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard waiting.count < Self.maximumWaiting else {
            return close(.protocolError("more than \(Self.maximumWaiting) requests wait"), common, &context)
        }
        waiting.append(task)
        return sendNext(common, &context)
    }

    /// True when such a request waits or is under way.
    func isPlanned(_ task: OwnExchange.Task) -> Bool { active?.task == task || waiting.contains(task) }

    /// Begins the next request, if none is under way.
    mutating func sendNext(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard active == nil, !awaitsHandover else { return .stay }
        while let task = waiting.popFirst() {
            // What the peer asks for is finished first: it could be what a rekey is about to replace.
            if task.exchange == .createChildSA, isAnsweringPeer {
                waiting.prepend(task)
                return .stay
            }
            guard let (payloads, offer) = prepare(task, common, &context) else {
                // Never due again: a deadline that stays in the past would be served without end.
                postpone(task, until: nil)
                continue
            }
            if let group = offer?.pendingGroup {
                let job = context.compute(.generateKeyPair(group), for: common)
                active = OwnExchange(task: task, phase: .preparing(job: job), offer: offer)
                return .stay
            }
            return request(task, payloads, offer, common, &context)
        }
        return .stay
    }

    /// What a request holds, or nil if there is no reason for it any more.
    private mutating func prepare(
        _ task: OwnExchange.Task,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> (
        [Payload], OwnExchange.Offer?
    )? {
        switch task {
        case .livenessCheck: return (livenessPayloads(common, &context), nil)
        case .updateAddresses, .announceAddresses, .checkPath:
            return addressPayloads(task, common, &context).map { ($0, nil) }
        case .probePath: return ([], nil)
        case .invalidSPI(let spi): return ([.notify(NotifyPayload(.invalidSPI, data: spi.octets))], nil)
        case .redirect(let gateway): return Self.redirectPayload(gateway).map { ([$0], nil) }
        case .deleteChildren(let spis): return ([.delete(.esp(spis))], nil)
        case .deleteIKE: return ([.delete(.ike)], nil)
        case .createChild(let tunnel): return offerNewChild(tunnel, common, &context).map { ([], $0) }
        case .rekeyChild(let id): return offerChildRekey(id, &context).map { ([], $0) }
        case .rekeyIKE: return offerIKERekey(&context).map { ([], $0) }
        }
    }

    /// Sends a request.
    mutating func request(
        _ task: OwnExchange.Task,
        _ payloads: [Payload],
        _ offer: OwnExchange.Offer?,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        // RFC 7296 §2.2: an IKE_SA ends before its message IDs wrap.
        guard nextRequestID < .max else {
            return close(.protocolError("message IDs used up"), common, &context)
        }
        let payloads = offer.map { requestPayloads(task, $0) } ?? payloads
        let header = common.header(task.exchange, messageID: nextRequestID, isResponse: false)
        let sealed: OutgoingMessage?
        if case .probePath(let octets) = task {
            sealed = sealProbe(octets, header, common, &context)
        } else {
            sealed = channel.seal(payloads, header: header, entropy: &context.entropy)
        }
        guard let message = sealed else {
            return close(.protocolError("a request could not be written"), common, &context)
        }
        let request = OutstandingRequest(
            messageID: nextRequestID,
            message: message,
            policy: connection.retransmission,
            at: context.now
        )
        active = OwnExchange(task: task, phase: .requested(request), offer: offer)
        nextRequestID += 1
        lastOutbound = context.now
        context.send(message, from: common.local, to: common.remote)
        return .stay
    }

    /// Sends the request under way again, or gives the peer up.
    mutating func retransmit(
        _ exchange: OwnExchange,
        _ request: OutstandingRequest,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        var request = request
        switch request.check(at: context.now) {
        case .wait:
            return .stay
        case .giveUp:
            let seconds = request.sentAt.duration(to: context.now).wholeSeconds
            return close(
                .noAnswer(to: exchange.task.name, attempts: request.attempts, seconds: seconds),
                common,
                &context
            )
        case .retransmit:
            if case .probePath(let octets) = exchange.task, request.attempts > Self.probeAttempts {
                return replaceProbe(octets, request, common, &context)
            }
            let isProbe = if case .probePath = exchange.task { true } else { false }
            if !isProbe { channel.shrink(&request, &context) }
            context.transmit(request.message, from: common.local, to: common.remote)
            if let probe = exchange.probe {
                context.transmit(probe, from: common.local, to: common.remote)
            }
            if !isProbe { probeOtherPaths(request, common, &context) }
            active?.phase = .requested(request)
            lastOutbound = context.now
            return .stay
        }
    }

    /// Deletes the IKE_SA: its CHILD_SAs leave the data plane at once, the peer is told.
    mutating func terminate(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext)
        -> Transition
    {
        guard closing == nil else { return .stay }
        closing = cause
        let rival = active?.isOut == false ? active?.rival : nil
        putBackUnsent(&context)
        if let rival { handOver(to: rival.spi, common, &context) }
        abandonWaiting(cause, common, &context)
        reportOwed(cause, common, &context)
        removeAllChildren(cause, common, &context)
        return enqueue(.deleteIKE, common, &context)
    }

    /// A request whose key pair is still being made waits again, as if it had not begun.
    mutating func putBackUnsent(_ context: inout EngineContext) {
        guard let exchange = active, !exchange.isOut else { return }
        active = nil
        if let spi = exchange.offer?.inboundSPI { context.release(spi) }
        if !exchange.isCancelled { waiting.prepend(exchange.task) }
    }

    /// Something unauthenticated hints at a dead peer: ask it (RFC 7296 §2.4).
    mutating func suspectDead(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard active == nil, closing == nil, lastInbound.advanced(by: .seconds(1)) <= context.now else {
            return .stay
        }
        return enqueue(.livenessCheck, common, &context)
    }

    /// The peer sends by an SPI that we do not have: it is told so once a second at most, and answers if it lives.
    mutating func reportInvalidSPI(_ spi: SPI, _ common: SACommon, _ context: inout EngineContext)
        -> Transition
    {
        guard closing == nil, successor == nil, nextInvalidSPI <= context.now,
            active == nil, waiting.isEmpty
        else { return .stay }
        nextInvalidSPI = context.now.advanced(by: .seconds(1))
        return enqueue(.invalidSPI(spi), common, &context)
    }

    /// The response to our request came.
    mutating func complete(
        _ payloads: [Payload],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard let exchange = active else { return .stay }
        if let followUp = exchange.followUp {
            return completeFollowUp(exchange, followUp, payloads, common, &context)
        }
        switch exchange.task {
        case .livenessCheck, .invalidSPI, .updateAddresses, .announceAddresses, .checkPath:
            active = nil
            return sendNext(common, &context)
        case .probePath(let octets):
            active = nil
            context.report(.pathProbed(snapshot(common), octets: octets, arrived: true))
            return sendNext(common, &context)
        case .deleteChildren(let spis):
            active = nil
            retire(spis, common, &context)
            return sendNext(common, &context)
        case .redirect:
            active = nil
            redirectAnswered(context)
            return sendNext(common, &context)
        case .deleteIKE:
            active = nil
            return close(closing ?? .localRequest, common, &context)
        case .createChild, .rekeyChild:
            return completeChild(exchange, payloads, common, &context)
        case .rekeyIKE:
            return completeIKERekey(exchange, payloads, common, &context)
        }
    }

    /// What waits will not be sent: whoever asked for a tunnel hears of it.
    mutating func abandonWaiting(
        _ cause: DownCause,
        _ common: SACommon,
        _ context: inout EngineContext
    ) {
        let tasks = waiting
        waiting.removeAll()
        for case .createChild(let tunnel) in tasks {
            context.report(.childFailed(snapshot(common), tunnel: tunnel, cause: cause))
        }
        for case .probePath(let octets) in tasks {
            context.report(.pathProbed(snapshot(common), octets: octets, arrived: false))
        }
    }

    /// The IKE_SA ends in the midst of an exchange.
    mutating func abandonExchanges(
        _ cause: DownCause,
        _ common: SACommon,
        _ context: inout EngineContext
    ) {
        abandonWaiting(cause, common, &context)
        guard let exchange = active else { return }
        active = nil
        if let spi = exchange.offer?.inboundSPI { context.release(spi) }
        if let rival = exchange.rival { handOver(to: rival.spi, because: cause, common, &context) }
        if let lost = exchange.lostRival {
            context.report(.childDown(snapshot(common), lost, cause: cause))
        }
        if case .createChild(let tunnel) = exchange.task, !exchange.isCancelled {
            context.report(.childFailed(snapshot(common), tunnel: tunnel, cause: cause))
        }
    }
}

extension OwnExchange.Offer {
    /// The group of the key pair that is still missing.
    var pendingGroup: KeyExchangeGroup? { keyPair == nil ? triedGroups.last : nil }
}
