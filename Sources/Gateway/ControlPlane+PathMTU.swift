import Cryptography
import GatewayConfiguration
import IKECore
import IKEv2
import IPPackets
import LinuxIO
import Logging
import PacketPump
import Policy
import Primitives

/// Finding out what each path carries.
extension ControlPlane {
    /// An IKE_SA that has just come up has other things to do.
    private static let firstProbeAfter = Duration.seconds(1)
    /// Scripts made for strongSwan look at what passes soon after the setup, and expect nothing that it would not send.
    private static let firstProbeOfLoadedAfter = Duration.seconds(30)
    /// Probes that begin in one second; a probe is three datagrams at most.
    private static let probesAtOnce = 64
    /// Traffic in one direction alone is no black hole, and asks no more often than this.
    private static let suspicionInterval = Duration.seconds(10)
    private static let useInterval = Duration.seconds(60)
    /// What the engine can send at once.
    private static let largestProbe = 9_000

    func startPathMTUSearch(_ ike: IKESASnapshot, at now: Instant) {
        guard let connection = connection(named: ike.connection),
            connection.discoversPathMTU
        else { return }
        let ceiling = min(network.mtu(of: ike.local.address) ?? 1500, Self.largestProbe)
        let wait = connection.isFromVici ? Self.firstProbeOfLoadedAfter : Self.firstProbeAfter
        paths[ike.id] = PathMTUSearch(ceiling: ceiling, at: now.advanced(by: wait))
    }

    /// Once a second: begins probes that are due.
    func probePaths(at now: Instant) {
        var due: [UInt32] = []
        for (id, search) in paths where search.deadline <= now { due.append(id) }
        for id in due.sorted().prefix(Self.probesAtOnce) { probePath(id, at: now) }
    }

    private func probePath(_ id: UInt32, at now: Instant) {
        var entropy = SystemEntropy()
        guard let octets = paths[id]?.takeProbe(at: now, entropy: &entropy) else { return }
        engine.handle(.probePath(ikeID: id, octets: octets), at: now)
    }

    func pathProbed(_ ike: IKESASnapshot, octets: Int, arrived: Bool, at now: Instant) {
        var entropy = SystemEntropy()
        let before = paths[ike.id]?.estimate ?? 0
        let result = paths[ike.id]?.answered(octets, arrived: arrived, at: now, entropy: &entropy)
        if let result = result ?? nil {
            let isFinal = paths[ike.id]?.phase == .complete
            logger.log(
                level: result < before ? .notice : isFinal ? .info : .debug,
                "IKE_SA \(ike.connection)[\(ike.id)]: the path to \(ike.remote) carries \(result) octets",
                metadata: ["event": "path-mtu", "connection": "\(ike.connection)", "peer": "\(ike.remote)"]
            )
            for child in ike.children { setPathMTU(childID: child.id, octets: result) }
        }
        probePath(ike.id, at: now)
    }

    /// A new CHILD_SA goes the way of its IKE_SA.
    func applyPathMTU(_ ike: IKESASnapshot, _ child: ChildSASnapshot) {
        guard let octets = paths[ike.id]?.estimate else { return }
        setPathMTU(childID: child.id, octets: octets)
    }

    /// An IKE_SA took over from another on the same path.
    func moveSearch(from old: UInt32, to new: IKESASnapshot) {
        paths[new.id] = paths.removeValue(forKey: old)
        for child in new.children { children[child.id]?.ikeID = new.id }
    }

    /// The peer is somewhere else now.
    func restartPathMTUSearch(childID: UInt32, at now: Instant) {
        guard let ikeID = children[childID]?.ikeID else { return }
        paths[ikeID]?.restart(at: now)
    }

    /// The path of an IKE_SA may be another one.
    func confirmPathMTU(_ ikeID: UInt32, at now: Instant) {
        paths[ikeID]?.confirm(unlessWithin: .zero, at: now)
    }

    /// We send and hear nothing: perhaps large packets are lost where nobody tells us.
    func suspectBlackHole(childID: UInt32, at now: Instant) {
        guard let ikeID = children[childID]?.ikeID else { return }
        paths[ikeID]?.confirm(unlessWithin: Self.suspicionInterval, at: now)
    }

    /// Large packets go out: that they arrive is confirmed once a minute, since small ones may be answered all the same.
    func confirmInUse(childID: UInt32, at now: Instant) {
        guard let ikeID = children[childID]?.ikeID else { return }
        paths[ikeID]?.confirm(unlessWithin: Self.useInterval, at: now)
    }

    /// A router, or our own device, refused a packet of this CHILD_SA as too large.
    func hintPathMTU(childID: UInt32, octets: Int, at now: Instant) {
        guard let ikeID = children[childID]?.ikeID else { return }
        // The data plane has lowered it already; a probe shows whether that holds.
        pathMTUs[childID] = octets
        board.setPathMTU(octets, ofChild: childID)
        paths[ikeID]?.hint(octets, at: now)
    }

    private func setPathMTU(childID: UInt32, octets: Int) {
        pathMTUs[childID] = octets
        board.setPathMTU(octets, ofChild: childID)
        dataPlane?.setPathMTU(saID: childID, octets: octets)
    }
}
