import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

/// CREATE_CHILD_SA for CHILD_SAs as initiator (RFC 7296 §1.3.1, §1.3.3): further tunnels, and rekeys.
extension Established {
    // MARK: - The request

    /// What we offer for a tunnel without a CHILD_SA; nil if it has one by now.
    func offerNewChild(_ name: String, _ common: SACommon, _ context: inout EngineContext) -> OwnExchange
        .Offer?
    {
        guard let tunnel = connection.tunnels.first(where: { $0.name == name }),
            current(of: name) == nil
        else { return nil }
        let ends = ends(common)
        return offer(
            tunnel,
            tunnel.local(at: ends.local),
            tunnel.remote(at: ends.remote),
            after: nil,
            &context
        )
    }

    /// What we offer in place of a CHILD_SA; nil if it needs no replacement any more.
    func offerChildRekey(_ id: UInt32, _ context: inout EngineContext) -> OwnExchange.Offer? {
        guard let child = children.first(where: { $0.id == id }), child.isCurrent,
            let tunnel = connection.tunnels.first(where: { $0.name == child.snapshot.tunnel })
        else { return nil }
        // RFC 7296 §2.9.2: not narrower than what is in use. To what the peer chose among our selectors it may
        // choose differently now; its own ones, which we narrowed, are offered as they are in use.
        let pinned = tunnel.pinned(to: child.snapshot)
        let local = child.isOurs ? pinned.local : child.snapshot.localSelectors
        let remote = child.isOurs ? pinned.remote : child.snapshot.remoteSelectors
        return offer(tunnel, local, remote, after: child.snapshot.proposal, &context)
    }

    private func offer(
        _ tunnel: TunnelPolicy,
        _ local: [TrafficSelector],
        _ remote: [TrafficSelector],
        after last: Proposal?,
        _ context: inout EngineContext
    ) -> OwnExchange.Offer {
        let spi = context.newInboundSPI(for: tunnel.resource)
        var offer = OwnExchange.Offer(
            tunnel: tunnel,
            proposals: ChildNegotiation.offers(tunnel, spi: spi, withGroups: true),
            nonce: context.entropy.bytes(32),
            inboundSPI: spi
        )
        offer.localSelectors = local
        offer.remoteSelectors = remote
        let groups = offer.proposals.flatMap { $0.transforms(of: .keyExchange) }.compactMap {
            $0.keyExchangeGroup
        }
        let used = last?.transform(of: .keyExchange)?.keyExchangeGroup
        if let group = groups.first(where: { $0 == used }) ?? groups.first { offer.triedGroups = [group] }
        return offer
    }

    /// The payloads of a CREATE_CHILD_SA request.
    func requestPayloads(_ task: OwnExchange.Task, _ offer: OwnExchange.Offer) -> [Payload] {
        var payloads = [Payload]()
        if case .rekeyChild(let id) = task, let old = children.first(where: { $0.id == id }) {
            payloads.append(
                .notify(
                    NotifyPayload(.rekeySA, securityProtocol: .esp, spi: old.snapshot.inboundSPI.octets)
                )
            )
        }
        payloads += [.securityAssociation(SAPayload(offer.proposals)), .nonce(offer.nonce)]
        if let pair = offer.keyPair {
            payloads.append(.keyExchange(KEPayload(group: pair.group.rawValue, data: pair.publicValue)))
        }
        guard let tunnel = offer.tunnel else { return payloads }
        return payloads + [
            .initiatorSelectors(TSPayload(offer.localSelectors)),
            .responderSelectors(TSPayload(offer.remoteSelectors)),
        ] + ChildNegotiation.resourceInfo(tunnel)
    }

    // MARK: - The response

    mutating func completeChild(
        _ exchange: OwnExchange,
        _ payloads: [Payload],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard var offer = exchange.offer, let tunnel = offer.tunnel, let spi = offer.inboundSPI else {
            active = nil
            return sendNext(common, &context)
        }
        if let notify = payloads.notification(.invalidKEPayload),
            let group = offer.acceptableRetry(notify.data)
        {
            offer.triedGroups.append(group)
            return begin(exchange, offer, group, common, &context)
        }
        if let error = payloads.errorNotification {
            if error.type == .noProposalChosen, let group = offer.pfsFallback(channel.suite.group) {
                return begin(exchange, offer, group, common, &context)
            }
            let hint = ChildNegotiation.hint(for: error.type, tunnel, connection)
            return childFailed(exchange, .peerRefused(error.type, hint: hint), common, &context)
        }
        let answer = ChildNegotiation.accept(
            payloads,
            tunnel: tunnel,
            offers: offer.proposals,
            local: offer.localSelectors,
            remote: offer.remoteSelectors,
            of: peer,
            keyExchange: .negotiated,
            inboundSPI: spi
        )
        switch answer {
        case .failure(let cause):
            return childBroken(exchange, cause, common, &context)
        case .success(let agreement):
            guard let nonce = payloads.nonce else {
                return childBroken(exchange, .protocolError("its answer lacks a nonce"), common, &context)
            }
            guard let group = agreement.proposal.transform(of: .keyExchange)?.keyExchangeGroup else {
                return finishChild(exchange, agreement, nonce, [], common, &context)
            }
            guard let pair = offer.keyPair, pair.group == group, let theirs = payloads.keyExchange,
                theirs.group == group.rawValue, theirs.data.count == group.answerLength
            else {
                let cause = DownCause.protocolError("its key exchange is not the one it chose")
                return childBroken(exchange, cause, common, &context)
            }
            let job = context.compute(.deriveSecret(pair, peer: theirs.data), for: common)
            active?.phase = .deriving(job: job, .child(agreement, nonce: nonce))
            active?.link = payloads.notification(.additionalKeyExchange)?.data
            return .stay
        }
    }

