import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

/// One IKE_SA: a state, and what it shares with all others.
struct IKESA {
    /// The states of an IKE_SA.
    ///
    /// Initiator:  initiatorGenerating → initiatorAwaitingInit → initiatorDeriving → [initiatorIntermediate →]
    ///             [initiatorSigning →] initiatorAwaitingAuth
    /// Responder:  responderComputing → responderAwaitingAuth
    /// Both:       → established → lingering
    enum State {
        /// We are making a key pair. Can transition to: `.initiatorAwaitingInit`.
        case initiatorGenerating(InitiatorGenerating)
        /// IKE_SA_INIT is out. Can transition to: `.initiatorGenerating` (another group), `.initiatorDeriving`.
        case initiatorAwaitingInit(InitiatorAwaitingInit)
        /// The shared secret is being computed. Can transition to: `.initiatorIntermediate`, `.initiatorSigning`,
        /// `.initiatorAwaitingAuth`.
        case initiatorDeriving(InitiatorDeriving)
        /// Further key exchanges are under way. Can transition to: `.initiatorSigning`, `.initiatorAwaitingAuth`.
        case initiatorIntermediate(InitiatorIntermediate)
        /// Our signature is being made. Can transition to: `.initiatorAwaitingAuth`.
        case initiatorSigning(InitiatorSigning)
        /// IKE_AUTH is out. Can transition to: `.established`, `.lingering`.
        case initiatorAwaitingAuth(InitiatorAwaitingAuth)
        /// An IKE_SA_INIT request is being answered. Can transition to: `.responderAwaitingAuth`.
        case responderComputing(ResponderComputing)
        /// IKE_SA_INIT was answered. Can transition to: `.established`, `.lingering`.
        case responderAwaitingAuth(ResponderAwaitingAuth)
        /// The peer authenticated itself. Can transition to: `.lingering`.
        case established(Established)
        /// Over; only answers retransmissions of the last request. Can transition to: nothing.
        case lingering(Lingering)
    }

    var common: SACommon
    private(set) var state: State

    init(common: SACommon, state: State) {
        self.common = common
        self.state = state
    }

    /// When `timeout` wants to be called.
    var deadline: Instant? {
        switch state {
        case .initiatorGenerating, .initiatorDeriving, .initiatorSigning, .responderComputing: nil
        case .initiatorAwaitingInit(let state): state.request.nextAt
        case .initiatorIntermediate(let state): state.deadline
        case .initiatorAwaitingAuth(let state): state.deadline
        case .responderAwaitingAuth(let state): state.expiresAt
        case .established(let state): state.deadline
        case .lingering(let state): state.expiresAt
        }
    }

    /// The connection's name, once it is known.
    var connectionName: String? {
        switch state {
        case .initiatorGenerating(let state): state.attempt.connection.name
        case .initiatorAwaitingInit(let state): state.attempt.connection.name
        case .initiatorDeriving(let state): state.attempt.connection.name
        case .initiatorIntermediate(let state): state.attempt.connection.name
        case .initiatorSigning(let state): state.attempt.connection.name
        case .initiatorAwaitingAuth(let state): state.attempt.connection.name
        case .responderComputing, .responderAwaitingAuth, .lingering: nil
        case .established(let state): state.connection.name
        }
    }

    /// True while an IKE_SA that we initiated is on its way.
    var isAttempt: Bool {
        switch state {
        case .initiatorGenerating, .initiatorAwaitingInit, .initiatorDeriving, .initiatorIntermediate,
            .initiatorSigning, .initiatorAwaitingAuth:
            true
        case .responderComputing, .responderAwaitingAuth, .established, .lingering: false
        }
    }

    var isHalfOpen: Bool {
        switch state {
        case .responderComputing, .responderAwaitingAuth: true
        case .initiatorGenerating, .initiatorAwaitingInit, .initiatorDeriving, .initiatorIntermediate,
            .initiatorSigning, .initiatorAwaitingAuth, .established, .lingering:
            false
        }
    }

    func snapshot() -> IKESASnapshot? {
        switch state {
        case .initiatorGenerating, .initiatorAwaitingInit, .initiatorDeriving, .initiatorIntermediate,
            .initiatorSigning, .initiatorAwaitingAuth:
            common.snapshot(connection: connectionName ?? "", state: .connecting)
        case .responderComputing, .responderAwaitingAuth:
            common.snapshot(connection: "", state: .connecting)
        case .established(let state):
            // What a collision made in vain is nobody's connection.
            state.awaitsHandover || state.isSilent ? nil : state.snapshot(common)
        case .lingering: nil
        }
    }

