public import IKEMessages

/// A message of ours as it goes on the wire: one datagram, or the fragments of RFC 7383.
public struct OutgoingMessage: Sendable {
    /// The only datagram, or the first fragment.
    public let first: [UInt8]
    /// The other fragments in their order.
    public let rest: [[UInt8]]
    /// What it says; it can be cut anew from this (RFC 7383 §2.5.2).
    public let source: IKEMessage

    /// It goes with DF and never in IP fragments: it measures the path.
    public var forbidsFragmentation = false

    /// A message of one datagram.
    public init(_ octets: [UInt8], source: IKEMessage) {
        self.init(first: octets, rest: [], source: source)
    }

    /// A message of one datagram or more.
    public init(first: [UInt8], rest: [[UInt8]], source: IKEMessage) {
        self.first = first
        self.rest = rest
        self.source = source
    }

    /// All datagrams in their order.
    public var datagrams: [[UInt8]] { [first] + rest }

    /// Octets of the longest datagram.
    public var longest: Int { rest.reduce(first.count) { max($0, $1.count) } }
}
