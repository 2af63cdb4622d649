import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// How a responder answers an IKE_SA_INIT request before any state is made (RFC 7296 §1.2, §2.6, §2.7).
enum ResponderInit {
    /// What to do with a request.
    enum Verdict {
        /// Send this and keep nothing.
        case reply([Payload], DownCause?)
        /// Nothing.
        case drop(IKEDropReason, DownCause?)
        /// Make an IKE_SA.
        case accept(ResponderComputing, group: KeyExchangeGroup, peerValue: [UInt8])
    }

    static func judge(
        _ payloads: [Payload],
        _ message: ReceivedMessage,
        _ datagram: IKEDatagram,
        _ context: EngineContext
    ) -> Verdict {
        if let type = payloads.unsupportedCritical {
            return .reply([.notify(NotifyPayload(.unsupportedCriticalPayload, data: [type]))], nil)
        }
        guard let offered = payloads.securityAssociation?.proposals, let exchange = payloads.keyExchange,
            let nonce = payloads.nonce
        else { return .drop(.malformed, nil) }
        let candidates = context.policies.candidates(
            local: datagram.local.address,
            remote: datagram.remote.address
        )
        guard !candidates.isEmpty else {
            let cause = DownCause.noConnection("no connection names \(datagram.remote.address) as its peer")
            return .reply([.notify(NotifyPayload(.noProposalChosen))], cause)
        }
        if let redirect = Redirects.payload(for: candidates.redirect, payloads, nonce: nonce) {
            return .reply([redirect], nil)
        }
        switch choose(offered, preferring: exchange.group, candidates) {
        case .failure(let refusal):
            return .reply([.notify(NotifyPayload(.noProposalChosen))], .noProposalChosen(refusal))
        case .success(let (suite, connections)):
            let supportsIntermediate = payloads.notification(.intermediateExchangeSupported) != nil
            guard suite.additionalGroups.isEmpty || supportsIntermediate else {
                let cause = DownCause.protocolError(
                    "it offers additional key exchanges without IKE_INTERMEDIATE (RFC 9370 §2.2.1)"
                )
                return .reply([.notify(NotifyPayload(.noProposalChosen))], cause)
            }
            guard exchange.group == suite.group.rawValue else {
                let wanted = suite.group.rawValue
                let data = [UInt8(truncatingIfNeeded: wanted >> 8), UInt8(truncatingIfNeeded: wanted)]
                return .reply([.notify(NotifyPayload(.invalidKEPayload, data: data))], nil)
            }
            // RFC 6989 §2 and RFC 8031 §3.2 are checked by the job; a wrong length costs nothing to see here.
            guard exchange.data.count == suite.group.publicValueLength else { return .drop(.malformed, nil) }
            guard
                let nat = try? NATDetection(
                    of: payloads,
                    header: message.header,
                    local: datagram.local,
                    remote: datagram.remote
                )
            else { return .drop(.malformed, nil) }
            var state = ResponderComputing(
                suite: suite,
                candidates: connections,
                nat: nat,
                initiatorNonce: nonce,
                requestOctets: datagram.octets
            )
            // Which connection it is shows later; by addresses the first one fits best.
            state.fragmentation = Fragmentation.policy(connections.first, payloads)
            state.wishes.note(payloads)
            state.usesPPK = payloads.notification(.usePPK) != nil && connections.usePostquantumKeys
            state.followsRedirects =
                payloads.notification(.redirectSupported) != nil
                || payloads.notification(.redirectedFrom) != nil
            return .accept(state, group: suite.group, peerValue: exchange.data)
        }
    }

    /// The first candidate with an acceptable proposal decides the suite; which candidate it really is shows in
    /// IKE_AUTH, among those that accept the same suite.
    private static func choose(
        _ offered: [Proposal],
        preferring group: UInt16,
        _ candidates: PolicyCandidates
    ) -> Result<(IKESuite, PolicyCandidates), ProposalRefusal> {
        var refusal: ProposalRefusal?
        let classes = candidates.classes
        for candidate in classes {
            do throws(ProposalRefusal) {
                let chosen = try ProposalRefusal.choose(
                    from: offered,
                    accepting: candidate.proposals.map { $0.preferring(group) },
                    origin: candidate.origin
                ).proposal
                guard let suite = IKESuite(chosen) else { continue }
                return .success((suite, candidates.accepting(chosen)))
            } catch {
                refusal = refusal ?? error
            }
        }
        return .failure(
            refusal
                ?? ProposalRefusal(
                    offered: offered,
                    accepted: classes.flatMap { $0.proposals },
                    missing: [],
                    origin: classes.first?.origin ?? ConfigurationOrigin(source: "-")
                )
        )
    }
}

