import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

/// The initiator's key pair is being made; then IKE_SA_INIT goes out (RFC 7296 §1.2).
struct InitiatorGenerating {
    var attempt: InitiatorAttempt

    func handle(_ result: ComputeResult, _ common: inout SACommon, _ context: inout EngineContext)
        -> Transition
    {
        switch result.outcome {
        case .keyPair(let pair):
            var attempt = attempt
            attempt.triedGroups.append(pair.group)
            return InitiatorAwaitingInit.send(attempt, pair, common, &context)
        case .failure(let error):
            attempt.fail(.cryptography(error), common, &context)
            return .close
        case .secret, .answer, .signature, .checked, .advanced:
            return .stay
        }
    }
}

/// IKE_SA_INIT is out; its response is awaited.
struct InitiatorAwaitingInit {
    var attempt: InitiatorAttempt
    let keyPair: KeyExchangeKeyPair
    var request: OutstandingRequest

    private static let maximumCookies = 3

    static func send(
        _ attempt: InitiatorAttempt,
        _ pair: KeyExchangeKeyPair,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        do {
            var payloads = [Payload]()
            if let cookie = attempt.cookie { payloads.append(.notify(NotifyPayload(.cookie, data: cookie))) }
            payloads += [
                .securityAssociation(SAPayload(attempt.proposals)),
                .keyExchange(KEPayload(group: pair.group.rawValue, data: pair.publicValue)),
                .nonce(attempt.nonce),
            ]
            payloads += try NATDetection.notifications(
                initiatorSPI: common.localSPI.value,
                responderSPI: 0,
                local: common.local,
                remote: common.remote,
                hidingSource: attempt.hidingSource
            )
            if attempt.proposals.contains(where: { !$0.additionalGroups.isEmpty }) {
                payloads.append(.notify(NotifyPayload(.intermediateExchangeSupported)))
            }
            if attempt.connection.fragmentation != .no {
                payloads.append(.notify(NotifyPayload(.fragmentationSupported)))
            }
            if attempt.connection.usesSignatures { payloads.append(.notify(.signatureHashes)) }
            if attempt.offersPostquantumKey { payloads.append(.notify(NotifyPayload(.usePPK))) }
            payloads.append(.notify(attempt.redirectNotification))
            let header = common.header(.ikeSAInit, messageID: 0, isResponse: false)
            let message = IKEMessage(header: header, payloads: payloads)
            let request = OutstandingRequest(
                messageID: 0,
                message: OutgoingMessage(try message.encoded(), source: message),
                policy: attempt.connection.retransmission,
                at: context.now
            )
            context.send(request.message, from: common.local, to: common.remote)
            context.report(
                .progress(
                    connection: attempt.connection.name,
                    text: "sending IKE_SA_INIT to \(common.remote) with \(pair.group.name)"
                )
            )
            return .move(
                .initiatorAwaitingInit(
                    InitiatorAwaitingInit(attempt: attempt, keyPair: pair, request: request)
                )
            )
        } catch {
            attempt.fail(.protocolError("IKE_SA_INIT could not be written: \(error)"), common, &context)
            return .close
        }
    }

    mutating func timeout(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        switch request.check(at: context.now) {
        case .wait:
            return .stay
        case .retransmit:
            context.transmit(request.message, from: common.local, to: common.remote)
            return .stay
        case .giveUp:
            let seconds = request.sentAt.duration(to: context.now).wholeSeconds
            attempt.fail(
                .noAnswer(to: "IKE_SA_INIT", attempts: request.attempts, seconds: seconds),
                common,
                &context
            )
            return .close
        }
    }

    mutating func handle(
        _ message: ReceivedMessage,
        _ datagram: IKEDatagram,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard message.header.isResponse, message.header.exchange == .ikeSAInit, message.header.messageID == 0,
            case .clear(let payloads) = message.content
        else {
            context.count(.unexpected)
            return .stay
        }
        context.took(payloads, message.header, datagram)
        if payloads.unsupportedCritical != nil {
            context.count(.criticalPayload)
            return .stay
        }
        if let cookie = payloads.notification(.cookie) {
            return retry(withCookie: cookie.data, common, &context)
        }
        if let wanted = payloads.notification(.invalidKEPayload) { return retry(wanted, common, &context) }
        if let notify = payloads.notification(.redirect) { return redirected(by: notify, common, &context) }
        if let error = payloads.errorNotification {
            attempt.fail(.peerRefused(error.type, hint: attempt.hint(for: error.type)), common, &context)
            return .close
        }
        return accept(payloads, message, datagram, &common, &context)
    }

    private func retry(
        withCookie cookie: [UInt8],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        // RFC 7296 §2.6: 1 to 64 octets. The same one again answers a request that was sent before it came.
        guard (1...64).contains(cookie.count), cookie != attempt.cookie,
            attempt.cookiesReturned < Self.maximumCookies
        else {
            context.count(.unexpected)
            return .stay
        }
        var attempt = attempt
        attempt.cookie = cookie
        attempt.cookiesReturned += 1
        return Self.send(attempt, keyPair, common, &context)
    }

    private func retry(_ wanted: NotifyPayload, _ common: SACommon, _ context: inout EngineContext)
        -> Transition
    {
        guard wanted.data.count == 2 else {
            context.count(.malformed)
            return .stay
        }
        let number = UInt16(wanted.data[0]) << 8 | UInt16(wanted.data[1])
        // Answers a request that was sent before the group was changed: a repeated or late response.
        guard number != keyPair.group.rawValue else {
            context.count(.unexpected)
            return .stay
        }
        guard let group = attempt.acceptableRetry(number) else {
            attempt.fail(
                .peerRefused(.invalidKEPayload, hint: attempt.hint(for: .invalidKEPayload)),
                common,
                &context
            )
            return .close
        }
        _ = context.compute(.generateKeyPair(group), for: common)
        return .move(.initiatorGenerating(InitiatorGenerating(attempt: attempt)))
    }

