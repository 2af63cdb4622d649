import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// What the simulated network does to datagrams.
struct NetworkConditions {
    var loss = 0.0
    var duplication = 0.0
    /// Milliseconds on the way; a wide range reorders.
    var delay = 5...5
    /// Milliseconds that a compute job takes.
    var computeDelay = 1...1

    static let perfect = NetworkConditions()
    static let bad = NetworkConditions(loss: 0.2, duplication: 0.15, delay: 5...400, computeDelay: 1...60)
}

/// A gateway of the simulation: an engine, and what it told its owner.
struct SimulatedGateway {
    var engine: IKEv2Engine
    /// Where it stands; behind a NAT that is a private address.
    let address: IPAddress
    var installed: [UInt32: ChildSAInstallation] = [:]
    /// All that were ever installed, in order.
    var installations: [ChildSAInstallation] = []
    var removed: [UInt32] = []
    /// The CHILD_SA that sends, by tunnel.
    var senders: [String: UInt32] = [:]
    var moved: [(childID: UInt32, remote: Endpoint)] = []
    var paths: [UInt32: OuterPath] = [:]
    var events: [EngineEvent] = []
    var messages: [MessageRecord] = []
    var redirections: [Redirection] = []
    var keepalives: [Instant] = []

    init(_ engine: IKEv2Engine, address: IPAddress) {
        self.engine = engine
        self.address = address
    }

    var established: [IKESASnapshot] { engine.snapshots.filter { $0.state == .established } }

    /// Why attempts failed, in order.
    var failures: [DownCause] {
        events.compactMap { if case .attemptFailed(let failure) = $0 { failure.cause } else { nil } }
    }

    var childFailures: [DownCause] {
        events.compactMap { if case .childFailed(_, _, let cause) = $0 { cause } else { nil } }
    }

    var downs: [DownCause] {
        events.compactMap { if case .ikeDown(_, let cause) = $0 { cause } else { nil } }
    }

    var childDowns: [DownCause] {
        events.compactMap { if case .childDown(_, _, let cause) = $0 { cause } else { nil } }
    }
}

/// Two engines, a network and a clock in one thread; equal seeds give equal runs, key values aside.
struct EnginePair {
    /// A datagram that somebody sent, as the sender saw it.
    struct Sent {
        let side: Side
        let datagram: IKEDatagram
        let at: Instant

        var header: IKEHeader? { try? ReceivedMessage.header(of: datagram.octets) }
    }

    private enum Arrival {
        case datagram(IKEDatagram)
        case computed(ComputeResult)
    }

    private struct Pending {
        let at: Instant
        let order: Int
        let side: Side
        let arrival: Arrival
    }

    private(set) var gateways: [SimulatedGateway]
    private(set) var now = Instant.zero
    private(set) var sent: [Sent] = []
    /// The most datagrams that one received datagram caused at once.
    private(set) var mostReplies = 0
    var conditions: NetworkConditions
    /// Decides what becomes of a datagram: nil is the conditions' way, else exactly these arrive.
    var intercept: ((Sent) -> [[UInt8]]?)?
    /// Sides behind a NAT: the initiator's maps ports dynamically, the responder's forwards them.
    let natted: Set<Side>
    /// What the dynamic NAT adds to ports; changing it is a rebinding.
    var portShift: UInt16 = 20_000

    /// Where a side that moved can be reached, instead of at its first address.
    var moved: [Side: Set<IPAddress>] = [:]

    private var pending: [Pending] = []
    private var order = 0
    private var chance: any EntropySource
    private let seed: UInt64
    private let configuration: EngineConfiguration

    init(
        seed: UInt64 = 1,
        initiator: PolicyFixture = PolicyFixture(.initiator),
        responder: PolicyFixture = PolicyFixture(.responder),
        conditions: NetworkConditions = .perfect,
        natted: Set<Side> = [],
        configuration: EngineConfiguration = EngineConfiguration()
    ) {
        self.seed = seed
        self.conditions = conditions
        self.natted = natted
        self.configuration = configuration
        chance = SeededEntropy(seed: seed &* 3)
        gateways = Side.allCases.map { side in
            let entropy = SeededEntropy(seed: seed &* 3 &+ UInt64(side.rawValue) &+ 1)
            let address = natted.contains(side) ? side.privateAddress : side.publicAddress
            return SimulatedGateway(
                IKEv2Engine(configuration: configuration, entropy: entropy, at: .zero),
                address: address
            )
        }
        handle(.setPolicies([initiator.policy]), at: .initiator)
        handle(.setPolicies([responder.policy]), at: .responder)
    }

    subscript(side: Side) -> SimulatedGateway { gateways[side.rawValue] }

