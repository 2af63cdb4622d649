public import Policy
public import Primitives

/// A request that waits for its response, and its retransmission (RFC 7296 §2.1).
public struct OutstandingRequest: Sendable {
    /// Its message ID.
    public let messageID: UInt32
    /// The message, sent again octet by octet.
    public private(set) var message: OutgoingMessage
    /// When it was first sent.
    public let sentAt: Instant
    /// Retransmissions so far.
    public private(set) var attempts = 0
    /// When it is sent again or given up.
    public private(set) var nextAt: Instant

    private let policy: RetransmissionPolicy
    /// Retransmissions before the peer counts as dead.
    private var limit: Int
    private var isHastened = false

    /// Waits and retransmissions that are left once the peer seems not to know the IKE_SA.
    private static let hastened = (wait: Duration.milliseconds(500), tries: 4)

    /// Starts the clock of a request that is being sent at `now`.
    public init(messageID: UInt32, message: OutgoingMessage, policy: RetransmissionPolicy, at now: Instant) {
        self.messageID = messageID
        self.message = message
        self.policy = policy
        limit = policy.tries
        sentAt = now
        nextAt = now.advanced(by: policy.timeout(attempt: 0))
    }

    /// The peer seems not to know the IKE_SA: nothing authentic says so, so it is asked a few times more, but soon.
    public mutating func hasten(at now: Instant) {
        guard !isHastened else { return }
        isHastened = true
        limit = min(limit, attempts + Self.hastened.tries)
        nextAt = min(nextAt, now.advanced(by: Self.hastened.wait))
    }

    /// The same in smaller fragments: it begins anew (RFC 7383 §2.5.2).
    public mutating func replace(by smaller: OutgoingMessage, at now: Instant) {
        message = smaller
        attempts = 0
        nextAt = now.advanced(by: policy.timeout(attempt: 0))
    }

    /// The same begins anew on another path.
    public mutating func restart(at now: Instant) { replace(by: message, at: now) }

    /// What to do when the wait is over.
    public enum Verdict: Equatable, Sendable {
        /// Nothing yet.
        case wait
        /// Send it again.
        case retransmit
        /// The peer counts as dead.
        case giveUp
    }

    /// Decides at `now`.
    public mutating func check(at now: Instant) -> Verdict {
        guard now >= nextAt else { return .wait }
        guard attempts < limit else { return .giveUp }
        attempts += 1
        let wait = policy.timeout(attempt: attempts)
        nextAt = now.advanced(by: isHastened ? min(wait, Self.hastened.wait) : wait)
        return .retransmit
    }
}
