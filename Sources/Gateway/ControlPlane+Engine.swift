import Dispatch
import EAP
import ESP
import GatewayConfiguration
import IKECore
import IKEv2
import IPPackets
import IPsecTypes
import LinuxIO
import Logging
import PacketPump
import Policy
import Primitives
import Vici

/// Driving the engine and carrying out what it wants.
extension ControlPlane {
    /// Feeds one input and does all that follows from it.
    func feed(_ input: EngineInput) {
        guard case .datagram(let datagram) = input else {
            engine.handle(input, at: MonotonicClock.now())
            settle()
            return
        }
        applyLoadedToEngine()
        captures.begin(datagram)
        let drops = captures.isActive ? engine.drops : [:]
        engine.handle(input, at: MonotonicClock.now())
        settle()
        guard captures.isActive else { return }
        captures.end(droppedFor: IKEDropReason.allCases.first { engine.drops[$0] != drops[$0] })
    }

    /// Carries out outputs until there is none, starts what is due, and sets the timer.
    func settle() {
        drainOutputs()
        runSupervisor()
    }

    func drainOutputs() {
        var gone: Set<UInt32> = []
        defer { advancePending(gone: gone) }
        repeat {
            // Before any event: who hears of something finds it in the lists.
            gone.formUnion(publishChanges())
            carryOutOutputs()
            guard let id = uselessIKEs.popLast() else { return }
            engine.handle(.terminateIKE(id: id, cause: .lastChildGone), at: MonotonicClock.now())
        } while true
    }

    private func carryOutOutputs() {
        var hasInstalled = false
        var behindInstall: [IKEDatagram] = []
        defer {
            departed = [:]
            sendWhenInstalled(behindInstall)
        }
        while let output = engine.nextOutput() {
            switch output {
            case .transmit(let datagram):
                if hasInstalled { behindInstall.append(datagram) } else { send(datagram) }
            case .keepalive(let local, let remote):
                sockets?.sendKeepalive(from: local, to: remote)
            case .compute(let job):
                pool?.submit(job)
            case .install(let installation):
                let sa = installation.description
                let key = TunnelKey(connection: sa.connection, tunnel: sa.tunnel)
                children[sa.id] = InstalledChild(
                    key: key,
                    path: sa.path,
                    ikeID: installation.ikeID,
                    installedAt: MonotonicClock.now()
                )
                board.setPath(sa.path, ofChild: sa.id)
                board.assignReqid(sa.id, local: sa.localSelectors, remote: sa.remoteSelectors)
                changeRoutes { (routes) throws(LinuxError) in
                    try routes.childInstalled(sa.id, local: sa.localSelectors, remote: sa.remoteSelectors)
                }
                dataPlane?.install(sa, sends: installation.sendsAtOnce)
                hasInstalled = true
            case .useForSending(let id):
                dataPlane?.useForSending(saID: id)
            case .remove(let id):
                departed[id] = details(ofChild: id)
                children[id] = nil
                if let carried = counters.removeValue(forKey: id) { pastVolume.add(carried) }
                pathMTUs[id] = nil
                board.removeChild(id)
                dataPlane?.remove(saID: id)
                changeRoutes { (routes) throws(LinuxError) in try routes.childRemoved(id) }
            case .move(let id, let path):
                guard var child = children[id] else { continue }
                child.path = path
                children[id] = child
                board.setPath(child.path, ofChild: id)
                dataPlane?.updatePath(saID: id, path: child.path)
                restartPathMTUSearch(childID: id, at: MonotonicClock.now())
            case .redirect(let redirection):
                follow(redirection)
            case .message(let record):
                note(record)
            case .event(let event):
                handle(event)
            }
        }
    }

    /// The peer gave us addresses: they go on the TUN before any CHILD_SA uses them.
    private func addVirtualAddresses(_ ike: IKESASnapshot) {
        guard !ike.virtualAddresses.isEmpty else { return }
        changeRoutes { (routes) throws(LinuxError) in
            for address in try routes.addAddresses(ike.virtualAddresses, of: ike.id) {
                logger.info("installing new virtual IP \(address) on \(description.interfaceName)")
            }
        }
    }

    private func removeVirtualAddresses(_ ike: IKESASnapshot) {
        guard !ike.virtualAddresses.isEmpty else { return }
        changeRoutes { (routes) throws(LinuxError) in
            for address in try routes.removeAddresses(of: ike.id) {
                logger.info("virtual IP \(address) removed from \(description.interfaceName)")
            }
        }
    }

