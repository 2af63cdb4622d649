import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// Commands, and news from the data plane.
extension IKEv2Engine {
    mutating func initiate(
        _ name: String,
        _ tunnelName: String,
        _ local: Endpoint,
        _ remote: Endpoint,
        redirectedFrom: IPAddress? = nil
    ) {
        let found = context.policies[name].flatMap { connection in
            connection.tunnels.first { $0.name == tunnelName }.map { (connection, $0) }
        }
        // Whoever asked waits for an answer: every way out reports one.
        guard let (connection, tunnel) = found, sas.count < context.configuration.maximumSAs else {
            let reason =
                found == nil ? "not configured" : "more than \(context.configuration.maximumSAs) IKE_SAs"
            context.report(
                .attemptFailed(
                    AttemptFailure(
                        connection: name,
                        tunnel: tunnelName,
                        isInitiator: true,
                        remote: remote,
                        cause: .noConnection(reason)
                    )
                )
            )
            return
        }
        if carry(tunnel, of: connection) { return }
        let spi = context.newIKESPI()
        let common = SACommon(
            id: context.newID(),
            isInitiator: true,
            localSPI: spi,
            remoteSPI: 0,
            local: local,
            remote: remote,
            createdAt: context.now
        )
        // What stands beside another tunnel comes up behind it.
        let first = connection.tunnels.first { $0.name == tunnel.configuredName } ?? tunnel
        let attempt = InitiatorAttempt(
            connection: connection,
            tunnel: first,
            redirectedFrom: redirectedFrom,
            &context
        )
        guard let group = attempt.preferredGroup else {
            return attempt.fail(.noConnection("no proposal names a key exchange group"), common, &context)
        }
        sas.insert(IKESA(common: common, state: .initiatorGenerating(InitiatorGenerating(attempt: attempt))))
        context.changes[common.id] = .some(spi)
        _ = context.compute(.generateKeyPair(group), for: common)
    }

    /// Tells the peer and closes at once: nobody waits for an answer that may never come.
    mutating func destroyIKE(_ id: UInt32, _ cause: DownCause) {
        updateIKE(id) { sa, context in sa.terminate(cause, &context) }
        updateIKE(id) { sa, context in
            sa.withEstablished(&context) { state, common, context in state.close(cause, common, &context) }
        }
    }

    /// Tells the peers that may move, or let us move, what addresses we have.
    mutating func ownAddressesChanged(_ addresses: [IPAddress]) {
        guard addresses != context.localAddresses else { return }
        context.localAddresses = addresses
        for spi in sas.spis {
            update(spi) { sa, context in
                sa.withEstablished(&context) { state, common, context in
                    state.ownAddressesChanged(common, &context)
                }
            }
        }
    }

    mutating func noteActivity(_ children: [UInt32: Instant]) {
        // Nothing of it is seen in a snapshot: told of all IKE_SAs once a second, it would hide what is news.
        let changes = context.changes
        defer { context.changes = changes }
        for spi in Set(children.keys.compactMap { sas.spi(ofChild: $0) }).sorted() {
            update(spi) { sa, context in
                sa.withEstablished(&context) { state, _, _ in
                    for child in state.children {
                        guard let instant = children[child.snapshot.id] else { continue }
                        state.lastInbound = max(state.lastInbound, instant)
                    }
                    return .stay
                }
            }
        }
    }

    mutating func updateOwner(
        ofChild id: UInt32,
        _ body: (inout Established, inout SACommon, inout EngineContext) -> Transition
    ) {
        guard let spi = sas.spi(ofChild: id) else { return }
        update(spi) { sa, context in sa.withEstablished(&context, body) }
    }

    /// Makes the CHILD_SA in the IKE_SA that is there or being made; false if there is none for it.
    private mutating func carry(_ tunnel: TunnelPolicy, of connection: ConnectionPolicy) -> Bool {
        let name = EngineContext.Tunnel(connection: connection.name, name: tunnel.name)
        let needsFresh = context.needsFreshIKE.remove(name) != nil
        let mine = sas.of(connection: connection.name).sorted { $0.common.id > $1.common.id }
        let usable = mine.first { sa in
            guard !needsFresh, case .established(let state) = sa.state else { return false }
            return state.closing == nil && state.successor == nil && !state.awaitsHandover
        }
        if let usable {
            update(usable.common.localSPI) { sa, context in
                sa.withEstablished(&context) { state, common, context in
                    guard !state.isPlanned(.createChild(tunnel: tunnel.name)) else { return .stay }
                    return state.enqueue(.createChild(tunnel: tunnel.name), common, &context)
                }
            }
            return true
        }
        guard let attempt = mine.first(where: { $0.isAttempt }) else { return false }
        context.follow(attempt.common.localSPI, tunnel: tunnel.name)
        return true
    }

    /// Rekeys, questions and answers about SAs that are there.
    mutating func maintain(_ input: EngineInput) {
        switch input {
        case .rekeyIKE(let id):
            updateEstablished(id) { state, common, context in
                state.plan(.rekeyIKE, common, &context) ?? .stay
            }
        case .reauthenticate(let id):
            updateEstablished(id) { state, _, context in
                state.reauthenticate(at: context.now)
                return .stay
            }
        case .rekeyChild(let id):
            updateOwner(ofChild: id) { state, common, context in
                guard state.children.contains(where: { $0.id == id && $0.isCurrent }) else { return .stay }
                return state.plan(.rekeyChild(id: id), common, &context) ?? .stay
            }
        case .childNearLimit(let id):
            updateOwner(ofChild: id) { state, common, context in state.childNearLimit(id, common, &context) }
        case .checkLiveness(let id):
            updateEstablished(id) { state, common, context in state.suspectDead(common, &context) }
        case .probePath(let id, let octets):
            updateEstablished(id) { state, common, context in
                state.plan(.probePath(octets: octets), common, &context) ?? .stay
            }
        case .firstInbound(let id):
            updateOwner(ofChild: id) { state, _, context in state.noteFirstInbound(id, &context) }
        case .unknownESP(let spi, let remote):
            guard !context.isOurs(spi) else { return }
            let owner = sas.with(remote).filter { sa in
                if case .established = sa.state { true } else { false }
            }.min { $0.common.id < $1.common.id }
            guard let id = owner?.common.id else { return }
            updateEstablished(id) { state, common, context in
                state.reportInvalidSPI(spi, common, &context)
            }
        default: break
        }
    }

    private mutating func updateEstablished(
        _ id: UInt32,
        _ body: (inout Established, inout SACommon, inout EngineContext) -> Transition
    ) {
        updateIKE(id) { sa, context in sa.withEstablished(&context, body) }
    }

    mutating func updateIKE(_ id: UInt32, _ body: (inout IKESA, inout EngineContext) -> Bool) {
        guard let spi = sas.spi(ofID: id) else { return }
        update(spi, body)
    }
}
