public import IPsecTypes

/// What a pump is made with.
public struct PumpConfiguration: Sendable {
    /// The TUN device, which is made when absent and stays after the pump.
    public var tunName: String
    /// The UDP port of encapsulated ESP.
    public var natTraversalPort: UInt16
    /// The UDP port of IKE without encapsulation.
    public var ikePort: UInt16
    /// The mark of all outer sockets, by which their packets are kept out of the tunnels; 0 for none.
    public var mark: UInt32
    /// Workers, held to a power of two; nil for what suits the machine.
    public var workers: Int?
    /// An upper bound for inner packets; nil leaves it to the path and the transform.
    public var innerMTU: Int?
    /// Octets that the kernel may hold for each socket and direction.
    public var socketBuffer: Int
    /// What may be used of the offloads that are there.
    public var offloads: Offloads

    /// Makes a configuration.
    public init(
        tunName: String,
        natTraversalPort: UInt16 = 4500,
        ikePort: UInt16 = 500,
        mark: UInt32,
        workers: Int? = nil,
        innerMTU: Int? = nil,
        socketBuffer: Int = 8 << 20,
        offloads: Offloads = .all
    ) {
        self.tunName = tunName
        self.natTraversalPort = natTraversalPort
        self.ikePort = ikePort
        self.mark = mark
        self.workers = workers
        self.innerMTU = innerMTU
        self.socketBuffer = socketBuffer
        self.offloads = offloads
    }
}

/// A tunnel that traffic can be meant for, and what becomes of it without an SA.
public struct DataPlaneTunnel: Sendable {
    /// The tunnel's number.
    public var id: UInt32
    /// The connection's name, as in `ChildSADescription`.
    public var connection: String
    /// The tunnel's name, as in `ChildSADescription`.
    public var tunnel: String
    /// Our side.
    public var local: [TrafficSelector]
    /// The peer's side.
    public var remote: [TrafficSelector]
    /// True to hold packets for a while and report `.trapped`; else they are dropped and counted.
    public var traps: Bool

    /// Makes a policy.
    public init(
        id: UInt32,
        connection: String,
        tunnel: String,
        local: [TrafficSelector],
        remote: [TrafficSelector],
        traps: Bool
    ) {
        self.id = id
        self.connection = connection
        self.tunnel = tunnel
        self.local = local
        self.remote = remote
        self.traps = traps
    }
}

/// A refusal of the kernel when sockets or the device were made.
public struct PumpError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was tried.
    public let operation: String
    /// The errno.
    public let errno: Int32

    /// Operation and errno.
    public var description: String { "\(operation): errno \(errno)" }

    /// The result of a call that gives a negated errno on failure.
    @discardableResult
    static func check(_ result: Int32, _ operation: @autoclosure () -> String) throws(PumpError) -> Int32 {
        guard result >= 0 else { throw PumpError(operation: operation(), errno: 0 &- result) }
        return result
    }
}
