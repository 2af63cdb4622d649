import IKECore
import IKEv2
import IPPackets
import Policy
import Primitives

@testable import Gateway

/// A gateway as the daemon makes it: engine, data plane and supervisor, driven as the control plane drives them.
///
/// A class, so that asking it something does not copy its engine.
final class SupervisedGateway {
    private(set) var model: GatewayModel
    private(set) var supervisor: Supervisor
    /// Counts the lives of the gateway: what a former life began reaches none after it.
    private(set) var life = 0
    private(set) var isRunning = true
    private(set) var isSuspended = false
    /// What came while it was suspended and waits in socket buffers.
    private(set) var backlog: [EngineInput] = []
    /// CHILD_SAs with packets since the last tick.
    private var active: [UInt32: Instant] = [:]
    private let shape: PolicyShape
    private let seed: UInt64

    static let longestBacklog = 32

    init(_ side: Side, _ shape: PolicyShape, seed: UInt64, at now: Instant) {
        self.shape = shape
        self.seed = seed
        model = GatewayModel(side, shape, seed: seed, at: now)
        supervisor = Supervisor(entropy: SeededEntropy(seed: seed &+ 1))
        setTunnels(at: now)
    }

    var side: Side { model.side }
    var canWork: Bool { isRunning && !isSuspended }

    private func setTunnels(at now: Instant) {
        let keys = (0..<shape.tunnels).map { Self.key($0) }
        supervisor.setTunnels(
            keys.map { SupervisedTunnel($0, Persistence(shape.start), canInitiate: true) },
            at: now
        )
    }

    static func key(_ tunnel: Int) -> TunnelKey {
        TunnelKey(connection: PolicyShape.connection, tunnel: PolicyShape.tunnelName(tunnel))
    }

    /// When it wants to be called.
    var deadline: Instant? {
        guard canWork else { return nil }
        return [model.engine.deadline, supervisor.deadline].compactMap { $0 }.min()
    }

    func handle(_ input: EngineInput, at now: Instant) -> [GatewayModel.Effect] {
        var effects = model.handle(input, at: now)
        var useless = take(effects, at: now)
        while let id = useless.popLast() {
            let more = model.handle(.terminateIKE(id: id, cause: .lastChildGone), at: now)
            useless += take(more, at: now)
            effects += more
        }
        return effects
    }

    /// It has another address: what failed from the old one is tried anew.
    func networkChanged(at now: Instant) {
        supervisor.tryNow(nil, forgetsFailures: true, at: now)
    }

    /// Initiates what the supervisor finds due.
    func supervise(at now: Instant, local: IPAddress) -> [GatewayModel.Effect] {
        guard canWork else { return [] }
        var effects = [GatewayModel.Effect]()
        for key in supervisor.takeDue(at: now) {
            effects += handle(
                .initiate(
                    connection: key.connection,
                    tunnel: key.tunnel,
                    local: Endpoint(local, 500),
                    remote: Endpoint(side.other.publicAddress, 500)
                ),
                at: now
            )
        }
        return effects
    }

    /// Tells the supervisor; the answer are IKE_SAs that the control plane ends.
    private func take(_ effects: [GatewayModel.Effect], at now: Instant) -> [UInt32] {
        var useless = [UInt32]()
        for case .event(let event) in effects {
            switch event {
            case .childUp(let ike, let child):
                supervisor.childUp(Self.key(ike, child.tunnel), id: child.id, at: now)
            case .childRekeyed(let ike, let old, let new):
                supervisor.childRekeyed(Self.key(ike, new.tunnel), old: old.id, new: new.id, at: now)
            case .childDown(let ike, let child, let cause):
                supervisor.childDown(Self.key(ike, child.tunnel), id: child.id, cause: cause, at: now)
                if isUseless(ike) { useless.append(ike.id) }
            case .attemptFailed(let failure):
                guard let connection = failure.connection, let tunnel = failure.tunnel, failure.isInitiator
                else { continue }
                let key = TunnelKey(connection: connection, tunnel: tunnel)
                supervisor.attemptFailed(key, cause: failure.cause, at: now)
            case .childFailed(let ike, let tunnel, let cause):
                guard let tunnel,
                    let failures = supervisor.attemptFailed(Self.key(ike, tunnel), cause: cause, at: now)
                else { continue }
                let isRefused =
                    failures.isMultiple(of: 2) && ike.children.isEmpty && ike.state == .established
                if isRefused || isUseless(ike) { useless.append(ike.id) }
            case .ikeUp(let ike):
                supervisor.tryNow(ike.connection, forgetsFailures: false, at: now)
            case .ikeDown, .ikeMoved, .ikeRekeyed, .rekeyFailed, .pathProbed, .progress:
                continue
            }
        }
        return useless
    }

    private static func key(_ ike: IKESASnapshot, _ tunnel: String) -> TunnelKey {
        TunnelKey(connection: ike.connection, tunnel: tunnel)
    }

    /// An IKE_SA without children stays only for a tunnel that shall come up in it.
    private func isUseless(_ ike: IKESASnapshot) -> Bool {
        ike.children.isEmpty && ike.state == .established && !supervisor.lacksTunnel(ike.connection)
    }

    // MARK: - Data

    func packet(_ tunnel: Int, at now: Int64, _ instant: Instant) -> ModelPacket? {
        let packet = model.dataPlane.packet(tunnel, from: side, at: now)
        if packet == nil { supervisor.trigger(Self.key(tunnel), at: instant) }
        return packet
    }

    func accept(_ packet: ModelPacket, at now: Instant) -> ModelDataPlane.Acceptance? {
        let acceptance = model.dataPlane.accept(packet)
        if let acceptance { active[acceptance.id] = now }
        return acceptance
    }

    /// What the control plane collects once a second.
    func takeActivity() -> [UInt32: Instant] {
        defer { active = [:] }
        return active.filter { model.dataPlane.sas[$0.key] != nil }
    }

    // MARK: - Life and death

    /// All state is lost.
    func crash() {
        isRunning = false
        isSuspended = false
        backlog = []
        active = [:]
        life += 1
    }

    func restart(at now: Instant) {
        guard !isRunning else { return }
        isRunning = true
        let seed = seed &+ UInt64(life) &* 0x1_0001
        model = GatewayModel(side, shape, seed: seed, at: now)
        supervisor = Supervisor(entropy: SeededEntropy(seed: seed &+ 1))
        setTunnels(at: now)
    }

    func suspend() { isSuspended = isRunning }

    func queue(_ input: EngineInput) {
        if backlog.count < Self.longestBacklog { backlog.append(input) }
    }

    func resume() -> [EngineInput] {
        isSuspended = false
        defer { backlog = [] }
        return backlog
    }
}
