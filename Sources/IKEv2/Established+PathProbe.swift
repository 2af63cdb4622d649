import IKECore
import IKEMessages
import IPPackets
import Policy
import Primitives

/// Finding out what size reaches the peer: an INFORMATIONAL of that size, sent with DF.
///
/// Every peer answers INFORMATIONAL and ignores a status notification that it does not know (RFC 7296 §3.10.1), so
/// this works where ICMP is filtered, with any peer.
extension Established {
    /// Retransmissions of a probe before it counts as lost.
    static let probeAttempts = 2
    /// A status type for private use; its data are padding.
    static let paddingNotification = NotifyType.unknown(40_975)

    /// The probe's message; nil if it cannot be written.
    mutating func sealProbe(
        _ octets: Int,
        _ header: IKEHeader,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> OutgoingMessage? {
        let marker = common.local.port == context.configuration.natTraversalPort ? 4 : 0
        let outside = (common.remote.address.bitWidth == 128 ? 40 : 20) + 8 + marker
        let wanted = min(octets, 9_000) - outside
        var padding = 0
        var message = channel.sealWhole(
            [.notify(NotifyPayload(Self.paddingNotification))],
            header: header,
            entropy: &context.entropy
        )
        // A block cipher rounds up: the largest message that is not longer than wanted.
        for _ in 0..<3 {
            guard let length = message?.count, length != wanted, wanted - length + padding > 0 else { break }
            padding += wanted - length
            let notify = NotifyPayload(
                Self.paddingNotification,
                data: [UInt8](repeating: 0, count: padding)
            )
            let longer = channel.sealWhole([.notify(notify)], header: header, entropy: &context.entropy)
            if let longer, longer.count > wanted {
                padding -= 15
                continue
            }
            message = longer
            break
        }
        return message.map { octets in
            let notify = NotifyPayload(Self.paddingNotification)
            let source = IKEMessage(header: header, payloads: [.notify(notify)])
            var probe = OutgoingMessage(octets, source: source)
            probe.forbidsFragmentation = true
            return probe
        }
    }

    /// A probe that does not arrive must not end the IKE_SA: an empty message takes its message ID.
    ///
    /// RFC 7296 §2.1 wants retransmissions to be the same octet by octet, so that a peer that answered once
    /// recognizes them. This peer most likely never saw the probe; if it did and only its answers were lost, it
    /// knows no other message of that ID: so the probe is repeated beside the empty message.
    mutating func replaceProbe(
        _ octets: Int,
        _ request: OutstandingRequest,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        context.report(.pathProbed(snapshot(common), octets: octets, arrived: false))
        let header = common.header(.informational, messageID: request.messageID, isResponse: false)
        guard let message = channel.seal([], header: header, entropy: &context.entropy) else {
            return close(.protocolError("a request could not be written"), common, &context)
        }
        let again = OutstandingRequest(
            messageID: request.messageID,
            message: message,
            policy: connection.retransmission,
            at: context.now
        )
        active = OwnExchange(task: .livenessCheck, phase: .requested(again))
        // Whole or in parts, so that it arrives.
        var probe = request.message
        probe.forbidsFragmentation = false
        active?.probe = probe
        context.transmit(probe, from: common.local, to: common.remote)
        lastOutbound = context.now
        context.transmit(message, from: common.local, to: common.remote)
        return .stay
    }
}
