import HeapModule
import IKECore
import IPPackets
import IPsecTypes
import Policy
import Primitives

@testable import IKEv2

/// Two gateways, a network and a clock in one thread: equal seeds give equal runs, key values aside.
struct Simulation {
    /// What happens at an instant.
    enum Occurrence {
        case incident(Incident)
        case datagram(IKEDatagram, to: Side)
        case packet(ModelPacket)
        /// An input that arises inside of a gateway: a compute job is done, the data plane tells something.
        case inner(EngineInput, Side, life: Int)
        /// Every tunnel of a gateway sends a packet.
        case pace(Side)
        /// The control plane collects counters.
        case second
    }

    private struct Entry: Comparable {
        let at: Int64
        let order: Int
        let occurrence: Occurrence

        static func < (left: Entry, right: Entry) -> Bool { (left.at, left.order) < (right.at, right.order) }
        static func == (left: Entry, right: Entry) -> Bool { left.order == right.order }
    }

    let scenario: Scenario
    private(set) var gateways: [SupervisedGateway] = []
    private(set) var network: Network
    private(set) var ledger: TrafficLedger
    var observer: RunObserver
    private var now: Int64 = 0
    /// When each gateway wants to be called.
    private var due: [Int64] = [0, 0]
    private var queue = Heap<Entry>()
    private var order = 0
    private var chance: Chance
    /// The gateways' clocks do not agree.
    private let clockStart: [Int64]

    init(_ scenario: Scenario, isTraced: Bool = false) {
        self.scenario = scenario
        chance = Chance(seed: scenario.seed &* 5 &+ 3)
        clockStart = [0, Int64(chance.number(in: 0...1_000_000))]
        network = Network(natted: scenario.natted, seed: scenario.seed &* 5 &+ 4)
        ledger = TrafficLedger(
            tunnels: scenario.shapes[0].tunnels,
            length: Int((scenario.ends + 999) / 1000) + 1
        )
        observer = RunObserver(isTraced: isTraced)
        for side in Side.allCases {
            let seed = scenario.seed &* 1_000_003 &+ UInt64(side.rawValue) &* 500_009
            gateways.append(
                SupervisedGateway(side, scenario.shapes[side.rawValue], seed: seed, at: instant(side))
            )
        }
        for (at, incident) in scenario.incidents { schedule(.incident(incident), at: at) }
        for side in Side.allCases { schedule(.pace(side), at: Int64(chance.number(in: 0...50))) }
        schedule(.second, at: 1000)
    }

    private func instant(_ side: Side) -> Instant {
        Instant(sinceStart: .milliseconds(now + clockStart[side.rawValue]))
    }

