import Cryptography
import DequeModule
import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

/// Rekeying the IKE_SA itself (RFC 7296 §1.3.2, §2.8, §2.18), as initiator and as responder.
extension Established {
    /// What we offer in place of this IKE_SA; nil if it needs no replacement any more.
    mutating func offerIKERekey(_ context: inout EngineContext) -> OwnExchange.Offer? {
        guard closing == nil, successor == nil else { return nil }
        let spi = context.newIKESPI()
        var offer = OwnExchange.Offer(
            tunnel: nil,
            proposals: connection.proposals.prefix(64).enumerated().map { index, proposal in
                var numbered = proposal
                numbered.number = UInt8(truncatingIfNeeded: index + 1)
                numbered.spi = spi.octets
                return numbered
            },
            nonce: context.entropy.bytes(32)
        )
        offer.ikeSPI = spi
        let groups = offer.proposals.flatMap { $0.transforms(of: .keyExchange) }.compactMap {
            $0.keyExchangeGroup
        }
        let used = channel.suite.group
        guard let group = groups.first(where: { $0 == used }) ?? groups.first else {
            rekeyAt = nil
            return nil
        }
        offer.triedGroups = [group]
        return offer
    }

    mutating func completeIKERekey(
        _ exchange: OwnExchange,
        _ payloads: [Payload],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard var offer = exchange.offer else {
            active = nil
            return sendNext(common, &context)
        }
        if let notify = payloads.notification(.invalidKEPayload),
            let group = offer.acceptableRetry(notify.data)
        {
            offer.keyPair = nil
            offer.nonce = context.entropy.bytes(32)
            offer.triedGroups.append(group)
            let job = context.compute(.generateKeyPair(group), for: common)
            active = OwnExchange(task: .rekeyIKE, phase: .preparing(job: job), offer: offer)
            active?.rival = exchange.rival
            return .stay
        }
        if let error = payloads.errorNotification {
            let hint =
                error.type == .temporaryFailure
                ? "it is busy with a rekey or a deletion of its own"
                : "it accepts none of \(offer.proposals.map { $0.description }.joined(separator: " ")) "
                    + "(\(connection.origin(of: "ike-proposals")))"
            return ikeRekeyFailed(exchange, .peerRefused(error.type, hint: hint), common, &context)
        }
        guard let chosen = payloads.securityAssociation?.proposals.first,
            payloads.securityAssociation?.proposals.count == 1,
            ProposalRefusal.isValidAnswer(chosen, to: offer.proposals), let suite = IKESuite(chosen),
            let peerSPI = IKESPI(octets: chosen.spi), let nonce = payloads.nonce, let pair = offer.keyPair,
            pair.group == suite.group, let theirs = payloads.keyExchange,
            theirs.group == suite.group.rawValue,
            theirs.data.count == suite.group.answerLength
        else {
            let cause = DownCause.protocolError("its answer to our IKE_SA rekey is not one of our offers")
            return ikeRekeyFailed(exchange, cause, common, &context)
        }
        let job = context.compute(.deriveSecret(pair, peer: theirs.data), for: common)
        active?.phase = .deriving(job: job, .ike(suite, peerSPI: peerSPI, nonce: nonce))
        active?.link = payloads.notification(.additionalKeyExchange)?.data
        return .stay
    }

