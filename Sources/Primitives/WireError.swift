/// Why bytes from a wire, a file or a command could not be read, and where.
public struct WireError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What was wrong with the bytes.
    public enum Reason: Hashable, Sendable {
        /// Fewer octets are left than the field needs.
        case truncated(needed: Int, available: Int)
        /// Octets are left where the format ends.
        case trailingOctets(Int)
        /// A length field contradicts the data or the format.
        case invalidLength(Int)
        /// A field has a value that the format forbids; the text names the field.
        case invalidValue(String)
        /// A value does not fit its field when written.
        case overflow(String)
        /// A bound of ours was exceeded; the text names it.
        case limitExceeded(String)
    }

    /// What was wrong.
    public let reason: Reason
    /// Octets from the start of the outermost buffer.
    public let offset: Int

    /// Makes an error of `reason` at `offset` octets.
    public init(_ reason: Reason, at offset: Int) {
        self.reason = reason
        self.offset = offset
    }

    /// One line for logs and counters; holds no octet of the input.
    public var description: String {
        let what =
            switch reason {
            case .truncated(let needed, let available): "needs \(needed) octets, has \(available)"
            case .trailingOctets(let count): "\(count) trailing octets"
            case .invalidLength(let length): "invalid length \(length)"
            case .invalidValue(let field): "invalid \(field)"
            case .overflow(let field): "\(field) does not fit"
            case .limitExceeded(let limit): "more than \(limit)"
            }
        return "\(what) at octet \(offset)"
    }
}
