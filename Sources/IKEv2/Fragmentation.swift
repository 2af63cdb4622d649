import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// How the messages of one IKE_SA are cut (RFC 7383 §2.5.1).
struct Fragmentation {
    /// Octets that a datagram of ours has at most, headers outside IKE not counted; nil: none is cut.
    private(set) var limit: Int?
    /// The least that any path carries: what `limit` can come down to.
    private let floor: Int

    /// As in strongSwan; RFC 7383 recommends the least for IPv4 from the start, and pays in datagrams.
    init(_ policy: FragmentationPolicy, _ common: SACommon, _ configuration: EngineConfiguration) {
        let isIPv6 = common.remote.address.bitWidth == 128
        // IP, UDP, and the marker of the port of NAT traversal, which may yet come.
        let outside = (isIPv6 ? 40 : 20) + 8 + 4
        let least = isIPv6 ? 1280 : 576
        floor = min(least, configuration.fragmentSize) - outside
        limit = policy == .yes ? configuration.fragmentSize - outside : nil
    }

    /// What a connection says of fragments, if both ends take them.
    static func policy(_ connection: ConnectionPolicy?, _ payloads: [Payload]) -> FragmentationPolicy? {
        guard let connection, connection.fragmentation != .no,
            payloads.notification(.fragmentationSupported) != nil
        else { return nil }
        return connection.fragmentation
    }

    /// The peer's fragments of this size arrived: the path may carry no longer ones the other way either.
    mutating func note(received octets: Int) {
        if let limit, octets < limit { self.limit = max(octets, floor) }
    }

    /// Comes down to the least; false if it is there already, or nothing is cut.
    mutating func shrink() -> Bool {
        guard let limit, limit > floor else { return false }
        self.limit = floor
        return true
    }
}

extension SecureChannel {
    /// Retransmissions of a long request before it goes in smaller fragments (RFC 7383 §2.5.2).
    private static let patience = 2

    /// The channel of the keys that follow; what was negotiated for messages stays.
    func successor(suite: IKESuite, keys: IKEKeys, isInitiator: Bool) -> SecureChannel {
        var next = SecureChannel(suite: suite, keys: keys, isInitiator: isInitiator)
        next.fragmentation = fragmentation
        return next
    }

    /// The message as it goes on the wire, or nil if it cannot be encoded: a fault of ours.
    mutating func seal(
        _ payloads: [Payload],
        header: IKEHeader,
        entropy: inout any EntropySource
    ) -> OutgoingMessage? {
        let message = IKEMessage(header: header, payloads: payloads)
        if let cut = fragments(of: message, &entropy) { return cut }
        guard let octets = sealWhole(payloads, header: header, entropy: &entropy) else { return nil }
        return OutgoingMessage(octets, source: message)
    }

    /// The message in fragments; nil if it fits into one datagram.
    private mutating func fragments(
        of message: IKEMessage,
        _ entropy: inout any EntropySource
    ) -> OutgoingMessage? {
        guard let limit = fragmentation?.limit,
            let cut = try? FragmentedMessage(message, transform: suite.cipher, limit: limit)
        else { return nil }
        var parts = [[UInt8]]()
        for number in 1...cut.total {
            guard let part = try? cut.sealed(number, with: ownCipher, iv: nextIV(&entropy)) else {
                return nil
            }
            parts.append(part)
        }
        guard let first = parts.first else { return nil }
        return OutgoingMessage(first: first, rest: Array(parts.dropFirst()), source: message)
    }

    /// A request that was repeated in vain may be too long for the path: the same goes in smaller fragments, and more of
    /// them, from now on.
    mutating func shrink(_ request: inout OutstandingRequest, _ context: inout EngineContext) {
        guard request.attempts > Self.patience else { return }
        let before = request.message
        guard fragmentation?.shrink() == true, let smaller = fragments(of: before.source, &context.entropy),
            smaller.rest.count > before.rest.count
        else { return }
        request.replace(by: smaller, at: context.now)
    }

    /// The content of a fragment from the peer.
    func open(_ fragment: EncryptedFragment) throws(EncryptedContent.OpenError) -> [UInt8] {
        try fragment.open(with: peerCipher, transform: suite.cipher)
    }
}

/// What an IKE_SA makes of a fragment, by its header alone.
enum FragmentReception {
    /// Nothing: no such message is awaited.
    case unexpected
    /// It may be a part of what is awaited; the channel tells.
    case awaited(SecureChannel)
    /// The message was answered; where keys are left, the channel tells whether it is the peer's.
    case answered(CachedResponse, SecureChannel?)
}

