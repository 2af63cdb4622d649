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
    var deadlines = DeadlineHeap()
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
}
