import IKECore
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// Two IKE_SAs for the same thing, of which one is too many.
struct Duplicate {
    let loser: IKESPI
    let winner: IKESPI
    let dueAt: Instant
    /// It goes even if the other one does not carry all that it does.
    var isForced = false
}

/// Both ends may begin at once, and then have two IKE_SAs with the same tunnels; they settle to one.
///
/// RFC 7296 leaves open which. As for crossing rekeys, the one with the lowest nonce goes, so that two gateways that
/// do it alike agree, and its initiator deletes it; the other end does so later, for peers that never do. Of two
/// that came up at different times the newer stays: a peer that made a new one has a reason.
extension IKEv2Engine {
    private static let ownGrace = Duration.seconds(5)
    private static let peerGrace = Duration.seconds(30)
    /// What a new IKE_SA with a new proof replaces ends after this, if all its tunnels are there again.
    private static let reauthenticationGrace = Duration.seconds(1)
    /// Establishments closer than this are simultaneous.
    private static let simultaneity = Duration.seconds(30)

    mutating func findDuplicates(of sa: IKESA) {
        guard case .established(let new) = sa.state, !new.awaitsHandover, new.closing == nil else { return }
        for spi in context.contacts.with(new.peer.identity, of: new.connection.name)
        where spi != sa.common.localSPI {
            guard let other = sas[spi] else { continue }
            guard Self.isSamePeer(sa, other), case .established(let old) = other.state else { continue }
            guard !mayHaveSeveral(sa, other) else { continue }
            let isSimultaneous =
                !old.isReauthenticating
                && old.establishedAt.duration(to: new.establishedAt) < Self.simultaneity
            let newLoses = isSimultaneous && new.lowestNonce.lexicographicallyPrecedes(old.lowestNonce)
            let (loser, winner) = newLoses ? (sa, other) : (other, sa)
            duplicates.append(
                Duplicate(
                    loser: loser.common.localSPI,
                    winner: winner.common.localSPI,
                    dueAt: context.now.advanced(
                        by: old.isReauthenticating ? Self.reauthenticationGrace : Self.grace(loser)
                    )
                )
            )
        }
    }

    /// Takes CHILD_SAs from the data plane whose last packets have arrived or never will.
    mutating func removeRetired() {
        let now = context.now
        for child in context.retired where child.until <= now { Established.remove(child.snapshot, &context) }
        context.retired.removeAll { $0.until <= now }
    }

    /// True for peers that strongSwan would leave both, as unique = no says.
    ///
    /// Who shares an identity with others, or begins anew, has a reason. What we began ourselves is settled all the same.
    private func mayHaveSeveral(_ left: IKESA, _ right: IKESA) -> Bool {
        guard case .established(let state) = left.state else { return false }
        switch state.connection.uniqueness {
        case .never: return true
        case .no: return state.connection.isFromVici && !left.common.isInitiator && !right.common.isInitiator
        case .keep, .replace: return false
        }
    }

    /// A peer made a new IKE_SA, and shall have no other (unique = replace): one from another place ends now, one from
    /// the same place may be about to be replaced by it and gets a moment, as in strongSwan.
    mutating func applySupersessions() {
        while let keep = context.supersessions.popLast() {
            guard let contact = context.contacts[keep], contact.stays else { continue }
            for (spi, remote) in context.contacts.established(contact.pair, of: contact.connection)
            where spi != keep {
                if remote == contact.remote {
                    let dueAt = context.now.advanced(by: Self.replacementGrace)
                    duplicates.append(Duplicate(loser: spi, winner: keep, dueAt: dueAt, isForced: true))
                } else {
                    update(spi) { sa, context in sa.terminate(.duplicate, &context) }
                }
            }
        }
    }

    private static let replacementGrace = Duration.seconds(10)

    private static func grace(_ loser: IKESA) -> Duration { loser.common.isInitiator ? ownGrace : peerGrace }

    /// Whether `kept` lacks a tunnel that `lost` carries, and whether it has one that `lost` does not.
    private static func compare(_ lost: Established, _ kept: Established) -> (missing: Bool, extra: Bool) {
        let tunnels = { (state: Established) in
            Set(state.children.filter { $0.isCurrent }.map { $0.snapshot.tunnel })
        }
        let (theirs, ours) = (tunnels(lost), tunnels(kept))
        return (!theirs.isSubset(of: ours), !ours.isSubset(of: theirs))
    }

    private static func isSamePeer(_ left: IKESA, _ right: IKESA) -> Bool {
        guard case .established(let first) = left.state, case .established(let second) = right.state else {
            return false
        }
        return first.connection.name == second.connection.name && first.peer.identity == second.peer.identity
            && (left.common.remote.address == right.common.remote.address
                || first.isRedirected || second.isRedirected)
            && second.closing == nil && second.successor == nil && !second.awaitsHandover
    }

