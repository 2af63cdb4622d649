import IKECore
import IPsecTypes
import Primitives
import Synchronization
import Vici

/// What is known of the SAs, for whoever asks: the control plane enters what changes, the vici server reads.
///
/// A reader takes references and lets go of the lock, so neither a slow client nor a long list ever waits for the
/// control plane or makes it wait.
final class StatusBoard: Sendable {
    private struct State {
        var ikes: [UInt32: ListedSA] = [:]
        /// Numbers by connection.
        var byName: [String: Set<UInt32>] = [:]
        var counters: [UInt32: ChildCounters] = [:]
        var paths: [UInt32: OuterPath] = [:]
        var pathMTUs: [UInt32: Int] = [:]
        var reqids = ReqidTable()
    }

    private let state = Mutex(State())

    // MARK: - Entering

    /// Enters IKE_SAs that changed and removes those that are gone.
    func update(_ changes: [(id: UInt32, snapshot: IKESASnapshot?)]) {
        guard !changes.isEmpty else { return }
        state.withLock { state in
            for (id, snapshot) in changes {
                if let old = state.ikes[id], old.snapshot.connection != snapshot?.connection {
                    let name = old.snapshot.connection
                    state.byName[name]?.remove(id)
                    if state.byName[name]?.isEmpty == true { state.byName[name] = nil }
                }
                guard let snapshot else {
                    state.ikes[id] = nil
                    continue
                }
                state.ikes[id] = ListedSA(snapshot)
                state.byName[snapshot.connection, default: []].insert(id)
            }
        }
    }

    /// Enters what all CHILD_SAs have carried.
    func setCounters(_ counters: [UInt32: ChildCounters]) { state.withLock { $0.counters = counters } }

    /// Enters where a CHILD_SA's packets go.
    func setPath(_ path: OuterPath?, ofChild id: UInt32) { state.withLock { $0.paths[id] = path } }

    /// Enters what a CHILD_SA's path was found to carry.
    func setPathMTU(_ octets: Int?, ofChild id: UInt32) { state.withLock { $0.pathMTUs[id] = octets } }

    /// Gives a CHILD_SA the number of its traffic, and returns it.
    @discardableResult
    func assignReqid(_ id: UInt32, local: [TrafficSelector], remote: [TrafficSelector]) -> UInt32? {
        state.withLock { state in
            state.reqids.assign(id, local: local, remote: remote)
            return state.reqids[id]
        }
    }

    /// The number of a CHILD_SA's traffic.
    func reqid(ofChild id: UInt32) -> UInt32? { state.withLock { $0.reqids[id] } }

    /// Forgets a CHILD_SA.
    func removeChild(_ id: UInt32) {
        state.withLock { state in
            state.counters[id] = nil
            state.paths[id] = nil
            state.pathMTUs[id] = nil
            state.reqids.release(id)
        }
    }

    // MARK: - Reading

    /// The IKE_SAs of a connection or with a number, by age; with neither all of them.
    func listed(connection: String? = nil, id: UInt32? = nil) -> [ListedSA] {
        let found = state.withLock { state -> [ListedSA] in
            if let id { return state.ikes[id].map { [$0] } ?? [] }
            if let connection { return (state.byName[connection] ?? []).compactMap { state.ikes[$0] } }
            return Array(state.ikes.values)
        }
        return found.filter { connection == nil || $0.snapshot.connection == connection }
            .sorted { $0.snapshot.id < $1.snapshot.id }
    }

    /// What is known of the CHILD_SAs of an IKE_SA beside their negotiation, in their order.
    func details(of ike: IKESASnapshot) -> [ChildDetails] {
        let children = ike.allChildren
        guard !children.isEmpty else { return [] }
        return state.withLock { state in
            children.map { child in
                ChildDetails(
                    counters: state.counters[child.id] ?? ChildCounters(),
                    path: state.paths[child.id],
                    pathMTU: state.pathMTUs[child.id],
                    reqid: state.reqids[child.id]
                )
            }
        }
    }

    /// The `list-sa` event of an IKE_SA as it goes on the wire; made at most once a second for all who ask.
    func event(_ listed: ListedSA, at now: Instant) -> [UInt8]? {
        let details = details(of: listed.snapshot)
        return listed.event(details, second: now.sinceStart.wholeSeconds) {
            let known = Dictionary(
                zip(listed.snapshot.allChildren.map { $0.id }, details),
                uniquingKeysWith: { $1 }
            )
            return ViciRequest.frame(
                "list-sa",
                ViciLists.listSA(listed.snapshot, details: known, at: now)
            )
        }
    }
}

/// An IKE_SA as it was when it last changed, with its event for as long as that is true.
final class ListedSA: Sendable {
    private struct Made {
        let second: Int64
        let details: [ChildDetails]
        let octets: [UInt8]?
    }

    let snapshot: IKESASnapshot
    private let made = Mutex<Made?>(nil)

    init(_ snapshot: IKESASnapshot) {
        self.snapshot = snapshot
    }

    /// What `make` gave for the same second and details, or gives now.
    func event(_ details: [ChildDetails], second: Int64, make: () -> [UInt8]?) -> [UInt8]? {
        made.withLock { made in
            if let made, made.second == second, made.details == details { return made.octets }
            let fresh = Made(second: second, details: details, octets: make())
            made = fresh
            return fresh.octets
        }
    }
}