    /// Sends the request again with another group.
    private mutating func begin(
        _ exchange: OwnExchange,
        _ offer: OwnExchange.Offer,
        _ group: KeyExchangeGroup,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        var offer = offer
        offer.keyPair = nil
        offer.nonce = context.entropy.bytes(32)
        let job = context.compute(.generateKeyPair(group), for: common)
        active = OwnExchange(task: exchange.task, phase: .preparing(job: job), offer: offer)
        active?.isCancelled = exchange.isCancelled
        active?.rivalChild = exchange.rivalChild
        return .stay
    }

    /// Keys are there: installs the CHILD_SA, and settles with a rekey of the peer that crossed ours.
    mutating func finishChild(
        _ exchange: OwnExchange,
        _ agreement: ChildNegotiation.Agreement,
        _ responderNonce: [UInt8],
        _ secrets: [SecretKey],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        active = nil
        let spi = agreement.inboundSPI
        if exchange.deletedByPeer.contains(agreement.outboundSPI), closing == nil {
            return childDeleted(exchange, common, &context)
        }
        guard !exchange.isCancelled, closing == nil, let nonce = exchange.offer?.nonce else {
            context.release(spi)
            if let lost = exchange.lostRival {
                context.report(.childDown(snapshot(common), lost, cause: closing ?? .peerDeleted))
            }
            if let closing {
                if case .createChild(let name) = exchange.task {
                    context.report(.childFailed(snapshot(common), tunnel: name, cause: closing))
                }
                return sendNext(common, &context)
            }
            return enqueue(.deleteChildren([spi]), common, &context)
        }
        let nonces = (initiator: nonce, responder: responderNonce)
        let rival = exchange.rivalChild.flatMap { id in children.first { $0.id == id && $0.isCurrent } }
        let theirs = rival?.lowestNonce ?? crossingNonce(exchange.task)
        let isRedundant =
            theirs.map { Collisions.oursIsRedundant(ours: Collisions.lowest(nonces), theirs: $0) } ?? false
        if !isRedundant, crossingNonce(exchange.task) != nil { forgetFollowUp(&context) }
        let child: ChildSA
        do throws(CryptoError) {
            child = try installChild(
                agreement,
                nonces: nonces,
                secrets: secrets,
                initiatedByUs: true,
                sendsAtOnce: !isRedundant,
                common,
                &context
            )
        } catch {
            return childBroken(exchange, .cryptography(error), common, &context)
        }
        children.append(child)
        if isRedundant {
            setRole(.deleting, of: child.id)
            return enqueue(.deleteChildren([spi]), common, &context)
        }
        queueFurther(beside: agreement)
        return takeOver(child, from: exchange, rival, common, &context)
    }

    /// The new CHILD_SA of ours carries the tunnel; what it replaces goes.
    private mutating func takeOver(
        _ child: ChildSA,
        from exchange: OwnExchange,
        _ rival: ChildSA?,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        var old: ChildSA?
        if case .rekeyChild(let id) = exchange.task { old = children.first { $0.id == id } }
        if let rival {
            // The peer made it and should delete it; one that makes further CHILD_SAs does not know that.
            setRole(
                .superseded,
                of: rival.id,
                until: context.now.advanced(by: .seconds(old == nil ? 10 : 60))
            )
        }
        let predecessor =
            rival?.snapshot ?? exchange.lostRival ?? old.flatMap { $0.isCurrent ? $0.snapshot : nil }
        if let predecessor {
            context.report(.childRekeyed(snapshot(common), old: predecessor, new: child.snapshot))
        } else {
            context.report(.childUp(snapshot(common), child.snapshot))
        }
        guard let old, old.role != .deleting else { return sendNext(common, &context) }
        setRole(.deleting, of: old.id)
        return enqueue(.deleteChildren([old.snapshot.inboundSPI]), common, &context)
    }

    // MARK: - Failures

    /// The peer deleted what we asked for before its answer reached us: the tunnel is down.
    private mutating func childDeleted(
        _ exchange: OwnExchange,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard case .rekeyChild(let id) = exchange.task,
            let index = children.firstIndex(where: { $0.id == id }), children[index].isCurrent
        else { return childFailed(exchange, .peerDeleted, common, &context) }
        if let spi = exchange.offer?.inboundSPI { context.release(spi) }
        return terminateChild(children[index].id, .peerDeleted, common, &context)
    }

