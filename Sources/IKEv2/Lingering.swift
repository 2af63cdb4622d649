import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Primitives

/// The last response of an IKE_SA that is over, kept so that a peer that missed it can ask again.
struct Lingering {
    let cached: CachedResponse
    let expiresAt: Instant

    /// Longer than any peer asks again.
    private static let lifetime = Duration.seconds(60)

    init(_ cached: CachedResponse, at now: Instant) {
        self.cached = cached
        expiresAt = now.advanced(by: Self.lifetime)
    }

    func handle(_ datagram: IKEDatagram, _ common: SACommon, _ context: inout EngineContext) {
        guard cached.answers(datagram.octets) else {
            context.count(.unexpected)
            return
        }
        context.transmit(cached.message, from: datagram.local, to: datagram.remote)
    }
}

/// The response to the peer's last request (RFC 7296 §2.1).
///
/// It is sent again only for a request that is the same octet by octet: then an attacker gains nothing that
/// copying the response would not give, and no integrity check is spent on it.
struct CachedResponse {
    let message: OutgoingMessage
    private let requestDigest: [UInt8]

    /// `request` is the datagram of the request, the first one if it came in fragments.
    init?(to request: [UInt8], _ response: OutgoingMessage) {
        guard let digest = try? Digest.sha256([request]) else { return nil }
        requestDigest = digest
        message = response
    }

    /// The message ID of the request and the response.
    var messageID: UInt32? { (try? ReceivedMessage.header(of: message.first))?.messageID }

    func answers(_ request: [UInt8]) -> Bool {
        guard let digest = try? Digest.sha256([request]) else { return false }
        return digest == requestDigest
    }
}