    /// The first millisecond of the run that is not before `instant` of a gateway.
    private func time(_ instant: Instant, _ side: Side) -> Int64 {
        let (seconds, attoseconds) = instant.sinceStart.components
        let milliseconds = (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
        return seconds * 1000 + milliseconds - clockStart[side.rawValue]
    }

    private mutating func schedule(_ occurrence: Occurrence, at: Int64) {
        order += 1
        queue.insert(Entry(at: at, order: order, occurrence: occurrence))
    }

    // MARK: - The clock

    /// Runs to the end; the answer is what is wrong with the run, or nil.
    mutating func run() -> String? {
        while observer.fault == nil, step() {}
        observer.finish(self)
        return observer.fault
    }

    /// The next thing that happens; false at the end.
    private mutating func step() -> Bool {
        let side: Side = due[0] <= due[1] ? .west : .east
        let dueAt = max(now, due[side.rawValue])
        if let next = queue.min, next.at <= dueAt {
            guard next.at <= scenario.ends else { return false }
            queue.removeMin()
            now = next.at
            happen(next.occurrence)
            return true
        }
        guard dueAt <= scenario.ends else { return false }
        now = dueAt
        feed(.timeout, side)
        if let again = gateways[side.rawValue].model.engine.deadline, time(again, side) <= now {
            observer.fail("\(side): the deadline \(time(again, side)) stays although its time has come", now)
        }
        return true
    }

    private mutating func happen(_ occurrence: Occurrence) {
        switch occurrence {
        case .incident(let incident): befall(incident)
        case .datagram(let datagram, let side): arrive(.datagram(datagram), at: side)
        case .packet(let packet): arrive(packet)
        case .inner(let input, let side, let life):
            guard gateways[side.rawValue].life == life else { return }
            arrive(input, at: side)
        case .pace(let side): sendPackets(from: side)
        case .second:
            for side in Side.allCases where gateways[side.rawValue].canWork {
                let activity = gateways[side.rawValue].takeActivity()
                if !activity.isEmpty { feed(.activity(activity), side) }
            }
            observer.check(gateways, scenario, now)
            schedule(.second, at: now + 1000)
        }
    }

    // MARK: - Gateways

    private mutating func arrive(_ input: EngineInput, at side: Side) {
        guard gateways[side.rawValue].isRunning else { return }
        guard !gateways[side.rawValue].isSuspended else {
            gateways[side.rawValue].queue(input)
            return
        }
        feed(input, side)
    }

    private mutating func feed(_ input: EngineInput, _ side: Side) {
        let at = instant(side)
        carryOut(gateways[side.rawValue].handle(input, at: at), side)
        carryOut(gateways[side.rawValue].supervise(at: at, local: network.address(of: side)), side)
        noteDeadline(of: side)
    }

    private mutating func noteDeadline(of side: Side) {
        due[side.rawValue] = gateways[side.rawValue].deadline.map { time($0, side) } ?? .max
    }

    private mutating func carryOut(_ effects: [GatewayModel.Effect], _ side: Side) {
        for effect in effects {
            switch effect {
            case .transmit(let datagram): transmit(datagram, from: side)
            case .keepalive: break
            case .compute(let job):
                let result = job.run(at: 1_800_000_000)
                observer.learn(result)
                let delay = Int64(chance.number(in: scenario.computeDelay))
                schedule(.inner(.computed(result), side, life: gateways[side.rawValue].life), at: now + delay)
            case .event(let event): observer.note(event, side, now)
            case .redirect(let redirection): follow(redirection, side)
            }
        }
    }

    /// As the control plane does once it knows the way.
    private mutating func follow(_ redirection: Redirection, _ side: Side) {
        guard case .address(let address) = redirection.gateway else { return }
        let input = EngineInput.follow(
            redirection,
            local: Endpoint(network.address(of: side), 500),
            remote: Endpoint(address, 500)
        )
        schedule(.inner(input, side, life: gateways[side.rawValue].life), at: now + 1)
    }

    private mutating func transmit(_ datagram: IKEDatagram, from side: Side) {
        let arrivals = network.fate(from: side, at: now)
        guard let (source, target) = network.translated(datagram.local, datagram.remote, from: side) else {
            observer.sent(datagram, side, now, fate: "leads nowhere")
            return
        }
        for arrival in arrivals {
            let octets = arrival.isCorrupted ? network.corrupted(datagram.octets) : datagram.octets
            let seen = IKEDatagram(octets: octets, local: target, remote: source)
            schedule(.datagram(seen, to: side.other), at: arrival.at)
        }
        observer.sent(datagram, side, now, arrivals)
    }

    // MARK: - Packets

    private mutating func sendPackets(from side: Side) {
        let pace = now < scenario.calmBegins ? scenario.pace.before : scenario.pace.calm
        schedule(.pace(side), at: now + pace)
        // What is still on the way at the end has no fate.
        guard gateways[side.rawValue].canWork, now < scenario.ends - 1000 else { return }
        for tunnel in 0..<scenario.shapes[0].tunnels {
            ledger.note(\.sent, side, tunnel, now)
            guard let packet = gateways[side.rawValue].packet(tunnel, at: now, instant(side)) else {
                ledger.note(\.unsent, side, tunnel, now)
                observer.lackedSA(side, tunnel, now)
                noteDeadline(of: side)
                continue
            }
            send(packet)
        }
    }

    private mutating func send(_ packet: ModelPacket) {
        var packet = packet
        let arrivals = network.fate(from: packet.from, at: now).filter { !$0.isCorrupted }
        guard let first = arrivals.first,
            let ends = network.translated(packet.source, packet.destination, from: packet.from)
        else {
            ledger.note(\.lost, packet.from, packet.tunnel, packet.sentAt)
            return
        }
        (packet.source, packet.destination) = ends
        schedule(.packet(packet), at: first.at)
        packet.isCopy = true
        for copy in arrivals.dropFirst() { schedule(.packet(packet), at: copy.at) }
    }

    private mutating func arrive(_ packet: ModelPacket) {
        let side = packet.from.other
        guard gateways[side.rawValue].canWork else {
            if !packet.isCopy { ledger.note(\.lost, packet.from, packet.tunnel, packet.sentAt) }
            return
        }
        let acceptance = gateways[side.rawValue].accept(packet, at: instant(side))
        if !packet.isCopy {
            let fate = acceptance == nil ? \TrafficSecond.refused : \TrafficSecond.accepted
            ledger.note(fate, packet.from, packet.tunnel, packet.sentAt)
        }
        let life = gateways[side.rawValue].life
        guard let acceptance else {
            if !packet.isCopy { observer.refused(packet, now) }
            let news = EngineInput.unknownESP(packet.spi, from: packet.source.address)
            schedule(.inner(news, side, life: life), at: now + 1)
            return
        }
        if acceptance.isFirst {
            schedule(.inner(.firstInbound(childID: acceptance.id), side, life: life), at: now + 1)
        }
        if let remote = acceptance.movedTo {
            schedule(.inner(.childMoved(id: acceptance.id, remote: remote), side, life: life), at: now + 1)
        }
    }

    // MARK: - Incidents

    private mutating func befall(_ incident: Incident) {
        observer.note(incident, now)
        defer { for side in Side.allCases { noteDeadline(of: side) } }
        switch incident {
        case .crash(let side): gateways[side.rawValue].crash()
        case .restart(let side):
            gateways[side.rawValue].restart(at: instant(side))
            feed(.timeout, side)
        case .suspend(let side): gateways[side.rawValue].suspend()
        case .resume(let side):
            guard gateways[side.rawValue].isSuspended else { return }
            var inputs = gateways[side.rawValue].resume()
            // Timers and sockets become ready at once, in no given order.
            inputs.insert(.timeout, at: chance.number(in: 0...inputs.count))
            for input in inputs { feed(input, side) }
        case .cut: network.isCut = true
        case .mend: network.isCut = false
        case .rebind: network.portShift &+= 7
        case .move(let side): move(side)
        case .weather(let weather): network.weather = weather
        case .command(let command, let side):
            guard gateways[side.rawValue].canWork, let input = input(for: command, side) else { return }
            feed(input, side)
        }
    }

    private mutating func move(_ side: Side) {
        network.moved.formSymmetricDifference([side])
        let address = network.address(of: side)
        // As the control plane does when the network changed: attempts from the old address lead nowhere.
        for ike in gateways[side.rawValue].model.engine.snapshots
        where ike.state == .connecting && ike.isInitiator {
            let cause = DownCause.localAddressGone(ike.local.address)
            arrive(.terminateIKE(id: ike.id, cause: cause), at: side)
        }
        gateways[side.rawValue].networkChanged(at: instant(side))
        arrive(.localAddresses([address]), at: side)
        for ike in gateways[side.rawValue].model.engine.snapshots where ike.isMobile {
            arrive(.roam(ikeID: ike.id, local: address), at: side)
        }
    }

    /// A command about the newest of its kind.
    private func input(for command: Incident.Command, _ side: Side) -> EngineInput? {
        let all = gateways[side.rawValue].model.engine.snapshots.filter { $0.state == .established }
        guard let ike = all.last else { return nil }
        let child = ike.children.last?.id
        switch command {
        case .rekeyIKE: return .rekeyIKE(id: ike.id)
        // To itself: the peer makes a new IKE_SA before it lets the old one go.
        case .redirect:
            let isMapped = scenario.natted.contains(side)
            let address = isMapped ? side.publicAddress : network.address(of: side)
            return .redirect(ikeID: ike.id, to: .address(address))
        case .checkLiveness: return .checkLiveness(ikeID: ike.id)
        case .terminateIKE: return .terminateIKE(id: ike.id, cause: .localRequest)
        case .rekeyChild: return child.map { .rekeyChild(id: $0) }
        case .terminateChild: return child.map { .terminateChild(id: $0, cause: .localRequest) }
        }
    }
}
