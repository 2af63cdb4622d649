import Cryptography
import EAP
public import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// A message as people read it.
extension MessageRecord {
    /// Octets of the text of one message at most; a peer decides how long its lists are.
    private static let textLimit = 700

    /// What the message is: `IKE_AUTH request 1`.
    public var title: String {
        "\(header.exchange) \(header.isResponse ? "response" : "request") \(header.messageID)"
    }

    /// Its payloads in their order and what matters of them: proposals, groups, identities, selectors.
    ///
    /// Keys, nonces and proofs are named, never shown.
    public var contents: String {
        var text = ""
        for payload in payloads {
            let next = self.text(payload)
            guard text.utf8.count + next.utf8.count <= Self.textLimit else { return text + " …" }
            text += text.isEmpty ? next : " " + next
        }
        return text
    }

    private func text(_ payload: Payload) -> String {
        switch payload {
        case .securityAssociation(let sa): "SA(\(Self.list(sa.proposals.map { $0.description })))"
        case .keyExchange(let exchange): "KE(\(Self.group(exchange.group)))"
        case .initiatorID(let id): "IDi(\(Identity(type: id.type, data: id.data)))"
        case .responderID(let id): "IDr(\(Identity(type: id.type, data: id.data)))"
        case .certificate(let certificate): "CERT(\(certificate.data.count) octets)"
        case .certificateRequest(let request): "CERTREQ(\(request.authorities.count))"
        case .authentication(let auth): "AUTH(\(auth.methodName))"
        // Who asks sends Ni.
        case .nonce: header.isResponse ? "Nr" : "Ni"
        case .notify(let notify): "N(\(Self.text(notify)))"
        case .delete(let delete): "D(\(Self.text(delete)))"
        case .vendorID: "V"
        case .initiatorSelectors(let selectors): "TSi(\(Self.text(selectors)))"
        case .responderSelectors(let selectors): "TSr(\(Self.text(selectors)))"
        case .configuration(let configuration): "CP(\(Self.text(configuration)))"
        case .eap(let octets): "EAP(\(Self.text(eap: octets)))"
        case .unknown(let type, let isCritical, _): Self.name(type) + (isCritical ? "(critical)" : "")
        }
    }

    private static let listedItems = 6

    private static func list(_ texts: [String]) -> String {
        let shown = texts.prefix(listedItems).map { $0.utf8.count > 300 ? "\($0.prefix(300))…" : $0 }
        let more = texts.count - shown.count
        return shown.joined(separator: ", ") + (more > 0 ? " and \(more) more" : "")
    }

    private static func group(_ number: UInt16) -> String { Transform(.keyExchange, number).description }

    private static func text(_ selectors: TSPayload) -> String {
        let known = list(selectors.selectors.map { $0.description })
        return selectors.unknownCount == 0 ? known : "\(known) and \(selectors.unknownCount) of unknown types"
    }

    private static func text(_ configuration: ConfigurationPayload) -> String {
        let kind =
            switch configuration.kind {
            case .request: "request"
            case .reply: "reply"
            case .set: "set"
            case .acknowledgement: "ack"
            case .unknown(let number): "kind \(number)"
            }
        let texts = configuration.attributes.map { attribute -> String in
            let address = IPAddress(octets: Array(attribute.value.prefix(16))).map { " \($0)" } ?? ""
            return switch attribute.type {
            case ConfigurationPayload.AttributeType.ipv4Address,
                ConfigurationPayload.AttributeType.ipv6Address:
                "ADDR\(address)"
            case ConfigurationPayload.AttributeType.ipv4DNS, ConfigurationPayload.AttributeType.ipv6DNS:
                "DNS\(address)"
            default: "\(attribute.type)"
            }
        }
        return "\(kind) \(list(texts))"
    }

    private static func text(_ delete: DeletePayload) -> String {
        switch delete.securityProtocol {
        case .ike: "IKE_SA"
        case .esp: "ESP " + list(delete.spis.map { Hex.encode($0) })
        case .ah, .none, .unknown: "protocol \(delete.securityProtocol.number)"
        }
    }

    private static func text(_ notify: NotifyPayload) -> String {
        let value = notify.data.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        switch notify.type {
        case .invalidKEPayload where notify.data.count == 2:
            return "\(notify.type) \(group(UInt16(truncatingIfNeeded: value)))"
        case .authLifetime where notify.data.count == 4: return "\(notify.type) \(value) s"
        case .rekeySA, .invalidSPI, .childSANotFound:
            let spi = notify.spi.isEmpty ? notify.data : notify.spi
            return spi.isEmpty ? "\(notify.type)" : "\(notify.type) \(Hex.encode(spi.prefix(8)))"
        default: return "\(notify.type)"
        }
    }

    /// The short name of a payload that is not read here (RFC 7296 §3.2).
    private static func name(_ type: UInt8) -> String {
        "payload \(type)"
    }

    /// The code and the type of an EAP packet (RFC 3748 §4, §5).
    private static func text(eap octets: [UInt8]) -> String {
        guard let packet = try? EAPPacket(parsing: octets) else { return "unreadable" }
        let codes: [EAPPacket.Code: String] = [
            .request: "request", .response: "response", .success: "success", .failure: "failure",
        ]
        let code = codes[packet.code] ?? ""
        guard packet.code == .request || packet.code == .response else { return code }
        let type: String =
            switch packet.type {
            case 1: "identity"
            case 2: "notification"
            case 3: "nak"
            default: EAPMethod(rawValue: packet.type)?.name ?? "method \(packet.type)"
            }
        return "\(code) \(type)"
    }
}

extension AUTHPayload {
    /// The Auth Method (RFC 7296 §3.8, RFC 7427, RFC 4754).
    public var methodName: String {
        switch method {
        case 1: "RSA"
        case 2: "PSK"
        case 3: "DSS"
        case 9: "ECDSA-256"
        case 10: "ECDSA-384"
        case 11: "ECDSA-521"
        case 13: "NULL"
        case 14: "signature"
        default: "method \(method)"
        }
    }
}