extension IKESA {
    func reception(of header: IKEHeader) -> FragmentReception {
        switch state {
        case .initiatorGenerating, .initiatorAwaitingInit, .initiatorDeriving, .initiatorSigning,
            .responderComputing:
            return .unexpected
        case .initiatorIntermediate(let inner): return inner.reception(of: header)
        case .initiatorAwaitingAuth(let inner):
            let isAwaited =
                header.isResponse && header.exchange == .ikeAuth && !inner.isBusy
                && header.messageID == inner.request.messageID
            return isAwaited ? .awaited(inner.channel) : .unexpected
        case .responderAwaitingAuth(let inner): return inner.reception(of: header)
        case .established(let inner): return inner.reception(of: header)
        case .lingering(let inner): return .answered(inner.cached, nil)
        }
    }
}

extension ResponderAwaitingAuth {
    fileprivate func reception(of header: IKEHeader) -> FragmentReception {
        guard !header.isResponse else { return .unexpected }
        switch header.exchange {
        case .ikeIntermediate:
            if let cachedIntermediate, cachedIntermediate.messageID == header.messageID {
                return .answered(cachedIntermediate, previousChannel)
            }
            let isAwaited =
                header.messageID == intermediate.messageID && pendingIntermediate == nil
                && !intermediate.remaining.isEmpty
            return isAwaited ? .awaited(channel) : .unexpected
        case .ikeAuth:
            if let cachedAuth, cachedAuth.messageID == header.messageID {
                return .answered(cachedAuth, channel)
            }
            let isAwaited =
                header.messageID == messageID && intermediate.remaining.isEmpty && pendingProof == nil
            return isAwaited ? .awaited(channel) : .unexpected
        case .ikeSAInit, .createChildSA, .informational, .ikeFollowUpKE, .unknown: return .unexpected
        }
    }
}

extension Established {
    fileprivate func reception(of header: IKEHeader) -> FragmentReception {
        if header.isResponse {
            let isAwaited =
                header.messageID == active?.request?.messageID && header.exchange == active?.exchangeType
            return isAwaited ? .awaited(channel) : .unexpected
        }
        if header.messageID == expectedRequestID { return .awaited(channel) }
        guard let cached, cached.messageID == header.messageID else { return .unexpected }
        return .answered(cached, channel)
    }
}

extension IKEv2Engine {
    /// Takes a fragment (RFC 7383 §2.6); the answer is the message that it completes, and a datagram with the octets of
    /// the first fragment, which tell a retransmission from then on.
    mutating func reassemble(
        _ fragment: EncryptedFragment,
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        of sa: IKESA
    ) -> (message: ReceivedMessage, datagram: IKEDatagram)? {
        switch sa.reception(of: header) {
        case .unexpected:
            context.count(.unexpected)
            return nil
        case .answered(let cached, let channel):
            // §2.6.1: of a whole message that is repeated, its first fragment alone is answered.
            guard fragment.number == 1,
                cached.answers(datagram.octets) || channel.flatMap({ try? $0.open(fragment) }) != nil
            else {
                context.count(.messageID)
                return nil
            }
            context.transmit(cached.message, from: datagram.local, to: datagram.remote)
            return nil
        case .awaited(let channel):
            return keep(fragment, header, datagram, of: sa, channel)
        }
    }

    private mutating func keep(
        _ fragment: EncryptedFragment,
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        of sa: IKESA,
        _ channel: SecureChannel
    ) -> (message: ReceivedMessage, datagram: IKEDatagram)? {
        // §2.3: what was not agreed on is not taken.
        guard channel.fragmentation != nil else {
            context.count(.unexpected)
            return nil
        }
        let spi = sa.common.localSPI
        let key = FragmentTable.Key(spi: spi, isResponse: header.isResponse, messageID: header.messageID)
        let (number, total) = (fragment.number, fragment.total)
        switch context.fragments.verdict(on: number, of: total, for: key) {
        case .take: break
        case .replayed, .tooMany:
            context.count(.limit)
            return nil
        }
        let part: [UInt8]
        do throws(EncryptedContent.OpenError) {
            part = try channel.open(fragment)
        } catch {
            context.count(error == .notAuthentic ? .notAuthentic : .malformed)
            return nil
        }
        let octets = datagram.octets
        guard
            let complete = context.fragments.insert(
                part,
                number,
                of: total,
                for: key,
                datagram: octets,
                at: context.now
            ),
            let first = try? ReceivedMessage(parsing: complete.firstDatagram),
            case .fragment(let head) = first.content
        else { return nil }
        if !header.isResponse { sas.change(spi) { $0.noteFragments(complete.longest) } }
        let message = ReceivedMessage(merging: complete.parts, first: head, header: first.header)
        var last = datagram
        last.octets = complete.firstDatagram
        return (message, last)
    }
}
