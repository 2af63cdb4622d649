public import Primitives

/// An EAP packet (RFC 3748 §4).
public struct EAPPacket: Hashable, Sendable {
    /// What it is.
    public enum Code: UInt8, Hashable, Sendable {
        /// Of the authenticator.
        case request = 1
        /// Of the peer.
        case response = 2
        /// The end, for good.
        case success = 3
        /// The end.
        case failure = 4
    }

    /// What it is.
    public let code: Code
    /// Joins a response to its request.
    public let identifier: UInt8
    /// The type of a request or response; 0 for success and failure.
    public let type: UInt8
    /// What stands behind the type.
    public let data: [UInt8]

    /// Makes a request or response.
    public init(_ code: Code, _ identifier: UInt8, type: UInt8 = 0, data: [UInt8] = []) {
        self.code = code
        self.identifier = identifier
        self.type = type
        self.data = data
    }

    /// Parses a whole packet; octets behind its length are padding and refused, as IKE needs none.
    public init(parsing octets: [UInt8]) throws(WireError) {
        var reader = ByteReader(octets.span)
        let raw = try reader.u8()
        guard let code = Code(rawValue: raw) else { throw WireError(.invalidValue("EAP code"), at: 0) }
        identifier = try reader.u8()
        let length = Int(try reader.u16())
        guard length == octets.count else { throw WireError(.invalidLength(length), at: 2) }
        self.code = code
        switch code {
        case .request, .response:
            type = try reader.u8()
            data = reader.rest()
        case .success, .failure:
            type = 0
            data = []
            try reader.expectEnd()
        }
    }

    /// The packet's octets; nil when they are more than its length can say.
    public var encoded: [UInt8]? {
        let hasType = code == .request || code == .response
        guard let length = UInt16(exactly: 4 + (hasType ? 1 + data.count : 0)) else { return nil }
        var writer = ByteWriter()
        writer.u8(code.rawValue)
        writer.u8(identifier)
        writer.u16(length)
        if hasType {
            writer.u8(type)
            writer.append(data)
        }
        return writer.bytes
    }
}
