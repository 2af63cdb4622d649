import IKECore
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// What happens around the change of one IKE_SA: every index follows, and other IKE_SAs do what it wants of them.
extension IKEv2Engine {
    /// Lets `body` work on one IKE_SA, then keeps every index in step with what it became.
    mutating func update(_ spi: IKESPI, _ body: (inout IKESA, inout EngineContext) -> Bool) {
        guard let change = sas.change(spi, { sa in Self.change(&sa, &context, body) }) else { return }
        let lives = change.after.lives
        if change.before.established != change.after.established {
            if let name = change.before.established { context.establishedCounts[name, default: 1] -= 1 }
            if let name = change.after.established { context.establishedCounts[name, default: 0] += 1 }
            if change.before.established == nil, let sa = sas[spi] { findDuplicates(of: sa) }
        }
        if change.before.isHalfOpen, !change.after.isHalfOpen { context.halfOpen.remove(spi) }
        if !lives {
            sas.remove(spi)
            context.fragments.remove(spi)
        }
        context.contacts.set(change.contact, for: spi)
        context.changes[change.id] = .some(lives ? spi : nil)
        context.settleCounters(of: lives ? change.after.name ?? change.before.name : change.before.name)
        deadlines.set(change.deadline, for: spi)
        if lives, change.before.path != change.after.path, let sa = sas[spi] { takeAlongPredecessors(of: sa) }
        enterSuccessors()
        applyInitialContacts()
        applySupersessions()
    }

    /// What of an IKE_SA other tables know.
    private struct Facet {
        let lives: Bool
        let isHalfOpen: Bool
        let established: String?
        let name: String?
        let path: Path

        struct Path: Equatable {
            let local: Endpoint
            let remote: Endpoint
        }

        init(_ sa: IKESA, lives: Bool) {
            self.lives = lives
            isHalfOpen = lives && sa.isHalfOpen
            established = lives ? IKEv2Engine.establishedName(sa) : nil
            name = sa.connectionName
            path = Path(local: sa.common.local, remote: sa.common.remote)
        }
    }

    private struct Change {
        let id: UInt32
        let before: Facet
        let after: Facet
        let deadline: Instant?
        let contact: Contacts.Contact?
    }

    private static func change(
        _ sa: inout IKESA,
        _ context: inout EngineContext,
        _ body: (inout IKESA, inout EngineContext) -> Bool
    ) -> Change {
        let before = Facet(sa, lives: true)
        context.subject = (sa.common.id, before.name)
        let lives = body(&sa, &context)
        context.subject = nil
        return Change(
            id: sa.common.id,
            before: before,
            after: Facet(sa, lives: lives),
            deadline: lives ? sa.deadline : nil,
            contact: lives ? Contacts.Contact(sa) : nil
        )
    }

    /// An IKE_SA moved: those that it replaced and that are still being deleted go on from there.
    private mutating func takeAlongPredecessors(of sa: IKESA) {
        guard case .established(let state) = sa.state else { return }
        for spi in state.predecessors {
            update(spi) { old, context in
                old.withEstablished(&context) { state, common, context in
                    if state.successor != nil { state.follow(sa.common, &common, &context) }
                    return .stay
                }
            }
        }
    }

    /// Enters the IKE_SAs that took over from others.
    private mutating func enterSuccessors() {
        while let successor = context.successors.popLast() {
            let spi = successor.common.localSPI
            if let name = Self.establishedName(successor) { context.establishedCounts[name, default: 0] += 1 }
            sas.insert(successor)
            context.contacts.set(Contacts.Contact(successor), for: spi)
            context.changes[successor.common.id] = .some(spi)
            deadlines.set(successor.deadline, for: spi)
        }
        while !context.replacements.isEmpty {
            let wanted = context.replacements.removeFirst()
            var (local, remote) = (wanted.local, wanted.remote)
            local.port = context.configuration.ikePort
            if remote.port == context.configuration.natTraversalPort { remote.port = local.port }
            initiate(wanted.connection, wanted.tunnel, local, remote)
        }
        while !context.handovers.isEmpty { carryOut(context.handovers.removeFirst()) }
    }

    private mutating func carryOut(_ handover: Handover) {
        switch handover {
        case .inherit(let spi, let inheritance):
            renameDuplicates(inheritance.localSPI, spi)
            guard case .established = sas[spi]?.state else {
                // The peer deleted it, and its predecessor is going as well.
                inheritance.dissolve(&context)
                return
            }
            update(spi) { sa, context in
                sa.withEstablished(&context) { state, common, context in
                    state.takePath(of: inheritance.predecessor, &common)
                    return state.inherit(inheritance, common, &context)
                }
            }
            guard let old = inheritance.localSPI else { return }
            update(old) { sa, context in
                sa.withEstablished(&context) { state, common, context in state.sendNext(common, &context) }
            }
        case .redundant(let spi):
            update(spi) { sa, context in
                sa.withEstablished(&context) { state, _, context in
                    state.abandonedAt = context.now.advanced(by: Established.abandonment)
                    return .stay
                }
            }
        case .delete(let spi, let cause):
            update(spi) { sa, context in
                sa.withEstablished(&context) { state, common, context in
                    state.awaitsHandover = false
                    state.isSilent = true
                    return state.terminate(cause, common, &context)
                }
            }
        case .peerDeletes(let spi, let octets):
            update(spi) { sa, context in
                sa.withEstablished(&context) { state, common, context in
                    _ = state.peerDeletes([octets], common, &context)
                    return .stay
                }
            }
        }
    }

    private static func establishedName(_ sa: IKESA) -> String? {
        guard case .established(let state) = sa.state else { return nil }
        return state.connection.name
    }

    mutating func remove(_ spi: IKESPI) {
        if let sa = sas.remove(spi) { context.changes[sa.common.id] = .some(nil) }
        context.halfOpen.remove(spi)
        context.fragments.remove(spi)
        deadlines.set(nil, for: spi)
    }

    /// RFC 7296 §2.4: all other IKE_SAs with that peer are of its former life; it is not told.
    private mutating func applyInitialContacts() {
        guard let contact = context.initialContacts.popLast() else { return }
        let obsolete = context.contacts.all(contact.pair).filter { spi in
            // One that came up while the peer was making this one is not of its former life: both began at once.
            guard spi != contact.keep, case .established(let state)? = sas[spi]?.state else { return false }
            return state.establishedAt <= contact.since
        }
        for spi in obsolete {
            update(spi) { sa, context in
                sa.withEstablished(&context) { state, common, context in
                    state.close(.replacedByInitialContact, common, &context)
                }
            }
        }
    }
}