    /// Changes routes; what the kernel refuses is told.
    private func changeRoutes(_ body: (RouteManager) throws(LinuxError) -> Void) {
        guard let routes else { return }
        do throws(LinuxError) { try body(routes) } catch {
            warnThrottled("routes", "a route could not be changed: \(error)", at: MonotonicClock.now())
        }
    }

    private func send(_ datagram: IKEDatagram) {
        sockets?.send(
            datagram.octets,
            from: datagram.local,
            to: datagram.remote,
            forbidsFragmentation: datagram.forbidsFragmentation
        )
    }

    /// Sends what tells the peer of a CHILD_SA: it may use it at once, so the data plane must have it by then
    /// (RFC 7296 §2.8).
    private func sendWhenInstalled(_ datagrams: [IKEDatagram]) {
        guard !datagrams.isEmpty, let dataPlane else { return }
        dataPlane.whenCaughtUp(on: queue) { [weak self] in
            self?.assumeIsolated { plane in
                for datagram in datagrams { plane.send(datagram) }
            }
        }
    }

    /// Keeps a message for `explain` and for whoever captures.
    private func note(_ record: MessageRecord) {
        let wallClock = MonotonicClock.wallClockSeconds()
        transcripts.note(record, at: MonotonicClock.now(), wallClock: wallClock)
        if captures.isActive { captures.note(record) }
    }

    private func handle(_ event: EngineEvent) {
        applyLoaded()
        log(event)
        publishAlert(event)
        let now = MonotonicClock.now()
        switch event {
        case .childUp(let ike, let child):
            supervisor.childUp(
                TunnelKey(connection: ike.connection, tunnel: child.tunnel),
                id: child.id,
                at: now
            )
            applyPathMTU(ike, child)
            planPreflight(ike, child, at: now)
            noteInactivity(ike, child)
            publishChild(ike, child)
            updownUp(ike, child)
        case .childRekeyed(let ike, let old, let child):
            let key = TunnelKey(connection: ike.connection, tunnel: child.tunnel)
            supervisor.childRekeyed(key, old: old.id, new: child.id, at: now)
            applyPathMTU(ike, child)
            noteInactivity(ike, child)
            notePreflightSuccess(old)
            publishChildRekey(ike, old: old, new: child)
            updownLedger.rekeyed(old: old.id, new: child.id)
        case .childDown(let ike, let child, let cause):
            let key = TunnelKey(connection: ike.connection, tunnel: child.tunnel)
            preflight.childDown(child.id)
            supervisor.childDown(key, id: child.id, cause: cause, at: now)
            noteUseless(ike)
            publishChild(ike, child, downBecause: cause)
            updownDown(child)
        case .attemptFailed(let failure):
            guard let connection = failure.connection, let tunnel = failure.tunnel, failure.isInitiator else {
                break
            }
            rotation.fails(connection, failure.remote.address)
            let key = TunnelKey(connection: connection, tunnel: tunnel)
            supervisor.attemptFailed(key, cause: failure.cause, at: now)
        case .childFailed(let ike, let tunnel, let cause):
            // Either side may have asked for it: the supervisor knows whether an attempt of ours is under way.
            guard let tunnel else { break }
            childFailed(ike, TunnelKey(connection: ike.connection, tunnel: tunnel), cause, at: now)
        case .ikeUp(let ike):
            addVirtualAddresses(ike)
            startPathMTUSearch(ike, at: now)
            publishIKE(ike)
            // Its other tunnels can use it now, whatever they were waiting for.
            supervisor.tryNow(ike.connection, forgetsFailures: false, at: now)
        case .ikeMoved(let ike): publishMove(ike)
        case .ikeDown(let ike, let cause):
            paths[ike.id] = nil
            // A peer with several addresses may live on at another one.
            if case .noAnswer = cause { rotation.fails(ike.connection, ike.remote.address) }
            publishIKE(ike, downBecause: cause)
            removeVirtualAddresses(ike)
        case .ikeRekeyed(let old, let new):
            addVirtualAddresses(new)
            removeVirtualAddresses(old)
            moveSearch(from: old.id, to: new)
            publishIKERekey(old: old, new: new)
        case .rekeyFailed(let ike, let child?, let cause, _): notePreflightFailure(ike, child, cause, at: now)
        case .pathProbed(let ike, let octets, let arrived):
            pathProbed(ike, octets: octets, arrived: arrived, at: now)
        case .rekeyFailed, .progress: break
        }
        advancePending(event)
    }

