import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Primitives

@testable import IKEv2

/// A message as the dissector reads it.
struct Reading: CustomStringConvertible {
    let header: IKEHeader
    /// Nil when it could not be decrypted.
    let payloads: [Payload]?

    var isResponse: Bool { header.isResponse }
    var all: [Payload] { payloads ?? [] }

    func has(_ type: NotifyType) -> Bool { all.notification(type) != nil }

    /// The SPIs of CHILD_SAs that it deletes.
    var deletedSPIs: [[UInt8]] {
        all.flatMap { payload -> [[UInt8]] in
            guard case .delete(let delete) = payload, delete.securityProtocol == .esp else { return [] }
            return delete.spis
        }
    }

    var deletesIKE: Bool {
        all.contains { payload in
            guard case .delete(let delete) = payload else { return false }
            return delete.securityProtocol == .ike
        }
    }

    var offersIKE: Bool {
        all.securityAssociation?.proposals.contains { $0.securityProtocol == .ike } ?? false
    }

    var offersChild: Bool {
        all.securityAssociation?.proposals.contains { $0.securityProtocol == .esp } ?? false
    }

    var description: String {
        let kind = header.isResponse ? "response" : "request"
        let summary = payloads.map { $0.map(Self.summary).joined(separator: " ") } ?? "(not decrypted)"
        let spis =
            String(header.initiatorSPI, radix: 16).prefix(4) + "/"
            + String(header.responderSPI, radix: 16).prefix(4)
        return "\(spis) \(header.exchange) \(kind) \(header.messageID) [\(summary)]"
    }

    private static func summary(_ payload: Payload) -> String {
        switch payload {
        case .securityAssociation(let sa):
            let spis = sa.proposals.map { "\($0.securityProtocol):\(Hex.encode($0.spi))" }
            return "SA(\(spis.joined(separator: ",")))"
        case .keyExchange(let exchange): return "KE(\(exchange.group))"
        case .initiatorID: return "IDi"
        case .responderID: return "IDr"
        case .certificate: return "CERT"
        case .certificateRequest: return "CERTREQ"
        case .authentication: return "AUTH"
        case .nonce(let octets): return "N(\(Hex.encode(Array(octets.prefix(4))))…)"
        case .notify(let notify):
            let spi = notify.spi.isEmpty ? "" : "(\(Hex.encode(notify.spi)))"
            return "\(notify.type)\(spi)"
        case .delete(let delete):
            return delete.securityProtocol == .ike
                ? "D(IKE)" : "D(\(delete.spis.map { Hex.encode($0) }.joined(separator: ",")))"
        case .vendorID: return "V"
        case .initiatorSelectors: return "TSi"
        case .responderSelectors: return "TSr"
        case .configuration: return "CP"
        case .eap: return "EAP"
        case .unknown(let type, _, _): return "payload\(type)"
        }
    }
}

/// Reads what passes by: told the results of all key exchanges, it derives the keys of every IKE_SA.
struct Dissector {
    private struct Channel {
        let suite: IKESuite
        let keys: IKEKeys

        func cipher(_ header: IKEHeader) -> MessageCipher {
            header.isFromInitiator ? keys.initiatorCipher : keys.responderCipher
        }
    }

    private struct FollowUp {
        let old: Channel
        let suite: IKESuite
        let spis: (initiator: IKESPI, responder: IKESPI)
        let nonces: (initiator: [UInt8], responder: [UInt8])
        var secrets: [SecretKey]
    }

    private struct FragmentedID: Hashable {
        let spi: UInt64
        let isFromInitiator: Bool
        let isResponse: Bool
        let messageID: UInt32
        let total: Int
    }

    private struct ExchangeID: Hashable {
        let spi: UInt64
        let isFromInitiator: Bool
        let messageID: UInt32
    }