extension Proposal {
    /// The same with one group first, if it is among them: then the peer's KE payload saves a round trip.
    func preferring(_ group: UInt16) -> Proposal {
        let wanted = Transform(.keyExchange, group)
        guard transforms.contains(wanted) else { return self }
        var result = self
        result.transforms = transforms.filter { $0 != wanted }
        let index = result.transforms.firstIndex { $0.type == .keyExchange } ?? result.transforms.endIndex
        result.transforms.insert(wanted, at: index)
        return result
    }
}

/// The responder's key pair and the shared secret are being computed; then the IKE_SA_INIT response goes out.
struct ResponderComputing {
    let suite: IKESuite
    let candidates: PolicyCandidates
    let nat: NATDetection
    let initiatorNonce: [UInt8]
    /// RealMessage1 of RFC 7296 §2.15.
    let requestOctets: [UInt8]
    /// What the connection says of fragments, if the peer supports them and we do.
    var fragmentation: FragmentationPolicy?
    /// The peer goes where we send it (RFC 5685).
    var followsRedirects = false
    /// What the peer says of certificates.
    var wishes = PeerWishes()
    /// Both ends can mix a post-quantum key in.
    var usesPPK = false

    func handle(_ result: ComputeResult, _ common: inout SACommon, _ context: inout EngineContext)
        -> Transition
    {
        switch result.outcome {
        case .answer(let pair, let secret):
            return respond(pair, secret, common, &context)
        case .failure(let error):
            context.count(.malformed)
            context.report(
                .attemptFailed(
                    AttemptFailure(
                        ikeID: common.id,
                        connection: nil,
                        tunnel: nil,
                        isInitiator: false,
                        remote: common.remote,
                        cause: .protocolError("its key exchange value was refused: \(error)")
                    )
                )
            )
            return .close
        case .keyPair, .secret, .signature, .checked, .advanced:
            return .stay
        }
    }

    /// What we understand beside (RFC 9242, 6023, 7383, 7427, 8784, 4739), and whose certificates we ask for.
    private var extensions: [Payload] {
        var payloads: [Payload] = []
        if !suite.additionalGroups.isEmpty {
            payloads.append(.notify(NotifyPayload(.intermediateExchangeSupported)))
        }
        if let first = candidates.first, first.childless != .never {
            payloads.append(.notify(NotifyPayload(.childlessSupported)))
        }
        if fragmentation != nil { payloads.append(.notify(NotifyPayload(.fragmentationSupported))) }
        if wishes.hashes != nil, candidates.useSignatures { payloads.append(.notify(.signatureHashes)) }
        if usesPPK { payloads.append(.notify(NotifyPayload(.usePPK))) }
        if candidates.haveSeveralRounds { payloads.append(.notify(NotifyPayload(.multipleAuthSupported))) }
        if candidates.fetchCertificates {
            payloads.append(.notify(NotifyPayload(.httpCertLookupSupported)))
        }
        if let request = candidates.certificateRequest { payloads.append(request) }
        return payloads
    }

    private func respond(
        _ pair: KeyExchangeKeyPair,
        _ secret: SecretKey,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        let nonce = context.entropy.bytes(32)
        let hides = candidates.forcesEncapsulation
        let hidingSource = hides ? context.entropy.bytes(20) : nil
        do {
            var chosen = suite.proposal
            chosen.spi = []
            var payloads: [Payload] = [
                .securityAssociation(SAPayload([chosen])),
                .keyExchange(KEPayload(group: pair.group.rawValue, data: pair.publicValue)),
                .nonce(nonce),
            ]
            if nat.isSupported {
                payloads += try NATDetection.notifications(
                    initiatorSPI: common.initiatorSPI,
                    responderSPI: common.responderSPI,
                    local: common.local,
                    remote: common.remote,
                    hidingSource: hidingSource
                )
            }
            payloads += extensions
            let header = common.header(.ikeSAInit, messageID: 0, isResponse: true)
            let message = IKEMessage(header: header, payloads: payloads)
            let response = OutgoingMessage(try message.encoded(), source: message)
            guard let initiatorSPI = IKESPI(common.remoteSPI),
                let cached = CachedResponse(to: requestOctets, response)
            else { return .close }
            let keys = try IKEKeys(
                suite: suite,
                sharedSecret: secret,
                initiatorNonce: initiatorNonce,
                responderNonce: nonce,
                initiatorSPI: initiatorSPI,
                responderSPI: common.localSPI
            )
            context.send(response, from: common.local, to: common.remote)
            var channel = SecureChannel(suite: suite, keys: keys, isInitiator: false)
            channel.fragmentation = fragmentation.map { Fragmentation($0, common, context.configuration) }
            let next = ResponderAwaitingAuth(
                initial: self,
                channel: channel,
                responderNonce: nonce,
                cached: cached,
                hidesSource: hides && nat.isSupported,
                intermediate: Intermediate(suite.additionalGroups),
                expiresAt: context.now.advanced(by: context.configuration.halfOpen.lifetime)
            )
            return .move(.responderAwaitingAuth(next))
        } catch {
            context.count(.malformed)
            return .close
        }
    }
}
