import IPsecTypes
import Policy

/// A named policy of the file: what connections take that refer to it.
struct NamedPolicy {
    var ike: (proposals: [Proposal], position: SourcePosition)?
    var esp: (proposals: [Proposal], position: SourcePosition)?
    var lifetime: SALifetime?
    var rekeyVolume = SAVolume()
    var limit = SAVolume()
}

/// Reads a policy in Azure's vocabulary into proposals.
struct PolicyReader {
    static let keys = [
        "ikeEncryption", "ikeIntegrity", "dhGroup", "ipsecEncryption", "ipsecIntegrity", "pfsGroup",
        "saLifeTimeSeconds", "saDataSizeKilobytes",
    ]

    private let reader: MappingReader

    /// The policy that stands at `entry`; nil when it is no mapping.
    static func read(_ entry: ConfigurationEntry, _ sink: DiagnosticSink) -> NamedPolicy? {
        let path = "policies.\(entry.key)"
        guard
            let reader = MappingReader(entry.value, at: entry.position, path: path, accepting: keys, sink)
        else { return nil }
        let policy = PolicyReader(reader: reader)
        let octets = policy.octets()
        return NamedPolicy(
            ike: policy.ike(),
            esp: policy.esp(),
            lifetime: policy.lifetime(),
            rekeyVolume: SAVolume(octets: octets),
            limit: SAVolume(octets: octets.map { LifetimeReader.hard(after: $0) })
        )
    }

    private func words(_ key: String, _ names: [AzureNames.Name]) -> [String]? {
        reader.list(key) { (text) throws(Refusal) in try AzureNames.word(text, among: names) }
    }

    // MARK: - IKE

    private func ike() -> (proposals: [Proposal], position: SourcePosition)? {
        let keys = ["ikeEncryption", "ikeIntegrity", "dhGroup"]
        let present = keys.compactMap { reader.entry($0) }
        guard let first = present.first else { return nil }
        for key in keys where reader.entry(key) == nil {
            reader.missing(key, "a policy names all of \(keys.joined(separator: ", ")), or none")
        }
        guard let ciphers = words("ikeEncryption", AzureNames.ciphers),
            let hashes = words("ikeIntegrity", AzureNames.hashes),
            let groups = words("dhGroup", AzureNames.groups),
            !ciphers.isEmpty, !hashes.isEmpty, !groups.isEmpty
        else { return nil }
        let texts = split(ciphers).map { part in
            // With a combined-mode cipher the integrity algorithm names the PRF (RFC 5282 §8).
            let functions = part.isCombined ? hashes.map { "prf" + $0 } : hashes
            return (part.words + functions + groups).joined(separator: "-")
        }
        return (proposals(texts, .ike, first), first.position)
    }

    // MARK: - IPsec

    private func esp() -> (proposals: [Proposal], position: SourcePosition)? {
        let keys = ["ipsecEncryption", "ipsecIntegrity", "pfsGroup"]
        guard let first = keys.compactMap({ reader.entry($0) }).first else { return nil }
        guard reader.entry("ipsecEncryption") != nil else {
            reader.missing("ipsecEncryption", "a policy that names ipsecIntegrity or pfsGroup names it too")
            return nil
        }
        let ciphers = words("ipsecEncryption", AzureNames.ipsecCiphers)
        let integrity = words("ipsecIntegrity", AzureNames.ipsecIntegrity)
        // None alone is said by leaving the type out, which every peer understands.
        let named = words("pfsGroup", AzureNames.pfsGroups) ?? []
        let groups = named == ["modpnone"] ? [] : named
        guard let ciphers, !ciphers.isEmpty, integrity.map({ !$0.isEmpty }) ?? true else { return nil }
        guard let hashes = hashes(for: ciphers, integrity ?? []) else { return nil }
        let texts = split(ciphers).map { part in
            (part.words + (part.isCombined ? [] : hashes) + groups).joined(separator: "-")
        }
        return (proposals(texts, .esp, first), first.position)
    }

    /// The HMACs for the ciphers that need one, or nil after an error.
    ///
    /// Azure's rule: with GCM, ipsecIntegrity equals ipsecEncryption.
    private func hashes(for ciphers: [String], _ integrity: [String]) -> [String]? {
        let combined = AzureNames.combinedCiphers.map { $0.word }
        let hashes = integrity.filter { !combined.contains($0) }
        for word in integrity where combined.contains(word) && !ciphers.contains(word) {
            reader.error(
                "ipsecIntegrity",
                "\(quoted(name(word))) is not in ipsecEncryption: with a combined-mode cipher both are equal"
            )
            return nil
        }
        let needsHash = ciphers.contains { !combined.contains($0) }
        if needsHash, hashes.isEmpty {
            let accepted = AzureNames.hashes.map { $0.name }.joined(separator: ", ")
            if reader.entry("ipsecIntegrity") == nil {
                reader.missing("ipsecIntegrity", "\(name(ciphers[0])) needs one; accepted: \(accepted)")
            } else {
                reader.error("ipsecIntegrity", "it needs an integrity algorithm; accepted: \(accepted)")
            }
            return nil
        }
        if !needsHash, let extra = hashes.first {
            let accepted = ciphers.map { name($0) }.joined(separator: ", ")
            reader.error(
                "ipsecIntegrity",
                "\(quoted(extra.uppercased())) does not go with a combined-mode cipher; accepted: \(accepted)"
            )
            return nil
        }
        return hashes
    }

    private func name(_ word: String) -> String {
        AzureNames.ciphers.first { $0.word == word }?.name ?? word
    }

    /// Combined-mode and other ciphers, which must not share a proposal (RFC 5282 §8); the first named come first.
    private func split(_ ciphers: [String]) -> [(isCombined: Bool, words: [String])] {
        let combined = AzureNames.combinedCiphers.map { $0.word }
        let first = ciphers.filter { combined.contains($0) }
        let second = ciphers.filter { !combined.contains($0) }
        let parts = [(isCombined: true, words: first), (isCombined: false, words: second)].filter {
            !$0.words.isEmpty
        }
        guard let lead = ciphers.first, !combined.contains(lead) else { return parts }
        return parts.reversed()
    }

    private func proposals(
        _ texts: [String],
        _ securityProtocol: SecurityProtocol,
        _ entry: ConfigurationEntry
    ) -> [Proposal] {
        texts.enumerated().compactMap { index, text in
            do throws(ProposalSyntaxError) {
                var proposal = try Proposal(keywords: text, for: securityProtocol)
                proposal.number = UInt8(truncatingIfNeeded: index + 1)
                WeakAlgorithms.warn(of: proposal, at: entry.position, reader.path, reader.sink)
                return proposal
            } catch {
                reader.sink.error(entry.position, reader.path, error.description)
                return nil
            }
        }
    }

    // MARK: - Lifetimes

    private func lifetime() -> SALifetime? {
        reader.value("saLifeTimeSeconds") { (text) throws(Refusal) in
            SALifetime(total: .seconds(try ScalarText.integer(text, in: 300...172_799)))
        }
    }

    private func octets() -> UInt64? {
        reader.value("saDataSizeKilobytes") { (text) throws(Refusal) in
            UInt64(try ScalarText.integer(text, in: 1024...2_147_483_647)) * 1024
        }
    }
}
