import Policy
import Primitives

/// Something that befalls a run at its time.
enum Incident: Sendable {
    case crash(Side)
    case restart(Side)
    /// The gateway is not run until it is resumed; its clock goes on.
    case suspend(Side)
    case resume(Side)
    case cut
    case mend
    /// West's NAT forgets its mappings.
    case rebind
    /// A gateway has another address from now, or its first one again.
    case move(Side)
    case command(Command, Side)
    case weather(Weather)

    /// What a user may ask for.
    enum Command: String, Sendable, CaseIterable {
        case rekeyChild, rekeyIKE, checkLiveness, terminateChild, terminateIKE, redirect

        /// What is drawn; redirects come on top.
        static let drawn = allCases.filter { $0 != .redirect }
    }
}

/// A run before it happens: policies, times and incidents, all drawn from its seed.
///
/// First comes a storm, then the time to recover from it, then a calm in which not one packet may go astray.
struct Scenario: Sendable {
    let seed: UInt64
    var shapes: [PolicyShape]
    var natted: Set<Side> = []
    var computeDelay = 1...1
    var incidents: [(at: Int64, incident: Incident)] = []
    var stormEnds: Int64
    var calmBegins: Int64
    var ends: Int64
    /// Milliseconds between two packets of a tunnel, before the calm and in it.
    var pace: (before: Int64, calm: Int64) = (200, 50)
    /// Packets may be overtaken by the DELETE of their SA.
    var mayReorderInCalm = false
    /// One line for the reader of a failing run.
    var summary = ""

    /// What a gateway needs at most to notice a dead peer and to come back.
    static let recovery: Int64 = 100_000

    init(seed: UInt64) {
        self.seed = seed
        var chance = Chance(seed: seed)
        let isCalm = chance.happens(0.4)
        stormEnds = isCalm ? 0 : Int64(chance.number(in: 20_000...60_000))
        calmBegins = isCalm ? 5_000 : stormEnds + Self.recovery
        ends = calmBegins + Int64(chance.number(in: 30_000...50_000))
        shapes = Self.shapes(&chance)
        // Not drawn, so that all other runs stay what they were.
        if seed % 8 == 1 {
            shapes[0].childCount = 2 + Int(seed / 8 % 2)
            shapes[1].childCount = 2 + Int(seed / 16 % 2)
        }
        if seed % 8 == 5 { for index in shapes.indices { shapes[index].isCertified = true } }
        computeDelay = chance.pick([1...1, 1...1, 5...40])
        if chance.happens(0.25) { natted = chance.pick([[.west], [.east], [.west, .east]]) }
        let fine = Self.calmWeather(&chance)
        mayReorderInCalm = !fine.isOrdered
        incidents = [(0, .weather(fine))]
        if !isCalm {
            addStorm(&chance)
            incidents.append((stormEnds, .weather(fine)))
        }
        addCommands(&chance, isCalm: isCalm)
        if natted.isEmpty, chance.happens(0.3) { addMoves(&chance, isCalm: isCalm) }
        summary +=
            " tunnels \(shapes[0].tunnels) × \(shapes.map { $0.childCount }) nat \(natted.map { "\($0)" }.sorted()) delay \(fine.delay)"
            + " storm ..\(stormEnds) calm \(calmBegins)..\(ends)"
        addLaterFeatures(isCalm: isCalm)
        incidents.sort { $0.at < $1.at }
    }

    /// Not drawn from the seed's own sequence, so that all other runs stay what they were.
    private mutating func addLaterFeatures(isCalm: Bool) {
        // An attempt that a move cuts off takes longer than the calm allows to be made again.
        if isCalm, shapes[0].mobike, seed % 8 != 6 { return }
        var chance = Chance(seed: seed &* 7 &+ 5)
        let (from, to) = isCalm ? (calmBegins, ends - 12_000) : (3_000, stormEnds)
        switch seed % 8 {
        case 3:
            // Peers follow five within five minutes.
            let count = isCalm ? 1 : chance.number(in: 1...3)
            let times = (0..<count).map { _ in
                Int64(chance.number(in: Int(from)...Int(to)))
            }
            incidents += times.map { ($0, .command(.redirect, .east)) }
            summary += " \(times.count) redirects"
        case 7:
            // By the one that began it, or because the other says how long the proof holds (RFC 4478).
            let side: Side = chance.happens(0.5) ? .west : .east
            shapes[side.rawValue].reauthentication = .seconds(chance.number(in: 25...50))
            summary += " reauthentication by \(side)"
        case 6:
            for index in shapes.indices { shapes[index].proofs = seed % 16 == 6 ? .several : .postquantum }
            summary += " proofs \(shapes[0].proofs)"
        default: break
        }
    }

    private static func calmWeather(_ chance: inout Chance) -> Weather {
        let delay = chance.pick([0...0, 5...5, 20...20, 20...60, 150...150])
        return Weather(delay: delay, isOrdered: delay.count == 1 || !chance.happens(0.3))
    }

