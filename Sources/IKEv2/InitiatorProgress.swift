import Cryptography
import EAP
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// What an attempt carries through its IKE_AUTH exchanges: one as a rule, more with EAP (RFC 7296 §2.16) or with several proofs
/// of a side (RFC 4739).
struct InitiatorProgress {
    let derived: InitiatorDeriving
    let intermediate: Intermediate
    var channel: SecureChannel
    /// Our proof at hand.
    var localRound = 0
    /// The peer's proof that comes next.
    var remoteRound = 0
    /// Message ID of the next request.
    var messageID: UInt32
    /// Who we say we are in the proof at hand.
    var identity: Identity
    /// Who we said we are first: whose the IKE_SA is.
    let firstIdentity: Identity
    /// What SAi2 offers, and our SPI in it.
    var offers: [Proposal] = []
    var inboundSPI: SPI?
    /// The post-quantum key, if one is used.
    var postquantum: PostquantumUse?
    /// The last request named the post-quantum key.
    var namesPostquantumKey = false
    /// Both ends mixed the post-quantum key in.
    var mixesPPK = false
    /// The EAP conversation at hand.
    var eap: EAPConversation?
    /// The last IDr: what the peer's next proof covers.
    var responderID: IDPayload?
    /// Who the peer is, once it is proved.
    var peer: VerifiedPeer?
    /// The peer has a proof still to bring.
    var owesProof = true
    /// What the responses said beside proofs.
    private(set) var gathered: [Payload] = []

    /// More than any responder says beside its proofs.
    private static let mostGathered = 256

    init(
        _ derived: InitiatorDeriving,
        _ channel: SecureChannel,
        _ intermediate: Intermediate,
        _ common: SACommon
    ) {
        self.derived = derived
        self.channel = channel
        self.intermediate = intermediate
        messageID = intermediate.messageID
        firstIdentity = derived.attempt.connection.effectiveLocalIdentity(at: common.local.address)
        identity = firstIdentity
    }

    var attempt: InitiatorAttempt { derived.attempt }
    /// The connection with the proofs that are at hand.
    var connection: ConnectionPolicy { attempt.connection.inRound(local: localRound, remote: remoteRound) }
    var isFirstRequest: Bool { messageID == intermediate.messageID }
    /// A proof of ours follows the one at hand.
    var hasFurtherProof: Bool { localRound < attempt.connection.laterLocalRounds.count }
    /// All proofs of the peer that the policy asks for were brought.
    var isPeerProved: Bool { remoteRound > attempt.connection.laterRemoteRounds.count }

    /// What a proof of ours covers.
    func octets(_ keys: IKEKeys) -> SignedOctets {
        SignedOctets(
            prf: channel.suite.prf,
            message: derived.requestOctets,
            nonce: derived.responderNonce,
            identity: IDPayload(type: identity.type, data: identity.data),
            macKey: keys.skPi,
            intermediate: intermediate.authenticated
        )
    }

    /// What a proof of the peer's covers.
    func octets(of id: IDPayload, _ keys: IKEKeys) -> SignedOctets {
        SignedOctets(
            prf: channel.suite.prf,
            message: derived.responseOctets,
            nonce: attempt.nonce,
            identity: id,
            macKey: keys.skPr,
            intermediate: intermediate.authenticated
        )
    }

    /// Keeps what a response says beside proofs for the end.
    mutating func gather(_ payloads: [Payload]) {
        for payload in payloads where gathered.count < Self.mostGathered {
            switch payload {
            case .authentication, .responderID, .certificate, .eap, .vendorID, .unknown: break
            default: gathered.append(payload)
            }
        }
    }

    /// Ends the attempt and takes back what it reserved.
    func giveUp(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) -> Transition {
        if let inboundSPI { context.release(inboundSPI) }
        attempt.fail(cause, common, &context)
        return .close
    }

    /// RFC 7296 §2.21.2: a responder that believes in this IKE_SA is told that it failed.
    mutating func refuse(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) -> Transition
    {
        let header = common.header(.informational, messageID: messageID, isResponse: false)
        let payloads: [Payload] = [.notify(NotifyPayload(.authenticationFailed)), .delete(.ike)]
        if let message = channel.seal(payloads, header: header, entropy: &context.entropy) {
            context.send(message, from: common.local, to: common.remote)
        }
        return giveUp(cause, common, &context)
    }

