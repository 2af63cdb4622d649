import Cryptography
import DequeModule
import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

/// Cryptography that was computed elsewhere.
extension Established {
    mutating func handle(
        _ result: ComputeResult,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if result.id == pendingAnswer?.job { return answerComputed(result, common, &context) }
        guard let exchange = active else { return .stay }
        switch exchange.phase {
        case .preparing(result.id): return prepared(exchange, result, common, &context)
        case .deriving(result.id, let agreed): return derived(exchange, agreed, result, common, &context)
        case .preparing, .requested, .deriving: return .stay
        }
    }

    /// The key pair for a request is there.
    private mutating func prepared(
        _ exchange: OwnExchange,
        _ result: ComputeResult,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        if exchange.followUp != nil { return sendFollowUp(exchange, result, common, &context) }
        guard case .keyPair(let pair) = result.outcome else {
            var cause = DownCause.protocolError("no key pair")
            if case .failure(let error) = result.outcome { cause = .cryptography(error) }
            return exchange.task == .rekeyIKE
                ? ikeRekeyFailed(exchange, cause, common, &context)
                : childFailed(exchange, cause, common, &context)
        }
        guard closing == nil, successor == nil, !isAnsweringPeer, isWanted(exchange),
            var offer = exchange.offer
        else {
            active = nil
            if let spi = exchange.offer?.inboundSPI { context.release(spi) }
            // A request of the peer is being answered: whether ours is still needed shows after that.
            if closing == nil, successor == nil, !exchange.isCancelled { waiting.prepend(exchange.task) }
            return sendNext(common, &context)
        }
        offer.keyPair = pair
        let transition = request(exchange.task, [], offer, common, &context)
        active?.rival = exchange.rival
        active?.rivalChild = exchange.rivalChild
        return transition
    }

    private func isWanted(_ exchange: OwnExchange) -> Bool {
        guard !exchange.isCancelled else { return false }
        return switch exchange.task {
        case .createChild(let tunnel): current(of: tunnel) == nil
        case .rekeyChild(let id): children.contains { $0.id == id && $0.isCurrent }
        default: true
        }
    }

    /// The shared secret of our request is there.
    private mutating func derived(
        _ exchange: OwnExchange,
        _ agreed: OwnExchange.Answer,
        _ result: ComputeResult,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        var secrets: [SecretKey] = []
        if case .secret(let secret) = result.outcome {
            secrets = (exchange.followUp?.secrets ?? []) + [secret]
            if let transition = followUp(exchange, agreed, secrets, common, &context) { return transition }
        }
        switch (agreed, result.outcome) {
        case (.child(let agreement, let nonce), .secret):
            return finishChild(exchange, agreement, nonce, secrets, common, &context)
        case (.ike(let suite, let peerSPI, let nonce), .secret):
            return finishIKERekey(exchange, suite, peerSPI, nonce, secrets, common, &context)
        case (.child, let outcome):
            return childBroken(exchange, Self.failure(outcome), common, &context)
        case (.ike, let outcome):
            return ikeRekeyFailed(exchange, Self.failure(outcome), common, &context)
        }
    }

    static func failure(_ outcome: ComputeResult.Outcome) -> DownCause {
        if case .failure(let error) = outcome { return .cryptography(error) }
        return .protocolError("a computation gave something else")
    }
}