    private static func shapes(_ chance: inout Chance) -> [PolicyShape] {
        var west = PolicyShape()
        west.tunnels = chance.pick([1, 1, 1, 2, 3])
        if chance.happens(0.3) { west.esp = "aes256gcm16-x25519" }
        // Further key exchanges (RFC 9370).
        if chance.happens(0.1) { west.esp = "aes256gcm16-x25519-ke1_ecp256" }
        if chance.happens(0.1) { west.ike = "aes256gcm16-prfsha256-x25519-ke1_ecp256" }
        if chance.happens(0.25) { west.fragmentSize = chance.number(in: 120...260) }
        var east = west
        east.start = .passive
        if chance.happens(0.15) {
            // The groups differ: INVALID_KE_PAYLOAD on the way.
            west.ike = "aes256gcm16-prfsha256-x25519-ecp256"
            east.ike = "aes256gcm16-prfsha256-ecp256"
        }
        // Equal lifetimes without jitter collide at every rekey.
        let collide = chance.happens(0.3)
        west.childLifetime = lifetime(6...15, &chance, jitter: !collide)
        west.ikeLifetime = lifetime(9...30, &chance, jitter: !collide)
        east.childLifetime = collide ? west.childLifetime : lifetime(6...15, &chance, jitter: true)
        east.ikeLifetime = collide ? west.ikeLifetime : lifetime(9...30, &chance, jitter: true)
        // Sometimes both are to bring the tunnels up: two IKE_SAs at first.
        if chance.happens(0.1) { east.start = .start }
        return [west, east]
    }

    private static func lifetime(_ seconds: ClosedRange<Int>, _ chance: inout Chance, jitter: Bool)
        -> SALifetime
    {
        if chance.happens(0.15) { return .unlimited }
        let rekey = Duration.seconds(chance.number(in: seconds))
        return SALifetime(rekey: rekey, jitter: jitter ? rekey / 5 : .zero, hard: rekey + .seconds(60))
    }

    private mutating func addStorm(_ chance: inout Chance) {
        var storm = Weather(loss: chance.pick([0, 0.05, 0.2, 0.4]), delay: 5...5)
        storm.duplication = chance.pick([0, 0, 0.15])
        storm.corruption = chance.pick([0, 0, 0.05])
        storm.delay = chance.pick([5...5, 5...100, 5...Int(Weather.longestDelay)])
        storm.isOrdered = chance.happens(0.3)
        incidents.append((2_000, .weather(storm)))
        summary +=
            "storm loss \(storm.loss) dup \(storm.duplication) corruption \(storm.corruption)"
            + " delay \(storm.delay)\(storm.isOrdered ? "" : " reordered")"
        for _ in 0..<chance.number(in: 0...3) {
            let at = Int64(chance.number(in: 1_000...Int(stormEnds) - 1_000))
            let side: Side = chance.happens(0.5) ? .west : .east
            let length = Int64(chance.number(in: 100...15_000))
            let end = min(at + length, stormEnds)
            switch chance.number(in: 0...3) {
            case 0: incidents += [(at, .crash(side)), (end, .restart(side))]
            case 1: incidents += [(at, .suspend(side)), (end, .resume(side))]
            case 2: incidents += [(at, .cut), (end, .mend)]
            default: if natted == [.west] { incidents.append((at, .rebind)) }
            }
        }
    }

    /// One of the two moves, sometimes again; in a storm it is back at the end, for a peer that begins anew knows no other
    /// address.
    private mutating func addMoves(_ chance: inout Chance, isCalm: Bool) {
        for index in shapes.indices { shapes[index].mobike = true }
        let side: Side = chance.happens(0.5) ? .west : .east
        let (from, to) = isCalm ? (calmBegins, ends - 15_000) : (3_000, stormEnds - 1_000)
        var times = (0..<chance.number(in: 1...3)).map { _ in Int64(chance.number(in: Int(from)...Int(to))) }
        if !isCalm, !times.count.isMultiple(of: 2) { times.append(stormEnds) }
        incidents += times.map { ($0, .move(side)) }
        summary += " \(side) moves \(times.count) times"
    }

    private mutating func addCommands(_ chance: inout Chance, isCalm: Bool) {
        for _ in 0..<chance.number(in: 0...4) {
            let from = isCalm ? calmBegins : 3_000
            let at = Int64(chance.number(in: Int(from)...Int(isCalm ? ends - 10_000 : stormEnds)))
            // What takes a tunnel down is for the storm.
            let all = Incident.Command.drawn
            let command = chance.pick(isCalm ? Array(all.prefix(3)) : all)
            let side: Side = chance.happens(0.5) ? .west : .east
            incidents.append((at, .command(command, side)))
            // Often the other side does something about the same SA at the same time.
            if chance.happens(0.5) {
                let other = chance.pick(isCalm ? Array(all.prefix(3)) : all)
                incidents.append((at + Int64(chance.number(in: 0...100)), .command(other, side.other)))
            }
        }
    }
}