    /// A new engine without memory in the place of an old one, as after a crash.
    mutating func restart(_ side: Side, _ fixture: PolicyFixture? = nil) {
        let entropy = SeededEntropy(seed: seed &* 7 &+ 99)
        gateways[side.rawValue].engine = IKEv2Engine(configuration: configuration, entropy: entropy, at: now)
        gateways[side.rawValue].installed = [:]
        pending.removeAll { $0.side == side }
        handle(.setPolicies([(fixture ?? PolicyFixture(side)).policy]), at: side)
    }

    mutating func initiate(_ side: Side = .initiator, connection: String = "net", tunnel: String = "sub") {
        let local = Endpoint(self[side].address, 500)
        let remote = Endpoint(side.other.publicAddress, 500)
        handle(.initiate(connection: connection, tunnel: tunnel, local: local, remote: remote), at: side)
    }

    /// Gives an input to one engine and carries its outputs out.
    mutating func handle(_ input: EngineInput, at side: Side) {
        gateways[side.rawValue].engine.handle(input, at: now)
        var transmitted = 0
        while let output = gateways[side.rawValue].engine.nextOutput() {
            if case .transmit = output { transmitted += 1 }
            carryOut(output, side)
        }
        if case .datagram = input { mostReplies = max(mostReplies, transmitted) }
    }

    private mutating func carryOut(_ output: EngineOutput, _ side: Side) {
        switch output {
        case .transmit(let datagram):
            transmit(Sent(side: side, datagram: datagram, at: now))
        case .message(let record):
            gateways[side.rawValue].messages.append(record)
        case .keepalive:
            gateways[side.rawValue].keepalives.append(now)
        case .compute(let job):
            schedule(
                .computed(job.run(at: 1_800_000_000)),
                side,
                after: milliseconds(conditions.computeDelay)
            )
        case .redirect(let redirection):
            gateways[side.rawValue].redirections.append(redirection)
        case .install(let installation):
            gateways[side.rawValue].installed[installation.description.id] = installation
            gateways[side.rawValue].installations.append(installation)
            let tunnel = installation.description.tunnel
            if installation.sendsAtOnce || gateways[side.rawValue].senders[tunnel] == nil {
                gateways[side.rawValue].senders[tunnel] = installation.description.id
            }
        case .useForSending(let id):
            guard let sa = self[side].installed[id]?.description else {
                Issue.record("seed \(seed): told to send by a CHILD_SA that is not installed")
                return
            }
            gateways[side.rawValue].senders[sa.tunnel] = id
        case .remove(let id):
            let tunnel = self[side].installed[id]?.description.tunnel
            gateways[side.rawValue].installed[id] = nil
            if let tunnel, self[side].senders[tunnel] == id {
                let others = self[side].installed.values.filter { $0.description.tunnel == tunnel }
                gateways[side.rawValue].senders[tunnel] = others.map { $0.description.id }.max()
            }
            gateways[side.rawValue].removed.append(id)
        case .move(let id, let path):
            gateways[side.rawValue].moved.append((id, path.remote))
            gateways[side.rawValue].paths[id] = path
        case .event(let event):
            gateways[side.rawValue].events.append(event)
        }
    }

    private mutating func transmit(_ message: Sent) {
        sent.append(message)
        if let replacement = intercept?(message) {
            for octets in replacement { deliver(octets, message) }
            return
        }
        guard chance.fraction() >= conditions.loss else { return }
        deliver(message.datagram.octets, message)
        if chance.fraction() < conditions.duplication { deliver(message.datagram.octets, message) }
    }

    private mutating func deliver(_ octets: [UInt8], _ message: Sent) {
        guard let datagram = routed(octets, message) else { return }
        schedule(.datagram(datagram), message.side.other, after: milliseconds(conditions.delay))
    }

    /// The datagram as the other side sees it, or nil when it leads nowhere.
    private func routed(_ octets: [UInt8], _ message: Sent) -> IKEDatagram? {
        let (from, to) = (message.side, message.side.other)
        var source = message.datagram.local
        if !moved.isEmpty {
            // Without NATs.
            let here = moved[from] ?? [from.publicAddress]
            let there = moved[to] ?? [to.publicAddress]
            guard here.contains(source.address), there.contains(message.datagram.remote.address) else {
                return nil
            }
            return IKEDatagram(octets: octets, local: message.datagram.remote, remote: source)
        }
        guard source.address == self[from].address else { return nil }
        if natted.contains(from) {
            source.address = from.publicAddress
            if from == .initiator { source.port &+= portShift }
        }
        var destination = message.datagram.remote
        guard destination.address == to.publicAddress else { return nil }
        if natted.contains(to) {
            destination.address = to.privateAddress
            if to == .initiator { destination.port &-= portShift }
        }
        guard destination.port == 500 || destination.port == 4500 else { return nil }
        return IKEDatagram(octets: octets, local: destination, remote: source)
    }

