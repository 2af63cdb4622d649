import IKEMessages

/// Who gives way when both ends are at work on the same IKE_SA (RFC 7296 §2.8.1, §2.8.2, §2.25): all such
/// decisions, and nothing but decisions.
enum Collisions {
    /// What we are doing when a request of the peer arrives.
    struct OwnWork {
        /// We told the peer to delete this IKE_SA, or are about to.
        var isClosing = false
        /// Another IKE_SA has taken over from this one.
        var isReplaced = false
        /// Our request to rekey this IKE_SA is out.
        var isRekeyingIKE = false
        /// Our CREATE_CHILD_SA request was answered, and takes further key exchanges.
        var isFollowingUp = false
        /// A request of ours that makes, rekeys or deletes a CHILD_SA is out.
        var isChangingChildren = false
        /// A CREATE_CHILD_SA request of the peer is still being computed.
        var isAnswering = false
    }

    /// True when a request to make or rekey a CHILD_SA gets TEMPORARY_FAILURE (§2.25.2).
    ///
    /// Also one that comes when ours was answered: the peer knew of ours, and which of both stays is settled by the
    /// nonces of requests that cross, before the further key exchanges (RFC 9370 §2.2.4).
    static func postponesChild(_ own: OwnWork) -> Bool {
        own.isClosing || own.isReplaced || own.isRekeyingIKE || own.isAnswering || own.isFollowingUp
    }

    /// True when a request to rekey the IKE_SA gets TEMPORARY_FAILURE.
    ///
    /// Two rekeys of the IKE_SA that cross are both answered and settled by their nonces (§2.25.2); one that
    /// crosses our work on CHILD_SAs waits (§2.25.1), because it would inherit what is changing.
    static func postponesIKERekey(_ own: OwnWork) -> Bool {
        own.isClosing || own.isReplaced || own.isChangingChildren || own.isAnswering || own.isFollowingUp
    }

    /// The lower of an exchange's two nonces, octet by octet.
    static func lowest(_ nonces: (initiator: [UInt8], responder: [UInt8])) -> [UInt8] {
        nonces.initiator.lexicographicallyPrecedes(nonces.responder) ? nonces.initiator : nonces.responder
    }

    /// Of two SAs made by crossing requests, true when ours is the redundant one: the SA with the lowest of the four
    /// nonces is closed by the end that created it (§2.8.1).
    static func oursIsRedundant(ours: [UInt8], theirs: [UInt8]) -> Bool {
        ours.lexicographicallyPrecedes(theirs)
    }
}
