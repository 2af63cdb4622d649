/// What became of the packets of one virtual second, by when they were sent.
struct TrafficSecond: Sendable {
    var sent = 0
    /// There was no SA to send by.
    var unsent = 0
    /// The network, or a receiver that was not running, took them.
    var lost = 0
    /// They arrived and no SA accepted them.
    var refused = 0
    var accepted = 0

    /// Not delivered for no fault of the network.
    var unjustified: Int { unsent + refused }
}

/// The packets of a run by direction, tunnel and second.
struct TrafficLedger {
    private var seconds: [TrafficSecond]
    private let tunnels: Int
    let length: Int

    init(tunnels: Int, length: Int) {
        self.tunnels = tunnels
        self.length = length
        seconds = Array(repeating: TrafficSecond(), count: 2 * tunnels * length)
    }

    private func index(_ side: Side, _ tunnel: Int, _ at: Int64) -> Int {
        (side.rawValue * tunnels + tunnel) * length + min(Int(at / 1000), length - 1)
    }

    mutating func note(
        _ fate: WritableKeyPath<TrafficSecond, Int>,
        _ side: Side,
        _ tunnel: Int,
        _ at: Int64
    ) {
        seconds[index(side, tunnel, at)][keyPath: fate] += 1
    }

    subscript(side: Side, tunnel: Int, second: Int) -> TrafficSecond {
        seconds[index(side, tunnel, Int64(second) * 1000)]
    }

    var total: TrafficSecond {
        seconds.reduce(into: TrafficSecond()) { total, second in
            total.sent += second.sent
            total.unsent += second.unsent
            total.lost += second.lost
            total.refused += second.refused
            total.accepted += second.accepted
        }
    }
}
