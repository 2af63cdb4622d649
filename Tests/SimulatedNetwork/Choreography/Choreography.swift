import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Primitives

@testable import IKEv2

/// Why a play cannot go on as its script says.
enum ChoreographyError: Error, CustomStringConvertible {
    case nothing(from: Side, inFlight: [String])
    case missing(String)
    case endless

    var description: String {
        switch self {
        case .nothing(let side, let inFlight): "no such message of \(side) is on the way, only \(inFlight)"
        case .missing(let what): "there is no \(what)"
        case .endless: "the messages do not come to an end"
        }
    }
}

/// Two gateways whose messages are passed by hand, one by one.
///
/// It is a value: a copy goes its own way from the state that the original has.
struct Choreography {
    struct Message {
        let from: Side
        let datagram: IKEDatagram
        let reading: Reading
    }

    private(set) var gateways: [GatewayModel]
    /// Sent and not yet passed, in order of sending.
    private(set) var flight: [Message] = []
    private(set) var events: [[EngineEvent]] = [[], []]
    /// Compute jobs wait to be done by hand, too.
    var holdsJobs = false
    private(set) var jobs: [(side: Side, job: ComputeJob)] = []
    private(set) var now = Instant.zero
    /// What happened, for the reader of a failure.
    private(set) var log: [String] = []
    /// Packets that would not have been delivered.
    private(set) var gaps: [String] = []
    private var dissector = Dissector()

    init(seed: UInt64 = 1, west: PolicyShape = PolicyShape(), east: PolicyShape? = nil) {
        let shapes = [west, east ?? west]
        gateways = Side.allCases.map { side in
            GatewayModel(side, shapes[side.rawValue], seed: seed &* 2 &+ UInt64(side.rawValue), at: .zero)
        }
    }

    /// An IKE_SA that west initiated, with one CHILD_SA.
    static func established(
        seed: UInt64 = 1,
        west: PolicyShape = PolicyShape(),
        east: PolicyShape? = nil
    ) throws -> Choreography {
        var play = Choreography(seed: seed, west: west, east: east)
        play.initiate(.west)
        try play.passAll()
        if let difference = play.difference() { throw ChoreographyError.missing("tunnel: \(difference)") }
        play.exchangePackets()
        play.events = [[], []]
        play.log = []
        return play
    }

    subscript(side: Side) -> GatewayModel { gateways[side.rawValue] }

    // MARK: - What is there

    func difference(tunnels: Int? = 1) -> String? { GatewayModel.difference(gateways, tunnels: tunnels) }

    func ike(_ side: Side) throws -> IKESASnapshot {
        guard let sa = self[side].engine.snapshots.last else {
            throw ChoreographyError.missing("IKE_SA of \(side)")
        }
        return sa
    }

    /// The CHILD_SA that a side has sent by the longest or, when `isNewest`, the last one.
    func child(_ side: Side, isNewest: Bool = false) throws -> ModelSA {
        let all = self[side].dataPlane.sas.values
        let child = isNewest ? all.max { $0.id < $1.id } : all.min { $0.id < $1.id }
        guard let child else { throw ChoreographyError.missing("CHILD_SA of \(side)") }
        return child
    }

    func sender(_ side: Side) -> ModelSA? { self[side].dataPlane.sender(of: PolicyShape.tunnelName(0)) }

    // MARK: - What a user does

    mutating func initiate(_ side: Side) {
        tell(
            .initiate(
                connection: PolicyShape.connection,
                tunnel: PolicyShape.tunnelName(0),
                local: Endpoint(side.publicAddress, 500),
                remote: Endpoint(side.other.publicAddress, 500)
            ),
            side
        )
    }

    mutating func rekeyChild(_ side: Side) throws { tell(.rekeyChild(id: try child(side).id), side) }

    mutating func rekeyIKE(_ side: Side) throws { tell(.rekeyIKE(id: try ike(side).id), side) }

    mutating func deleteChild(_ side: Side, isNewest: Bool = false) throws {
        tell(.terminateChild(id: try child(side, isNewest: isNewest).id, cause: .localRequest), side)
    }

    mutating func deleteIKE(_ side: Side) throws {
        tell(.terminateIKE(id: try ike(side).id, cause: .localRequest), side)
    }

    /// Gives an input to one side and does what follows from it; compute jobs are carried out at once.
    mutating func tell(_ input: EngineInput, _ side: Side) {
        var inputs = [input]
        while !inputs.isEmpty {
            for effect in gateways[side.rawValue].handle(inputs.removeFirst(), at: now) {
                switch effect {
                case .transmit(let datagram): send(datagram, side)
                case .keepalive, .redirect: break
                case .compute(let job) where holdsJobs:
                    jobs.append((side, job))
                case .compute(let job):
                    let result = job.run(at: 1_800_000_000)
                    dissector.learn(result)
                    inputs.append(.computed(result))
                case .event(let event):
                    events[side.rawValue].append(event)
                    log.append("\(side): \(RunObserver.text(event))")
                }
            }
        }
    }

    private mutating func send(_ datagram: IKEDatagram, _ side: Side) {
        guard let reading = dissector.read(datagram.octets) else { return }
        log.append("\(side) sends \(reading)")
        flight.append(Message(from: side, datagram: datagram, reading: reading))
    }

    // MARK: - What becomes of messages

    /// Hands over the oldest message of a side that fits.
    @discardableResult
    mutating func pass(_ side: Side, where fits: (Reading) -> Bool = { _ in true }) throws -> Reading {
        let index = try index(side, fits)
        let reading = flight[index].reading
        deliver(index)
        return reading
    }