    /// Why a response that chose a suite of ours is none that we go on with.
    private func refusal(of suite: IKESuite, _ payloads: [Payload]) -> DownCause? {
        // RFC 9370 §2.2.1: there is no other way to carry them out.
        guard suite.additionalGroups.isEmpty || payloads.notification(.intermediateExchangeSupported) != nil
        else { return .protocolError("it chose additional key exchanges without IKE_INTERMEDIATE") }
        return attempt.postquantumRefusal(payloads)
    }

    private func accept(
        _ payloads: [Payload],
        _ message: ReceivedMessage,
        _ datagram: IKEDatagram,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard message.header.responderSPI != 0, let answer = payloads.securityAssociation?.proposals,
            let exchange = payloads.keyExchange, let nonce = payloads.nonce
        else {
            context.count(.malformed)
            return .stay
        }
        guard answer.count == 1, let chosen = answer.first,
            ProposalRefusal.isValidAnswer(chosen, to: attempt.proposals), let suite = IKESuite(chosen),
            exchange.group == keyPair.group.rawValue, suite.group == keyPair.group
        else {
            attempt.fail(
                .protocolError(
                    "its IKE_SA_INIT chose what was not offered: \(String("\(answer.first?.description ?? "nothing")".prefix(200)))"
                ),
                common,
                &context
            )
            return .close
        }
        if let cause = refusal(of: suite, payloads) {
            attempt.fail(cause, common, &context)
            return .close
        }
        guard
            let nat = try? NATDetection(
                of: payloads,
                header: message.header,
                local: datagram.local,
                remote: datagram.remote
            )
        else { return .stay }
        let isChildlessSupported = payloads.notification(.childlessSupported) != nil
        guard let isChildless = attempt.connection.childless.initiates(isSupported: isChildlessSupported)
        else {
            let cause = "it does not support IKE_SAs without CHILD_SA, which childless = force asks for"
            attempt.fail(.protocolError("\(cause) (\(attempt.connection.origin))"), common, &context)
            return .close
        }
        var wishes = PeerWishes()
        wishes.note(payloads)
        common.remoteSPI = message.header.responderSPI
        _ = context.compute(.deriveSecret(keyPair, peer: exchange.data), for: common)
        let next = InitiatorDeriving(
            attempt: attempt,
            suite: suite,
            nat: nat,
            responderNonce: nonce,
            requestOctets: request.message.first,
            responseOctets: datagram.octets,
            fragmentation: Fragmentation.policy(attempt.connection, payloads),
            isChildless: isChildless,
            wishes: wishes,
            usesPPK: attempt.offersPostquantumKey && payloads.notification(.usePPK) != nil,
            takesSeveralProofs: payloads.notification(.multipleAuthSupported) != nil
        )
        return .move(.initiatorDeriving(next))
    }
}

/// The shared secret is being computed; then IKE_AUTH goes out.
struct InitiatorDeriving {
    let attempt: InitiatorAttempt
    let suite: IKESuite
    let nat: NATDetection
    let responderNonce: [UInt8]
    let requestOctets: [UInt8]
    let responseOctets: [UInt8]
    /// What the connection says of fragments, if the peer supports them and we do.
    let fragmentation: FragmentationPolicy?
    /// IKE_AUTH asks for no CHILD_SA (RFC 6023).
    let isChildless: Bool
    /// What the peer says of certificates.
    let wishes: PeerWishes
    /// Both ends can mix a post-quantum key in.
    let usesPPK: Bool
    /// The peer knows RFC 4739.
    let takesSeveralProofs: Bool

    /// IKE goes by the port of NAT traversal from now on.
    var floatsPorts: Bool {
        travelsInUDP || (attempt.connection.mobike && nat.isSupported)
    }

    /// ESP will travel in UDP.
    var travelsInUDP: Bool {
        nat.isLocalBehindNAT || nat.isRemoteBehindNAT || attempt.connection.forcesEncapsulation
    }

    func handle(_ result: ComputeResult, _ common: inout SACommon, _ context: inout EngineContext)
        -> Transition
    {
        switch result.outcome {
        case .secret(let secret):
            do {
                let keys = try deriveKeys(secret, common)
                var channel = SecureChannel(suite: suite, keys: keys, isInitiator: true)
                channel.fragmentation = fragmentation.map { Fragmentation($0, common, context.configuration) }
                guard nat.isSupported || !travelsInUDP else {
                    let cause = "it does not support NAT traversal, which encap needs"
                    attempt.fail(.protocolError("\(cause) (\(attempt.connection.origin))"), common, &context)
                    return .close
                }
                return InitiatorIntermediate.begin(self, channel, &common, &context)
            } catch {
                attempt.fail(.cryptography(error), common, &context)
                return .close
            }
        case .failure(let error):
            attempt.fail(.protocolError("its key exchange value was refused: \(error)"), common, &context)
            return .close
        case .keyPair, .answer, .signature, .checked, .advanced:
            return .stay
        }
    }

    private func deriveKeys(_ secret: SecretKey, _ common: SACommon) throws(CryptoError) -> IKEKeys {
        guard let responderSPI = IKESPI(common.remoteSPI) else { throw .invalidLength }
        return try IKEKeys(
            suite: suite,
            sharedSecret: secret,
            initiatorNonce: attempt.nonce,
            responderNonce: responderNonce,
            initiatorSPI: common.localSPI,
            responderSPI: responderSPI
        )
    }
}
