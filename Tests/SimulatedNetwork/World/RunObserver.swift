import IKECore
import IPsecTypes
import Policy
import Primitives

@testable import IKEv2

/// Watches a run: judges it, and writes down what happens when the run is traced.
struct RunObserver {
    /// Longest time in the calm that a rekey or a delete may be under way at the poll of every second.
    static let longestTransition: Int64 = 8_000

    private(set) var fault: String?
    private(set) var lines: [String] = []
    private(set) var ikeRekeys = 0
    private(set) var childRekeys = 0
    private(set) var messages = 0
    /// Intervals in which a tunnel may be without delivery: somebody was dead or taken for dead.
    private var excuses: [(from: Int64, to: Int64)] = [(0, 5_000)]
    /// When packets were sent to where nobody was any more, in a calm too.
    private var moves: [(from: Int64, to: Int64)] = []
    private var oddSince: (at: Int64, why: String)?
    /// Since when a CHILD_SA has been in a data plane without one of its own kind at the other end.
    private var alone: [LoneSA: Int64] = [:]
    private var dissector: Dissector?

    private struct LoneSA: Hashable {
        let side: Side
        let life: Int
        let id: UInt32
    }

    init(isTraced: Bool) {
        if isTraced { dissector = Dissector() }
    }

    private var isTraced: Bool { dissector != nil }

    mutating func fail(_ what: String, _ now: Int64) {
        if fault == nil { fault = "at \(Self.text(now)): \(what)" }
    }

    static func text(_ time: Int64) -> String {
        let fraction = String(time % 1000 + 1000).dropFirst()
        return "\(time / 1000).\(fraction)"
    }

    // MARK: - What happens

    private mutating func write(_ now: Int64, _ line: @autoclosure () -> String) {
        if isTraced { lines.append("\(Self.text(now)) \(line())") }
    }

    mutating func learn(_ result: ComputeResult) { dissector?.learn(result) }

    mutating func sent(_ datagram: IKEDatagram, _ side: Side, _ now: Int64, fate: String) {
        messages += 1
        guard isTraced else { return }
        let reading = dissector?.read(datagram.octets)
        write(now, "\(side == .west ? "west → east" : "west ← east") \(reading?.description ?? "?"): \(fate)")
    }

    mutating func sent(_ datagram: IKEDatagram, _ side: Side, _ now: Int64, _ arrivals: [Network.Arrival]) {
        guard isTraced else {
            messages += 1
            return
        }
        let fates = arrivals.map { "arrives \(Self.text($0.at))\($0.isCorrupted ? " corrupted" : "")" }
        sent(datagram, side, now, fate: fates.isEmpty ? "lost" : fates.joined(separator: ", "))
    }

    mutating func note(_ event: EngineEvent, _ side: Side, _ now: Int64) {
        write(now, "\(side == .west ? "west:" : "                  east:") \(Self.text(event))")
        switch event {
        case .ikeRekeyed: ikeRekeys += 1
        case .childRekeyed: childRekeys += 1
        case .ikeDown(_, let cause):
            // Whoever gave up has waited before, and comes back.
            if case .noAnswer = cause { excuse(now - 20_000, now + 80_000) }
        case .ikeUp, .ikeMoved, .childUp, .childDown, .attemptFailed, .childFailed, .rekeyFailed, .pathProbed,
            .progress:
            break
        }
    }

    mutating func note(_ incident: Incident, _ now: Int64) {
        write(now, "*** \(incident)")
        switch incident {
        case .crash, .suspend, .cut, .restart, .resume, .mend:
            excuse(now - Weather.longestDelay, now + Scenario.recovery)
        case .command(.terminateChild, _), .command(.terminateIKE, _):
            // What was under way then finds no SA either.
            excuse(now - Weather.longestDelay, now + 80_000)
        case .rebind: excuse(now, now + 3_000)
        // Who is sent elsewhere and does not get there is left after half a minute.
        case .command(.redirect, _): excuse(now + 25_000, now + 45_000)
        // Until the other end knows, it sends to where nobody is any more.
        case .move:
            excuse(now - Weather.longestDelay, now + 5_000)
            moves.append((now - Weather.longestDelay, now + 3_000))
        case .command, .weather: break
        }
    }

    mutating func refused(_ packet: ModelPacket, _ now: Int64) {
        write(now, "packet \(packet.spi) of \(packet.from), sent \(Self.text(packet.sentAt)), was refused")
    }

    mutating func lackedSA(_ side: Side, _ tunnel: Int, _ now: Int64) {
        write(now, "packet of \(side): no SA to send by")
    }

    private mutating func excuse(_ from: Int64, _ to: Int64) { excuses.append((from, to)) }