    /// Our rekey is complete: the new IKE_SA takes over, unless a rekey of the peer crossed ours and has won
    /// (RFC 7296 §2.8.2).
    mutating func finishIKERekey(
        _ exchange: OwnExchange,
        _ suite: IKESuite,
        _ peerSPI: IKESPI,
        _ responderNonce: [UInt8],
        _ secrets: [SecretKey],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard let offer = exchange.offer, let spi = offer.ikeSPI else {
            active = nil
            return sendNext(common, &context)
        }
        let nonces = (initiator: offer.nonce, responder: responderNonce)
        let next = SACommon(
            id: context.newID(),
            isInitiator: true,
            localSPI: spi,
            remoteSPI: peerSPI.value,
            local: common.local,
            remote: common.remote,
            createdAt: context.now
        )
        do throws(CryptoError) {
            try makeSuccessor(next, suite, secrets, nonces, &context)
        } catch {
            return ikeRekeyFailed(exchange, .cryptography(error), common, &context)
        }
        active = nil
        if let closing {
            // The user took the connection down meanwhile: nothing may outlive it.
            context.handovers.append(.delete(spi, closing))
            return sendNext(common, &context)
        }
        if exchange.rival == nil, let theirs = crossingNonce(.rekeyIKE) {
            guard !Collisions.oursIsRedundant(ours: Collisions.lowest(nonces), theirs: theirs) else {
                // The peer's rekey takes further key exchanges, and has won.
                context.handovers.append(.delete(spi, .lifetimeOver(lastFailure: nil)))
                return sendNext(common, &context)
            }
            forgetFollowUp(&context)
        }
        guard let rival = exchange.rival,
            Collisions.oursIsRedundant(ours: Collisions.lowest(nonces), theirs: rival.lowestNonce)
        else {
            if let rival = exchange.rival { context.handovers.append(.redundant(rival.spi)) }
            handOver(to: spi, common, &context)
            if isDeletedByPeer { return linger(.peerDeleted, common, &context) }
            return enqueue(.deleteIKE, common, &context)
        }
        context.handovers.append(.delete(spi, .lifetimeOver(lastFailure: nil)))
        handOver(to: rival.spi, common, &context)
        if isDeletedByPeer { return linger(.peerDeleted, common, &context) }
        abandonedAt = context.now.advanced(by: Self.abandonment)
        return .stay
    }

    mutating func ikeRekeyFailed(
        _ exchange: OwnExchange,
        _ cause: DownCause,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        active = nil
        if let rival = exchange.rival {
            handOver(to: rival.spi, common, &context)
            if isDeletedByPeer { return linger(.peerDeleted, common, &context) }
            // Ours to delete: what was to be replaced is not wanted any more.
            guard closing == nil else { return sendNext(common, &context) }
            abandonedAt = context.now.advanced(by: Self.abandonment)
            return .stay
        }
        guard closing == nil, successor == nil else { return sendNext(common, &context) }
        failures += 1
        var retry = retryInstant(after: failures, cause, expiresAt: expiresAt, &context)
        if let rekeyAt { retry = max(retry, rekeyAt) }
        rekeyAt = retry
        context.report(.rekeyFailed(snapshot(common), child: nil, cause: cause, retryAt: retry))
        return sendNext(common, &context)
    }

    /// Enters an IKE_SA that is to take over.
    mutating func makeSuccessor(
        _ next: SACommon,
        _ suite: IKESuite,
        _ secrets: [SecretKey],
        _ nonces: (initiator: [UInt8], responder: [UInt8]),
        _ context: inout EngineContext
    ) throws(CryptoError) {
        let local = next.localSPI
        guard let remote = IKESPI(next.remoteSPI), let secret = secrets.first else { throw .invalidLength }
        let keys = try IKEKeys(
            rekeying: channel.keys,
            oldPRF: channel.suite.prf,
            suite: suite,
            sharedSecret: secret,
            additionalSecrets: Array(secrets.dropFirst()),
            initiatorNonce: nonces.initiator,
            responderNonce: nonces.responder,
            initiatorSPI: next.isInitiator ? local : remote,
            responderSPI: next.isInitiator ? remote : local
        )
        var state = Established(
            connection: connection,
            peer: peer,
            localIdentity: localIdentity,
            channel: channel.successor(suite: suite, keys: keys, isInitiator: next.isInitiator),
            nat: nat,
            encapsulation: encapsulation,
            nonces: nonces,
            nextRequestID: 0,
            expectedRequestID: 0,
            &context
        )
        state.awaitsHandover = true
        state.isKnownToPeer = next.isInitiator
        // A rekey proves nothing anew.
        state.reauthAt = reauthAt
        state.isReauthenticating = isReauthenticating
        state.isRedirected = isRedirected
        state.followsRedirects = followsRedirects
        state.mixesPPK = mixesPPK
        state.virtual = virtual
        state.mobility = mobility
        state.mobility?.cookie = nil
        state.mobility?.hasMoved = false
        // The hash covers the SPIs.
        state.mobility?.seenHash = nil
        context.successors.append(IKESA(common: next, state: .established(state)))
    }