    /// Sends the next IKE_AUTH request, whose answer is awaited then.
    consuming func send(
        _ payloads: [Payload],
        _ text: String,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let connection = attempt.connection
        guard
            let message = channel.seal(
                payloads,
                header: common.header(.ikeAuth, messageID: messageID, isResponse: false),
                entropy: &context.entropy
            )
        else { return giveUp(.protocolError("IKE_AUTH could not be written"), common, &context) }
        context.send(message, from: common.local, to: common.remote)
        context.report(.progress(connection: connection.name, text: "sending IKE_AUTH \(text)"))
        let request = OutstandingRequest(
            messageID: messageID,
            message: message,
            policy: connection.retransmission,
            at: context.now
        )
        messageID &+= 1
        return .move(.initiatorAwaitingAuth(InitiatorAwaitingAuth(progress: self, request: request)))
    }

    /// Sends a proof of ours, or only who we are where EAP is to prove it.
    ///
    /// - Parameters:
    ///   - auth: nil with EAP.
    ///   - plain: the proof without the post-quantum key, for a peer that lacks it.
    consuming func sendProof(
        _ auth: AUTHPayload?,
        plain: [UInt8]?,
        certificates: [Payload],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        var payloads: [Payload] = [.initiatorID(IDPayload(type: identity.type, data: identity.data))]
        payloads += certificates
        let isFirst = isFirstRequest
        if isFirst { payloads += introduction(common, context) }
        payloads += proof(auth, plain)
        if isFirst { payloads += wishes(common, &context) }
        let text = "as '\(identity)' to \(common.remote)"
        return send(payloads, text, common, &context)
    }

    /// AUTH with what belongs to it.
    mutating func proof(_ auth: AUTHPayload?, _ plain: [UInt8]?) -> [Payload] {
        guard let auth else { return [] }
        var payloads: [Payload] = [.authentication(auth)]
        namesPostquantumKey = postquantum != nil
        if let postquantum { payloads.append(postquantum.notification) }
        if let plain { payloads.append(.notify(NotifyPayload(.noPPKAuth, data: plain))) }
        if hasFurtherProof { payloads.append(.notify(NotifyPayload(.anotherAuthFollows))) }
        return payloads
    }

    /// What the first request says before the proof.
    private func introduction(_ common: SACommon, _ context: EngineContext) -> [Payload] {
        let connection = attempt.connection
        var payloads: [Payload] = []
        if connection.saysInitialContact(as: identity, context) {
            payloads.append(.notify(NotifyPayload(.initialContact)))
        }
        if let request = connection.requestedAuthorities.flatMap({ Payload.certificateRequest(of: $0) }) {
            payloads.append(request)
        }
        if let wanted = connection.remoteIdentity, !wanted.isPattern {
            payloads.append(.responderID(IDPayload(type: wanted.type, data: wanted.data)))
        }
        if connection.fetchesCertificates {
            payloads.append(.notify(NotifyPayload(.httpCertLookupSupported)))
        }
        if connection.hasSeveralRounds { payloads.append(.notify(NotifyPayload(.multipleAuthSupported))) }
        if connection.localAuthentication.method.eap != nil,
            !connection.remoteAuthentication.eapMethods.isEmpty
        {
            payloads.append(.notify(NotifyPayload(.eapOnlyAuthentication)))
        }
        return payloads
    }

    /// What the first request asks for beside: addresses, a CHILD_SA, mobility.
    private mutating func wishes(_ common: SACommon, _ context: inout EngineContext) -> [Payload] {
        let connection = attempt.connection
        var payloads: [Payload] = []
        let addresses = attempt.requestedAddresses(context)
        if !addresses.isEmpty { payloads.append(.configuration(.request(addresses))) }
        let inbound = context.newInboundSPI(for: attempt.tunnel.resource)
        inboundSPI = inbound
        offers = ChildNegotiation.offers(attempt.tunnel, spi: inbound, withGroups: false)
        if !derived.isChildless {
            let (tunnel, ends) = (attempt.tunnel, attempt.offeredEnds(common))
            payloads +=
                [
                    .securityAssociation(SAPayload(offers)),
                    .initiatorSelectors(TSPayload(tunnel.local(at: ends.local))),
                    .responderSelectors(TSPayload(tunnel.remote(at: ends.remote))),
                ] + ChildNegotiation.resourceInfo(attempt.tunnel)
        }
        return payloads + connection.mobikeNotifications(common, derived.nat, isRequest: true, context)
    }
}
