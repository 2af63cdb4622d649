/// Which sequence numbers of an inbound SA were seen (RFC 4303 §3.4.3).
///
/// A ring of words as in RFC 6479: moving the window clears whole words and shifts nothing. Numbers are 64
/// bits wide throughout; `sequence(_:)` infers the half that is not sent (RFC 4303 appendix A).
public struct ReplayWindow: Sendable {
    /// Packets that may arrive late.
    public let size: Int
    /// True when sequence numbers have 64 bits.
    public let usesESN: Bool
    /// The highest number accepted.
    public private(set) var top: UInt64
    private var words: [UInt64]
    private let wordMask: Int

    /// A window of `size` bits, held to 32…8192, in which nothing was seen yet, or all up to `top`.
    public init(size: Int, usesESN: Bool, top: UInt64 = 0) {
        let bits = min(max(size, 32), 8192)
        self.size = bits
        self.usesESN = usesESN
        self.top = top
        // One word more than the window covers: the word of the top may be empty but for one bit.
        var count = 1
        while count < (bits + 63) / 64 + 1 { count *= 2 }
        words = [UInt64](repeating: top == 0 ? 0 : .max, count: count)
        wordMask = count - 1
        if top != 0 {
            let used = (top & 63) + 1
            words[word(of: top)] = used == 64 ? .max : (1 << used) - 1
        }
    }

    private func word(of sequence: UInt64) -> Int { Int(truncatingIfNeeded: sequence >> 6) & wordMask }

    /// The whole sequence number of a packet that carries `low`, or nil when there can be none.
    public func sequence(_ low: UInt32) -> UInt64? {
        guard usesESN else { return UInt64(low) }
        let topLow = UInt32(truncatingIfNeeded: top)
        let topHigh = UInt32(truncatingIfNeeded: top >> 32)
        let bottom = topLow &- UInt32(size) &+ 1
        let high: UInt32?
        if topLow >= UInt32(size) - 1 {
            // Case A: the window lies within one subspace.
            high = low >= bottom ? topHigh : topHigh == .max ? nil : topHigh + 1
        } else {
            // Case B: it spans two.
            high = low < bottom ? topHigh : topHigh == 0 ? nil : topHigh - 1
        }
        guard let high else { return nil }
        return UInt64(high) << 32 | UInt64(low)
    }

    /// True when `sequence` was not seen and is not too old.
    ///
    /// Changes nothing: the ICV is not verified yet.
    public func isFresh(_ sequence: UInt64) -> Bool {
        if sequence > top { return true }
        guard sequence != 0, top - sequence < UInt64(size) else { return false }
        return words[word(of: sequence)] & (1 << (sequence & 63)) == 0
    }

    /// Marks the number of a verified packet; false when another packet of this number came first.
    public mutating func accept(_ sequence: UInt64) -> Bool {
        guard isFresh(sequence) else { return false }
        if sequence > top {
            let steps = min((sequence >> 6) - (top >> 6), UInt64(words.count))
            var index = word(of: top)
            for _ in 0..<steps {
                index = (index + 1) & wordMask
                words[index] = 0
            }
            // After a jump of the whole ring every word is zero, so where the loop stopped does not matter.
            top = sequence
        }
        words[word(of: sequence)] |= 1 << (sequence & 63)
        return true
    }
}
