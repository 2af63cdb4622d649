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
        /// The peer sends it elsewhere.
        case redirect(Redirection)
    }

    let side: Side
    var engine: IKEv2Engine
    var dataPlane = ModelDataPlane()

    init(_ side: Side, _ shape: PolicyShape, seed: UInt64, at now: Instant) {
        self.side = side
        engine = IKEv2Engine(
            configuration: EngineConfiguration(fragmentSize: shape.fragmentSize),
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
            case .redirect(let redirection): effects.append(.redirect(redirection))
            case .message: break
            case .compute(let job): effects.append(.compute(job))
            case .install(let installation): dataPlane.install(installation)
            case .useForSending(let id): dataPlane.useForSending(id)
            case .remove(let id): dataPlane.remove(id)
            case .move(let id, let path): dataPlane.move(id, to: path)
            case .event(let event): effects.append(.event(event))
            }
        }
        return effects
    }

    /// The SAs that the engine counts as its own; others only receive for a moment longer.
    var known: [ModelSA] {
        engine.snapshots.flatMap { $0.children.compactMap { dataPlane.sas[$0.id] } }.sorted { $0.id < $1.id }
    }

    /// What keeps two gateways from being each other's mirror with one IKE_SA and one CHILD_SA for each tunnel.
    ///
    /// - Parameters:
    ///   - tunnels: nil asks for equality alone: what there is on one side, is on the other.
    ///   - isStrict: no SA may be left that only receives for a moment longer.
    static func difference(_ pair: [GatewayModel], tunnels: Int?, isStrict: Bool = false) -> String? {
        for gateway in pair {
            if let difference = gateway.difference(tunnels, isStrict) {
                return "\(gateway.side) \(difference)"
            }
        }
        let (left, right) = (pair[0], pair[1])
        let names = { (gateway: GatewayModel) in
            gateway.engine.snapshots.map { [$0.initiatorSPI, $0.responderSPI] }.sorted { $0[0] < $1[0] }
        }
        if names(left) != names(right) { return "the IKE_SAs are not the same on both sides" }
        let (mine, theirs) = (left.known, right.known)
        for sa in mine where theirs.count(where: { $0.mirrors(sa) }) != 1 {
            return "CHILD_SA {\(sa.id)} of \(left.side) has no mirror at the other end"
        }
        return mine.count == theirs.count ? nil : "\(right.side) has CHILD_SAs of its own"
    }

    private func difference(_ tunnels: Int?, _ isStrict: Bool) -> String? {
        let all = engine.snapshots
        if let odd = all.first(where: { $0.state != .established }) {
            return "has an IKE_SA that is \(odd.state.rawValue)"
        }
        if engine.halfOpenCount != 0 { return "has half-open IKE_SAs" }
        if let fault = dataPlane.faults.first { return fault }
        let known = known
        if known.count != all.reduce(0, { $0 + $1.children.count }) {
            return "lacks a CHILD_SA in its data plane"
        }
        if isStrict, known.count != dataPlane.count { return "has CHILD_SAs that its engine does not know" }
        guard let tunnels else { return nil }
        if all.count != 1 { return "has \(all.count) IKE_SAs" }
        for index in 0..<tunnels {
            let name = PolicyShape.tunnelName(index)
            let count = known.count { $0.tunnel == name }
            // Of several for the same traffic the ends need not call the same one the first.
            let all = known.count { $0.group == name }
            if count > 1 || all == 0 { return "has \(count) CHILD_SAs for \(name)" }
            if dataPlane.sender(of: name) == nil { return "cannot send by \(name)" }
        }
        return nil
    }
}
