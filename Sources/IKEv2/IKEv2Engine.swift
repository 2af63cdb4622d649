import Cryptography
import DequeModule
public import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
public import Primitives

/// The IKEv2 negotiation state machine (RFC 7296): datagrams, commands and deadlines in, values out.
///
/// It has no I/O, clock or chance of its own. After each `handle` the owner carries out `nextOutput()` until nil
/// and calls `handle(.timeout, at:)` when `deadline` has come.
public struct IKEv2Engine {
    var context: EngineContext
    var sas = IKESATable()
    private var deadlines = DeadlineHeap()
    private var cookies: CookieJar
    var duplicates: [Duplicate] = []

    /// An engine without policies; give it some with `.setPolicies`.
    public init(configuration: EngineConfiguration, entropy: any EntropySource, at now: Instant) {
        context = EngineContext(configuration: configuration, entropy: entropy)
        cookies = CookieJar(entropy: &context.entropy, at: now)
    }

    /// When `.timeout` is due.
    public var deadline: Instant? {
        [
            deadlines.earliest, context.fragments.deadline, duplicates.map { $0.dueAt }.min(),
            context.retired.map { $0.until }.min(),
        ].compactMap { $0 }.min()
    }

    /// Datagrams dropped, by reason.
    public var drops: [IKEDropReason: UInt64] { context.drops }

    /// IKE_SAs, those included that are over and only answer retransmissions.
    public var count: Int { sas.count }

    /// Half-open IKE_SAs as responder.
    public var halfOpenCount: Int { context.halfOpen.count }

    /// All IKE_SAs, by age.
    public var snapshots: [IKESASnapshot] {
        sas.all.compactMap { $0.snapshot() }.sorted { $0.id < $1.id }
    }

    /// Messages and rekeys, as `get-counters` tells them.
    public var counters: IKECounters { context.counters }

    /// Sets counters back: all connections' own, one connection's, or the sum.
    public mutating func resetCounters(of connection: String?, allConnections: Bool) {
        if allConnections { context.counters.resetConnections() } else { context.counters.reset(connection) }
    }

    /// The IKE_SAs that changed since the last call, each with its snapshot; nil for those that are gone.
    ///
    /// The first call tells all of them.
    public mutating func takeChanges() -> [(id: UInt32, snapshot: IKESASnapshot?)] {
        guard !context.changes.isEmpty else { return [] }
        let changes = context.changes
        context.changes.removeAll(keepingCapacity: true)
        return changes.map { id, spi in (id, spi.flatMap { sas[$0]?.snapshot() }) }
    }

    /// The next thing to be done, or nil.
    public mutating func nextOutput() -> EngineOutput? { context.outputs.popFirst() }

    /// Handles one input.
    public mutating func handle(_ input: EngineInput, at now: Instant) {
        context.now = now
        switch input {
        case .datagram(let datagram): receive(datagram)
        case .computed(let result):
            guard let spi = context.takeOwner(ofJob: result.id) else { return }
            update(spi) { sa, context in sa.handle(result, &context) }
        case .timeout:
            while let spi = deadlines.popDue(at: now) { update(spi) { sa, context in sa.timeout(&context) } }
            context.fragments.expire(at: now)
            settleDuplicates()
            removeRetired()
        case .initiate(let connection, let tunnel, let local, let remote):
            initiate(connection, tunnel, local, remote)
        case .follow(let redirection, let local, let remote): follow(redirection, local, remote)
        case .redirect(let id, let gateway): redirect(id, to: gateway)
        case .localAddresses(let addresses): ownAddressesChanged(addresses)
        case .roam(let id, let local):
            updateIKE(id) { sa, context in
                sa.withEstablished(&context) { state, common, context in
                    state.roam(to: local, &common, &context)
                }
            }
        case .terminateIKE(let id, let cause):
            updateIKE(id) { sa, context in sa.terminate(cause, &context) }
        case .destroyIKE(let id, let cause): destroyIKE(id, cause)
        case .terminateChild(let id, let cause):
            updateOwner(ofChild: id) { state, common, context in
                state.terminateChild(id, cause, common, &context)
            }
        case .rekeyIKE, .reauthenticate, .rekeyChild, .childNearLimit, .checkLiveness, .probePath,
            .firstInbound, .unknownESP:
            maintain(input)
        case .setPolicies(let connections):
            let policies = PolicyTable(connections)
            context.policies = policies
            context.counters.keep { policies[$0] != nil }
            context.redirects.keep { policies[$0] != nil }
        case .activity(let children): noteActivity(children)
        case .childMoved(let id, let remote):
            updateOwner(ofChild: id) { state, common, context in
                guard state.nat.isRemoteBehindNAT, !state.nat.isLocalBehindNAT else { return .stay }
                if state.mobility == nil {
                    state.follow(remote, &common, &context)
                } else {
                    state.moveChildren(to: remote, common, &context)
                }
                return .stay
            }
        }
    }