    private func childFailed(_ ike: IKESASnapshot, _ key: TunnelKey, _ cause: DownCause, at now: Instant) {
        guard let failures = supervisor.attemptFailed(key, cause: cause, at: now) else { return }
        // Some peers refuse in CREATE_CHILD_SA what they accept in IKE_AUTH, where no PFS group is compared: an
        // IKE_SA that carries nothing then gives way to a new one.
        if failures.isMultiple(of: 2), ike.children.isEmpty, ike.state == .established {
            uselessIKEs.append(ike.id)
        } else {
            noteUseless(ike)
        }
    }

    /// An IKE_SA without children stays only for a tunnel that shall come up in it.
    func noteUseless(_ ike: IKESASnapshot) {
        guard ike.children.isEmpty, ike.state == .established, !supervisor.lacksTunnel(ike.connection) else {
            return
        }
        uselessIKEs.append(ike.id)
    }

    private func log(_ event: EngineEvent) {
        let line = EventText(event)
        let wallClock = MonotonicClock.wallClockSeconds()
        transcripts.note(event, line.text, at: MonotonicClock.now(), wallClock: wallClock)
        // A trial's failure is told once, with its consequences.
        if case .rekeyFailed(_, let child?, let cause, _) = event, preflight.isRunning(child.id),
            PreflightText.tellsPolicy(cause)
        {
            return
        }
        // What a stranger can cause is throttled by reason; state changes of verified peers are not.
        if case .attemptFailed(let failure) = event, !failure.isInitiator {
            let reason = "\(failure.connection ?? "-") \(failure.cause.reasonName)"
            guard let suppressed = throttle.admit(reason, at: MonotonicClock.now()) else { return }
            let more = suppressed > 0 ? " (\(suppressed) more like this)" : ""
            logger.log(level: line.level, "\(line.text)\(more)", metadata: line.metadata)
            return
        }
        logger.log(level: line.level, "\(line.text)", metadata: line.metadata)
    }

    /// Initiates what is due and arms the timer for whatever comes next.
    func runSupervisor() {
        let now = MonotonicClock.now()
        if stopping == nil {
            for key in supervisor.takeDue(at: now) { initiate(key, at: now) }
            drainOutputs()
        }
        let deadlines = [
            engine.deadline, stopping == nil ? supervisor.deadline : nil, stopping?.deadline,
            pending.compactMap { $0.deadline }.min(),
        ]
        if let next = deadlines.compactMap({ $0 }).min() { timer?.arm(at: next) } else { timer?.disarm() }
    }

    func deadlineReached() {
        let now = MonotonicClock.now()
        engine.handle(.timeout, at: now)
        drainOutputs()
        expirePending(at: now)
        continueStopping(at: now)
        runSupervisor()
    }

    /// Events of the data plane.
    func receive(_ events: [PumpEvent]) {
        let now = MonotonicClock.now()
        for event in events {
            switch event {
            case .trapped(let tunnel, let source, let destination, _):
                guard let key = tunnelNames[tunnel] else { continue }
                if supervisor.entries[key]?.phase == .idle {
                    logger.info("\(key): a packet \(source) → \(destination) wants through")
                }
                supervisor.trigger(key, at: now)
            case .firstInbound(let id):
                engine.handle(.firstInbound(childID: id), at: now)
            case .inboundFrom(let id, let remote):
                engine.handle(.childMoved(id: id, remote: remote), at: now)
            case .integrityFailures(let id, let count):
                warnThrottled("icv \(id)", "CHILD_SA {\(id)}: \(count) packets with a wrong ICV", at: now)
            case .unknownSPI(let spi, _, let remote):
                engine.handle(.unknownESP(spi, from: remote.address), at: now)
                warnThrottled("spi", "ESP with unknown SPI \(spi) from \(remote)", at: now)
            case .pathTooBig(let id, let mtu):
                logger.info("CHILD_SA {\(id)}: the path carries \(mtu) octets, it was said")
                hintPathMTU(childID: id, octets: mtu, at: now)
            case .exhausted(let id):
                engine.handle(.childNearLimit(id: id), at: now)
            case .installFailed(let id):
                logger.error("CHILD_SA {\(id)} could not be installed in the data plane")
                engine.handle(.terminateChild(id: id, cause: .exhausted), at: now)
            case .strayIKE(let octets, let local, let remote):
                engine.handle(
                    .datagram(IKEDatagram(octets: octets, local: local, remote: remote)),
                    at: now
                )
            }
        }
        settle()
    }

