import IKECore
import Policy
import Primitives

/// A CHILD_SA in the data plane.
struct ChildSA {
    /// What becomes of it.
    enum Role {
        /// It carries the tunnel's traffic.
        case current
        /// Another has taken over; the peer deletes it.
        case superseded
        /// Another has taken over; our DELETE of it is out or waits.
        case deleting
    }

    var snapshot: ChildSASnapshot
    let connection: String
    /// The exchange that made it was ours: then it is ours to delete if it proves redundant.
    let isOurs: Bool
    /// The lower nonce of that exchange, by which collisions are settled.
    let lowestNonce: [UInt8]
    var role = Role.current
    /// False while an older one of the tunnel still sends (RFC 7296 §2.8).
    var isSending: Bool
    /// When the peer is asked for a sign that it has it, because none was heard by it: what still sends may be lost to the
    /// peer.
    var takesOverAt: Instant?
    /// It sends as soon as the peer answers.
    var awaitsAnswer = false
    /// Rekeys of it that failed in a row, and how the last one did.
    var failures = 0
    var lastFailure: DownCause?
    /// Its volume or its sequence numbers are nearly used up.
    var isNearLimit = false
    /// A new IKE_SA was asked for, because its rekeys fail.
    var isReplacementAsked = false
    /// The peer made a second one for the same traffic.
    var isTwin = false
    /// When it leaves the data plane if the peer has not deleted it.
    var abandonedAt: Instant?

    /// How long one of another IKE_SA goes on sending while this one waits to be heard.
    static let takeover = Duration.seconds(1)
    /// The same where the peer may still repeat the request that made it: our response may be lost.
    static let longTakeover = Duration.seconds(10)

    /// Another IKE_SA's sends until the peer has shown that it has this one.
    var waitsForPeer: Bool { isCurrent && !isSending && (takesOverAt != nil || awaitsAnswer) }

    var id: UInt32 { snapshot.id }
    var isCurrent: Bool { role == .current }

    /// When a new IKE_SA has to begin so that it takes over before this one ends; nil while rekeys do not fail.
    var replacementDue: Instant? {
        guard failures > 0, isCurrent, !isReplacementAsked, let end = snapshot.expiresAt else { return nil }
        return end.advanced(by: .zero - Established.replacementLead(snapshot.installedAt, end))
    }
}

/// A CHILD_SA that both ends have deleted: its last packets may still be under way.
struct RetiredChild {
    let snapshot: ChildSASnapshot
    let until: Instant

    /// How long packets of a replaced CHILD_SA are accepted after its deletion.
    static let grace = Duration.seconds(5)
}

extension SALifetime {
    /// When the replacement of an SA made at `now` begins: its rekey time less some of the jitter, by `fraction`.
    func rekeyInstant(from now: Instant, fraction: Double) -> Instant? {
        rekey.map { now.advanced(by: max(.milliseconds(500), $0 - jitter * fraction)) }
    }

    /// When an SA made at `now` ends.
    func expiry(from now: Instant) -> Instant? { hard.map { now.advanced(by: $0) } }
}
