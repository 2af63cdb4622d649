import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

/// Further key exchanges by IKE_INTERMEDIATE, one after the other (RFC 9370 §2.2.2); then IKE_AUTH goes out.
struct InitiatorIntermediate {
    /// What the exchange at hand waits for.
    private enum Phase {
        /// Our key pair.
        case generating
        /// The response.
        case requested(KeyExchangeKeyPair, OutstandingRequest, authenticated: [UInt8])
        /// The shared secret; both messages are kept as far as AUTH covers them.
        case deriving(request: [UInt8], response: [UInt8])
    }

    let derived: InitiatorDeriving
    private var channel: SecureChannel
    private var intermediate: Intermediate
    private var phase = Phase.generating

    var attempt: InitiatorAttempt { derived.attempt }

    // The optimizer of Swift 6.3 fails where this is inlined.
    @inline(never)
    func reception(of header: IKEHeader) -> FragmentReception {
        guard case .requested(_, let request, _) = phase, header.isResponse,
            header.exchange == .ikeIntermediate, header.messageID == request.messageID
        else { return .unexpected }
        return .awaited(channel)
    }

    /// When the request is to be sent again.
    var deadline: Instant? {
        if case .requested(_, let request, _) = phase { request.nextAt } else { nil }
    }

    /// Begins the first of the exchanges that the suite asks for.
    static func begin(
        _ derived: InitiatorDeriving,
        _ channel: SecureChannel,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let state = InitiatorIntermediate(derived: derived, channel: channel)
        return state.next(&common, &context)
    }

    private init(derived: InitiatorDeriving, channel: SecureChannel) {
        self.derived = derived
        self.channel = channel
        intermediate = Intermediate(derived.suite.additionalGroups)
    }

    private func next(_ common: inout SACommon, _ context: inout EngineContext) -> Transition {
        guard let group = intermediate.remaining.first else {
            return InitiatorSigning.begin(derived, channel, intermediate, &common, &context)
        }
        _ = context.compute(.generateKeyPair(group), for: common)
        return .move(.initiatorIntermediate(self))
    }

    mutating func handle(_ result: ComputeResult, _ common: inout SACommon, _ context: inout EngineContext)
        -> Transition
    {
        switch (phase, result.outcome) {
        case (.generating, .keyPair(let pair)):
            return send(pair, &common, &context)
        case (.deriving(let request, let response), .secret(let secret)):
            do throws(CryptoError) {
                try intermediate.complete(
                    request: request,
                    response: response,
                    secret: secret,
                    nonces: (attempt.nonce, derived.responderNonce),
                    common,
                    &channel
                )
            } catch {
                return fail(.cryptography(error), common, &context)
            }
            phase = .generating
            return next(&common, &context)
        case (_, .failure(let error)):
            return fail(
                .protocolError("its additional key exchange value was refused: \(error)"),
                common,
                &context
            )
        default:
            return .stay
        }
    }

    private func fail(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) -> Transition {
        attempt.fail(cause, common, &context)
        return .close
    }

    private mutating func send(
        _ pair: KeyExchangeKeyPair,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if derived.floatsPorts { common.floatPorts(context.configuration) }
        let header = common.header(.ikeIntermediate, messageID: intermediate.messageID, isResponse: false)
        guard
            let (message, authenticated) = channel.sealIntermediate(
                [.keyExchange(KEPayload(group: pair.group.rawValue, data: pair.publicValue))],
                header: header,
                entropy: &context.entropy
            )
        else { return fail(.protocolError("IKE_INTERMEDIATE could not be written"), common, &context) }
        let request = OutstandingRequest(
            messageID: intermediate.messageID,
            message: message,
            policy: attempt.connection.retransmission,
            at: context.now
        )
        context.send(message, from: common.local, to: common.remote)
        context.report(
            .progress(
                connection: attempt.connection.name,
                text: "sending IKE_INTERMEDIATE to \(common.remote) with \(pair.group.name)"
            )
        )
        phase = .requested(pair, request, authenticated: authenticated)
        return .move(.initiatorIntermediate(self))
    }

    mutating func timeout(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard case .requested(let pair, var request, let authenticated) = phase else { return .stay }
        switch request.check(at: context.now) {
        case .wait:
            return .stay
        case .retransmit:
            channel.shrink(&request, &context)
            phase = .requested(pair, request, authenticated: authenticated)
            context.transmit(request.message, from: common.local, to: common.remote)
            return .stay
        case .giveUp:
            let seconds = request.sentAt.duration(to: context.now).wholeSeconds
            return fail(
                .noAnswer(to: "IKE_INTERMEDIATE", attempts: request.attempts, seconds: seconds),
                common,
                &context
            )
        }
    }

    mutating func handle(
        _ message: ReceivedMessage,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard case .requested(let pair, let request, let ours) = phase, message.header.isResponse,
            message.header.exchange == .ikeIntermediate, message.header.messageID == request.messageID,
            case .encrypted(let content) = message.content
        else {
            context.count(.unexpected)
            return .stay
        }
        let payloads: [Payload]
        let theirs: [UInt8]
        do throws(EncryptedContent.OpenError) {
            (payloads, theirs) = try channel.openIntermediate(content)
        } catch {
            switch error {
            case .notAuthentic:
                context.count(.notAuthentic)
                return .stay
            case .malformed(let wire):
                context.count(.malformed)
                return fail(.protocolError("its IKE_INTERMEDIATE cannot be read: \(wire)"), common, &context)
            }
        }
        context.took(payloads, message.header, datagram)
        if let error = payloads.errorNotification {
            return fail(.peerRefused(error.type, hint: attempt.hint(for: error.type)), common, &context)
        }
        guard payloads.unsupportedCritical == nil, let exchange = payloads.keyExchange,
            exchange.group == pair.group.rawValue, exchange.data.count == pair.group.answerLength
        else {
            return fail(
                .protocolError("its IKE_INTERMEDIATE lacks the key exchange it chose"),
                common,
                &context
            )
        }
        _ = context.compute(.deriveSecret(pair, peer: exchange.data), for: common)
        phase = .deriving(request: ours, response: theirs)
        return .stay
    }
}
