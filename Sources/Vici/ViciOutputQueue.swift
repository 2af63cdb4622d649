/// Frames that wait for a stream to take them, in order.
///
/// The owner keeps the bound: it counts `octets` and closes a connection that does not read.
public struct ViciOutputQueue: Sendable {
    private var frames: [[UInt8]] = []
    private var head = 0
    private var offset = 0
    /// Octets that wait.
    public private(set) var octets = 0

    /// Starts empty.
    public init() {}

    /// True when nothing waits.
    public var isEmpty: Bool { octets == 0 }

    /// Appends a frame.
    public mutating func append(_ frame: [UInt8]) {
        guard !frame.isEmpty else { return }
        frames.append(frame)
        octets += frame.count
    }

    /// The octets to write next: at most `limit`, of one frame or of several small ones.
    public func chunk(limit: Int) -> [UInt8] {
        var chunk = [UInt8]()
        var index = head
        var start = offset
        while index < frames.count, chunk.count < limit {
            let frame = frames[index]
            chunk.append(contentsOf: frame[start..<min(frame.count, start + limit - chunk.count)])
            index += 1
            start = 0
        }
        return chunk
    }

    /// Removes `count` octets that were written; more than wait is taken as all.
    public mutating func advance(_ count: Int) {
        var left = min(count, octets)
        octets -= left
        while left > 0, head < frames.count {
            let available = frames[head].count - offset
            if left < available {
                offset += left
                left = 0
            } else {
                left -= available
                frames[head] = []
                head += 1
                offset = 0
            }
        }
        // Give the room back once half of it is spent, so that the cost stays linear.
        if head > 32, head * 2 >= frames.count {
            frames.removeFirst(head)
            head = 0
        }
        if octets == 0 {
            frames = []
            head = 0
        }
    }
}
