import IKECore
import IPPackets
import IPsecTypes
import Primitives

/// What the network does to what is sent now.
struct Weather: Sendable {
    var loss = 0.0
    var duplication = 0.0
    var corruption = 0.0
    /// Milliseconds on the way.
    var delay = 20...20
    /// What was sent first arrives first, whatever its delay.
    var isOrdered = true

    static let calm = Weather()
    /// The longest that any weather keeps a packet on the way, in milliseconds.
    static let longestDelay: Int64 = 400
}

/// The way between the two gateways: seeded faults, and NATs.
struct Network {
    var weather = Weather.calm
    var isCut = false
    let natted: Set<Side>
    /// Who moved to another address.
    var moved: Set<Side> = []
    /// What west's NAT adds to ports; changing it is a rebinding.
    ///
    /// East's NAT forwards its ports unchanged.
    var portShift: UInt16 = 20_000

    private var chance: Chance
    /// When the last thing of each direction arrives.
    private var lastArrival: [Int64] = [0, 0]

    /// One arrival of what was sent.
    struct Arrival {
        let at: Int64
        let isCorrupted: Bool
        let isCopy: Bool
    }

    init(natted: Set<Side>, seed: UInt64) {
        self.natted = natted
        chance = Chance(seed: seed)
    }

    func address(of side: Side) -> IPAddress {
        natted.contains(side) ? side.privateAddress : outerAddress(of: side)
    }

    private func outerAddress(of side: Side) -> IPAddress {
        moved.contains(side) ? side.secondAddress : side.publicAddress
    }

    /// When and how often something that is sent at `now` arrives; never when it is lost.
    mutating func fate(from side: Side, at now: Int64) -> [Arrival] {
        guard !isCut, !chance.happens(weather.loss) else { return [] }
        let copies = chance.happens(weather.duplication) ? 2 : 1
        return (0..<copies).map { copy in
            var at = now + Int64(chance.number(in: weather.delay))
            if weather.isOrdered {
                at = max(at, lastArrival[side.rawValue])
                lastArrival[side.rawValue] = at
            }
            return Arrival(at: at, isCorrupted: chance.happens(weather.corruption), isCopy: copy > 0)
        }
    }

    mutating func corrupted(_ octets: [UInt8]) -> [UInt8] {
        guard !octets.isEmpty else { return octets }
        var octets = octets
        octets[chance.number(in: 0...octets.count - 1)] ^= UInt8(1 << chance.number(in: 0...7))
        return octets
    }

    /// The outer ends as the other side sees them, or nil when they lead nowhere.
    func translated(_ source: Endpoint, _ destination: Endpoint, from side: Side) -> (Endpoint, Endpoint)? {
        var (source, destination) = (source, destination)
        guard source.address == address(of: side) else { return nil }
        if natted.contains(side) {
            source.address = side.publicAddress
            if side == .west { source.port &+= portShift }
        }
        guard destination.address == outerAddress(of: side.other) else { return nil }
        if natted.contains(side.other) {
            destination.address = side.other.privateAddress
            if side.other == .west { destination.port &-= portShift }
        }
        guard destination.port == 500 || destination.port == 4500 else { return nil }
        return (source, destination)
    }
}
