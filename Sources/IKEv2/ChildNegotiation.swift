import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// The two ends' parts of a CHILD_SA negotiation in IKE_AUTH (RFC 7296 §1.2, §2.9).
enum ChildNegotiation {
    /// Our offers, with our SPI; without groups in IKE_AUTH, which has no key exchange of its own.
    static func offers(_ tunnel: TunnelPolicy, spi: SPI, withGroups: Bool) -> [Proposal] {
        tunnel.proposals.prefix(64).enumerated().map { index, proposal in
            var offer = proposal
            offer.number = UInt8(truncatingIfNeeded: index + 1)
            offer.spi = spi.octets
            if !withGroups { offer.transforms.removeAll { $0.type.isKeyExchange } }
            return offer
        }
    }

    /// What both sides agreed on.
    struct Agreement {
        let tunnel: TunnelPolicy
        let proposal: Proposal
        let transform: CipherTransform
        let inboundSPI: SPI
        let outboundSPI: SPI
        let localSelectors: [TrafficSelector]
        let remoteSelectors: [TrafficSelector]
        /// The peer said nothing against padding behind inner packets (RFC 7296 §1.3.1).
        let takesPadding: Bool
        /// Both ends take further CHILD_SAs with these selectors (RFC 9611 §3).
        let sharesTraffic: Bool
    }

    /// Checks what a responder made of our offers; of the local side only what lies `within` becomes the CHILD_SA's.
    static func accept(
        _ payloads: [Payload],
        tunnel: TunnelPolicy,
        offers: [Proposal],
        local: [TrafficSelector],
        remote: [TrafficSelector],
        within: [TrafficSelector]? = nil,
        of peer: VerifiedPeer,
        keyExchange: KeyExchangeRule,
        inboundSPI: SPI
    ) -> Result<Agreement, DownCause> {
        guard let answer = payloads.securityAssociation?.proposals, answer.count == 1,
            let chosen = answer.first,
            ProposalRefusal.isValidAnswer(chosen, to: offers, ignoringGroups: keyExchange == .none),
            let transform = chosen.cipherTransform, let outbound = SPI(octets: chosen.spi)
        else { return .failure(.protocolError("its answer to our ESP offers is none of them")) }
        guard let mine = payloads.initiatorSelectors?.selectors,
            let theirs = payloads.responderSelectors?.selectors,
            SelectorNarrowing.isSubset(mine, of: local),
            SelectorNarrowing.isSubset(theirs, of: remote)
        else { return .failure(.protocolError("its traffic selectors are wider than what we offered")) }
        // Some leave our any address as it is and give us one: nothing else of ours may go through.
        let ours = within.map { SelectorNarrowing.narrow(mine, to: $0) } ?? mine
        guard !ours.isEmpty else {
            return .failure(.protocolError("its traffic selectors do not hold the address that it gave us"))
        }
        let bounded = peer.bounded(theirs)
        guard !bounded.isEmpty else {
            return .failure(outsideBlocks(theirs, peer, tunnel.origin))
        }
        return .success(
            Agreement(
                tunnel: tunnel,
                proposal: chosen,
                transform: transform,
                inboundSPI: inboundSPI,
                outboundSPI: outbound,
                localSelectors: ours,
                remoteSelectors: bounded,
                takesPadding: payloads.notification(.espTFCPaddingNotSupported) == nil,
                sharesTraffic: tunnel.resource != nil && payloads.notification(.saResourceInfo) != nil
            )
        )
    }

    /// The peer's certificate lets it stand for none of the addresses (RFC 3779).
    private static func outsideBlocks(
        _ offered: [TrafficSelector],
        _ peer: VerifiedPeer,
        _ origin: ConfigurationOrigin
    ) -> DownCause {
        .tsUnacceptable(
            offered: InitiatorAttempt.text(offered),
            accepted:
                "what its certificate is for: \(InitiatorAttempt.text(peer.addressBlocks ?? [])) (RFC 3779)",
            origin: origin
        )
    }

    /// Which key exchange a CHILD_SA may have.
    enum KeyExchangeRule {
        /// None: the CHILD_SA is made in IKE_AUTH (RFC 7296 §1.2).
        case none
        /// As tunnel and peer agree, in CREATE_CHILD_SA.
        case negotiated
    }