    /// Deletes the losers whose time has come, if the winner still carries all that they carry.
    mutating func settleDuplicates() {
        let due = duplicates.filter { $0.dueAt <= context.now }
        duplicates.removeAll { $0.dueAt <= context.now }
        for duplicate in due {
            guard let loser = sas[duplicate.loser], let winner = sas[duplicate.winner],
                Self.isSamePeer(loser, winner), case .established(let lost) = loser.state,
                case .established(let kept) = winner.state, lost.successor == nil, lost.closing == nil
            else { continue }
            guard duplicate.isForced || !kept.waitsForPeer else {
                // The peer may not have got what it carries: nothing would be left to send by.
                let dueAt = context.now.advanced(by: Self.reauthenticationGrace)
                duplicates.append(Duplicate(loser: duplicate.loser, winner: duplicate.winner, dueAt: dueAt))
                continue
            }
            let (missing, extra) = Self.compare(lost, kept)
            if missing, lost.isReauthenticating {
                // Its tunnels come up one by one, and some may have come up here since.
                duplicates.append(
                    Duplicate(
                        loser: duplicate.loser,
                        winner: duplicate.winner,
                        dueAt: context.now.advanced(by: Self.reauthenticationGrace)
                    )
                )
                if winner.common.isInitiator { complete(duplicate.winner, kept, with: lost) }
                continue
            }
            guard !missing || duplicate.isForced else {
                // Its tunnels may still be coming up; if they do not, and it has all of the other one's, it stays. Of two
                // that each have what the other lacks, the nonces decide, whatever was thought before: both ends agree.
                let isTurned = !extra || kept.lowestNonce.lexicographicallyPrecedes(lost.lowestNonce)
                let goes = isTurned ? winner : loser
                duplicates.append(
                    Duplicate(
                        loser: isTurned ? duplicate.winner : duplicate.loser,
                        winner: isTurned ? duplicate.loser : duplicate.winner,
                        dueAt: context.now.advanced(by: Self.grace(goes))
                    )
                )
                guard extra, goes.common.isInitiator else { continue }
                if isTurned {
                    complete(duplicate.loser, lost, with: kept)
                } else {
                    complete(duplicate.winner, kept, with: lost)
                }
                continue
            }
            update(duplicate.loser) { sa, context in
                sa.withEstablished(&context) { state, common, context in
                    state.giveWay(to: kept.children, common, &context)
                }
            }
        }
    }

    /// Each carries a tunnel that the other lacks: the winner gets all.
    private mutating func complete(_ spi: IKESPI, _ kept: Established, with lost: Established) {
        for child in lost.children
        where child.isCurrent && kept.current(of: child.snapshot.tunnel) == nil {
            let task = OwnExchange.Task.createChild(tunnel: child.snapshot.tunnel)
            guard !kept.isPlanned(task) else { continue }
            update(spi) { sa, context in
                sa.withEstablished(&context) { state, common, context in
                    state.plan(task, common, &context) ?? .stay
                }
            }
        }
    }

    /// An IKE_SA was rekeyed: what is said of it holds for its successor.
    mutating func renameDuplicates(_ old: IKESPI?, _ new: IKESPI) {
        for (index, duplicate) in duplicates.enumerated()
        where duplicate.loser == old || duplicate.winner == old {
            duplicates[index] = Duplicate(
                loser: duplicate.loser == old ? new : duplicate.loser,
                winner: duplicate.winner == old ? new : duplicate.winner,
                dueAt: duplicate.dueAt,
                isForced: duplicate.isForced
            )
        }
    }
}

extension Established {
    /// A tunnel has nothing yet that surely reaches the peer; what stands beside another one may take its time.
    fileprivate var waitsForPeer: Bool {
        children.contains { child in
            child.waitsForPeer
                && !connection.tunnels.contains { $0.name == child.snapshot.tunnel && $0.isFurther }
        }
    }

    /// Ends for the sake of another IKE_SA: that one's CHILD_SAs send from now on, ours receive what is under way.
    fileprivate mutating func giveWay(
        to winners: [ChildSA],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        for child in winners where child.isSending {
            context.emit(.useForSending(childID: child.id))
        }
        let all = children
        children = []
        // The peer sends by them until it got our DELETE; with its answer they go.
        let until = context.now.advanced(by: Self.abandonment)
        let transition = terminate(.duplicate, common, &context)
        for child in all {
            if child.isCurrent {
                context.report(.childDown(snapshot(common), child.snapshot, cause: .duplicate))
            }
            if case .close = transition {
                Self.remove(child.snapshot, &context)
            } else {
                retired.append(RetiredChild(snapshot: child.snapshot, until: until))
            }
        }
        return transition
    }
}