    // MARK: - Datagrams

    private mutating func receive(_ datagram: IKEDatagram) {
        guard let header = try? ReceivedMessage.header(of: datagram.octets), header.initiatorSPI != 0 else {
            context.count(.malformed)
            return
        }
        guard header.majorVersion == 2 else {
            refuseVersion(header, datagram)
            return
        }
        if header.exchange == .ikeSAInit, !header.isResponse, header.responderSPI == 0 {
            receiveInit(header, datagram)
            return
        }
        let number = header.isFromInitiator ? header.responderSPI : header.initiatorSPI
        guard let spi = IKESPI(number), let common = sas.common(spi), Self.belongs(header, to: common) else {
            context.count(.unknownSPI)
            refuseUnknown(header, datagram)
            return
        }
        guard let message = try? ReceivedMessage(parsing: datagram.octets) else {
            context.count(.malformed)
            return
        }
        if case .fragment(let fragment) = message.content {
            guard let sa = sas[spi], let whole = reassemble(fragment, message.header, datagram, of: sa) else {
                return
            }
            deliver(whole.message, whole.datagram, to: spi)
            return
        }
        deliver(message, datagram, to: spi)
    }

    private mutating func deliver(_ message: ReceivedMessage, _ datagram: IKEDatagram, to spi: IKESPI) {
        let dropped = context.dropped
        var name: String?
        update(spi) { sa, context in
            name = sa.connectionName
            return sa.handle(message, datagram, &context)
        }
        guard context.dropped == dropped else { return }
        countReceived(datagram, of: name)
    }

    private mutating func countReceived(_ datagram: IKEDatagram, of connection: String?) {
        guard let counter = IKECounter(message: datagram.octets, isOutgoing: false) else { return }
        context.counters.count(counter, of: connection)
    }

    /// Both SPIs and the I flag must fit; the peer's SPI is not known before its first message.
    private static func belongs(_ header: IKEHeader, to common: SACommon) -> Bool {
        guard header.isFromInitiator != common.isInitiator else { return false }
        let remote = header.isFromInitiator ? header.initiatorSPI : header.responderSPI
        return common.remoteSPI == 0 || common.remoteSPI == remote
    }

    /// RFC 7296 §2.5: a higher major version is answered once, by a notification in our version.
    private mutating func refuseVersion(_ header: IKEHeader, _ datagram: IKEDatagram) {
        context.count(.version)
        guard header.majorVersion > 2, !header.isResponse else { return }
        var reply = header
        reply.majorVersion = 2
        reply.minorVersion = 0
        reply.isResponse = true
        reply.isFromInitiator = false
        send([.notify(NotifyPayload(.invalidMajorVersion))], header: reply, to: datagram)
    }

    /// RFC 7296 §2.21.4: a request to an IKE_SA that we do not have gets INVALID_IKE_SPI, so that a peer that
    /// outlived a restart of ours need not wait for its liveness check; never more than it sent, and not often.
    private mutating func refuseUnknown(_ header: IKEHeader, _ datagram: IKEDatagram) {
        guard !header.isResponse, header.exchange != .ikeSAInit, context.nextUnknownSPIReply <= context.now,
            datagram.octets.count >= 36, !isRekeying(with: datagram.remote)
        else { return }
        context.nextUnknownSPIReply = context.now.advanced(by: .milliseconds(100))
        var reply = header
        reply.isResponse = true
        reply.isFromInitiator = !header.isFromInitiator
        send([.notify(NotifyPayload(.invalidIKESPI))], header: reply, to: datagram)
    }

    /// True while a rekey of ours is under way with that peer: it may speak of what we have not heard of yet.
    private func isRekeying(with remote: Endpoint) -> Bool {
        sas.with(remote.address).contains { sa in
            guard case .established(let state) = sa.state else { return false }
            return state.ownWork.isRekeyingIKE
        }
    }

