import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Primitives

/// An IKE_INTERMEDIATE request whose key exchange is being computed elsewhere.
struct PendingIntermediate {
    let datagram: IKEDatagram
    /// What AUTH covers of it.
    let authenticated: [UInt8]
}

/// Further key exchanges by IKE_INTERMEDIATE, as responder (RFC 9242, RFC 9370 §2.2.2).
///
/// The peer is a stranger until IKE_AUTH: there are as many exchanges as the suite names, in their order, within the
/// life of a half-open IKE_SA.
extension ResponderAwaitingAuth {
    mutating func handleIntermediate(
        _ message: ReceivedMessage,
        _ datagram: IKEDatagram,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if let cachedIntermediate, cachedIntermediate.answers(datagram.octets) {
            context.transmit(cachedIntermediate.message, from: datagram.local, to: datagram.remote)
            return .stay
        }
        guard !message.header.isResponse, pendingIntermediate == nil,
            message.header.messageID == intermediate.messageID, let group = intermediate.remaining.first,
            case .encrypted(let content) = message.content
        else {
            context.count(.unexpected)
            return .stay
        }
        let opened: (payloads: [Payload], authenticated: [UInt8])
        do throws(EncryptedContent.OpenError) {
            opened = try channel.openIntermediate(content)
        } catch {
            // RFC 9242 §3.4: nothing here is authenticated yet; the real peer may still come.
            context.count(error == .notAuthentic ? .notAuthentic : .malformed)
            return .stay
        }
        context.took(opened.payloads, message.header, datagram)
        guard opened.payloads.unsupportedCritical == nil, let exchange = opened.payloads.keyExchange,
            exchange.group == group.rawValue, exchange.data.count == group.publicValueLength
        else {
            context.count(.malformed)
            return .stay
        }
        common.local = datagram.local
        common.remote = datagram.remote
        pendingIntermediate = PendingIntermediate(datagram: datagram, authenticated: opened.authenticated)
        _ = context.compute(.answer(group, peer: exchange.data), for: common)
        return .stay
    }

    /// The key exchange of the pending request is done.
    mutating func handle(_ result: ComputeResult, _ common: SACommon, _ context: inout EngineContext)
        -> Transition
    {
        if let pendingProof { return proved(pendingProof, result.outcome, common, &context) }
        guard let pending = pendingIntermediate else { return .stay }
        pendingIntermediate = nil
        guard case .answer(let pair, let secret) = result.outcome else {
            context.count(.malformed)
            let cause = DownCause.protocolError("its additional key exchange value was refused")
            context.report(failure(cause, nil, common))
            return .close
        }
        let header = common.header(.ikeIntermediate, messageID: intermediate.messageID, isResponse: true)
        let exchange = KEPayload(group: pair.group.rawValue, data: pair.publicValue)
        guard
            let (message, authenticated) = channel.sealIntermediate(
                [.keyExchange(exchange)],
                header: header,
                entropy: &context.entropy
            )
        else { return .close }
        previousChannel = channel
        do throws(CryptoError) {
            try intermediate.complete(
                request: pending.authenticated,
                response: authenticated,
                secret: secret,
                nonces: (initial.initiatorNonce, responderNonce),
                common,
                &channel
            )
        } catch {
            context.report(failure(.cryptography(error), nil, common))
            return .close
        }
        cachedIntermediate = CachedResponse(to: pending.datagram.octets, message)
        context.send(message, from: common.local, to: common.remote)
        return .stay
    }
}
