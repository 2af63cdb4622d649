import CLinux
import Cryptography

/// Slots for a batch of received datagrams, allocated once.
///
/// Safe: it owns its memory and frees it once; the kernel writes only inside the arena, whose size follows
/// from the slots; one queue at a time uses it.
@safe
struct DatagramBatch: ~Copyable {
    /// Free octets before each datagram, for headers of ours.
    static let headroom = 64
    /// The largest datagram.
    static let room = 65_536
    private static let stride = headroom + room

    /// Messages that a call takes while they are trains of packets: as much as a core's cache holds.
    private static let trains = 16
    /// Octets of a call's messages up to which the next call may take as many as there are slots.
    private static let small = 128 << 10

    var arena: PacketArena
    private let slots: Int
    /// Messages that the next call takes.
    private var wanted: Int
    /// True when the last call took as many messages as it could.
    private(set) var isFull = false
    private let vectors: OpaquePointer
    private let datagrams: UnsafeMutablePointer<clinux_datagram>

    init(slots: Int) throws(PumpError) {
        guard let vectors = unsafe clinux_batch_new(UInt32(slots)) else {
            throw PumpError(operation: "allocate a batch", errno: 12)
        }
        unsafe self.vectors = unsafe vectors
        self.slots = slots
        wanted = min(slots, Self.trains)
        arena = PacketArena(capacity: slots * Self.stride)
        let datagrams = UnsafeMutablePointer<clinux_datagram>.allocate(capacity: slots)
        unsafe datagrams.initialize(repeating: clinux_datagram(), count: slots)
        unsafe self.datagrams = unsafe datagrams
    }

    deinit {
        unsafe clinux_batch_free(vectors)
        unsafe datagrams.deallocate()
    }

    /// Fills slots from the first on; the result is how many, or a negated errno.
    mutating func receive(from descriptor: Int32) -> Int {
        let (vectors, datagrams, wanted) = unsafe (vectors, datagrams, wanted)
        let count = unsafe arena.withUnsafeBase { base in
            Int(
                unsafe clinux_receive(
                    vectors,
                    descriptor,
                    base + Self.headroom,
                    Self.stride,
                    Self.room,
                    UInt32(wanted),
                    datagrams
                )
            )
        }
        isFull = count == wanted
        adapt(count)
        return count
    }

    /// Single packets, as most devices send them, are better taken by the dozen: what arrives together is merged.
    private mutating func adapt(_ count: Int) {
        guard isFull else { return }
        var octets = 0
        for slot in 0..<count { octets += Int(unsafe datagrams[slot].length) }
        wanted = octets > Self.small ? min(slots, Self.trains) : slots
    }

    /// Where the datagram of a slot starts in the arena.
    func offset(of slot: Int) -> Int { slot * Self.stride + Self.headroom }

    /// What was received into a slot.
    func datagram(_ slot: Int) -> clinux_datagram {
        precondition(slot >= 0 && slot < slots)
        return unsafe datagrams[slot]
    }
}

/// Datagrams of one socket that are to be sent at once; their octets stay where they are.
///
/// Safe: it owns its memory; what it points to lies in an arena that outlives the flush, which the worker, who
/// owns both, sees to.
@safe
struct SendBatch: ~Copyable {
    /// How long a full socket is waited for.
    static let patienceMilliseconds: Int32 = 5

    private let vectors: OpaquePointer

    init(capacity: Int) throws(PumpError) {
        guard let vectors = unsafe clinux_batch_new(UInt32(capacity)) else {
            throw PumpError(operation: "allocate a batch", errno: 12)
        }
        unsafe self.vectors = unsafe vectors
    }

    deinit { unsafe clinux_batch_free(vectors) }

    /// Adds octets of `arena`, one datagram or several of `segment` octets; false when the batch is full.
    mutating func add(
        _ arena: borrowing PacketArena,
        _ range: Range<Int>,
        _ segment: Int,
        from local: clinux_endpoint,
        to remote: clinux_endpoint,
        trafficClass: UInt8
    ) -> Bool {
        precondition(range.lowerBound >= 0 && range.upperBound <= arena.capacity)
        var (local, remote) = (local, remote)
        return unsafe arena.withUnsafeBase { base in
            unsafe clinux_send_add(
                vectors,
                base + range.lowerBound,
                range.count,
                &local,
                &remote,
                UInt16(truncatingIfNeeded: segment),
                trafficClass
            ) == 0
        }
    }

    var isEmpty: Bool { unsafe clinux_send_count(vectors) == 0 }

    /// Sends all.
    mutating func flush(_ descriptor: Int32) -> clinux_flush_result {
        unsafe clinux_send_flush(vectors, descriptor, Self.patienceMilliseconds)
    }
}