    /// The peer has made a CHILD_SA that we cannot use: it is told to delete it.
    mutating func childBroken(
        _ exchange: OwnExchange,
        _ cause: DownCause,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if let spi = exchange.offer?.inboundSPI { waiting.append(.deleteChildren([spi])) }
        return childFailed(exchange, cause, common, &context)
    }

    /// A failed rekey never deletes a working CHILD_SA, but for one that the peer does not have any more
    /// (RFC 7296 §2.25).
    mutating func childFailed(
        _ exchange: OwnExchange,
        _ cause: DownCause,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        active = nil
        if let spi = exchange.offer?.inboundSPI { context.release(spi) }
        if let lost = exchange.lostRival {
            context.report(.childDown(snapshot(common), lost, cause: .peerDeleted))
            deleteSuperseded(by: exchange)
        }
        switch exchange.task {
        case .createChild(let name):
            guard current(of: name) == nil, !exchange.isCancelled else { break }
            if case .peerRefused(let type, _) = cause, type == .noAdditionalSAs || type == .noProposalChosen,
                exchange.offer?.tunnel?.isFurther != true
            {
                context.needsFreshIKE.insert(
                    EngineContext.Tunnel(connection: connection.name, name: name)
                )
            }
            if case .peerRefused(.tsMaxQueue, _) = cause, exchange.offer?.tunnel?.isFurther == false,
                let further = furtherChild(of: name)
            {
                // The peer counts those for single workers, the tunnel lacks the one for all: it takes one's place.
                let transition = terminateChild(further.id, .duplicate, common, &context)
                waiting.append(.createChild(tunnel: name))
                return transition
            }
            context.report(.childFailed(snapshot(common), tunnel: name, cause: cause))
        case .rekeyChild(let id):
            guard let index = children.firstIndex(where: { $0.id == id }), children[index].isCurrent else {
                break
            }
            if case .peerRefused(.childSANotFound, _) = cause, !isUnconfirmed(children[index]) {
                let child = children.remove(at: index)
                release(child, cause, common, &context)
                break
            }
            children[index].failures += 1
            children[index].lastFailure = cause
            var retry = retryInstant(
                after: children[index].failures,
                cause,
                expiresAt: children[index].snapshot.expiresAt,
                &context
            )
            // One that was tried before its time is due at its time, unless it cannot wait.
            if !children[index].isNearLimit, let planned = children[index].snapshot.rekeyAt {
                retry = max(retry, planned)
            }
            children[index].snapshot.rekeyAt = retry
            context.report(
                .rekeyFailed(
                    snapshot(common),
                    child: children[index].snapshot,
                    cause: cause,
                    retryAt: retry
                )
            )
        default: break
        }
        return sendNext(common, &context)
    }

    /// The last CHILD_SA that a tunnel has beside its first (RFC 9611).
    private func furtherChild(of name: String) -> ChildSA? {
        children.last { child in
            child.isCurrent
                && connection.tunnels.contains {
                    $0.name == child.snapshot.tunnel && $0.isFurther && $0.configuredName == name
                }
        }
    }

    /// True for a CHILD_SA that the peer has perhaps not made yet.
    ///
    /// Our response to its request may be lost; then what it replaces is still there.
    private func isUnconfirmed(_ child: ChildSA) -> Bool {
        guard !child.isOurs, !child.isSending else { return false }
        return children.contains { $0.role == .superseded && $0.snapshot.tunnel == child.snapshot.tunnel }
    }

    /// Nothing takes over from what our rekey was to replace, and the peer leaves it to us to delete it.
    private mutating func deleteSuperseded(by exchange: OwnExchange) {
        guard case .rekeyChild(let id) = exchange.task,
            let old = children.first(where: { $0.id == id && $0.role == .superseded })
        else { return }
        setRole(.deleting, of: id)
        waiting.append(.deleteChildren([old.snapshot.inboundSPI]))
    }
}

extension OwnExchange.Offer {
    /// The group that the peer asks for by INVALID_KE_PAYLOAD, if it is offered and was not tried.
    func acceptableRetry(_ data: [UInt8]) -> KeyExchangeGroup? {
        guard data.count == 2 else { return nil }
        let number = UInt16(data[0]) << 8 | UInt16(data[1])
        guard let group = KeyExchangeGroup(rawValue: number), !triedGroups.contains(group),
            proposals.contains(where: { $0.transforms.contains(Transform(.keyExchange, number)) })
        else { return nil }
        return group
    }

    /// Adds PFS with the IKE_SA's group to an offer that had none and was refused: more than the policy asks
    /// for does no harm, and the mismatch would end the tunnel at its first rekey.
    mutating func pfsFallback(_ group: KeyExchangeGroup) -> KeyExchangeGroup? {
        guard !addsPFS, triedGroups.isEmpty else { return nil }
        addsPFS = true
        triedGroups = [group]
        for index in proposals.indices {
            proposals[index].transforms.append(Transform(.keyExchange, group.rawValue))
        }
        return group
    }
}
