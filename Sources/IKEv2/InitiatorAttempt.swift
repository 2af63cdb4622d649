import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// What an initiator wants, carried through its states until the IKE_SA is established or given up.
struct InitiatorAttempt {
    let connection: ConnectionPolicy
    let tunnel: TunnelPolicy
    let nonce: [UInt8]
    /// What SAi1 holds, numbered.
    let proposals: [Proposal]
    /// Octets to hide our source hash behind when ESP must travel in UDP.
    let hidingSource: [UInt8]?
    /// Groups that a KE payload was sent for; the peer may ask for another one only once each.
    var triedGroups: [KeyExchangeGroup] = []
    /// To be returned (RFC 7296 §2.6).
    var cookie: [UInt8]?
    var cookiesReturned = 0
    /// The gateway that sent us here.
    let redirectedFrom: IPAddress?

    init(
        connection: ConnectionPolicy,
        tunnel: TunnelPolicy,
        redirectedFrom: IPAddress?,
        _ context: inout EngineContext
    ) {
        self.redirectedFrom = redirectedFrom
        self.connection = connection
        self.tunnel = tunnel
        nonce = context.entropy.bytes(32)
        proposals = connection.proposals.prefix(64).enumerated().map { index, proposal in
            var numbered = proposal
            numbered.number = UInt8(truncatingIfNeeded: index + 1)
            return numbered
        }
        hidingSource = connection.forcesEncapsulation ? context.entropy.bytes(20) : nil
    }

    /// The group of the first KE payload: the one we like best.
    var preferredGroup: KeyExchangeGroup? {
        proposals.lazy.flatMap { $0.transforms(of: .keyExchange) }.compactMap { $0.keyExchangeGroup }.first
    }

    /// The group that the peer asks for, if we offered it and did not try it.
    func acceptableRetry(_ number: UInt16) -> KeyExchangeGroup? {
        guard let group = KeyExchangeGroup(rawValue: number), !triedGroups.contains(group),
            proposals.contains(where: { $0.transforms.contains(Transform(.keyExchange, number)) })
        else { return nil }
        return group
    }

    /// Reports that this attempt ended.
    func fail(_ cause: DownCause, _ common: SACommon, _ context: inout EngineContext) {
        for name in [tunnel.name] + context.takeFollowers(of: common.localSPI) {
            context.report(
                .attemptFailed(
                    AttemptFailure(
                        ikeID: common.id,
                        connection: connection.name,
                        tunnel: name,
                        isInitiator: true,
                        remote: common.remote,
                        cause: cause
                    )
                )
            )
        }
    }

    /// What an error of the peer in IKE_SA_INIT is about on our side.
    func hint(for type: NotifyType) -> String {
        switch type {
        case .noProposalChosen:
            "it accepts none of \(proposals.map { $0.description }.joined(separator: " ")) "
                + "(\(connection.origin(of: "ike-proposals")))"
        case .authenticationFailed:
            (connection.remoteIdentity.map { "it is not '\($0)' (\(connection.origin(of: "remote-id"))), " }
                ?? "")
                + "it does not accept our identity (\(connection.origin(of: "local-id"))), "
                + (connection.localAuthentication.method == .sharedKey
                    ? "or the pre-shared keys differ (\(connection.origin(of: "psk-file")))"
                    : "or it does not believe our certificate (\(connection.origin(of: "certificate")))")
        case .tsUnacceptable:
            "it accepts no part of \(tunnel.selectorText) (\(tunnel.origin))"
        case .invalidKEPayload:
            "it wants a key exchange group that we do not offer (\(connection.origin(of: "ike-proposals")))"
        default:
            "see the peer's log (\(connection.origin))"
        }
    }

    /// What an error of the peer about the CHILD_SA in IKE_AUTH is about on our side.
    func childHint(for type: NotifyType) -> String {
        guard type == .noProposalChosen else { return hint(for: type) }
        return "it accepts none of \(tunnel.proposals.map { $0.description }.joined(separator: " ")) "
            + "(\(connection.origin(of: "esp-proposals")))"
    }

    static func text(_ selectors: [TrafficSelector]) -> String {
        selectors.prefix(16).map { $0.description }.joined(separator: ",")
    }
}