    /// Handles a message whose header named this IKE_SA.
    ///
    /// Returns false when the IKE_SA is gone.
    mutating func handle(_ message: ReceivedMessage, _ datagram: IKEDatagram, _ context: inout EngineContext)
        -> Bool
    {
        let transition: Transition
        switch state {
        case .initiatorGenerating, .initiatorDeriving, .initiatorSigning, .responderComputing:
            context.count(.unexpected)
            transition = .stay
        case .initiatorAwaitingInit(var inner):
            transition = inner.handle(message, datagram, &common, &context)
            state = .initiatorAwaitingInit(inner)
        case .initiatorIntermediate(var inner):
            transition = inner.handle(message, datagram, common, &context)
            state = .initiatorIntermediate(inner)
        case .initiatorAwaitingAuth(var inner):
            transition = inner.handle(message, datagram, &common, &context)
            state = .initiatorAwaitingAuth(inner)
        case .responderAwaitingAuth(var inner):
            transition = inner.handle(message, datagram, &common, &context)
            state = .responderAwaitingAuth(inner)
        case .established(var inner):
            transition = inner.handle(message, datagram, &common, &context)
            state = .established(inner)
        case .lingering(let inner):
            inner.handle(datagram, common, &context)
            transition = .stay
        }
        return apply(transition)
    }

    /// Handles the answer to a compute job of this IKE_SA.
    mutating func handle(_ result: ComputeResult, _ context: inout EngineContext) -> Bool {
        switch state {
        case .initiatorGenerating(let inner):
            return apply(inner.handle(result, &common, &context))
        case .initiatorDeriving(let inner):
            return apply(inner.handle(result, &common, &context))
        case .initiatorIntermediate(var inner):
            let transition = inner.handle(result, &common, &context)
            state = .initiatorIntermediate(inner)
            return apply(transition)
        case .initiatorSigning(var inner):
            let transition = inner.handle(result, common, &context)
            state = .initiatorSigning(inner)
            return apply(transition)
        case .initiatorAwaitingAuth(var inner):
            let transition = inner.handle(result, &common, &context)
            state = .initiatorAwaitingAuth(inner)
            return apply(transition)
        case .responderComputing(let inner):
            return apply(inner.handle(result, &common, &context))
        case .responderAwaitingAuth(var inner):
            let transition = inner.handle(result, common, &context)
            state = .responderAwaitingAuth(inner)
            return apply(transition)
        case .established(var inner):
            let transition = inner.handle(result, common, &context)
            state = .established(inner)
            return apply(transition)
        case .initiatorAwaitingInit, .lingering:
            return true
        }
    }

    /// Handles a deadline that has come.
    mutating func timeout(_ context: inout EngineContext) -> Bool {
        let transition: Transition
        switch state {
        case .initiatorGenerating, .initiatorDeriving, .initiatorSigning, .responderComputing:
            transition = .stay
        case .initiatorAwaitingInit(var inner):
            transition = inner.timeout(common, &context)
            state = .initiatorAwaitingInit(inner)
        case .initiatorIntermediate(var inner):
            transition = inner.timeout(common, &context)
            state = .initiatorIntermediate(inner)
        case .initiatorAwaitingAuth(var inner):
            transition = inner.timeout(common, &context)
            state = .initiatorAwaitingAuth(inner)
        case .responderAwaitingAuth(let inner):
            transition = inner.timeout(common, &context)
        case .established(var inner):
            transition = inner.timeout(common, &context)
            state = .established(inner)
        case .lingering:
            transition = .close
        }
        return apply(transition)
    }

    /// Deletes the IKE_SA: an established one tells the peer first, any other just ends.
    mutating func terminate(_ cause: DownCause, _ context: inout EngineContext) -> Bool {
        switch state {
        case .established(var inner):
            let transition = inner.terminate(cause, common, &context)
            state = .established(inner)
            return apply(transition)
        case .initiatorGenerating(let inner):
            inner.attempt.fail(cause, common, &context)
            return false
        case .initiatorAwaitingInit(let inner):
            inner.attempt.fail(cause, common, &context)
            return false
        case .initiatorDeriving(let inner):
            inner.attempt.fail(cause, common, &context)
            return false
        case .initiatorIntermediate(let inner):
            inner.attempt.fail(cause, common, &context)
            return false
        case .initiatorSigning(let inner):
            return apply(inner.progress.giveUp(cause, common, &context))
        case .initiatorAwaitingAuth(let inner):
            return apply(inner.progress.giveUp(cause, common, &context))
        case .responderComputing, .responderAwaitingAuth:
            return false
        case .lingering:
            return true
        }
    }

    /// Lets `body` work on an established IKE_SA.
    mutating func withEstablished(
        _ context: inout EngineContext,
        _ body: (inout Established, inout SACommon, inout EngineContext) -> Transition
    ) -> Bool {
        guard case .established(var inner) = state else { return true }
        let transition = body(&inner, &common, &context)
        state = .established(inner)
        return apply(transition)
    }

    /// The peer's request came in fragments of at most so many octets.
    mutating func noteFragments(_ octets: Int) {
        switch state {
        case .responderAwaitingAuth(var inner):
            inner.channel.fragmentation?.note(received: octets)
            state = .responderAwaitingAuth(inner)
        case .established(var inner):
            inner.channel.fragmentation?.note(received: octets)
            state = .established(inner)
        case .initiatorGenerating, .initiatorAwaitingInit, .initiatorDeriving, .initiatorIntermediate,
            .initiatorSigning, .initiatorAwaitingAuth, .responderComputing, .lingering:
            break
        }
    }

    private mutating func apply(_ transition: Transition) -> Bool {
        switch transition {
        case .stay: return true
        case .move(let next):
            state = next
            return true
        case .close: return false
        }
    }
}
