import EAP
import IKECore
import IKEMessages
import IPPackets
import Primitives
import Vici

/// The `alert` event of strongSwan 6.0.3: that something went wrong, and with which IKE_SA.
struct ViciAlert {
    /// strongSwan's name of what went wrong.
    let type: String
    /// The IKE_SA as far as it is known.
    let ike: ViciMessage?
    /// What happened, in our words.
    let cause: String

    /// The alert of an event, if it is a reason for one.
    init?(_ event: EngineEvent, at now: Instant) {
        switch event {
        case .attemptFailed(let failure):
            guard let type = Self.type(failure.cause, isIKE: true, isInitiator: failure.isInitiator) else {
                return nil
            }
            self.type = type
            cause = failure.cause.description
            ike = failure.connection.map { name in
                ViciMessage { message in
                    message.section(name) { section in
                        section.set("version", 2)
                        section.set("state", IKESAState.connecting.rawValue)
                        section.set("remote-host", failure.remote.address.description)
                        section.set("remote-port", failure.remote.port)
                        if failure.isInitiator { section.set("initiator", flag: true) }
                    }
                }
            }
        case .childFailed(let ike, _, let cause), .rekeyFailed(let ike, _?, let cause, _):
            guard let type = Self.type(cause, isIKE: false, isInitiator: ike.isInitiator) else { return nil }
            self.type = type
            self.cause = cause.description
            self.ike = ViciLists.ikeOnly(ike, at: now)
        case .ikeDown(let ike, let cause):
            guard let type = Self.type(cause, isIKE: true, isInitiator: ike.isInitiator) else { return nil }
            self.type = type
            self.cause = cause.description
            self.ike = ViciLists.ikeOnly(ike, at: now)
        case .ikeUp, .ikeMoved, .childUp, .childDown, .ikeRekeyed, .childRekeyed, .rekeyFailed, .pathProbed,
            .progress:
            return nil
        }
    }

    /// The event.
    var message: ViciMessage {
        ViciMessage { message in
            message.set("type", type)
            if let ike { message.section("ike-sa", ike) }
            message.set("cause", cause)
        }
    }

    private static func type(_ cause: DownCause, isIKE: Bool, isInitiator: Bool) -> String? {
        switch cause {
        case .noAnswer(let request, _, _):
            request == "IKE_SA_INIT" ? "peer-init-unreachable" : "retransmit-send-timeout"
        case .noProposalChosen: isIKE ? "proposal-mismatch-ike" : "proposal-mismatch-child"
        case .tsUnacceptable: "ts-mismatch"
        case .authenticationFailed, .eap(.server, _): "peer-auth-failed"
        case .eap: "local-auth-failed"
        case .noConnection: isInitiator ? "peer-addr-failed" : nil
        case .protocolError: "parse-error-body"
        case .noVirtualAddress: "vip-failure"
        case .postquantumKey: isInitiator ? "local-auth-failed" : "peer-auth-failed"
        case .halfOpenExpired: "half-open-timeout"
        case .lifetimeOver: isIKE ? "ike-sa-expired" : nil
        case .duplicate: "unique-replace"
        case .peerRefused(.noProposalChosen, _): isIKE ? "proposal-mismatch-ike" : "proposal-mismatch-child"
        case .peerRefused(.tsUnacceptable, _): "ts-mismatch"
        case .peerRefused(.authenticationFailed, _): "local-auth-failed"
        case .localRequest, .shutdown, .policyChanged, .peerDeleted, .replacedByInitialContact, .peerRefused,
            .lastChildGone, .exhausted, .localAddressGone, .inactive, .cryptography:
            nil
        }
    }
}