    /// Loses the oldest message of a side that fits.
    @discardableResult
    mutating func lose(_ side: Side, where fits: (Reading) -> Bool = { _ in true }) throws -> Reading {
        let index = try index(side, fits)
        let reading = flight[index].reading
        drop(index)
        return reading
    }

    /// Hands over a message of a side whose payloads were exchanged for others, as that side could have said it.
    mutating func pass(
        _ side: Side,
        saying payloads: [Payload],
        where fits: (Reading) -> Bool = { _ in true }
    ) throws {
        let index = try index(side, fits)
        let message = flight.remove(at: index)
        guard let octets = dissector.rewrite(message.reading.header, payloads) else {
            throw ChoreographyError.missing("key for \(message.reading)")
        }
        let reading = Reading(header: message.reading.header, payloads: payloads)
        log.append("\(side.other) gets \(reading) instead of \(message.reading)")
        receive(octets, message)
    }

    private func index(_ side: Side, _ fits: (Reading) -> Bool) throws -> Int {
        guard let index = flight.firstIndex(where: { $0.from == side && fits($0.reading) }) else {
            throw ChoreographyError.nothing(from: side, inFlight: flight.map { "\($0.from) \($0.reading)" })
        }
        return index
    }

    /// Hands over the message at an index of `flight`.
    mutating func deliver(_ index: Int) {
        let message = flight.remove(at: index)
        log.append("\(message.from.other) gets \(message.reading)")
        receive(message.datagram.octets, message)
    }

    /// Loses the message at an index of `flight`.
    mutating func drop(_ index: Int) {
        let message = flight.remove(at: index)
        log.append("lost: \(message.reading) of \(message.from)")
    }

    private mutating func receive(_ octets: [UInt8], _ message: Message) {
        let datagram = IKEDatagram(
            octets: octets,
            local: message.datagram.remote,
            remote: message.datagram.local
        )
        tell(.datagram(datagram), message.from.other)
    }

    /// Does the job at an index of `jobs`.
    mutating func compute(_ index: Int) {
        let (side, job) = jobs.remove(at: index)
        let result = job.run(at: 1_800_000_000)
        dissector.learn(result)
        log.append("a job of \(side) is done")
        tell(.computed(result), side)
    }

    /// Passes all messages in the order in which they were sent, until there is none; jobs are done before.
    mutating func passAll() throws {
        for _ in 0..<500 {
            if flight.isEmpty, jobs.isEmpty { return }
            if jobs.isEmpty { deliver(0) } else { compute(0) }
        }
        throw ChoreographyError.endless
    }

    /// Lets time pass; all messages arrive at once.
    mutating func wait(_ duration: Duration) throws {
        let end = now.advanced(by: duration)
        try passAll()
        while let due = nextDeadline, due.at <= end {
            now = max(now, due.at)
            tell(.timeout, due.side)
            try passAll()
            if let again = self[due.side].engine.deadline, again <= now {
                throw ChoreographyError.missing("progress: the deadline \(again) of \(due.side) stays")
            }
        }
        now = max(now, end)
    }

    /// Lets time pass to the next deadline of a side; messages stay on the way.
    mutating func waitForDeadline(of side: Side) throws {
        guard let deadline = self[side].engine.deadline else {
            throw ChoreographyError.missing("deadline of \(side)")
        }
        now = max(now, deadline)
        tell(.timeout, side)
    }

    private var nextDeadline: (at: Instant, side: Side)? {
        Side.allCases
            .compactMap { side in self[side].engine.deadline.map { (at: $0, side: side) } }
            .min { ($0.at, $0.side.rawValue) < ($1.at, $1.side.rawValue) }
    }

    // MARK: - Packets

    /// Each side sends one packet, which overtakes all messages.
    mutating func exchangePackets() {
        for side in Side.allCases {
            guard let packet = gateways[side.rawValue].dataPlane.packet(0, from: side, at: 0) else {
                gaps.append("\(side) has no SA to send by")
                continue
            }
            guard let acceptance = gateways[side.other.rawValue].dataPlane.accept(packet) else {
                gaps.append("a packet \(packet.spi) of \(side) was refused")
                continue
            }
            if acceptance.isFirst { tell(.firstInbound(childID: acceptance.id), side.other) }
        }
    }
}

extension Choreography {
    /// What keeps this from ending as it shall, after all messages have passed and time enough for retries.
    mutating func settle(children: ClosedRange<Int> = 1...1, ikes: ClosedRange<Int> = 1...1) throws -> String?
    {
        var difference: String?
        for _ in 0..<120 {
            try passAll()
            difference = ending(children, ikes)
            if difference == nil { break }
            try wait(.seconds(1))
        }
        if let difference { return difference }
        // Both ends still speak to each other; a question within a second of an answer is not asked.
        try wait(.seconds(2))
        for side in Side.allCases {
            for sa in self[side].engine.snapshots { tell(.checkLiveness(ikeID: sa.id), side) }
        }
        try passAll()
        try wait(.seconds(12))
        if let left = GatewayModel.difference(gateways, tunnels: nil, isStrict: true) { return left }
        return ending(children, ikes)
    }

    private func ending(_ children: ClosedRange<Int>, _ ikes: ClosedRange<Int>) -> String? {
        if let difference = difference(tunnels: nil) { return difference }
        for side in Side.allCases {
            let (sas, count) = (self[side].engine.snapshots.count, self[side].known.count)
            if !ikes.contains(sas) { return "\(side) has \(sas) IKE_SAs" }
            if !children.contains(count) { return "\(side) has \(count) CHILD_SAs" }
            if count > 0, sender(side) == nil { return "\(side) cannot send" }
        }
        return nil
    }
}
