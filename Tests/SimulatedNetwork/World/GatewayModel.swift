import IKECore
import IPPackets
import Policy
import Primitives

@testable import IKEv2

/// An engine with a model data plane that does what it says.
struct GatewayModel {
    /// What an engine wants of the world outside of its gateway.
    enum Effect {
        case transmit(IKEDatagram)
        case keepalive(local: Endpoint, remote: Endpoint)
        case compute(ComputeJob)
        case event(EngineEvent)
    }

    let side: Side
    var engine: IKEv2Engine
    var dataPlane = ModelDataPlane()

    init(_ side: Side, _ shape: PolicyShape, seed: UInt64, at now: Instant) {
        self.side = side
        engine = IKEv2Engine(
            configuration: EngineConfiguration(),
            entropy: SeededEntropy(seed: seed),
            at: now
        )
        engine.handle(.setPolicies([shape.policy(for: side)]), at: now)
    }

    /// Handles one input; what concerns the data plane is done.
    mutating func handle(_ input: EngineInput, at now: Instant) -> [Effect] {
        engine.handle(input, at: now)
        var effects = [Effect]()
        while let output = engine.nextOutput() {
            switch output {
            case .transmit(let datagram): effects.append(.transmit(datagram))
            case .keepalive(let local, let remote):
                effects.append(.keepalive(local: local, remote: remote))
            case .compute(let job): effects.append(.compute(job))
            case .install(let installation): dataPlane.install(installation)
            case .useForSending(let id): dataPlane.useForSending(id)
            case .remove(let id): dataPlane.remove(id)
            case .move(let id, let remote): dataPlane.move(id, to: remote)
            case .event(let event): effects.append(.event(event))
            }
        }
        return effects
    }

    /// What keeps two gateways from being each other's mirror with one IKE_SA and one CHILD_SA for each tunnel.
    ///
    /// - Parameter tunnels: nil asks for equality alone: what there is on one side, is on the other.
    static func difference(_ pair: [GatewayModel], tunnels: Int?) -> String? {
        for gateway in pair {
            let all = gateway.engine.snapshots
            if let odd = all.first(where: { $0.state != .established }) {
                return "\(gateway.side) has an IKE_SA that is \(odd.state.rawValue)"
            }
            if gateway.engine.halfOpenCount != 0 { return "\(gateway.side) has half-open IKE_SAs" }
            let known = Set(all.flatMap { $0.children.map { $0.id } })
            let installed = Set(gateway.dataPlane.sas.keys)
            if known != installed {
                return
                    "\(gateway.side): the engine knows \(known.sorted()), installed are \(installed.sorted())"
            }
            if let tunnels {
                if all.count != 1 { return "\(gateway.side) has \(all.count) IKE_SAs" }
                for index in 0..<tunnels {
                    let name = PolicyShape.tunnelName(index)
                    let count = gateway.dataPlane.sas.values.count { $0.tunnel == name }
                    if count != 1 { return "\(gateway.side) has \(count) CHILD_SAs for \(name)" }
                    if gateway.dataPlane.sender(of: name) == nil {
                        return "\(gateway.side) cannot send by \(name)"
                    }
                }
            }
            if let fault = gateway.dataPlane.faults.first { return "\(gateway.side): \(fault)" }
        }
        return mismatch(pair[0], pair[1])
    }

    private static func mismatch(_ left: GatewayModel, _ right: GatewayModel) -> String? {
        let names = { (gateway: GatewayModel) in
            gateway.engine.snapshots.map { [$0.initiatorSPI, $0.responderSPI] }.sorted { $0[0] < $1[0] }
        }
        if names(left) != names(right) { return "the IKE_SAs are not the same on both sides" }
        for mine in left.dataPlane.sas.values.sorted(by: { $0.id < $1.id })
        where right.dataPlane.sas.values.count(where: { $0.mirrors(mine) }) != 1 {
            return "CHILD_SA {\(mine.id)} of \(left.side) has no mirror at the other end"
        }
        if left.dataPlane.count != right.dataPlane.count { return "\(right.side) has CHILD_SAs of its own" }
        return nil
    }
}
