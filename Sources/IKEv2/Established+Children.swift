import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

extension Established {
    /// Installs what an initiator's IKE_AUTH agreed on.
    mutating func adopt(
        _ agreement: ChildNegotiation.Agreement,
        nonces: (initiator: [UInt8], responder: [UInt8]),
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        do throws(CryptoError) {
            try installChild(agreement, nonces: nonces, initiatedByUs: true, common, &context)
            return .move(.established(self))
        } catch {
            context.release(agreement.inboundSPI)
            return childRefused(agreement.tunnel, .cryptography(error), common, &context)
        }
    }

    mutating func installChild(
        _ agreement: ChildNegotiation.Agreement,
        nonces: (initiator: [UInt8], responder: [UInt8]),
        sharedSecret: SecretKey? = nil,
        initiatedByUs: Bool,
        _ common: SACommon,
        _ context: inout EngineContext
    ) throws(CryptoError) {
        let child = try ChildNegotiation.install(
            agreement,
            channel: channel,
            nonces: nonces,
            sharedSecret: sharedSecret,
            initiatedByUs: initiatedByUs,
            peer: peer,
            connection: connection,
            encapsulation: encapsulation,
            common,
            &context
        )
        children.append(child)
        context.report(.childUp(snapshot(common), child.snapshot))
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
            tunnels: connection.tunnels,
            keyExchange: .none
        ) { context.newInboundSPI() }
        switch answer {
        case .failure(let cause):
            context.report(.childFailed(snapshot(common), tunnel: nil, cause: cause))
            return [.notify(ChildNegotiation.notification(for: cause))]
        case .success(let agreement):
            do throws(CryptoError) {
                try installChild(agreement, nonces: nonces, initiatedByUs: false, common, &context)
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
            ]
        }
    }

    /// Deletes one CHILD_SA of ours; the peer is told.
    mutating func terminateChild(
        _ id: UInt32,
        _ cause: DownCause,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard let index = children.firstIndex(where: { $0.snapshot.id == id }) else { return .stay }
        let child = children.remove(at: index)
        release(child, cause, common, &context)
        return enqueue(.deleteChildren([child.snapshot.inboundSPI]), common, &context)
    }

    /// The peer deletes CHILD_SAs by its inbound SPIs; the answer names ours (RFC 7296 §1.4.1).
    mutating func peerDeletes(
        _ spis: [[UInt8]],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> [SPI] {
        var answered = [SPI]()
        for octets in spis {
            guard let spi = SPI(octets: octets),
                let index = children.firstIndex(where: { $0.snapshot.outboundSPI == spi })
            else { continue }
            let child = children.remove(at: index)
            answered.append(child.snapshot.inboundSPI)
            release(child, .peerDeleted, common, &context)
        }
        return answered
    }
}
