import DequeModule
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// Requests of ours: one at a time, retransmitted until answered (RFC 7296 §2.1, §2.3).
extension Established {
    var deadline: Instant? {
        [outstanding?.request.nextAt, livenessDue, keepaliveDue].compactMap { $0 }.min()
    }

    private var livenessDue: Instant? {
        guard outstanding == nil, closing == nil else { return nil }
        return connection.livenessDelay.map { lastInbound.advanced(by: $0) }
    }

    private var keepaliveDue: Instant? {
        // A zero interval would never let the deadline pass.
        nat.isLocalBehindNAT ? lastOutbound.advanced(by: max(connection.keepaliveInterval, .seconds(1))) : nil
    }

    mutating func timeout(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        if let (request, task) = outstanding {
            var request = request
            switch request.check(at: context.now) {
            case .wait:
                break
            case .retransmit:
                context.emit(.transmit(common.datagram(request.octets)))
                lastOutbound = context.now
            case .giveUp:
                let seconds = request.sentAt.duration(to: context.now).wholeSeconds
                let cause = DownCause.noAnswer(
                    to: "INFORMATIONAL",
                    attempts: request.attempts,
                    seconds: seconds
                )
                return close(cause, common, &context)
            }
            outstanding = (request, task)
        }
        if let due = livenessDue, due <= context.now { return enqueue(.livenessCheck, common, &context) }
        if let due = keepaliveDue, due <= context.now {
            context.emit(.keepalive(local: common.local, remote: common.remote))
            lastOutbound = context.now
        }
        return .stay
    }

    /// Deletes the IKE_SA: its CHILD_SAs leave the data plane at once, the peer is told.
    mutating func terminate(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext)
        -> Transition
    {
        guard closing == nil else { return .stay }
        closing = cause
        waiting.removeAll()
        removeAllChildren(cause, common, &context)
        return enqueue(.deleteIKE, common, &context)
    }

    /// Something unauthenticated hints at a dead peer: ask it (RFC 7296 §2.4).
    mutating func suspectDead(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard outstanding == nil, lastInbound.advanced(by: .seconds(1)) <= context.now else { return .stay }
        return enqueue(.livenessCheck, common, &context)
    }

    mutating func enqueue(_ task: Task, _ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard waiting.count < Self.maximumWaiting else {
            return close(.protocolError("more than \(Self.maximumWaiting) requests wait"), common, &context)
        }
        waiting.append(task)
        return sendNext(common, &context)
    }

    private mutating func sendNext(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard outstanding == nil, let task = waiting.popFirst() else { return .stay }
        let payloads: [Payload] =
            switch task {
            case .livenessCheck: []
            case .deleteChildren(let spis): [.delete(.esp(spis))]
            case .deleteIKE: [.delete(.ike)]
            }
        let header = common.header(.informational, messageID: nextRequestID, isResponse: false)
        guard let octets = channel.seal(payloads, header: header, entropy: &context.entropy) else {
            return close(.protocolError("a request could not be written"), common, &context)
        }
        let request = OutstandingRequest(
            messageID: nextRequestID,
            octets: octets,
            policy: connection.retransmission,
            at: context.now
        )
        outstanding = (request, task)
        // RFC 7296 §2.2: an IKE_SA ends before its message IDs wrap.
        guard nextRequestID < .max else {
            return close(.protocolError("message IDs used up"), common, &context)
        }
        nextRequestID += 1
        lastOutbound = context.now
        context.emit(.transmit(common.datagram(octets)))
        return .stay
    }

    /// The response to our request came.
    mutating func complete(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard let (_, task) = outstanding else { return .stay }
        outstanding = nil
        switch task {
        case .livenessCheck, .deleteChildren:
            return sendNext(common, &context)
        case .deleteIKE:
            return close(closing ?? .localRequest, common, &context)
        }
    }
}
