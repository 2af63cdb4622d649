public import IPsecTypes

/// Why no offered proposal was acceptable: what was offered, what would have been, and by which line.
public struct ProposalRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// What the peer offered.
    public let offered: [Proposal]
    /// What the policy accepts.
    public let accepted: [Proposal]
    /// For the nearest pair, the types without a common transform.
    public let missing: [TransformType]
    /// The line that decides.
    public let origin: ConfigurationOrigin

    /// Makes a refusal.
    public init(
        offered: [Proposal],
        accepted: [Proposal],
        missing: [TransformType],
        origin: ConfigurationOrigin
    ) {
        self.offered = offered
        self.accepted = accepted
        self.missing = missing
        self.origin = origin
    }

    /// One line: the difference first, then both sides.
    public var description: String {
        let names = missing.map { type in
            let word =
                switch type {
                case .encryption: "encryption"
                case .prf: "PRF"
                case .integrity: "integrity"
                case .keyExchange: "key exchange group"
                case .esn: "ESN"
                case .additionalKeyExchange(let index): "additional key exchange \(index)"
                case .unknown(let number): "transform type \(number)"
                }
            return word
        }
        let difference =
            names.isEmpty ? "no common protocol" : "no common " + names.joined(separator: ", no common ")
        let list = { (proposals: [Proposal]) in
            // A stranger decides how long an offer is; the line stays readable.
            let text = proposals.prefix(8).map { $0.description }.joined(separator: " ")
            return text.utf8.count <= 600 ? text : String(text.prefix(600)) + "…"
        }
        return "\(difference); peer offered \(list(offered)); \(origin) accepts \(list(accepted))"
    }
}

/// A proposal that both sides accept: exactly one transform of each type it has.
public struct ChosenProposal: Hashable, Sendable {
    /// The peer's proposal cut down to what was chosen; its number and SPI are the peer's.
    public let proposal: Proposal
}

extension ProposalRefusal {
    /// Chooses by our order of preference among `offered` (RFC 7296 §2.7, §3.3.6).
    ///
    /// - Parameter ignoringGroups: true in IKE_AUTH, whose CHILD_SA has no key exchange of its own (§1.2).
    public static func choose(
        from offered: [Proposal],
        accepting accepted: [Proposal],
        ignoringGroups: Bool = false,
        origin: ConfigurationOrigin
    ) throws(ProposalRefusal) -> ChosenProposal {
        var fewest: [TransformType]?
        for mine in accepted {
            for theirs in offered where theirs.securityProtocol == mine.securityProtocol {
                switch intersection(mine, theirs, ignoringGroups: ignoringGroups) {
                case .success(let proposal):
                    return ChosenProposal(proposal: proposal)
                case .failure(let gap):
                    if fewest.map({ gap.types.count < $0.count }) ?? true { fewest = gap.types }
                }
            }
        }
        throw ProposalRefusal(offered: offered, accepted: accepted, missing: fewest ?? [], origin: origin)
    }

    private struct Gap: Error {
        let types: [TransformType]
    }

    private static func intersection(
        _ mine: Proposal,
        _ theirs: Proposal,
        ignoringGroups: Bool
    ) -> Result<Proposal, Gap> {
        let types = TransformType.known
        var chosen = [Transform]()
        // A type that we do not know cannot be satisfied by us (RFC 7296 §3.3.6).
        var missing = theirs.transforms.map { $0.type }.filter { !types.contains($0) }
        for type in types {
            if type.isKeyExchange, ignoringGroups { continue }
            let ours = mine.transforms(of: type)
            let offers = theirs.transforms(of: type)
            let common = ours.first { ours in
                offers.contains(ours) && ours.isSupported && !ours.repeatsKeyExchange(of: chosen)
            }
            if let common {
                if common != Transform(.integrity, 0) { chosen.append(common) }
            } else if !isOptional(type, ours) || !isOptional(type, offers) {
                missing.append(type)
            }
        }
        guard missing.isEmpty else { return .failure(Gap(types: missing)) }
        var result = theirs
        result.transforms = chosen
        return .success(result)
    }

    /// No transform of a type equals its NONE (RFC 7296 §3.3.2); ESN may be left out by old peers, meaning none.
    private static func isOptional(_ type: TransformType, _ transforms: [Transform]) -> Bool {
        switch type {
        case .integrity, .keyExchange, .additionalKeyExchange:
            transforms.isEmpty || transforms.contains(Transform(type, 0))
        case .esn: transforms.isEmpty || transforms.contains(.noESN)
        case .encryption, .prf, .unknown: transforms.isEmpty
        }
    }

    /// Checks that a responder's answer is one of our offers with one transform of each type (§2.7).
    public static func isValidAnswer(_ answer: Proposal, to offers: [Proposal], ignoringGroups: Bool = false)
        -> Bool
    {
        guard let offer = offers.first(where: { $0.number == answer.number }),
            offer.securityProtocol == answer.securityProtocol
        else { return false }
        guard answer.transforms.allSatisfy({ offer.transforms.contains($0) && $0.isSupported }) else {
            return false
        }
        let groups = answer.transforms.filter { $0.type.isKeyExchange && $0.id != 0 }.map { $0.id }
        guard Set(groups).count == groups.count else { return false }
        return TransformType.known.allSatisfy { type in
            let given = answer.transforms(of: type)
            let asked = offer.transforms(of: type)
            if type.isKeyExchange, ignoringGroups { return given.count <= 1 }
            return given.count == 1 || (given.isEmpty && isOptional(type, asked))
        }
    }
}

extension Transform {
    /// True for a key exchange whose method is chosen already: all of a proposal differ (RFC 9370 §2.2.1).
    fileprivate func repeatsKeyExchange(of chosen: [Transform]) -> Bool {
        type.isKeyExchange && id != 0 && chosen.contains { $0.type.isKeyExchange && $0.id == id }
    }
}
