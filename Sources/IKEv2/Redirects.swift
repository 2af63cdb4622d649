import IKECore
import IKEMessages
import IPPackets
import Policy
import Primitives

/// How often the peers of our connections sent us elsewhere lately (RFC 5685 §7).
struct Redirects {
    /// MAX_REDIRECTS and REDIRECT_LOOP_DETECT_PERIOD.
    static let maximum = 5
    static let period = Duration.seconds(300)

    /// Sends a peer elsewhere, if it goes where it is sent and there is a place (RFC 5685 §3, §6).
    ///
    /// - Parameters:
    ///   - payloads: its IKE_SA_INIT request, or nothing where it is known that it goes.
    ///   - nonce: its nonce in IKE_SA_INIT, which nobody has authenticated yet; nothing in IKE_AUTH.
    static func payload(for target: Identity?, _ payloads: [Payload]? = nil, nonce: [UInt8] = []) -> Payload?
    {
        let gateway: RedirectGateway
        switch target {
        case .address(let address): gateway = .address(address)
        case .fqdn(let name): gateway = .name(name)
        default: return nil
        }
        if let payloads, payloads.notification(.redirectSupported) == nil,
            payloads.notification(.redirectedFrom) == nil
        {
            return nil
        }
        return gateway.encoded.map { .notify(NotifyPayload(.redirect, data: $0 + nonce)) }
    }

    private var instants: [String: [Instant]] = [:]

    /// Notes one more; false if it is one too many.
    mutating func admit(_ connection: String, at now: Instant) -> Bool {
        let recent = (instants[connection] ?? []).filter { $0.duration(to: now) < Self.period }
        guard recent.count < Self.maximum else { return false }
        instants[connection] = recent + [now]
        return true
    }

    /// Forgets connections that are gone.
    mutating func keep(_ isKept: (String) -> Bool) { instants = instants.filter { isKept($0.key) } }
}

extension EngineContext {
    /// Goes where the peer sends us; false if it does so too often.
    mutating func follow(
        _ gateway: RedirectGateway,
        _ connection: ConnectionPolicy,
        _ tunnels: [String],
        from common: SACommon
    ) -> Bool {
        guard redirects.admit(connection.name, at: now) else { return false }
        report(
            .progress(
                connection: connection.name,
                text: "\(common.remote.address) redirects us to \(gateway)"
            )
        )
        emit(
            .redirect(
                Redirection(
                    connection: connection.name,
                    tunnels: tunnels,
                    gateway: gateway,
                    from: common.remote.address
                )
            )
        )
        return true
    }
}

extension InitiatorAttempt {
    /// What IKE_SA_INIT says of redirects (RFC 5685 §3).
    var redirectNotification: NotifyPayload {
        if let data = redirectedFrom.flatMap({ RedirectGateway.address($0).encoded }) {
            return NotifyPayload(.redirectedFrom, data: data)
        }
        return NotifyPayload(.redirectSupported)
    }

    /// The gateway will not have us: the attempt ends, another one follows.
    func redirected(
        to gateway: RedirectGateway,
        _ common: SACommon,
        _ context: inout EngineContext
    ) {
        let followers = context.takeFollowers(of: common.localSPI)
        if context.follow(gateway, connection, [tunnel.name] + followers, from: common) { return }
        for name in followers { context.follow(common.localSPI, tunnel: name) }
        fail(
            .protocolError("it redirected us more than \(Redirects.maximum) times within 5 minutes"),
            common,
            &context
        )
    }
}

extension InitiatorAwaitingInit {
    /// REDIRECT in the IKE_SA_INIT response: not authenticated, but only who saw our request knows its nonce.
    func redirected(
        by notify: NotifyPayload,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard let (gateway, nonce) = RedirectGateway.parse(notify.data), nonce == attempt.nonce else {
            context.count(.malformed)
            return .stay
        }
        attempt.redirected(to: gateway, common, &context)
        return .close
    }
}

extension Established {
    /// REDIRECT in the IKE_AUTH response: both ends have proved who they are, and this IKE_SA ends (§6).
    mutating func redirectedInAuth(
        to gateway: RedirectGateway,
        _ attempt: InitiatorAttempt,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        attempt.redirected(to: gateway, common, &context)
        isSilent = true
        if case .close = terminate(.localRequest, common, &context) { return .close }
        return .move(.established(self))
    }

    /// REDIRECT in an INFORMATIONAL request, which is answered already (§5): the new IKE_SA comes first.
    mutating func redirected(
        by notify: NotifyPayload,
        _ common: SACommon,
        _ context: inout EngineContext
    ) {
        guard let (gateway, _) = RedirectGateway.parse(notify.data), closing == nil, successor == nil,
            !isRedirected
        else {
            context.count(.malformed)
            return
        }
        let tunnels = withoutFurther(children.filter { $0.isCurrent }.map { $0.snapshot.tunnel })
        guard !tunnels.isEmpty, context.follow(gateway, connection, tunnels, from: common) else {
            context.count(.limit)
            return
        }
        isRedirected = true
        isReauthenticating = true
        reauthAt = nil
    }

    /// What we send our peer elsewhere by.
    static func redirectPayload(_ gateway: RedirectGateway) -> Payload? {
        gateway.encoded.map { .notify(NotifyPayload(.redirect, data: $0)) }
    }

    /// The peer knows where it should go; it has a while to do so before we end it.
    mutating func redirectAnswered(_ context: EngineContext) {
        abandonedAt = context.now.advanced(by: Self.redirectPatience)
    }

    /// As in strongSwan the time of a half-open IKE_SA.
    private static let redirectPatience = Duration.seconds(30)
}

extension IKEv2Engine {
    /// Begins an IKE_SA with the gateway that a peer named.
    mutating func follow(_ redirection: Redirection, _ local: Endpoint, _ remote: Endpoint) {
        for tunnel in redirection.tunnels {
            let name = EngineContext.Tunnel(connection: redirection.connection, name: tunnel)
            context.needsFreshIKE.insert(name)
            initiate(redirection.connection, tunnel, local, remote, redirectedFrom: redirection.from)
        }
    }

    /// Sends the peer of an IKE_SA elsewhere, if it said that it goes.
    mutating func redirect(_ id: UInt32, to gateway: RedirectGateway) {
        updateIKE(id) { sa, context in
            sa.withEstablished(&context) { state, common, context in
                guard state.followsRedirects, Established.redirectPayload(gateway) != nil else {
                    context.report(
                        .progress(
                            connection: state.connection.name,
                            text: "\(common.remote.address) does not support redirects"
                        )
                    )
                    return .stay
                }
                return state.plan(.redirect(gateway), common, &context) ?? .stay
            }
        }
    }
}
