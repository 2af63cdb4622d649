import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Primitives

/// The IKE_INTERMEDIATE exchanges between IKE_SA_INIT and IKE_AUTH (RFC 9242): what is still to come, and what AUTH has
/// to cover of those that were.
///
/// We use them for further key exchanges (RFC 9370 §2.2.2), one an exchange.
struct Intermediate {
    /// The groups of the exchanges to come.
    private(set) var remaining: [KeyExchangeGroup]
    /// The message ID of the next exchange; with none to come, that of IKE_AUTH.
    private(set) var messageID: UInt32 = 1
    /// IntAuth_iN and IntAuth_rN (RFC 9242 §3.3.2).
    private var initiatorTag: [UInt8] = []
    private var responderTag: [UInt8] = []

    init(_ groups: [KeyExchangeGroup]) { remaining = groups }

    /// One exchange is complete.
    ///
    /// - Parameters:
    ///   - request: what AUTH covers of its request; `response` likewise.
    ///   - channel: with the keys from before it, which this replaces by those after it.
    mutating func complete(
        request: [UInt8],
        response: [UInt8],
        secret: SecretKey,
        nonces: (initiator: [UInt8], responder: [UInt8]),
        _ common: SACommon,
        _ channel: inout SecureChannel
    ) throws(CryptoError) {
        let (prf, old) = (channel.suite.prf, channel.keys)
        guard !remaining.isEmpty, let first = IKESPI(common.initiatorSPI),
            let second = IKESPI(common.responderSPI)
        else { throw .invalidLength }
        initiatorTag = try PRF.tag(prf, key: .secret(old.skPi), [.bytes(initiatorTag), .bytes(request)])
        responderTag = try PRF.tag(prf, key: .secret(old.skPr), [.bytes(responderTag), .bytes(response)])
        let keys = try IKEKeys(
            rekeying: old,
            oldPRF: prf,
            suite: channel.suite,
            sharedSecret: secret,
            initiatorNonce: nonces.initiator,
            responderNonce: nonces.responder,
            initiatorSPI: first,
            responderSPI: second
        )
        channel = channel.successor(suite: channel.suite, keys: keys, isInitiator: channel.isInitiator)
        remaining.removeFirst()
        messageID += 1
    }

    /// IntAuth, once all exchanges are complete; empty if there was none.
    var authenticated: [UInt8] {
        guard messageID > 1 else { return [] }
        let number = stride(from: UInt32(24), through: 0, by: -8).map {
            UInt8(truncatingIfNeeded: messageID >> $0)
        }
        return initiatorTag + responderTag + number
    }
}

extension SecureChannel {
    /// An IKE_INTERMEDIATE message as it goes on the wire, and what AUTH covers of it; nil is a fault of ours.
    mutating func sealIntermediate(
        _ payloads: [Payload],
        header: IKEHeader,
        entropy: inout any EntropySource
    ) -> (message: OutgoingMessage, authenticated: [UInt8])? {
        guard let covered = try? IKEMessage(header: header, payloads: payloads).intermediateOctets(),
            let message = seal(payloads, header: header, entropy: &entropy)
        else { return nil }
        return (message, covered)
    }

    /// The payloads of an IKE_INTERMEDIATE message of the peer, and what AUTH covers of it.
    func openIntermediate(
        _ content: EncryptedContent
    ) throws(EncryptedContent.OpenError) -> (payloads: [Payload], authenticated: [UInt8]) {
        try content.openIntermediate(with: peerCipher, transform: suite.cipher)
    }
}
