import IKECore
import IKEMessages
import Policy
import Primitives

/// Repeated authentication that the responder asks for (RFC 4478).
extension Established {
    /// The responder says how long our proof of identity holds: a new IKE_SA begins before that.
    mutating func noteAuthLifetime(_ payloads: [Payload], _ common: SACommon, _ context: EngineContext) {
        guard let data = payloads.notification(.authLifetime)?.data, data.count == 4, common.isInitiator,
            closing == nil, successor == nil
        else { return }
        let seconds = data.reduce(0) { $0 << 8 | Int64($1) }
        // Early enough for an attempt that has to be repeated; at half of the time where that is too short.
        let lead = min(max(.seconds(seconds) / 10, Self.authLead.lowerBound), Self.authLead.upperBound)
        let wait = max(.seconds(seconds) - min(lead, .seconds(seconds) / 2), .seconds(1))
        let due = context.now.advanced(by: wait)
        reauthAt = reauthAt.map { min($0, due) } ?? due
    }

    private static let authLead: ClosedRange<Duration> = .seconds(10) ... .seconds(300)

    /// How long the peer's proof holds, if the connection says so: then it is the peer that begins anew, and if it does not,
    /// we do.
    func authLifetimePayloads(_ context: EngineContext) -> [Payload] {
        guard let reauthAt else { return [] }
        let left = max(context.now.duration(to: reauthAt).components.seconds, 1)
        let seconds = UInt32(clamping: left)
        let data = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: seconds >> UInt32($0)) }
        return [.notify(NotifyPayload(.authLifetime, data: data))]
    }
}