    /// Shared secrets by the responder's public value.
    private var secrets: [[UInt8]: SecretKey] = [:]
    /// By the initiator's SPI.
    private var channels: [UInt64: Channel] = [:]
    private var initNonces: [UInt64: [UInt8]] = [:]
    /// The responders' nonces of IKE_SA_INIT, and the message ID of the next IKE_INTERMEDIATE.
    private var intermediates: [UInt64: (responderNonce: [UInt8], next: UInt32)] = [:]
    /// Rekeys of IKE_SAs that take further key exchanges, by the link of the next one.
    private var followUps: [[UInt8]: FollowUp] = [:]
    private var links: [ExchangeID: [UInt8]] = [:]
    /// Messages of which not all fragments were sent yet.
    private var fragments: [FragmentedID: (EncryptedFragment, [[UInt8]])] = [:]
    /// CREATE_CHILD_SA requests that replace an IKE_SA: the new SPI and the nonce.
    private var rekeys: [ExchangeID: (spi: IKESPI, nonce: [UInt8])] = [:]

    mutating func learn(_ result: ComputeResult) {
        if case .answer(let pair, let secret) = result.outcome { secrets[pair.publicValue] = secret }
    }

    /// Reads a datagram when it is sent; nil for what is no message.
    mutating func read(_ octets: [UInt8]) -> Reading? {
        guard let message = try? ReceivedMessage(parsing: octets) else { return nil }
        let header = message.header
        switch message.content {
        case .clear(let payloads):
            noteInit(header, payloads)
            return Reading(header: header, payloads: payloads)
        case .fragment(let fragment):
            let whole = merge(fragment, header)
            return whole.map { read($0, $1) } ?? Reading(header: header, payloads: nil)
        case .encrypted(let content):
            return read(content, header)
        }
    }

    /// Keeps a fragment; the answer is the message that the last one completes.
    private mutating func merge(_ fragment: EncryptedFragment, _ header: IKEHeader) -> (
        EncryptedContent, IKEHeader
    )? {
        guard let channel = channels[header.initiatorSPI],
            let part = try? fragment.open(with: channel.cipher(header), transform: channel.suite.cipher)
        else { return nil }
        let id = FragmentedID(
            spi: header.initiatorSPI,
            isFromInitiator: header.isFromInitiator,
            isResponse: header.isResponse,
            messageID: header.messageID,
            total: fragment.total
        )
        if fragment.number == 1 { fragments[id] = (fragment, []) }
        // They are sent in their order.
        guard let (first, parts) = fragments[id], parts.count + 1 == fragment.number else { return nil }
        fragments[id] = (first, parts + [part])
        guard fragment.number == fragment.total else { return nil }
        fragments[id] = nil
        let whole = ReceivedMessage(merging: parts + [part], first: first, header: header)
        guard case .encrypted(let content) = whole.content else { return nil }
        return (content, whole.header)
    }

    private mutating func read(_ content: EncryptedContent, _ header: IKEHeader) -> Reading {
        guard let channel = channels[header.initiatorSPI] else {
            return Reading(header: header, payloads: nil)
        }
        let cipher = channel.cipher(header)
        let payloads = try? content.open(with: cipher, transform: channel.suite.cipher)
        if let payloads {
            switch header.exchange {
            case .createChildSA: noteRekey(header, payloads, channel)
            case .ikeIntermediate: noteIntermediate(header, payloads, channel)
            case .ikeFollowUpKE: noteFollowUp(header, payloads)
            default: break
            }
        }
        return Reading(header: header, payloads: payloads)
    }