    /// Gives everything to the IKE_SA that takes over.
    mutating func handOver(
        to spi: IKESPI,
        because cause: DownCause = .peerDeleted,
        _ common: SACommon,
        _ context: inout EngineContext
    ) {
        if let closing {
            context.handovers.append(.delete(spi, closing))
            return
        }
        successor = spi
        rekeyAt = nil
        putBackUnsent(&context)
        // The one that takes over is asked anew.
        for name in owedTunnels where current(of: name) == nil {
            waiting.append(.createChild(tunnel: name))
        }
        owedTunnels = []
        // The CHILD_SAs go where the peer says that it is once it has answered from there, to whichever IKE_SA.
        if active?.task == .checkPath, !waiting.contains(.checkPath) { waiting.prepend(.checkPath) }
        let inheritance = Inheritance(
            children: children,
            retired: retired,
            closingChildren: closingChildren,
            waiting: waiting.filter { $0 != .rekeyIKE && $0 != .livenessCheck },
            predecessor: snapshot(common),
            earlier: predecessors,
            cause: cause
        )
        children = []
        retired = []
        closingChildren = [:]
        waiting = unsentUpdates
        context.handovers.append(.inherit(spi, inheritance))
    }

    /// Takes over from the IKE_SA that this one replaces.
    mutating func inherit(
        _ inheritance: Inheritance,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        awaitsHandover = false
        predecessors = ([inheritance.localSPI].compactMap { $0 } + inheritance.earlier).prefix(
            Self.maximumPredecessors
        ).map { $0 }
        children = inheritance.children
        retired = inheritance.retired
        closingChildren = inheritance.closingChildren
        waiting = inheritance.waiting
        // What the old IKE_SA began to delete was perhaps not sent; asking twice does no harm.
        let missing = children.filter { $0.role == .deleting }.map { $0.snapshot.inboundSPI }
        let planned = waiting.flatMap { task in
            if case .deleteChildren(let spis) = task { spis } else { [SPI]() }
        }
        for spi in missing where !planned.contains(spi) { waiting.append(.deleteChildren([spi])) }
        let old = inheritance.predecessor
        if common.remote != old.remote || common.local != old.local {
            moveChildren(to: common.remote, common, &context)
        }
        context.report(.ikeRekeyed(old: inheritance.predecessor, new: snapshot(common)))
        return sendNext(common, &context)
    }
}

/// What one IKE_SA leaves to the one that replaces it.
struct Inheritance {
    let children: [ChildSA]
    let retired: [RetiredChild]
    let closingChildren: [SPI: SPI]
    let waiting: Deque<OwnExchange.Task>
    let predecessor: IKESASnapshot
    /// What that one took over from.
    let earlier: [IKESPI]
    /// What goes down with it if there is nobody to take over.
    let cause: DownCause

    /// By which the engine knew the predecessor.
    var localSPI: IKESPI? {
        IKESPI(predecessor.isInitiator ? predecessor.initiatorSPI : predecessor.responderSPI)
    }

    /// There is nobody to take over: all of it ends.
    func dissolve(_ context: inout EngineContext) {
        var ike = predecessor
        ike.state = .deleting
        ike.children = []
        for child in retired { Established.remove(child.snapshot, &context) }
        for child in children {
            Established.remove(child.snapshot, &context)
            if child.isCurrent { context.report(.childDown(ike, child.snapshot, cause: cause)) }
        }
        for case .createChild(let tunnel) in waiting {
            context.report(.childFailed(ike, tunnel: tunnel, cause: cause))
        }
        context.report(.ikeDown(ike, cause: cause))
    }
}

/// What an IKE_SA wants of another one; the engine carries it out.
enum Handover {
    /// Take over.
    case inherit(IKESPI, Inheritance)
    /// The peer made it and will delete it: a rekey of ours that crossed has won.
    case redundant(IKESPI)
    /// Delete it without further ado.
    case delete(IKESPI, DownCause)
    /// A DELETE for one of its CHILD_SAs came to its predecessor.
    case peerDeletes(at: IKESPI, [UInt8])
}
