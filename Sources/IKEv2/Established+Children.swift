import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

/// The CHILD_SAs of an IKE_SA: made in IKE_AUTH, replaced, deleted by either end.
extension Established {
    /// The CHILD_SA that carries a tunnel's traffic.
    func current(of tunnel: String) -> ChildSA? {
        children.last { $0.isCurrent && $0.snapshot.tunnel == tunnel }
    }

    /// How long a CHILD_SA stays beside a second one that the peer made for the same traffic.
    static let twinGrace = Duration.seconds(10)

    /// The CHILD_SA that carries exactly what `agreement` is about.
    func current(like agreement: ChildNegotiation.Agreement) -> ChildSA? {
        children.last {
            $0.isCurrent && $0.snapshot.tunnel == agreement.tunnel.name
                && $0.snapshot.localSelectors == agreement.localSelectors
                && $0.snapshot.remoteSelectors == agreement.remoteSelectors
        }
    }

    mutating func markTwin(_ id: UInt32) {
        guard let index = children.firstIndex(where: { $0.id == id }) else { return }
        children[index].isTwin = true
    }

    /// The first of two CHILD_SAs for the same traffic carries it again when the peer deletes the second.
    private mutating func reviveTwin(of child: ChildSA) -> ChildSA? {
        guard
            let index = children.lastIndex(where: {
                $0.isTwin && $0.role == .superseded && $0.snapshot.tunnel == child.snapshot.tunnel
                    && $0.snapshot.localSelectors == child.snapshot.localSelectors
                    && $0.snapshot.remoteSelectors == child.snapshot.remoteSelectors
            })
        else { return nil }
        children[index].role = .current
        children[index].isTwin = false
        children[index].abandonedAt = nil
        children[index].isSending = true
        return children[index]
    }

    mutating func setRole(_ role: ChildSA.Role, of id: UInt32, until instant: Instant? = nil) {
        guard let index = children.firstIndex(where: { $0.id == id }) else { return }
        children[index].role = role
        children[index].abandonedAt = instant
    }

    /// Installs what an initiator's IKE_AUTH agreed on.
    mutating func adopt(
        _ agreement: ChildNegotiation.Agreement,
        nonces: (initiator: [UInt8], responder: [UInt8]),
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        do throws(CryptoError) {
            let child = try installChild(
                agreement,
                nonces: nonces,
                initiatedByUs: true,
                sendsAtOnce: true,
                common,
                &context
            )
            children.append(child)
            context.report(.childUp(snapshot(common), child.snapshot))
            queueFurther(beside: agreement)
            if case .close = sendNext(common, &context) { return .close }
            return .move(.established(self))
        } catch {
            context.release(agreement.inboundSPI)
            return childRefused(agreement.tunnel, .cryptography(error), common, &context)
        }
    }

    /// Derives keys and hands a CHILD_SA to the data plane; the caller enters and reports it.
    func installChild(
        _ agreement: ChildNegotiation.Agreement,
        nonces: (initiator: [UInt8], responder: [UInt8]),
        secrets: [SecretKey] = [],
        initiatedByUs: Bool,
        sendsAtOnce: Bool,
        _ common: SACommon,
        _ context: inout EngineContext
    ) throws(CryptoError) -> ChildSA {
        try ChildNegotiation.install(
            agreement,
            channel: channel,
            nonces: nonces,
            secrets: secrets,
            initiatedByUs: initiatedByUs,
            sendsAtOnce: sendsAtOnce,
            peer: peer,
            connection: connection,
            encapsulation: encapsulation,
            common,
            &context
        )
    }

    /// As initiator: the IKE_SA stands but has no CHILD_SA, so it is of no use and deleted.
    mutating func childRefused(
        _ tunnel: TunnelPolicy,
        _ cause: DownCause,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        context.report(.childFailed(snapshot(common), tunnel: tunnel.name, cause: cause))
        _ = terminate(cause, common, &context)
        return .move(.established(self))
    }

