public import Primitives

/// One payload of an IKEv2 message (RFC 7296 §3.2), Encrypted payloads aside.
public enum Payload: Hashable, Sendable {
    /// 33.
    case securityAssociation(SAPayload)
    /// 34.
    case keyExchange(KEPayload)
    /// 35.
    case initiatorID(IDPayload)
    /// 36.
    case responderID(IDPayload)
    /// 37.
    case certificate(CERTPayload)
    /// 38.
    case certificateRequest(CERTREQPayload)
    /// 39.
    case authentication(AUTHPayload)
    /// 40: Ni or Nr.
    case nonce([UInt8])
    /// 41.
    case notify(NotifyPayload)
    /// 42.
    case delete(DeletePayload)
    /// 43.
    case vendorID([UInt8])
    /// 44.
    case initiatorSelectors(TSPayload)
    /// 45.
    case responderSelectors(TSPayload)
    /// 47.
    case configuration(ConfigurationPayload)
    /// 48: an EAP packet (RFC 3748 §4), as it came.
    case eap([UInt8])
    /// Any other type; `isCritical` decides whether the message must be refused (§2.5).
    case unknown(type: UInt8, isCritical: Bool, body: [UInt8])

    /// The payload type on the wire.
    public var type: UInt8 {
        switch self {
        case .securityAssociation: 33
        case .keyExchange: 34
        case .initiatorID: 35
        case .responderID: 36
        case .certificate: 37
        case .certificateRequest: 38
        case .authentication: 39
        case .nonce: 40
        case .notify: 41
        case .delete: 42
        case .vendorID: 43
        case .initiatorSelectors: 44
        case .responderSelectors: 45
        case .configuration: 47
        case .eap: 48
        case .unknown(let type, _, _): type
        }
    }

    /// Reads a body of the given type to its end.
    init(type: UInt8, isCritical: Bool, parsing reader: inout ByteReader) throws(WireError) {
        switch type {
        case 33: self = .securityAssociation(try SAPayload(parsing: &reader))
        case 34: self = .keyExchange(try KEPayload(parsing: &reader))
        case 35: self = .initiatorID(try IDPayload(parsing: &reader))
        case 36: self = .responderID(try IDPayload(parsing: &reader))
        case 37: self = .certificate(try CERTPayload(parsing: &reader))
        case 38: self = .certificateRequest(try CERTREQPayload(parsing: &reader))
        case 39: self = .authentication(try AUTHPayload(parsing: &reader))
        case 40: self = .nonce(reader.rest())
        case 41: self = .notify(try NotifyPayload(parsing: &reader))
        case 42: self = .delete(try DeletePayload(parsing: &reader))
        case 43: self = .vendorID(reader.rest())
        case 44: self = .initiatorSelectors(try TSPayload(parsing: &reader))
        case 45: self = .responderSelectors(try TSPayload(parsing: &reader))
        case 47: self = .configuration(try ConfigurationPayload(parsing: &reader))
        case 48: self = .eap(reader.rest())
        default: self = .unknown(type: type, isCritical: isCritical, body: reader.rest())
        }
        try reader.expectEnd()
    }

    /// Writes the body, without the generic header.
    func write(into writer: inout ByteWriter) throws(WireError) {
        switch self {
        case .securityAssociation(let payload): try payload.write(into: &writer)
        case .keyExchange(let payload): payload.write(into: &writer)
        case .initiatorID(let payload), .responderID(let payload): payload.write(into: &writer)
        case .certificate(let payload): payload.write(into: &writer)
        case .certificateRequest(let payload): payload.write(into: &writer)
        case .authentication(let payload): payload.write(into: &writer)
        case .nonce(let octets), .vendorID(let octets), .eap(let octets): writer.append(octets)
        case .notify(let payload): try payload.write(into: &writer)
        case .delete(let payload): try payload.write(into: &writer)
        case .initiatorSelectors(let payload), .responderSelectors(let payload):
            try payload.write(into: &writer)
        case .configuration(let payload): try payload.write(into: &writer)
        case .unknown(_, _, let body): writer.append(body)
        }
    }
}

/// A chain of payloads: each one's generic header names the type of the next (RFC 7296 §3.2).
public enum PayloadChain {
    /// More payloads than any device sends in one message.
    public static let limit = 128

    /// Reads a chain to the end of `reader`.
    ///
    /// - Throws: `WireError`; `unsupportedCriticalPayload` is the caller's to decide, from `.unknown`.
    public static func parse(first: UInt8, from reader: inout ByteReader) throws(WireError) -> [Payload] {
        var payloads = [Payload]()
        var type = first
        while type != 0 {
            guard payloads.count < limit else {
                throw WireError(.limitExceeded("128 payloads"), at: reader.offset)
            }
            // Encrypted payloads are taken off before; one inside a chain is in the wrong place.
            guard type != 46, type != 53 else {
                throw WireError(.invalidValue("payload type"), at: reader.offset)
            }
            let header = try GenericHeader(parsing: &reader)
            var body = try reader.sub(header.bodyLength)
            payloads.append(try Payload(type: type, isCritical: header.isCritical, parsing: &body))
            type = header.nextPayload
        }
        try reader.expectEnd()
        return payloads
    }

    /// Writes a chain.
    public static func write(_ payloads: [Payload], into writer: inout ByteWriter) throws(WireError) {
        for (index, payload) in payloads.enumerated() {
            let start = writer.count
            writer.u8(index + 1 < payloads.count ? payloads[index + 1].type : 0)
            if case .unknown(_, let isCritical, _) = payload {
                writer.u8(isCritical ? 0x80 : 0)
            } else {
                writer.u8(0)
            }
            writer.u16(0)
            try payload.write(into: &writer)
            try writer.patch16(writer.count - start, at: start + 2, field: "payload length")
        }
    }
}

/// The four octets in front of each payload (RFC 7296 §3.2).
struct GenericHeader {
    let nextPayload: UInt8
    let isCritical: Bool
    /// Octets that follow the header.
    let bodyLength: Int

    init(parsing reader: inout ByteReader) throws(WireError) {
        let start = reader.offset
        nextPayload = try reader.u8()
        isCritical = try reader.u8() & 0x80 != 0
        let length = Int(try reader.u16())
        guard length >= 4 else { throw WireError(.invalidLength(length), at: start) }
        bodyLength = length - 4
    }
}