    /// Chooses a tunnel, a proposal and selectors for an initiator's offer; `spi` is asked for once all fits.
    ///
    /// - Parameter tunnels: those that come into question: all of a connection, or the one that is rekeyed.
    /// - Parameter path: what dynamic selectors stand for.
    static func answer(
        _ payloads: [Payload],
        connection: ConnectionPolicy,
        tunnels: [TunnelPolicy],
        path: SelectorEnds,
        of peer: VerifiedPeer,
        keyExchange: KeyExchangeRule,
        spi: (ChildResource?) -> SPI
    ) -> Result<Agreement, DownCause> {
        guard let offered = payloads.securityAssociation?.proposals,
            let theirs = payloads.initiatorSelectors?.selectors,
            let ours = payloads.responderSelectors?.selectors
        else { return .failure(.protocolError("its request lacks what a CHILD_SA needs")) }
        let bounded = peer.bounded(theirs)
        guard !bounded.isEmpty || theirs.isEmpty else {
            return .failure(outsideBlocks(theirs, peer, tunnels.first?.origin ?? connection.origin))
        }
        guard let (tunnel, local, remote) = choose(from: tunnels, ours: ours, theirs: bounded, path) else {
            return .failure(selectorRefusal(ours: ours, theirs: theirs, connection))
        }
        do throws(ProposalRefusal) {
            let accepted =
                switch keyExchange {
                case .none: tunnel.proposals
                case .negotiated: tunnel.proposals.map { $0.acceptingGroups(of: offered) }
                }
            let chosen = try ProposalRefusal.choose(
                from: offered,
                accepting: accepted,
                ignoringGroups: keyExchange == .none,
                origin: connection.origin(of: "esp-proposals")
            ).proposal
            guard let transform = chosen.cipherTransform, let outbound = SPI(octets: chosen.spi) else {
                return .failure(.protocolError("its ESP proposal has no valid SPI"))
            }
            return .success(
                Agreement(
                    tunnel: tunnel,
                    proposal: chosen,
                    transform: transform,
                    inboundSPI: spi(tunnel.resource),
                    outboundSPI: outbound,
                    localSelectors: local,
                    remoteSelectors: remote,
                    takesPadding: payloads.notification(.espTFCPaddingNotSupported) == nil,
                    sharesTraffic: tunnel.resource != nil && payloads.notification(.saResourceInfo) != nil
                )
            )
        } catch {
            return .failure(.noProposalChosen(error))
        }
    }

    /// The tunnel that a request for a CHILD_SA is about.
    static func match(
        _ payloads: [Payload],
        _ tunnels: [TunnelPolicy],
        path: SelectorEnds
    ) -> TunnelPolicy? {
        guard let theirs = payloads.initiatorSelectors?.selectors,
            let ours = payloads.responderSelectors?.selectors
        else { return nil }
        return choose(from: tunnels, ours: ours, theirs: theirs, path)?.0
    }

    /// True when a request asks for no CHILD_SA, or one of `tunnels` has traffic in common with what it asks for.
    static func fits(
        _ payloads: [Payload],
        _ tunnels: [TunnelPolicy],
        path: SelectorEnds
    ) -> Bool {
        guard payloads.securityAssociation != nil, let theirs = payloads.initiatorSelectors?.selectors,
            let ours = payloads.responderSelectors?.selectors
        else { return true }
        return choose(from: tunnels, ours: ours, theirs: theirs, path) != nil
    }

    /// The first tunnel that has traffic in common with an offer, or one that has all of it.
    private static func choose(
        from tunnels: [TunnelPolicy],
        ours: [TrafficSelector],
        theirs: [TrafficSelector],
        _ path: SelectorEnds
    ) -> (TunnelPolicy, local: [TrafficSelector], remote: [TrafficSelector])? {
        var best: (TunnelPolicy, local: [TrafficSelector], remote: [TrafficSelector])?
        for tunnel in tunnels {
            let local = SelectorNarrowing.narrow(ours, to: tunnel.local(at: path.local))
            let remote = SelectorNarrowing.narrow(theirs, to: tunnel.remote(at: path.remote))
            guard !local.isEmpty, !remote.isEmpty else { continue }
            let isExact = Set(local) == Set(ours) && Set(remote) == Set(theirs)
            if best == nil || isExact { best = (tunnel, local, remote) }
            if isExact { break }
        }
        return best
    }

    private static func selectorRefusal(
        ours: [TrafficSelector],
        theirs: [TrafficSelector],
        _ connection: ConnectionPolicy
    ) -> DownCause {
        let accepted = connection.tunnels.prefix(8).map { $0.selectorText }
        return .tsUnacceptable(
            offered: "\(InitiatorAttempt.text(ours)) === \(InitiatorAttempt.text(theirs))",
            accepted: accepted.joined(separator: " or "),
            origin: connection.tunnels.first?.origin ?? connection.origin
        )
    }

    /// The notification for a CHILD_SA that is refused while its IKE_SA stands (RFC 7296 §1.2).
    static func notification(for cause: DownCause) -> NotifyPayload {
        switch cause {
        case .noProposalChosen: NotifyPayload(.noProposalChosen)
        case .tsUnacceptable: NotifyPayload(.tsUnacceptable)
        default: NotifyPayload(.invalidSyntax)
        }
    }

