import IKEMessages
import IPsecTypes

extension [Payload] {
    var securityAssociation: SAPayload? {
        for case .securityAssociation(let payload) in self { return payload }
        return nil
    }

    var keyExchange: KEPayload? {
        for case .keyExchange(let payload) in self { return payload }
        return nil
    }

    /// The nonce, if its length is what RFC 7296 §3.9 allows.
    var nonce: [UInt8]? {
        for case .nonce(let octets) in self { return (16...256).contains(octets.count) ? octets : nil }
        return nil
    }

    var initiatorID: IDPayload? {
        for case .initiatorID(let payload) in self { return payload }
        return nil
    }

    var responderID: IDPayload? {
        for case .responderID(let payload) in self { return payload }
        return nil
    }

    var authentication: AUTHPayload? {
        for case .authentication(let payload) in self { return payload }
        return nil
    }

    /// The EAP packet.
    var eap: [UInt8]? {
        for case .eap(let octets) in self { return octets }
        return nil
    }

    var configuration: ConfigurationPayload? {
        for case .configuration(let payload) in self { return payload }
        return nil
    }

    var initiatorSelectors: TSPayload? {
        for case .initiatorSelectors(let payload) in self { return payload }
        return nil
    }

    var responderSelectors: TSPayload? {
        for case .responderSelectors(let payload) in self { return payload }
        return nil
    }

    var notifications: [NotifyPayload] {
        compactMap { payload in
            guard case .notify(let notify) = payload else { return nil }
            return notify
        }
    }

    func notification(_ type: NotifyType) -> NotifyPayload? { notifications.first { $0.type == type } }

    /// The first error notification.
    var errorNotification: NotifyPayload? { notifications.first { $0.type.isError } }

    /// The type of a payload that we must understand but do not (RFC 7296 §2.5).
    var unsupportedCritical: UInt8? {
        for case .unknown(let type, true, _) in self { return type }
        return nil
    }
}