    func warnThrottled(_ reason: String, _ text: String, at now: Instant) {
        guard let suppressed = throttle.admit(reason, at: now) else { return }
        logger.warning("\(text)\(suppressed > 0 ? " (\(suppressed) more like this)" : "")")
    }

    /// Once a second: counters, signs of life for liveness, the watchdog.
    func tick() {
        let now = MonotonicClock.now()
        if let due = tickDue { longestDelay = max(longestDelay, due.duration(to: now)) }
        tickDue = now.advanced(by: .seconds(1))
        ticker?.arm(at: now.advanced(by: .seconds(1)))
        if let interval = notifier.watchdogInterval,
            lastWatchdog.advanced(by: interval / 3) <= now
        {
            lastWatchdog = now
            try? notifier.watchdog()
        }
        checkClock(at: now)
        serviceNames(at: now)
        runPreflights(at: now)
        probePaths(at: now)
        collectCounters()
        captures.endFinished(at: now)
        settle()
    }

    /// Asks the workers for their counters without waiting for them on the control queue.
    private func collectCounters() {
        guard !isCounting, let dataPlane else { return }
        isCounting = true
        let control = queue
        DispatchQueue.global().async { [weak self] in
            let counters = dataPlane.counters()
            control.async { [weak self] in self?.assumeIsolated { $0.take(counters) } }
        }
    }

    /// A peer that answers what we send is heard within this.
    private static let silence = Duration.seconds(3)
    /// Octets on average from which packets depend on the path's MTU.
    private static let largePacket: UInt64 = 900

    /// Looks for signs that large packets are lost where nobody tells us.
    private func watchPath(_ id: UInt32, _ sa: SACounters, at now: Instant) {
        guard let out = sa.lastOut, out.advanced(by: Self.silence) > now, let child = children[id] else {
            return
        }
        if (sa.lastIn ?? child.installedAt).advanced(by: Self.silence) < out {
            suspectBlackHole(childID: id, at: now)
        }
        let packets = sa.packetsOut &- (counters[id]?.packetsOut ?? 0)
        let octets = sa.octetsOut &- (counters[id]?.octetsOut ?? 0)
        if packets > 0, octets / packets >= Self.largePacket { confirmInUse(childID: id, at: now) }
    }

    private func take(_ snapshot: PumpCounters) {
        isCounting = false
        pumpDrops = snapshot.drops
        pumpOffloads = snapshot.offloads
        pumpWorkers = snapshot.workers
        let now = MonotonicClock.now()
        var activity: [UInt32: Instant] = [:]
        for (id, sa) in snapshot.perSA where children[id] != nil {
            if let last = sa.lastIn, last != counters[id]?.lastIn { activity[id] = last }
            watchPath(id, sa, at: now)
            counters[id] = ChildCounters(
                packetsIn: sa.packetsIn,
                octetsIn: sa.octetsIn,
                packetsOut: sa.packetsOut,
                octetsOut: sa.octetsOut,
                lastIn: sa.lastIn,
                lastOut: sa.lastOut
            )
        }
        board.setCounters(counters)
        endInactive(at: now)
        if !activity.isEmpty { feed(.activity(activity)) }
    }
}

extension DownCause {
    /// A word for counting and throttling: the same for causes of one kind.
    var reasonName: String {
        switch self {
        case .localRequest: "local-request"
        case .shutdown: "shutdown"
        case .policyChanged: "policy-changed"
        case .peerDeleted: "peer-deleted"
        case .replacedByInitialContact: "initial-contact"
        case .noAnswer: "no-answer"
        case .peerRefused(let type, _): "peer-\(type)"
        case .noProposalChosen: "no-proposal-chosen"
        case .tsUnacceptable: "ts-unacceptable"
        case .authenticationFailed: "authentication-failed"
        case .eap(.refused, _): "eap-refused"
        case .eap(.method, _): "eap-method"
        case .eap(.server, _): "eap-server"
        case .eap(.malformed, _), .eap(.early, _), .eap(.ours, _): "eap-protocol"
        case .noConnection: "no-connection"
        case .protocolError: "protocol-error"
        case .noVirtualAddress: "no-virtual-address"
        case .postquantumKey: "postquantum-key"
        case .halfOpenExpired: "half-open-expired"
        case .lastChildGone: "last-child-gone"
        case .lifetimeOver: "lifetime-over"
        case .duplicate: "duplicate"
        case .exhausted: "exhausted"
        case .localAddressGone: "local-address-gone"
        case .inactive: "inactive"
        case .cryptography: "cryptography"
        }
    }
}
