import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Primitives

/// What an IKE_SA has in every state.
struct SACommon {
    let id: UInt32
    let isInitiator: Bool
    let localSPI: IKESPI
    /// Zero until the peer's first message.
    var remoteSPI: UInt64
    var local: Endpoint
    var remote: Endpoint
    /// When its first message was sent or received.
    let createdAt: Instant

    var initiatorSPI: UInt64 { isInitiator ? localSPI.value : remoteSPI }
    var responderSPI: UInt64 { isInitiator ? remoteSPI : localSPI.value }

    func header(_ exchange: ExchangeType, messageID: UInt32, isResponse: Bool) -> IKEHeader {
        IKEHeader(
            initiatorSPI: initiatorSPI,
            responderSPI: responderSPI,
            exchange: exchange,
            isFromInitiator: isInitiator,
            isResponse: isResponse,
            messageID: messageID
        )
    }

    /// What dynamic selectors stand for where no address was given: the outer addresses in use.
    var ends: SelectorEnds { SelectorEnds(local: [local.address], remote: [remote.address]) }

    func datagram(_ octets: [UInt8]) -> IKEDatagram {
        IKEDatagram(octets: octets, local: local, remote: remote)
    }

    func snapshot(connection: String, state: IKESAState) -> IKESASnapshot {
        IKESASnapshot(
            id: id,
            connection: connection,
            state: state,
            isInitiator: isInitiator,
            initiatorSPI: initiatorSPI,
            responderSPI: responderSPI,
            local: local,
            remote: remote
        )
    }

    /// Moves to the port of NAT traversal (RFC 7296 §2.23).
    mutating func floatPorts(_ configuration: EngineConfiguration) {
        local.port = configuration.natTraversalPort
        if remote.port == configuration.ikePort { remote.port = configuration.natTraversalPort }
    }
}

/// Seals and opens the Encrypted payloads of one IKE_SA.
struct SecureChannel {
    let suite: IKESuite
    private(set) var keys: IKEKeys
    let isInitiator: Bool
    /// How messages are cut; nil unless both ends can reassemble them.
    var fragmentation: Fragmentation?
    private var sealedCount: UInt64 = 0

    init(suite: IKESuite, keys: IKEKeys, isInitiator: Bool) {
        self.suite = suite
        self.keys = keys
        self.isInitiator = isInitiator
    }

    /// Goes on with keys that have a post-quantum key mixed in; messages are protected as before.
    mutating func take(_ mixed: IKEKeys) { keys = mixed }

    /// What protects our messages.
    var ownCipher: MessageCipher { isInitiator ? keys.initiatorCipher : keys.responderCipher }
    /// What protects the peer's.
    var peerCipher: MessageCipher { isInitiator ? keys.responderCipher : keys.initiatorCipher }

    /// The message as one datagram, or nil if it cannot be encoded: a fault of ours.
    mutating func sealWhole(
        _ payloads: [Payload],
        header: IKEHeader,
        entropy: inout any EntropySource
    ) -> [UInt8]? {
        let message = IKEMessage(header: header, payloads: payloads)
        return try? message.sealed(with: ownCipher, transform: suite.cipher, iv: nextIV(&entropy))
    }

    mutating func nextIV(_ entropy: inout any EntropySource) -> [UInt8] {
        guard suite.cipher.ivIsCounter else { return entropy.bytes(suite.cipher.ivLength) }
        // RFC 5282 §3.1, RFC 5930 §2.3: a counter never repeats, and no state outlives the key.
        sealedCount &+= 1
        let count = sealedCount
        return stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: count >> UInt64($0)) }
    }

    /// The payloads of a message from the peer.
    func open(_ content: EncryptedContent) throws(EncryptedContent.OpenError) -> [Payload] {
        try content.open(with: peerCipher, transform: suite.cipher)
    }
}

/// Where a state goes after an event.
enum Transition {
    /// No change.
    case stay
    /// To another state.
    case move(IKESA.State)
    /// The IKE_SA is gone.
    case close
}
