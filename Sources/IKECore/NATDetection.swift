public import Cryptography
public import IKEMessages
public import IPPackets
import IPsecTypes

/// NAT detection by hashes of addresses (RFC 7296 §2.23).
public struct NATDetection: Hashable, Sendable {
    /// We are behind a NAT (or the peer pretends so): we send keepalives.
    public var isLocalBehindNAT: Bool
    /// The peer is behind a NAT (or pretends so): its address may move.
    public var isRemoteBehindNAT: Bool
    /// The peer knows NAT traversal at all.
    public var isSupported: Bool

    /// Nothing found.
    public init(isLocalBehindNAT: Bool = false, isRemoteBehindNAT: Bool = false, isSupported: Bool = false) {
        self.isLocalBehindNAT = isLocalBehindNAT
        self.isRemoteBehindNAT = isRemoteBehindNAT
        self.isSupported = isSupported
    }

    /// SHA-1(SPIs | address | port).
    public static func hash(initiatorSPI: UInt64, responderSPI: UInt64, end: Endpoint) throws(CryptoError)
        -> [UInt8]
    {
        let octets = [initiatorSPI, responderSPI].flatMap { number in
            stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> UInt64($0)) }
        }
        let port = [UInt8(truncatingIfNeeded: end.port >> 8), UInt8(truncatingIfNeeded: end.port)]
        return try Digest.sha1([octets, end.address.octets, port])
    }

    /// The two notifications of an IKE_SA_INIT message that we send.
    ///
    /// - Parameter hidingSource: octets to send instead of the source hash, so that the peer believes in a NAT and
    ///   ESP travels in UDP.
    public static func notifications(
        initiatorSPI: UInt64,
        responderSPI: UInt64,
        local: Endpoint,
        remote: Endpoint,
        hidingSource: [UInt8]?
    ) throws(CryptoError) -> [Payload] {
        let source = try hash(initiatorSPI: initiatorSPI, responderSPI: responderSPI, end: local)
        let destination = try hash(initiatorSPI: initiatorSPI, responderSPI: responderSPI, end: remote)
        return [
            .notify(NotifyPayload(.natDetectionSourceIP, data: hidingSource ?? source)),
            .notify(NotifyPayload(.natDetectionDestinationIP, data: destination)),
        ]
    }

    /// What the peer's notifications tell; `local` and `remote` are the datagram's own ends.
    ///
    /// Several source hashes may be sent; one that fits is enough.
    public init(of payloads: [Payload], header: IKEHeader, local: Endpoint, remote: Endpoint)
        throws(CryptoError)
    {
        var sources = [[UInt8]]()
        var destinations = [[UInt8]]()
        for case .notify(let notify) in payloads {
            if notify.type == .natDetectionSourceIP { sources.append(notify.data) }
            if notify.type == .natDetectionDestinationIP { destinations.append(notify.data) }
        }
        isSupported = !sources.isEmpty && !destinations.isEmpty
        guard isSupported else {
            isLocalBehindNAT = false
            isRemoteBehindNAT = false
            return
        }
        let (spiI, spiR) = (header.initiatorSPI, header.responderSPI)
        let remoteHash = try Self.hash(initiatorSPI: spiI, responderSPI: spiR, end: remote)
        let localHash = try Self.hash(initiatorSPI: spiI, responderSPI: spiR, end: local)
        isRemoteBehindNAT = !sources.contains(remoteHash)
        isLocalBehindNAT = !destinations.contains(localHash)
    }
}