    /// Lets one side receive octets as if the other had sent them from its current address.
    mutating func inject(_ octets: [UInt8], to side: Side, port: UInt16 = 500, from remote: Endpoint? = nil) {
        let source = remote ?? Endpoint(side.other.publicAddress, port)
        let local = Endpoint(self[side].address, port)
        handle(.datagram(IKEDatagram(octets: octets, local: local, remote: source)), at: side)
    }

    private mutating func milliseconds(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(chance.fraction() * Double(range.count))
    }

    private mutating func schedule(_ arrival: Arrival, _ side: Side, after milliseconds: Int) {
        order += 1
        let at = now.advanced(by: .milliseconds(milliseconds))
        pending.append(Pending(at: at, order: order, side: side, arrival: arrival))
    }

    /// Lets time pass until `end`.
    mutating func run(until end: Instant) {
        while step(until: end) {}
        now = max(now, end)
    }

    mutating func run(for duration: Duration) { run(until: now.advanced(by: duration)) }

    /// The next thing that happens; false when there is none up to `end`.
    private mutating func step(until end: Instant) -> Bool {
        let next = pending.indices.min { left, right in
            (pending[left].at, pending[left].order) < (pending[right].at, pending[right].order)
        }
        let deadline = Side.allCases
            .compactMap { side in self[side].engine.deadline.map { (at: $0, side: side) } }
            .min { ($0.at, $0.side.rawValue) < ($1.at, $1.side.rawValue) }
        if let next, pending[next].at <= deadline?.at ?? pending[next].at {
            guard pending[next].at <= end else { return false }
            let event = pending.remove(at: next)
            now = max(now, event.at)
            switch event.arrival {
            case .datagram(let datagram): handle(.datagram(datagram), at: event.side)
            case .computed(let result): handle(.computed(result), at: event.side)
            }
            return true
        }
        guard let deadline, deadline.at <= end else { return false }
        // An engine whose deadline does not move would be asked for ever.
        now = max(now, deadline.at)
        handle(.timeout, at: deadline.side)
        if let again = self[deadline.side].engine.deadline, again <= now {
            Issue.record("seed \(seed): the deadline \(again) stays although its time has come")
            return false
        }
        return true
    }
}

extension EnginePair {
    /// A pair that is established, with one CHILD_SA.
    static func established(
        seed: UInt64 = 1,
        initiator: PolicyFixture = PolicyFixture(.initiator),
        responder: PolicyFixture = PolicyFixture(.responder),
        natted: Set<Side> = []
    ) -> EnginePair {
        var pair = EnginePair(seed: seed, initiator: initiator, responder: responder, natted: natted)
        pair.initiate()
        pair.run(for: .seconds(1))
        #expect(pair.mirrorFailure == nil)
        return pair
    }

    /// What keeps the two ends from being each other's mirror with exactly one SA, or nil.
    var mirrorFailure: String? { mirrorFailure(children: 1) }

    /// The same for an IKE_SA with several CHILD_SAs.
    func mirrorFailure(children: Int) -> String? {
        let counts = Side.allCases.map { (self[$0].established.count, self[$0].installed.count) }
        guard counts.allSatisfy({ $0 == (1, children) }) else {
            return "IKE_SAs and CHILD_SAs are \(counts); failures \(self[.initiator].failures) "
                + "\(self[.responder].failures) \(self[.initiator].childFailures)"
        }
        for left in self[.initiator].installed.values {
            let mirrors = self[.responder].installed.values.map { Self.difference(left, $0) }
            if !mirrors.contains(nil) { return mirrors.compactMap { $0 }.first ?? "nothing installed" }
        }
        return nil
    }

    static func difference(_ left: ChildSAInstallation, _ right: ChildSAInstallation) -> String? {
        let (a, b) = (left.description, right.description)
        if a.inboundSPI != b.outboundSPI || a.outboundSPI != b.inboundSPI { return "SPIs" }
        if a.transform != b.transform || a.usesESN != b.usesESN { return "transforms" }
        if !same(a.inboundKeys, b.outboundKeys) || !same(a.outboundKeys, b.inboundKeys) { return "keys" }
        if same(a.inboundKeys, a.outboundKeys) { return "one key for both directions" }
        if a.localSelectors != b.remoteSelectors || a.remoteSelectors != b.localSelectors {
            return "selectors"
        }
        if a.path.encapsulation != b.path.encapsulation { return "encapsulation" }
        return nil
    }

    private static func same(_ left: SAKeys, _ right: SAKeys) -> Bool {
        left.encryption == right.encryption && left.integrity == right.integrity
    }
}
