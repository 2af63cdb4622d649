import Cryptography
import IKECore
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
        context.emit(
            .transmit(IKEDatagram(octets: cached.octets, local: datagram.local, remote: datagram.remote))
        )
    }
}

/// The response to the peer's last request (RFC 7296 §2.1).
///
/// It is sent again only for a request that is the same octet by octet: then an attacker gains nothing that
/// copying the response would not give, and no integrity check is spent on it.
struct CachedResponse {
    let octets: [UInt8]
    private let requestDigest: [UInt8]

    init?(to request: [UInt8], _ response: [UInt8]) {
        guard let digest = try? Digest.sha256([request]) else { return nil }
        requestDigest = digest
        octets = response
    }

    func answers(_ request: [UInt8]) -> Bool {
        guard let digest = try? Digest.sha256([request]) else { return false }
        return digest == requestDigest
    }
}
