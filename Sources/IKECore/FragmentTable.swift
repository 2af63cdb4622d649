import DequeModule
public import IPsecTypes
public import Primitives

/// Bounds on the fragments of messages that are not complete (RFC 7383 §5).
public struct FragmentLimits: Hashable, Sendable {
    /// Fragments of one message.
    public var fragments: Int
    /// Octets that are kept for one IKE_SA.
    public var octets: Int
    /// Octets that are kept for all of them.
    public var totalOctets: Int
    /// How long the rest of a message is waited for.
    public var lifetime: Duration

    /// Makes bounds.
    public init(
        fragments: Int = 128,
        octets: Int = 64 << 10,
        totalOctets: Int = 8 << 20,
        lifetime: Duration = .seconds(30)
    ) {
        self.fragments = fragments
        self.octets = octets
        self.totalOctets = totalOctets
        self.lifetime = lifetime
    }
}

/// Authentic fragments of messages that are not complete, of all IKE_SAs (RFC 7383 §2.6).
///
/// It holds at most one request and one response an IKE_SA. Where space runs out, the oldest message gives way.
public struct FragmentTable: Sendable {
    /// Which message a fragment belongs to.
    public struct Key: Hashable, Sendable {
        let spi: IKESPI
        let isResponse: Bool
        let messageID: UInt32

        /// Names a message to the IKE_SA of this local SPI.
        public init(spi: IKESPI, isResponse: Bool, messageID: UInt32) {
            self.spi = spi
            self.isResponse = isResponse
            self.messageID = messageID
        }

        fileprivate var slot: Slot { Slot(spi: spi, isResponse: isResponse) }
    }

    /// A complete message.
    public struct Complete: Sendable {
        /// The plaintexts in their order.
        public let parts: [[UInt8]]
        /// The datagram of the first fragment: what tells a retransmission (RFC 7383 §2.6.1).
        public let firstDatagram: [UInt8]
        /// Octets of the longest datagram.
        public let longest: Int
    }

    fileprivate struct Slot: Hashable {
        let spi: IKESPI
        let isResponse: Bool
    }

    private struct Assembly {
        let messageID: UInt32
        let serial: UInt64
        let startedAt: Instant
        var total: Int
        var parts: [[UInt8]?]
        var missing: Int
        var firstDatagram: [UInt8] = []
        var longest = 0
        var cost = 0

        init(messageID: UInt32, serial: UInt64, startedAt: Instant, total: Int) {
            self.messageID = messageID
            self.serial = serial
            self.startedAt = startedAt
            self.total = total
            parts = Array(repeating: nil, count: total)
            missing = total
            cost = total * FragmentTable.overhead
        }
    }

    /// What a place for a fragment takes besides its octets.
    private static let overhead = 32

    private let limits: FragmentLimits
    private var assemblies: [Slot: Assembly] = [:]
    /// In order of their beginning; what is not in `assemblies` any more is skipped.
    private var order: Deque<(slot: Slot, serial: UInt64)> = []
    private var serial: UInt64 = 0
    /// Octets that are kept now, places included.
    public private(set) var cost = 0

    /// An empty table.
    public init(limits: FragmentLimits) { self.limits = limits }

    /// Messages that are not complete.
    public var count: Int { assemblies.count }

    /// When the oldest of them is given up.
    public var deadline: Instant? {
        order.first.flatMap { assemblies[$0.slot]?.startedAt.advanced(by: limits.lifetime) }
    }

    /// What becomes of a fragment, by its numbers alone.
    public enum Verdict: Hashable, Sendable {
        /// Look whether it is authentic.
        case take
        /// It is here already, or of a set that a newer one replaced.
        case replayed
        /// More than we keep.
        case tooMany
    }

    /// Judges a fragment before any work is spent on it.
    public func verdict(on number: Int, of total: Int, for key: Key) -> Verdict {
        guard total <= limits.fragments else { return .tooMany }
        guard let assembly = assemblies[key.slot], assembly.messageID == key.messageID else { return .take }
        guard total >= assembly.total else { return .replayed }
        let isHere = total == assembly.total && assembly.parts[number - 1] != nil
        return isHere ? .replayed : .take
    }

    /// Keeps an authentic fragment that `verdict` took; the answer is the message that it completes.
    public mutating func insert(
        _ part: [UInt8],
        _ number: Int,
        of total: Int,
        for key: Key,
        datagram: [UInt8],
        at now: Instant
    ) -> Complete? {
        guard number > 0, number <= total, verdict(on: number, of: total, for: key) == .take else {
            return nil
        }
        var assembly = begin(key, total, at: now)
        assembly.parts[number - 1] = part
        assembly.missing -= 1
        assembly.cost += part.count
        assembly.longest = max(assembly.longest, datagram.count)
        if number == 1 {
            assembly.firstDatagram = datagram
            assembly.cost += datagram.count
        }
        if assembly.missing == 0 {
            settle()
            return Complete(
                parts: assembly.parts.compactMap { $0 },
                firstDatagram: assembly.firstDatagram,
                longest: assembly.longest
            )
        }
        let other = assemblies[Slot(spi: key.spi, isResponse: !key.isResponse)]?.cost ?? 0
        guard assembly.cost + other <= limits.octets else {
            settle()
            return nil
        }
        assemblies[key.slot] = assembly
        cost += assembly.cost
        while cost > limits.totalOctets, let oldest = order.first { drop(oldest.slot) }
        return nil
    }

    /// The assembly of a message, taken out of the table: the one that is there, or a new one.
    private mutating func begin(_ key: Key, _ total: Int, at now: Instant) -> Assembly {
        if let known = assemblies.removeValue(forKey: key.slot) {
            cost -= known.cost
            if known.messageID == key.messageID {
                if known.total == total { return known }
                // A newer set of fragments; its time runs from the first one, or it could be kept for ever.
                return Assembly(
                    messageID: key.messageID,
                    serial: known.serial,
                    startedAt: known.startedAt,
                    total: total
                )
            }
        }
        serial &+= 1
        order.append((key.slot, serial))
        return Assembly(messageID: key.messageID, serial: serial, startedAt: now, total: total)
    }

    /// Forgets what came for an IKE_SA.
    public mutating func remove(_ spi: IKESPI) {
        guard !assemblies.isEmpty else { return }
        drop(Slot(spi: spi, isResponse: false))
        drop(Slot(spi: spi, isResponse: true))
    }

    /// Forgets what came for a message: it arrived whole.
    public mutating func remove(_ key: Key) {
        guard assemblies[key.slot]?.messageID == key.messageID else { return }
        drop(key.slot)
    }

    /// Gives up what waited too long.
    public mutating func expire(at now: Instant) {
        while let deadline, deadline <= now, let oldest = order.first { drop(oldest.slot) }
    }

    private mutating func drop(_ slot: Slot) {
        if let assembly = assemblies.removeValue(forKey: slot) { cost -= assembly.cost }
        settle()
    }

    /// Lets the order begin with what is there.
    private mutating func settle() {
        while let oldest = order.first, assemblies[oldest.slot]?.serial != oldest.serial {
            order.removeFirst()
        }
    }
}