    private mutating func receiveInit(_ header: IKEHeader, _ datagram: IKEDatagram) {
        guard header.isFromInitiator, header.messageID == 0,
            let message = try? ReceivedMessage(parsing: datagram.octets),
            case .clear(let payloads) = message.content
        else {
            context.count(.malformed)
            return
        }
        let (spi, remote) = (header.initiatorSPI, datagram.remote)
        if let known = context.halfOpen.existing(initiatorSPI: spi, remote: remote) {
            update(known) { sa, context in sa.handle(message, datagram, &context) }
            return
        }
        // Without a nonce there is nothing to bind a cookie to, and the answer would be much longer than the
        // request.
        guard let nonce = payloads.nonce else {
            context.count(.malformed)
            return
        }
        cookies.rotateIfDue(entropy: &context.entropy, at: context.now)
        let hasCookie =
            payloads.notification(.cookie).map {
                cookies.accepts($0.data, nonce: nonce, remote: remote, initiatorSPI: spi)
            } ?? false
        switch context.halfOpen.admission(for: remote.address, hasCookie: hasCookie) {
        case .requireCookie:
            context.count(.cookie)
            guard let cookie = try? cookies.cookie(nonce: nonce, remote: remote, initiatorSPI: spi) else {
                return
            }
            reply([.notify(NotifyPayload(.cookie, data: cookie))], to: header, datagram)
            return
        case .admitReplacing(let oldest):
            context.count(.halfOpenEvicted)
            remove(oldest)
        case .admit:
            break
        }
        countReceived(datagram, of: nil)
        context.took(payloads, header, datagram)
        judge(payloads, message, datagram)
    }

    private mutating func judge(_ payloads: [Payload], _ message: ReceivedMessage, _ datagram: IKEDatagram) {
        let cause: DownCause?
        switch ResponderInit.judge(payloads, message, datagram, context) {
        case .reply(let answer, let why):
            cause = why
            reply(answer, to: message.header, datagram)
            if why != nil { context.count(.noConnection) }
        case .drop(let reason, let why):
            cause = why
            context.count(reason)
        case .accept(let state, let group, let peerValue):
            respond(state, group, peerValue, message.header, datagram)
            return
        }
        guard let cause else { return }
        context.report(
            .attemptFailed(
                AttemptFailure(
                    connection: nil,
                    tunnel: nil,
                    isInitiator: false,
                    remote: datagram.remote,
                    cause: cause
                )
            )
        )
    }

    private mutating func respond(
        _ state: ResponderComputing,
        _ group: KeyExchangeGroup,
        _ peerValue: [UInt8],
        _ header: IKEHeader,
        _ datagram: IKEDatagram
    ) {
        guard sas.count < context.configuration.maximumSAs else {
            context.count(.limit)
            return
        }
        let spi = context.newIKESPI()
        let common = SACommon(
            id: context.newID(),
            isInitiator: false,
            localSPI: spi,
            remoteSPI: header.initiatorSPI,
            local: datagram.local,
            remote: datagram.remote,
            createdAt: context.now
        )
        context.halfOpen.insert(spi, initiatorSPI: header.initiatorSPI, remote: datagram.remote)
        sas.insert(IKESA(common: common, state: .responderComputing(state)))
        context.changes[common.id] = .some(spi)
        _ = context.compute(.answer(group, peer: peerValue), for: common)
    }

    /// Answers an IKE_SA_INIT request without keeping anything: the responder's SPI stays zero.
    private mutating func reply(_ payloads: [Payload], to header: IKEHeader, _ datagram: IKEDatagram) {
        var reply = header
        reply.isResponse = true
        reply.isFromInitiator = false
        reply.canDoHigherVersion = false
        reply.minorVersion = 0
        send(payloads, header: reply, to: datagram)
    }

    private mutating func send(_ payloads: [Payload], header: IKEHeader, to datagram: IKEDatagram) {
        let message = IKEMessage(header: header, payloads: payloads)
        guard let octets = try? message.encoded() else { return }
        context.send(OutgoingMessage(octets, source: message), from: datagram.local, to: datagram.remote)
        context.settleCounters(of: nil)
    }

    // MARK: - Registry

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

    private mutating func remove(_ spi: IKESPI) {
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
