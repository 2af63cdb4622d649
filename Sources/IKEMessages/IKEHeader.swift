public import Primitives

/// What kind of exchange a message belongs to (RFC 7296 §3.1).
public enum ExchangeType: Hashable, Sendable, CustomStringConvertible {
    /// 34.
    case ikeSAInit
    /// 35.
    case ikeAuth
    /// 36.
    case createChildSA
    /// 37.
    case informational
    /// 43, RFC 9242.
    case ikeIntermediate
    /// 44, RFC 9370.
    case ikeFollowUpKE
    /// Any other number.
    case unknown(UInt8)

    /// The exchange of this wire number.
    public init(_ number: UInt8) {
        switch number {
        case 34: self = .ikeSAInit
        case 35: self = .ikeAuth
        case 36: self = .createChildSA
        case 37: self = .informational
        case 43: self = .ikeIntermediate
        case 44: self = .ikeFollowUpKE
        default: self = .unknown(number)
        }
    }

    /// The wire number.
    public var number: UInt8 {
        switch self {
        case .ikeSAInit: 34
        case .ikeAuth: 35
        case .createChildSA: 36
        case .informational: 37
        case .ikeIntermediate: 43
        case .ikeFollowUpKE: 44
        case .unknown(let number): number
        }
    }

    /// The RFC's name.
    public var description: String {
        switch self {
        case .ikeSAInit: "IKE_SA_INIT"
        case .ikeAuth: "IKE_AUTH"
        case .createChildSA: "CREATE_CHILD_SA"
        case .informational: "INFORMATIONAL"
        case .ikeIntermediate: "IKE_INTERMEDIATE"
        case .ikeFollowUpKE: "IKE_FOLLOWUP_KE"
        case .unknown(let number): "exchange \(number)"
        }
    }
}

/// The fixed header of every IKE message (RFC 7296 §3.1).
///
///                         1                   2                   3
///     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///    |                       IKE SA Initiator's SPI                  |
///    |                       IKE SA Responder's SPI                  |
///    |  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
///    |                          Message ID                           |
///    |                            Length                             |
public struct IKEHeader: Hashable, Sendable {
    /// Octets of a header.
    public static let length = 28

    /// The initiator's SPI; zero is possible on the wire and refused by the receiver.
    public var initiatorSPI: UInt64
    /// The responder's SPI, zero in the first request.
    public var responderSPI: UInt64
    /// The type of the first payload.
    public var nextPayload: UInt8
    /// The major version: 2, or 1 for ISAKMP.
    public var majorVersion: UInt8
    /// The minor version, ignored on receipt.
    public var minorVersion: UInt8
    /// The exchange.
    public var exchange: ExchangeType
    /// I: sent by the IKE_SA's original initiator.
    public var isFromInitiator: Bool
    /// R: this is a response.
    public var isResponse: Bool
    /// V: the sender could speak a higher major version.
    public var canDoHigherVersion: Bool
    /// The message ID.
    public var messageID: UInt32
    /// Octets of the message, header included, as the sender wrote it.
    public var messageLength: UInt32

    /// A header of our version; `nextPayload` and `messageLength` are filled in by the encoder.
    public init(
        initiatorSPI: UInt64,
        responderSPI: UInt64,
        exchange: ExchangeType,
        isFromInitiator: Bool,
        isResponse: Bool,
        messageID: UInt32
    ) {
        self.initiatorSPI = initiatorSPI
        self.responderSPI = responderSPI
        self.nextPayload = 0
        self.majorVersion = 2
        self.minorVersion = 0
        self.exchange = exchange
        self.isFromInitiator = isFromInitiator
        self.isResponse = isResponse
        self.canDoHigherVersion = false
        self.messageID = messageID
        self.messageLength = 0
    }

    /// Reads a header; versions and lengths are judged by the caller.
    public init(parsing reader: inout ByteReader) throws(WireError) {
        initiatorSPI = try reader.u64()
        responderSPI = try reader.u64()
        nextPayload = try reader.u8()
        let version = try reader.u8()
        majorVersion = version >> 4
        minorVersion = version & 15
        exchange = ExchangeType(try reader.u8())
        let flags = try reader.u8()
        isFromInitiator = flags & 0x08 != 0
        canDoHigherVersion = flags & 0x10 != 0
        isResponse = flags & 0x20 != 0
        messageID = try reader.u32()
        messageLength = try reader.u32()
    }

    /// Writes the header as it stands.
    public func write(into writer: inout ByteWriter) {
        writer.u64(initiatorSPI)
        writer.u64(responderSPI)
        writer.u8(nextPayload)
        writer.u8(majorVersion << 4 | minorVersion & 15)
        writer.u8(exchange.number)
        writer.u8((isFromInitiator ? 0x08 : 0) | (canDoHigherVersion ? 0x10 : 0) | (isResponse ? 0x20 : 0))
        writer.u32(messageID)
        writer.u32(messageLength)
    }
}
