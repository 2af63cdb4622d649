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
    /// Probes that begin in one second; a probe is three datagrams at most.
    private static let probesAtOnce = 64
    /// What the engine can send at once.
    private static let largestProbe = 9_000

    func startPathMTUSearch(_ ike: IKESASnapshot, at now: Instant) {
        guard let connection = description.connections.first(where: { $0.name == ike.connection }),
            connection.discoversPathMTU
        else { return }
        let ceiling = min(network.mtu(of: ike.local.address) ?? 1500, Self.largestProbe)
        paths[ike.id] = PathMTUSearch(ceiling: ceiling, at: now.advanced(by: Self.firstProbeAfter))
    }

    /// Once a second: begins probes that are due.
    func probePaths(at now: Instant) {
        let due = paths.filter { $0.value.deadline <= now }.keys.sorted()
        for id in due.prefix(Self.probesAtOnce) { probePath(id, at: now) }
    }

    private func probePath(_ id: UInt32, at now: Instant) {
        var entropy = SystemEntropy()
        guard let octets = paths[id]?.takeProbe(at: now, entropy: &entropy) else { return }
        engine.handle(.probePath(ikeID: id, octets: octets), at: now)
    }

    func pathProbed(_ ike: IKESASnapshot, octets: Int, arrived: Bool, at now: Instant) {
        var entropy = SystemEntropy()
        let result = paths[ike.id]?.answered(octets, arrived: arrived, at: now, entropy: &entropy)
        if let result = result ?? nil {
            logger.info(
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
    func moveSearch(from old: UInt32, to new: UInt32) {
        paths[new] = paths.removeValue(forKey: old)
    }

    /// The peer is somewhere else now.
    func restartPathMTUSearch(childID: UInt32, at now: Instant) {
        guard let ike = engine.snapshots.first(where: { $0.children.contains { $0.id == childID } }) else {
            return
        }
        paths[ike.id]?.restart(at: now)
    }

    /// A router, or our own device, refused a packet of this CHILD_SA as too large.
    func hintPathMTU(childID: UInt32, octets: Int, at now: Instant) {
        guard let ike = engine.snapshots.first(where: { $0.children.contains { $0.id == childID } }) else {
            return
        }
        // The data plane has lowered it already; a probe shows whether that holds.
        pathMTUs[childID] = octets
        paths[ike.id]?.hint(octets, at: now)
    }

    private func setPathMTU(childID: UInt32, octets: Int) {
        pathMTUs[childID] = octets
        dataPlane?.setPathMTU(saID: childID, octets: octets)
    }
}
