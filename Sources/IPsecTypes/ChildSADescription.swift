public import Cryptography
public import IPPackets

/// The keys of one direction of a CHILD_SA.
public struct SAKeys: Sendable {
    /// Encryption key, with the salt of AEAD ciphers behind it.
    public let encryption: SecretKey
    /// Integrity key; nil for AEAD ciphers.
    public let integrity: SecretKey?

    /// Makes the keys of one direction.
    public init(encryption: SecretKey, integrity: SecretKey?) {
        self.encryption = encryption
        self.integrity = integrity
    }
}

/// Key material of a CHILD_SA, cut in the order of RFC 7296 §2.17.
public struct KEYMAT: Sendable {
    /// For traffic from the exchange's initiator.
    public let initiator: SAKeys
    /// For traffic from the exchange's responder.
    public let responder: SAKeys

    /// Octets that `transform` needs for both directions.
    public static func length(for transform: CipherTransform) -> Int {
        2 * (transform.encryptionKeyLength + transform.integrityKeyLength)
    }

    /// Cuts `material`, which must have exactly `length(for:)` octets.
    public init(cutting material: SecretKey, for transform: CipherTransform) throws(CryptoError) {
        let encryption = transform.encryptionKeyLength
        let integrity = transform.integrityKeyLength
        func cut(_ start: Int) throws(CryptoError) -> SAKeys {
            let split = start + encryption
            return SAKeys(
                encryption: try material.slice(start..<split),
                integrity: integrity == 0 ? nil : try material.slice(split..<split + integrity)
            )
        }
        guard material.count == Self.length(for: transform) else { throw .invalidKeyLength }
        initiator = try cut(0)
        responder = try cut(encryption + integrity)
    }
}

/// How ESP travels between the gateways.
public enum Encapsulation: Hashable, Sendable {
    /// In UDP, RFC 3948.
    case udp
    /// As IP protocol 50.
    case none
}

/// The outer ends of an SA.
public struct OuterPath: Hashable, Sendable, CustomStringConvertible {
    /// Our address and, with UDP, port.
    public var local: Endpoint
    /// The peer's address and, with UDP, port.
    public var remote: Endpoint
    /// UDP or raw.
    public var encapsulation: Encapsulation

    /// Makes a path.
    public init(local: Endpoint, remote: Endpoint, encapsulation: Encapsulation) {
        self.local = local
        self.remote = remote
        self.encapsulation = encapsulation
    }

    /// Both ends.
    public var description: String { "\(local)...\(remote)" }
}

/// A hard limit on what an SA may carry; nil is none.
public struct SAVolume: Hashable, Sendable {
    /// Octets of inner packets.
    public var octets: UInt64?
    /// Inner packets.
    public var packets: UInt64?

    /// Makes a limit.
    public init(octets: UInt64? = nil, packets: UInt64? = nil) {
        self.octets = octets
        self.packets = packets
    }
}

/// A CHILD_SA pair as the control plane hands it to the data plane: once, as a value.
public struct ChildSADescription: Sendable {
    /// A number that is unique in this process; the data plane's answers carry it.
    public let id: UInt32
    /// The connection's name.
    public let connection: String
    /// The tunnel's name.
    public let tunnel: String
    /// The name that it shares with other CHILD_SAs for the same traffic, of which each worker prefers its own.
    public let group: String
    /// The SPI that the peer puts in packets to us.
    public let inboundSPI: SPI
    /// The SPI that we put in packets to the peer.
    public let outboundSPI: SPI
    /// How packets are protected.
    public let transform: CipherTransform
    /// Extended sequence numbers (RFC 4303 §2.2.1).
    public let usesESN: Bool
    /// Keys for what the peer sends.
    public let inboundKeys: SAKeys
    /// Keys for what we send.
    public let outboundKeys: SAKeys
    /// Our side of the selectors.
    public let localSelectors: [TrafficSelector]
    /// The peer's side.
    public let remoteSelectors: [TrafficSelector]
    /// The outer ends.
    public let path: OuterPath
    /// Packets that may arrive late, in bits of the window.
    public let replayWindow: Int
    /// Volume at which the data plane asks for a replacement; nil parts mean 9/10 of what may be sent at all.
    public let softLimit: SAVolume
    /// Hard limits by volume.
    public let limit: SAVolume
    /// How lengths of inner packets are hidden; none where the peer does not take it.
    public let padding: TrafficFlowPadding
    /// What inner and outer headers take from each other.
    public let copying: HeaderCopying

    /// Makes a description.
    public init(
        id: UInt32,
        connection: String,
        tunnel: String,
        group: String? = nil,
        inboundSPI: SPI,
        outboundSPI: SPI,
        transform: CipherTransform,
        usesESN: Bool,
        inboundKeys: SAKeys,
        outboundKeys: SAKeys,
        localSelectors: [TrafficSelector],
        remoteSelectors: [TrafficSelector],
        path: OuterPath,
        replayWindow: Int,
        softLimit: SAVolume = SAVolume(),
        limit: SAVolume,
        padding: TrafficFlowPadding = .none,
        copying: HeaderCopying = HeaderCopying()
    ) {
        self.id = id
        self.connection = connection
        self.tunnel = tunnel
        self.group = group ?? tunnel
        self.inboundSPI = inboundSPI
        self.outboundSPI = outboundSPI
        self.transform = transform
        self.usesESN = usesESN
        self.inboundKeys = inboundKeys
        self.outboundKeys = outboundKeys
        self.localSelectors = localSelectors
        self.remoteSelectors = remoteSelectors
        self.path = path
        self.replayWindow = replayWindow
        self.softLimit = softLimit
        self.limit = limit
        self.padding = padding
        self.copying = copying
    }
}
