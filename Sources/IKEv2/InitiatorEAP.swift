import Cryptography
import EAP
import IKECore
import IKEMessages
import IPPackets
import Policy

/// Our side of EAP within IKE_AUTH (RFC 7296 §2.16).
struct EAPConversation {
    private(set) var peer: EAPPeer
    /// How it ended; our AUTH follows from it, and the peer's must.
    var outcome: EAPOutcome?
    /// The peer proves itself by the method and sent no AUTH before (RFC 5998).
    private(set) var provesPeer = false

    init(_ credentials: EAPCredentials) { peer = EAPPeer(credentials) }

    mutating func receive(_ octets: [UInt8], _ context: inout EngineContext) -> EAPPeer.Step {
        peer.receive(octets, entropy: &context.entropy)
    }

    mutating func take(_ progress: TLSProgress) -> EAPPeer.Step { peer.take(progress) }

    /// Nothing but these methods is to prove the peer.
    mutating func provePeer(by methods: [EAPMethod]) {
        provesPeer = true
        peer.restrict(to: methods)
    }
}

extension ConnectionPolicy {
    /// What we prove ourselves by within EAP.
    func credentials(for options: EAPOptions, of ours: Identity, _ common: SACommon) -> EAPCredentials {
        let name = options.identity ?? ours
        let theirs = effectiveRemoteIdentity.flatMap { $0.isPattern ? nil : $0 }
        let keys = { (keyring: SharedKeyring) in
            keyring.keys(
                local: name,
                remote: theirs,
                localAddress: common.local.address,
                remoteAddress: common.remote.address
            ).first
        }
        let own = credentials.choose(named: localAuthentication.certificates, identity: ours, requested: [])
        return EAPCredentials(
            identity: name.userName,
            methods: options.methods,
            password: keys(eapSecrets.passwords),
            passwordHash: keys(eapSecrets.hashes),
            certificate: own.map { own in
                EAPCredentials.Certificate(
                    certificate: own.certificate,
                    path: credentials.path(of: own.certificate).filter { !$0.isSelfIssued },
                    key: own.key
                )
            }
        )
    }

    /// Whose certificate the server of EAP-TLS must have, and by whose trust.
    fileprivate func serverCheck(_ work: EAPWork, responder: IDPayload?) -> EAPServerCheck {
        var connection = self
        let expected: Identity?
        if let server = localAuthentication.method.eap?.server {
            // Another machine than the responder: what is pinned is not its own.
            connection.remoteAuthentication.certificates = []
            expected = server.isPattern ? nil : server
        } else {
            expected = responder.map { Identity(type: $0.type, data: $0.data) }
        }
        return EAPServerCheck(work, connection: connection, identity: expected)
    }
}

extension InitiatorAwaitingAuth {
    /// The peer goes on with EAP.
    mutating func converse(
        _ octets: [UInt8],
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard var conversation = progress.eap, conversation.outcome == nil else {
            let cause = DownCause.protocolError("it sent EAP, and we do not prove ourselves by it now")
            return progress.refuse(cause, common, &context)
        }
        let chosen = conversation.peer.chosen
        let step = conversation.receive(octets, &context)
        progress.eap = conversation
        if let method = conversation.peer.chosen, method != chosen {
            let text = "the server wants \(method.name) of EAP"
            context.report(.progress(connection: progress.attempt.connection.name, text: text))
        }
        return follow(step, common, &context)
    }

    /// A step of EAP-TLS was carried out.
    mutating func converse(
        _ outcome: TLSProgress,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard isComputingEAP, var conversation = progress.eap else { return .stay }
        isComputingEAP = false
        let step = conversation.take(outcome)
        progress.eap = conversation
        return follow(step, common, &context)
    }

    private mutating func follow(
        _ step: EAPPeer.Step,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        switch step {
        case .respond(let octets):
            return progress.send([.eap(octets)], "with an EAP response to \(common.remote)", common, &context)
        case .compute(let work):
            isComputingEAP = true
            let check = progress.connection.serverCheck(work, responder: progress.responderID)
            _ = context.compute(.advance(check), for: common)
            return .stay
        case .failed(let failure):
            let origin = progress.attempt.connection.origin(of: failure.key)
            return progress.refuse(.eap(failure, origin), common, &context)
        case .succeeded(let outcome): return prove(outcome, common, &context)
        }
    }

    /// EAP believes us: AUTH says so to IKE, by the method's key.
    private mutating func prove(
        _ outcome: EAPOutcome,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let remote = progress.connection.remoteAuthentication
        if progress.eap?.provesPeer == true, !remote.eapMethods.contains(outcome.method) || outcome.key == nil
        {
            let failure = EAPFailure.method(
                "\(outcome.method.name) does not prove the peer, and nothing else did"
            )
            let origin = progress.attempt.connection.origin(of: failure.key)
            return progress.refuse(.eap(failure, origin), common, &context)
        }
        progress.eap?.outcome = outcome
        do throws(CryptoError) {
            let (auth, plain) = try progress.sharedKeyProof(outcome.key)
            let payloads = progress.proof(auth, plain)
            let text = "with the proof of EAP (\(outcome.method.name)) to \(common.remote)"
            return progress.send(payloads, text, common, &context)
        } catch {
            return progress.refuse(.cryptography(error), common, &context)
        }
    }

    /// The AUTH payload that ends EAP, of the peer.
    mutating func checkEAP(_ auth: AUTHPayload, _ keys: IKEKeys) -> DownCause? {
        guard let conversation = progress.eap, let outcome = conversation.outcome,
            let id = progress.responderID
        else { return .protocolError("it proves what was never begun") }
        let identity = Identity(type: id.type, data: id.data)
        do throws(CryptoError) {
            let peer = try VerifiedPeer.verifying(
                auth,
                identity: identity,
                outcome: outcome,
                octets: progress.octets(of: id, keys)
            )
            progress.eap = nil
            guard conversation.provesPeer else { return nil }
            guard let peer else { return .protocolError("EAP does not prove the peer") }
            progress.peer = progress.peer ?? peer
            progress.remoteRound += 1
            return nil
        } catch {
            return .authenticationFailed("'\(identity)' does not know the key that EAP made: \(error)")
        }
    }
}

extension Identity {
    /// As an EAP identity: names as they are, what has a structure as text.
    fileprivate var userName: [UInt8] {
        switch self {
        case .fqdn, .email, .keyID, .other: data
        case .address, .distinguishedName, .network, .any: Array(description.utf8)
        }
    }
}

extension EAPFailure {
    /// The key of the line that decides.
    var key: String {
        switch self {
        case .refused, .method, .malformed, .early, .ours: "eap"
        case .server: "ca"
        }
    }
}