    /// What an error of the peer in CREATE_CHILD_SA is about on our side.
    static func hint(for type: NotifyType, _ tunnel: TunnelPolicy, _ connection: ConnectionPolicy) -> String {
        switch type {
        case .noProposalChosen, .invalidKEPayload:
            "it accepts none of \(tunnel.proposals.map { $0.description }.joined(separator: " ")); if the tunnel came up "
                + "at first, PFS differs: compare the groups (\(connection.origin(of: "esp-proposals")))"
        case .tsUnacceptable:
            "it accepts no part of \(tunnel.selectorText) (\(tunnel.origin))"
        case .tsMaxQueue: "it takes no further CHILD_SA with these selectors (RFC 9611)"
        case .noAdditionalSAs: "it makes no more CHILD_SAs in this IKE_SA"
        case .temporaryFailure: "it is busy with a rekey or a deletion of its own"
        case .childSANotFound: "it does not have that CHILD_SA any more"
        default: "see the peer's log (\(tunnel.origin))"
        }
    }

    /// Derives keys and hands the CHILD_SA to the data plane.
    static func install(
        _ agreement: Agreement,
        channel: SecureChannel,
        nonces: (initiator: [UInt8], responder: [UInt8]),
        secrets: [SecretKey],
        initiatedByUs: Bool,
        sendsAtOnce: Bool,
        peer: VerifiedPeer,
        connection: ConnectionPolicy,
        encapsulation: Encapsulation,
        _ common: SACommon,
        _ context: inout EngineContext
    ) throws(CryptoError) -> ChildSA {
        let keymat = try channel.keys.childKeys(
            prf: channel.suite.prf,
            transform: agreement.transform,
            initiatorNonce: nonces.initiator,
            responderNonce: nonces.responder,
            sharedSecret: secrets.first,
            additionalSecrets: Array(secrets.dropFirst())
        )
        let id = context.newChildID()
        let description = ChildSADescription(
            id: id,
            connection: connection.name,
            tunnel: agreement.tunnel.name,
            group: agreement.tunnel.configuredName,
            inboundSPI: agreement.inboundSPI,
            outboundSPI: agreement.outboundSPI,
            transform: agreement.transform,
            usesESN: agreement.proposal.transform(of: .esn) == .esn,
            inboundKeys: initiatedByUs ? keymat.responder : keymat.initiator,
            outboundKeys: initiatedByUs ? keymat.initiator : keymat.responder,
            localSelectors: agreement.localSelectors,
            remoteSelectors: agreement.remoteSelectors,
            path: OuterPath(local: common.local, remote: common.remote, encapsulation: encapsulation),
            replayWindow: agreement.tunnel.replayWindow,
            softLimit: agreement.tunnel.rekeyVolume,
            limit: agreement.tunnel.limit,
            padding: agreement.takesPadding ? agreement.tunnel.padding : .none,
            copying: agreement.tunnel.copying
        )
        context.emit(
            .install(
                ChildSAInstallation(description, peer: peer, ikeID: common.id, sendsAtOnce: sendsAtOnce)
            )
        )
        let lifetime = agreement.tunnel.lifetime
        var snapshot = ChildSASnapshot(
            id: id,
            tunnel: agreement.tunnel.name,
            inboundSPI: agreement.inboundSPI,
            outboundSPI: agreement.outboundSPI,
            proposal: agreement.proposal,
            localSelectors: agreement.localSelectors,
            remoteSelectors: agreement.remoteSelectors,
            encapsulation: encapsulation,
            installedAt: context.now
        )
        snapshot.rekeyAt = lifetime.rekeyInstant(from: context.now, fraction: context.entropy.fraction())
        snapshot.expiresAt = lifetime.expiry(from: context.now)
        return ChildSA(
            snapshot: snapshot,
            connection: connection.name,
            isOurs: initiatedByUs,
            lowestNonce: Collisions.lowest(nonces),
            isSending: sendsAtOnce
        )
    }
}

extension Proposal {
    /// The same with the peer's groups where the policy names none: PFS that a peer asks for does no harm, and
    /// refusing it would end the tunnel at the first rekey.
    fileprivate func acceptingGroups(of offered: [Proposal]) -> Proposal {
        guard transform(of: .keyExchange) == nil else { return self }
        var result = self
        for group in offered.flatMap({ $0.transforms(of: .keyExchange) })
        where group.keyExchangeGroup != nil && !result.transforms.contains(group) {
            result.transforms.append(group)
        }
        if result.transform(of: .keyExchange) != nil { result.transforms.append(Transform(.keyExchange, 0)) }
        return result
    }
}