    /// A protected message with other payloads under the same header, with the right keys; nil without them.
    func rewrite(_ header: IKEHeader, _ payloads: [Payload]) -> [UInt8]? {
        guard let channel = channels[header.initiatorSPI] else { return nil }
        let cipher = header.isFromInitiator ? channel.keys.initiatorCipher : channel.keys.responderCipher
        // A test's message: its IV lies far from those that the gateways count up.
        let iv =
            [0xff, 0xff, 0xff, 0xff]
            + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: header.messageID >> $0) }
        return try? IKEMessage(header: header, payloads: payloads)
            .sealed(with: cipher, transform: channel.suite.cipher, iv: iv)
    }

    private mutating func noteInit(_ header: IKEHeader, _ payloads: [Payload]) {
        guard header.exchange == .ikeSAInit, let nonce = payloads.nonce else { return }
        guard header.isResponse else {
            initNonces[header.initiatorSPI] = nonce
            return
        }
        guard let initiatorNonce = initNonces[header.initiatorSPI],
            let suite = payloads.securityAssociation?.proposals.first.flatMap({ IKESuite($0) }),
            let secret = payloads.keyExchange.flatMap({ secrets[$0.data] }),
            let initiator = IKESPI(header.initiatorSPI), let responder = IKESPI(header.responderSPI),
            let keys = try? IKEKeys(
                suite: suite,
                sharedSecret: secret,
                initiatorNonce: initiatorNonce,
                responderNonce: nonce,
                initiatorSPI: initiator,
                responderSPI: responder
            )
        else { return }
        channels[header.initiatorSPI] = Channel(suite: suite, keys: keys)
        intermediates[header.initiatorSPI] = (nonce, 1)
    }

    private mutating func noteIntermediate(_ header: IKEHeader, _ payloads: [Payload], _ channel: Channel) {
        guard header.isResponse, let state = intermediates[header.initiatorSPI],
            state.next == header.messageID, let nonce = initNonces[header.initiatorSPI],
            let secret = payloads.keyExchange.flatMap({ secrets[$0.data] }),
            let initiator = IKESPI(header.initiatorSPI), let responder = IKESPI(header.responderSPI),
            let keys = try? IKEKeys(
                rekeying: channel.keys,
                oldPRF: channel.suite.prf,
                suite: channel.suite,
                sharedSecret: secret,
                initiatorNonce: nonce,
                responderNonce: state.responderNonce,
                initiatorSPI: initiator,
                responderSPI: responder
            )
        else { return }
        channels[header.initiatorSPI] = Channel(suite: channel.suite, keys: keys)
        intermediates[header.initiatorSPI]?.next += 1
    }

    private mutating func noteFollowUp(_ header: IKEHeader, _ payloads: [Payload]) {
        let id = ExchangeID(
            spi: header.initiatorSPI,
            isFromInitiator: header.isFromInitiator != header.isResponse,
            messageID: header.messageID
        )
        let link = payloads.notification(.additionalKeyExchange)?.data
        guard header.isResponse else {
            links[id] = link
            return
        }
        guard let asked = links.removeValue(forKey: id), var followUp = followUps.removeValue(forKey: asked),
            let secret = payloads.keyExchange.flatMap({ secrets[$0.data] })
        else { return }
        followUp.secrets.append(secret)
        if let link { followUps[link] = followUp } else { complete(followUp) }
    }

    private mutating func complete(_ followUp: FollowUp) {
        guard let secret = followUp.secrets.first,
            let keys = try? IKEKeys(
                rekeying: followUp.old.keys,
                oldPRF: followUp.old.suite.prf,
                suite: followUp.suite,
                sharedSecret: secret,
                additionalSecrets: Array(followUp.secrets.dropFirst()),
                initiatorNonce: followUp.nonces.initiator,
                responderNonce: followUp.nonces.responder,
                initiatorSPI: followUp.spis.initiator,
                responderSPI: followUp.spis.responder
            )
        else { return }
        channels[followUp.spis.initiator.value] = Channel(suite: followUp.suite, keys: keys)
    }

    private mutating func noteRekey(_ header: IKEHeader, _ payloads: [Payload], _ old: Channel) {
        guard let proposal = payloads.securityAssociation?.proposals.first, proposal.securityProtocol == .ike,
            let nonce = payloads.nonce, let spi = IKESPI(proposal.spi.reduce(0) { $0 << 8 | UInt64($1) })
        else { return }
        let id = ExchangeID(
            spi: header.initiatorSPI,
            isFromInitiator: header.isFromInitiator != header.isResponse,
            messageID: header.messageID
        )
        guard header.isResponse else {
            rekeys[id] = (spi, nonce)
            return
        }
        guard let request = rekeys[id], let suite = IKESuite(proposal),
            let secret = payloads.keyExchange.flatMap({ secrets[$0.data] })
        else { return }
        let followUp = FollowUp(
            old: old,
            suite: suite,
            spis: (request.spi, spi),
            nonces: (request.nonce, nonce),
            secrets: [secret]
        )
        if let link = payloads.notification(.additionalKeyExchange)?.data {
            followUps[link] = followUp
        } else {
            complete(followUp)
        }
    }
}
