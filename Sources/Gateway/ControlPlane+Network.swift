import DequeModule
import Dispatch
import GatewayConfiguration
import IKECore
import IKEv2
import IPPackets
import LinuxIO
import Logging
import Primitives

/// Changes of this machine's network, and time that it slept.
extension ControlPlane {
    /// Changes come in flocks: one look for all of them.
    private static let debounce = Duration.milliseconds(300)
    /// The least time between two looks, so that a flapping interface does not ask all peers all the time.
    private static let interval = Duration.seconds(2)
    /// Routes alone change all the time where they are learnt: the least time between two questions because of them.
    private static let routeInterval = Duration.seconds(30)
    /// The ticker comes every second; after a longer gap the machine or the process stood still.
    private static let gap = Duration.seconds(10)
    /// Questions to peers that go out at once; the rest follows with the ticks.
    private static let questionsAtOnce = 256

    func watchNetwork() throws(LinuxError) {
        let control = queue
        let netlink = try Netlink()
        networkReader = netlink
        network = try NetworkView(netlink, excluding: description.interfaceName)
        engine.handle(.localAddresses(mobileAddresses), at: MonotonicClock.now())
        networkTimer = try DeadlineTimer(queue: control) { [weak self] in
            self?.assumeIsolated { $0.reviewNetwork() }
        }
        networkMonitor = try NetlinkMonitor(queue: control) { [weak self] changes in
            self?.assumeIsolated { $0.networkChanged(changes) }
        }
    }

    private func networkChanged(_ changes: NetlinkMonitor.Changes) {
        guard stopping == nil else { return }
        let isNews = !changes.isSubset(of: networkChanges)
        networkChanges.formUnion(changes)
        guard isNews else { return }
        let now = MonotonicClock.now()
        let earliest =
            networkChanges == .routesChanged
            ? lastRouteReview?.advanced(by: Self.routeInterval) : lastReview?.advanced(by: Self.interval)
        networkTimer?.arm(at: max(now.advanced(by: Self.debounce), earliest ?? now))
    }

    private func reviewNetwork() {
        guard stopping == nil, let netlink = networkReader else { return }
        let now = MonotonicClock.now()
        let (changes, before) = (networkChanges, network)
        networkChanges = []
        lastReview = now
        if changes == .routesChanged { lastRouteReview = now }
        do throws(LinuxError) {
            network = try NetworkView(netlink, excluding: description.interfaceName)
        } catch {
            warnThrottled("network", "the network could not be looked at: \(error)", at: now)
            return
        }
        let all = engine.snapshots
        let ikes = all.filter { $0.state == .established }
        let locals = Dictionary(
            ikes.map { ($0.id, $0.local.address) },
            uniquingKeysWith: { first, _ in first }
        )
        let review = network.review(ikes.map { ($0.id, $0.local.address) }, before: before, changes: changes)
        engine.handle(.localAddresses(mobileAddresses), at: now)
        let mobile = Dictionary(
            all.filter { $0.isMobile }.map { ($0.id, $0) },
            uniquingKeysWith: { first, _ in first }
        )
        stranded.formIntersection(mobile.keys)
        for ike in mobile.values.sorted(by: { $0.id < $1.id }) {
            let isGone = !network.isPresent(ike.local.address)
            if isGone, before.isPresent(ike.local.address) { stranded.insert(ike.id) }
            roam(ike, isGone: isGone && stranded.contains(ike.id), at: now)
        }
        for id in review.ended where mobile[id] == nil {
            guard let local = locals[id] else { continue }
            engine.handle(.terminateIKE(id: id, cause: .localAddressGone(local)), at: now)
        }
        endAttempts(all, at: now)
        if !review.ended.isEmpty || network != before {
            logger.notice(
                "the network changed: IKE_SAs that lost their address \(review.ended.count), that ask \(review.asked.count)",
                metadata: ["event": "network-changed"]
            )
        }
        if network != before || changes.contains(.routesChanged) {
            supervisor.tryNow(nil, forgetsFailures: network != before, at: now)
            for id in review.asked { checkLiveness(id) }
        }
        settle()
    }

    /// Attempts from an address that is gone lead nowhere; others begin at once.
    private func endAttempts(_ ikes: [IKESASnapshot], at now: Instant) {
        for ike in ikes
        where ike.state == .connecting && ike.isInitiator && !network.isPresent(ike.local.address) {
            let cause = DownCause.localAddressGone(ike.local.address)
            engine.handle(.terminateIKE(id: ike.id, cause: cause), at: now)
        }
        drainOutputs()
    }

    /// What a peer may reach us at besides.
    private var mobileAddresses: [IPAddress] {
        let own = description.outerAddresses
        guard own.isEmpty else { return own.filter { network.isPresent($0) } }
        // What lies in a network behind us is nobody's way to us.
        return network.usable.filter { address in
            !description.networks.contains { $0.contains(address) }
        }
    }

    /// Takes an IKE_SA whose ends may move to where the peer can be reached from now.
    ///
    /// Without any address it waits: one may come, and if none does, nobody answers and it ends.
    private func roam(_ ike: IKESASnapshot, isGone: Bool, at now: Instant) {
        guard let connection = connection(named: ike.connection),
            let local = localAddress(for: connection, towards: ike.remote.address),
            local != ike.local.address, network.isPresent(local)
        else { return }
        // An address that is still there is left only when the way to the peer begins at another interface.
        let hasOtherWay = ike.isInitiator && network.link(of: local) != network.link(of: ike.local.address)
        guard isGone || hasOtherWay else { return }
        stranded.remove(ike.id)
        engine.handle(.roam(ikeID: ike.id, local: local), at: now)
    }

    /// Asks the peer of an IKE_SA whether it is there; many questions are spread over the next ticks.
    func checkLiveness(_ id: UInt32) {
        let now = MonotonicClock.now()
        if questionIDs.insert(id).inserted { questions.append(id) }
        confirmPathMTU(id, at: now)
        askPeers(at: now)
    }

    /// Lets a bounded number of questions out.
    private func askPeers(at now: Instant) {
        while questionsLeft > 0, let id = questions.popFirst() {
            questionsLeft -= 1
            questionIDs.remove(id)
            engine.handle(.checkLiveness(ikeID: id), at: now)
        }
    }

    /// Once a second: notes time that passed without us, and goes on with questions.
    func checkClock(at now: Instant) {
        let passed = lastTick.map { $0.duration(to: now) } ?? .zero
        lastTick = now
        questionsLeft = Self.questionsAtOnce
        if passed > Self.gap {
            logger.notice(
                "nothing ran here for \(passed.wholeSeconds) s: all peers are asked whether they are there",
                metadata: ["event": "clock-gap"]
            )
            for ike in engine.snapshots where ike.state == .established { checkLiveness(ike.id) }
            supervisor.tryNow(nil, forgetsFailures: false, at: now)
        }
        askPeers(at: now)
    }
}