    static func text(_ event: EngineEvent) -> String {
        let name = { (ike: IKESASnapshot) in "IKE_SA [\(ike.id)]" }
        let spis = { (child: ChildSASnapshot) in "{\(child.id)} \(child.inboundSPI)/\(child.outboundSPI)" }
        switch event {
        case .ikeUp(let ike): return "\(name(ike)) up"
        case .ikeDown(let ike, let cause): return "\(name(ike)) down: \(cause)"
        case .ikeMoved(let ike): return "\(name(ike)) moved to \(ike.remote)"
        case .childUp(let ike, let child): return "\(name(ike)) \(child.tunnel) \(spis(child)) up"
        case .childDown(let ike, let child, let cause): return "\(name(ike)) \(spis(child)) down: \(cause)"
        case .attemptFailed(let failure): return "attempt failed: \(failure.cause)"
        case .childFailed(let ike, let tunnel, let cause):
            return "\(name(ike)) \(tunnel ?? "?") failed: \(cause)"
        case .ikeRekeyed(let old, let new): return "\(name(old)) rekeyed to \(name(new))"
        case .childRekeyed(let ike, let old, let new):
            return "\(name(ike)) \(spis(old)) rekeyed to \(spis(new))"
        case .rekeyFailed(let ike, let child, let cause, let retryAt):
            let when = retryAt.map { " again at \(text($0.sinceStart.wholeMilliseconds))" } ?? ""
            return "\(name(ike)) \(child.map(spis) ?? "") rekey failed: \(cause)\(when)"
        case .pathProbed(let ike, let octets, let arrived):
            return "\(name(ike)) probe of \(octets) \(arrived ? "arrived" : "lost")"
        case .progress(_, let text): return text
        }
    }

    // MARK: - Judgement

    /// At every second: nothing is broken, and in the calm no transition lasts.
    mutating func check(_ gateways: [SupervisedGateway], _ scenario: Scenario, _ now: Int64) {
        let pair = gateways.map { $0.model }
        for gateway in pair {
            if let fault = gateway.dataPlane.faults.first { fail("\(gateway.side): \(fault)", now) }
        }
        guard now >= scenario.calmBegins else { return }
        checkForOrphans(gateways, now)
        guard let odd = GatewayModel.difference(pair, tunnels: scenario.shapes[0].tunnels) else {
            oddSince = nil
            return
        }
        if let oddSince, now - oddSince.at > Self.longestTransition {
            fail("\(odd), and nothing has been right since \(Self.text(oddSince.at)) (\(oddSince.why))", now)
        }
        if oddSince == nil { oddSince = (now, odd) }
    }

    private mutating func checkForOrphans(_ gateways: [SupervisedGateway], _ now: Int64) {
        var next: [LoneSA: Int64] = [:]
        for gateway in gateways {
            let theirs = gateways[gateway.side.other.rawValue].model.dataPlane.sas
            let known = Set(gateway.model.known.map { $0.id })
            for (id, sa) in gateway.model.dataPlane.sas
            where !known.contains(id) || !theirs.values.contains(where: { $0.mirrors(sa) }) {
                let key = LoneSA(side: gateway.side, life: gateway.life, id: id)
                let since = alone[key] ?? now
                next[key] = since
                if now - since > Self.longestTransition {
                    fail("CHILD_SA {\(id)} of \(gateway.side) is left over since \(Self.text(since))", now)
                }
            }
        }
        alone = next
    }

    mutating func finish(_ run: Simulation) {
        guard fault == nil else { return }
        for side in Side.allCases {
            for tunnel in 0..<run.scenario.shapes[0].tunnels {
                for second in 0..<run.ledger.length - 2 {
                    judge(run.ledger[side, tunnel, second], second, side, tunnel, run.scenario)
                }
            }
        }
    }

    private mutating func judge(
        _ traffic: TrafficSecond,
        _ second: Int,
        _ side: Side,
        _ tunnel: Int,
        _ scenario: Scenario
    ) {
        let (from, to) = (Int64(second) * 1000, Int64(second) * 1000 + 1000)
        let what = "second \(second), t\(tunnel) from \(side): \(traffic)"
        if from >= scenario.calmBegins {
            let isMove = moves.contains { $0.from < to && from < $0.to }
            let unjustified = scenario.mayReorderInCalm ? traffic.unsent : traffic.unjustified
            if !isMove, unjustified > 0 || traffic.lost > 0 {
                fail("a packet went astray in the calm, \(what)", from)
            }
        }
        guard !excuses.contains(where: { $0.from < to && from < $0.to }) else { return }
        if traffic.unsent > 0 { fail("nothing to send by, \(what)", from) }
        if traffic.accepted == 0, traffic.refused > 0 { fail("a second without delivery, \(what)", from) }
    }
}
