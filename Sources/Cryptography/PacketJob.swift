/// One ESP packet in a `PacketArena` that is to be sealed or opened.
public struct PacketJob: Hashable, Sendable {
    /// What became of the packet.
    public enum Status: UInt8, Hashable, Sendable {
        /// Not yet worked on.
        case pending
        /// Sealed, or verified and decrypted.
        case done
        /// Payload zeroed: the ICV is wrong; or, sealing, refused (a sequence number that was used).
        case authenticationFailed
        /// The length does not fit the transform, or the packet does not lie in the arena.
        case invalidLength
    }

    /// Octets from the arena's start to the SPI.
    public var offset: Int32
    /// Octets from the SPI through the ICV.
    public var length: Int32
    /// The full 64-bit sequence number; its low 32 bits stand in the header already.
    public var sequence: UInt64
    /// What became of the packet.
    public var status: Status

    /// A pending job.
    @inlinable
    public init(offset: Int32, length: Int32, sequence: UInt64) {
        self.offset = offset
        self.length = length
        self.sequence = sequence
        self.status = .pending
    }

    /// A job with each field given.
    @inlinable
    public init(offset: Int32, length: Int32, sequence: UInt64, status: Status) {
        self.offset = offset
        self.length = length
        self.sequence = sequence
        self.status = status
    }
}
