import DequeModule
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// All proofs are brought: the IKE_SA is established, its CHILD_SA with it if there is one.
extension InitiatorProgress {
    mutating func establish(
        _ peer: VerifiedPeer,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let (attempt, payloads) = (attempt, gathered)
        guard let inboundSPI else { return giveUp(.protocolError("no SPI was named"), common, &context) }
        var established = established(peer, common, &context)
        if let gateway = payloads.notification(.redirect).flatMap({ RedirectGateway.parse($0.data)?.gateway })
        {
            context.release(inboundSPI)
            return established.redirectedInAuth(to: gateway, attempt, common, &context)
        }
        context.report(.ikeUp(established.snapshot(common)))
        for tunnel in context.takeFollowers(of: common.localSPI) where tunnel != attempt.tunnel.name {
            established.waiting.append(.createChild(tunnel: tunnel))
        }
        if established.lacksAddress, payloads.errorNotification == nil {
            context.release(inboundSPI)
            let cause = DownCause.noVirtualAddress(attempt.connection.origin(of: "vips"))
            return established.childRefused(attempt.tunnel, cause, common, &context)
        }
        if derived.isChildless {
            context.release(inboundSPI)
            established.waiting.prepend(.createChild(tunnel: attempt.tunnel.name))
            if case .close = established.sendNext(common, &context) { return .close }
            return .move(.established(established))
        }
        if let error = payloads.errorNotification {
            context.release(inboundSPI)
            let cause = DownCause.peerRefused(error.type, hint: attempt.childHint(for: error.type))
            return established.childRefused(attempt.tunnel, cause, common, &context)
        }
        let (offered, given) = (attempt.offeredEnds(common), established.ends(common))
        switch ChildNegotiation.accept(
            payloads,
            tunnel: attempt.tunnel,
            offers: offers,
            local: attempt.tunnel.local(at: offered.local),
            remote: attempt.tunnel.remote(at: offered.remote),
            within: attempt.tunnel.local(at: given.local),
            of: peer,
            keyExchange: .none,
            inboundSPI: inboundSPI
        ) {
        case .failure(let cause):
            context.release(inboundSPI)
            return established.childRefused(attempt.tunnel, cause, common, &context)
        case .success(let agreement):
            let nonces = (initiator: attempt.nonce, responder: derived.responderNonce)
            return established.adopt(agreement, nonces: nonces, common, &context)
        }
    }

    private func established(
        _ peer: VerifiedPeer,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Established {
        let (attempt, nat) = (attempt, derived.nat)
        var established = Established(
            connection: attempt.connection,
            peer: peer,
            localIdentity: firstIdentity,
            channel: channel,
            nat: nat,
            encapsulation: derived.travelsInUDP ? .udp : .none,
            nonces: (attempt.nonce, derived.responderNonce),
            nextRequestID: messageID,
            expectedRequestID: 0,
            &context
        )
        established.mobility = Mobility(attempt.connection, gathered, isOriginalInitiator: true)
        established.mobility?.announced = attempt.connection.otherAddresses(common, context)
        // The first answer to a liveness check tells how the NAT maps us now, against which later ones are held.
        if established.mobility != nil, nat.isLocalBehindNAT { established.waiting.append(.livenessCheck) }
        established.mixesPPK = mixesPPK
        established.takeGrants(gathered, common, &context)
        return established
    }
}