    /// As responder: the CHILD_SA's part of the IKE_AUTH response.
    mutating func answerChild(
        _ payloads: [Payload],
        nonces: (initiator: [UInt8], responder: [UInt8]),
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> [Payload] {
        // RFC 6023 apart, an IKE_AUTH request without SAi2 asks for no CHILD_SA: nothing to answer.
        guard payloads.securityAssociation != nil else { return [] }
        let answer = ChildNegotiation.answer(
            payloads,
            connection: connection,
            tunnels: connection.tunnels.filter { !$0.isFurther },
            path: ends(common),
            of: peer,
            keyExchange: .none
        ) { context.newInboundSPI(for: $0) }
        switch answer {
        case .failure(let cause):
            context.report(.childFailed(snapshot(common), tunnel: nil, cause: cause))
            return [.notify(ChildNegotiation.notification(for: cause))]
        case .success(let agreement):
            do throws(CryptoError) {
                let waits = isCarriedElsewhere(agreement.tunnel.name, common, context)
                var child = try installChild(
                    agreement,
                    nonces: nonces,
                    initiatedByUs: false,
                    sendsAtOnce: !waits,
                    common,
                    &context
                )
                if waits { child.takesOverAt = context.now.advanced(by: ChildSA.takeover) }
                children.append(child)
                context.report(.childUp(snapshot(common), child.snapshot))
            } catch {
                context.release(agreement.inboundSPI)
                context.report(
                    .childFailed(snapshot(common), tunnel: agreement.tunnel.name, cause: .cryptography(error))
                )
                return [.notify(NotifyPayload(.noProposalChosen))]
            }
            var chosen = agreement.proposal
            chosen.spi = agreement.inboundSPI.octets
            return [
                .securityAssociation(SAPayload([chosen])),
                .initiatorSelectors(TSPayload(agreement.remoteSelectors)),
                .responderSelectors(TSPayload(agreement.localSelectors)),
            ] + agreement.resourceInfo
        }
    }

    // MARK: - Ends

    /// Deletes one CHILD_SA of ours; the peer is told.
    mutating func terminateChild(
        _ id: UInt32,
        _ cause: DownCause,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard let index = children.firstIndex(where: { $0.id == id }) else { return .stay }
        let child = children.remove(at: index)
        // What a rekey of ours would make in its place, or in that of its rival, is not wanted either.
        if let active, active.task == .rekeyChild(id: id) || active.rivalChild == id {
            self.active?.isCancelled = true
        }
        release(child, cause, common, &context)
        if child.isSending, !child.isCurrent { useCurrent(of: child.snapshot.tunnel, &context) }
        closingChildren[child.snapshot.outboundSPI] = child.snapshot.inboundSPI
        return enqueue(.deleteChildren([child.snapshot.inboundSPI]), common, &context)
    }

    /// The peer has answered our DELETE: replaced CHILD_SAs receive for a moment longer, what is under way is not
    /// lost.
    mutating func retire(_ spis: [SPI], _ common: SACommon, _ context: inout EngineContext) {
        for (outbound, inbound) in closingChildren where spis.contains(inbound) {
            closingChildren[outbound] = nil
        }
        for child in children where child.role == .deleting && spis.contains(child.snapshot.inboundSPI) {
            retire(child, &context)
        }
    }

    private mutating func retire(_ child: ChildSA, _ context: inout EngineContext) {
        children.removeAll { $0.id == child.id }
        let until = context.now.advanced(by: RetiredChild.grace)
        retired.append(RetiredChild(snapshot: child.snapshot, until: until))
        guard child.isSending else { return }
        useCurrent(of: child.snapshot.tunnel, &context)
    }

    /// The CHILD_SA that took over sends from now on, if it did not already.
    ///
    /// Another old one may still send, until the peer has shown that it has the newest.
    mutating func useCurrent(of tunnel: String, _ context: inout EngineContext) {
        guard !children.contains(where: { $0.isSending && $0.snapshot.tunnel == tunnel }),
            let index = children.lastIndex(where: {
                $0.isCurrent && !$0.isSending && $0.snapshot.tunnel == tunnel
            })
        else { return }
        children[index].isSending = true
        context.emit(.useForSending(childID: children[index].id))
    }

    /// A packet came by a CHILD_SA that the peer initiated: it has our response, and takes ours
    /// (RFC 7296 §2.8).
    mutating func noteFirstInbound(_ id: UInt32, _ context: inout EngineContext) -> Transition {
        guard let index = children.firstIndex(where: { $0.id == id }), children[index].isCurrent,
            !children[index].isSending
        else { return .stay }
        children[index].isSending = true
        children[index].takesOverAt = nil
        context.emit(.useForSending(childID: id))
        return .stay
    }

    /// True when a CHILD_SA of another IKE_SA with the peer sends for the tunnel: what the peer makes anew, it has not got
    /// before our response arrives, and what we would send by it were lost.
    func isCarriedElsewhere(_ tunnel: String, _ common: SACommon, _ context: EngineContext) -> Bool {
        context.contacts.carries(
            tunnel,
            beside: common.localSPI,
            with: peer.identity,
            of: connection.name
        )
    }

    /// Nobody was heard by CHILD_SAs that wait for it: the peer, if it has them, answers.
    mutating func askBeforeTakeover(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        var asks = false
        for index in children.indices {
            guard let instant = children[index].takesOverAt, instant <= context.now else { continue }
            children[index].takesOverAt = nil
            guard children[index].isCurrent, !children[index].isSending else { continue }
            children[index].awaitsAnswer = true
            asks = true
        }
        guard asks, closing == nil, !isPlanned(.livenessCheck) else { return .stay }
        return enqueue(.livenessCheck, common, &context)
    }

    /// The peer answered: it has this IKE_SA.
    mutating func takeOver(_ context: inout EngineContext) {
        for index in children.indices where children[index].awaitsAnswer {
            children[index].awaitsAnswer = false
            guard children[index].isCurrent, !children[index].isSending else { continue }
            children[index].isSending = true
            context.emit(.useForSending(childID: children[index].id))
        }
    }

    /// The peer deletes CHILD_SAs by its inbound SPIs; the answer names ours (RFC 7296 §1.4.1), but for those
    /// whose DELETE by us crossed this one.
    mutating func peerDeletes(
        _ spis: [[UInt8]],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> [SPI] {
        var answered = [SPI]()
        for octets in spis {
            guard let spi = SPI(octets: octets) else { continue }
            guard let index = children.firstIndex(where: { $0.snapshot.outboundSPI == spi }) else {
                // A request that crossed the rekey of the IKE_SA is about CHILD_SAs that have moved on.
                if let successor {
                    context.handovers.append(.peerDeletes(at: successor, spi.octets))
                } else if let active, active.task.exchange == .createChildSA, active.deletedByPeer.count < 8 {
                    self.active?.deletedByPeer.append(spi)
                }
                continue
            }
            let child = children[index]
            if !isDeleting(child.snapshot.inboundSPI) { answered.append(child.snapshot.inboundSPI) }
            guard child.isCurrent else {
                retire(child, &context)
                continue
            }
            children.remove(at: index)
            if let active, active.isOut, active.rivalChild == child.id {
                // The peer knows by the nonces that the one of ours stays.
                self.active?.lostRival = child.snapshot
                Self.remove(child.snapshot, &context)
            } else if let twin = reviveTwin(of: child) {
                Self.remove(child.snapshot, &context)
                context.emit(.useForSending(childID: twin.id))
                context.report(.childRekeyed(snapshot(common), old: child.snapshot, new: twin.snapshot))
            } else {
                release(child, .peerDeleted, common, &context)
            }
        }
        return answered
    }

    private func isDeleting(_ spi: SPI) -> Bool {
        guard case .deleteChildren(let spis) = active?.task else { return false }
        return spis.contains(spi)
    }

    /// The peer has no SA for what we send: an authentic INVALID_SPI says so (RFC 7296 §1.5).
    mutating func peerLost(_ notify: NotifyPayload, _ common: SACommon, _ context: inout EngineContext) {
        guard let spi = SPI(octets: notify.data),
            let index = children.firstIndex(where: { $0.snapshot.outboundSPI == spi && $0.isCurrent }),
            // What it got before it had the SA, or after it deleted it, is no sign of a loss.
            children[index].snapshot.installedAt.advanced(by: .seconds(5)) <= context.now
        else { return }
        let child = children.remove(at: index)
        release(child, .peerRefused(.invalidSPI, hint: "it has no such CHILD_SA"), common, &context)
        guard waiting.count < Self.maximumWaiting else { return }
        waiting.append(.deleteChildren([child.snapshot.inboundSPI]))
    }
}
