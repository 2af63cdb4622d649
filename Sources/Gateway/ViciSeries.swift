import Vici

/// The rest of a `streamAll`: events that are made when there is room for them, and the answer behind.
struct ViciSeries: Sendable {
    let event: String
    let count: Int
    let make: @Sendable (Int) -> [UInt8]?
    let answer: ViciMessage
    private var next = 0

    init(event: String, count: Int, make: @escaping @Sendable (Int) -> [UInt8]?, answer: ViciMessage) {
        self.event = event
        self.count = count
        self.make = make
        self.answer = answer
    }

    var isOver: Bool { next >= count }

    /// The next events, until `room` octets are exceeded; how many could not be made.
    mutating func slice(room: Int) -> (frames: [[UInt8]], failures: Int) {
        var frames: [[UInt8]] = []
        var octets = 0
        var failures = 0
        while !isOver, octets < room {
            if let frame = make(next) {
                frames.append(frame)
                octets += frame.count
            } else {
                failures += 1
            }
            next += 1
        }
        return (frames, failures)
    }
}
