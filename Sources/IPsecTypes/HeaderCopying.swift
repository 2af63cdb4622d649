/// What an inner and an outer header take from each other (RFC 4301 §5.1.2 and §8.1), with strongSwan's words.
public struct HeaderCopying: Hashable, Sendable {
    /// Which way the DSCP goes.
    public enum DSCP: String, Hashable, Sendable, CaseIterable {
        /// From the inner to the outer header.
        case out
        /// From the outer to the inner header.
        case `in`
        /// Both ways.
        case yes
        /// Neither way: outer headers have none.
        case no
    }

    /// Which way the DSCP goes.
    public var dscp: DSCP
    /// Marks of congestion go both ways (RFC 6040); else outer headers have none, and marks on them are not looked at.
    public var ecn: Bool
    /// A packet that does not fit is refused if it may not be cut, and cut before encryption else; without it, what leads
    /// around is cut behind encryption, whatever the inner header says.
    public var df: Bool

    /// The usual: DSCP outwards, ECN and DF.
    public init(dscp: DSCP = .out, ecn: Bool = true, df: Bool = true) {
        self.dscp = dscp
        self.ecn = ecn
        self.df = df
    }

    /// The bits of the traffic class that go from the inner to the outer header.
    public var outboundMask: UInt8 { (dscp == .out || dscp == .yes ? 0xfc : 0) | (ecn ? 0x03 : 0) }

    /// True when the DSCP goes from the outer to the inner header.
    public var takesDSCP: Bool { dscp == .in || dscp == .yes }
}
