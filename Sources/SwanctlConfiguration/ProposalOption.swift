import IPsecTypes

/// One item of `proposals`, `esp_proposals` or `ah_proposals`.
enum ProposalOption: Equatable {
    /// `default`.
    case standard
    case proposal(Proposal)
    /// Valid in strongSwan, but with an algorithm or a form that we do not carry out; the reason.
    case unsupported(String)

    init?(ike octets: [UInt8]) {
        self.init(octets, .ike)
    }

    init?(esp octets: [UInt8]) {
        self.init(octets, .esp)
    }

    /// AH is carried out for nobody; only its syntax is looked at.
    init?(ah octets: [UInt8]) {
        guard let text = OptionText.word(octets), text.lowercased() == "default" || Self.isKnown(text) else {
            return nil
        }
        self = .unsupported(text)
    }

    private init?(_ octets: [UInt8], _ securityProtocol: SecurityProtocol) {
        guard let text = OptionText.word(octets)?.lowercased() else { return nil }
        if text == "default" {
            self = .standard
            return
        }
        var words: [Word] = []
        var unsupported: String?
        for part in text.split(separator: "-", omittingEmptySubsequences: false) {
            let word = part == "none" ? "modpnone" : String(part)
            let entry = AlgorithmTable.transform(keyword: word)
            if let (transform, entry) = entry, entry.isSupported {
                words.append(Word(text: word, transform: transform))
            } else if entry != nil || Self.isKnownToStrongSwan(part) {
                unsupported = unsupported ?? word
            } else {
                return nil
            }
        }
        if let unsupported {
            self = .unsupported("\(text): \(unsupported)")
            return
        }
        guard let kept = Self.completed(words, securityProtocol) else { return nil }
        do throws(ProposalSyntaxError) {
            self = .proposal(try Proposal(keywords: kept.joined(separator: "-"), for: securityProtocol))
        } catch {
            self = .unsupported("\(text): \(error.description)")
        }
    }

    /// A word of the proposal with what it names.
    private struct Word {
        let text: String
        let transform: Transform

        var type: TransformType { transform.type }
        var isNone: Bool { transform == Transform(.keyExchange, 0) }
    }

    /// What charon's own check leaves of the words; nil where it refuses the proposal.
    private static func completed(_ words: [Word], _ securityProtocol: SecurityProtocol) -> [String]? {
        let ciphers = words.filter { $0.type == .encryption }
        let combined = ciphers.count { $0.transform.isAEAD }
        // Combined-mode and other ciphers cannot stand in one proposal.
        guard !ciphers.isEmpty, combined == 0 || combined == ciphers.count else { return nil }
        switch securityProtocol {
        case .ike:
            let hasIntegrity = words.contains { $0.type == .integrity }
            guard hasIntegrity || combined > 0, hasIntegrity || words.contains(where: { $0.type == .prf }),
                words.contains(where: { $0.type == .keyExchange && !$0.isNone })
            else { return nil }
            return words.filter { !$0.isNone && $0.type != .esn }.map { $0.text }
        default:
            return words.filter { $0.type != .prf && (combined == 0 || $0.type != .integrity) }
                .map { $0.text }
        }
    }

    /// True when charon knows each word.
    private static func isKnown(_ text: String) -> Bool {
        let words = text.lowercased().split(separator: "-", omittingEmptySubsequences: false)
        return words.allSatisfy { AlgorithmTable.transform(keyword: $0) != nil || isKnownToStrongSwan($0) }
    }

    /// True for words that the table of algorithms does not have.
    private static func isKnownToStrongSwan(_ word: Substring) -> Bool {
        StrongSwanAlgorithms.words.contains(additionalGroup(word) ?? String(word))
    }

    /// The group of `ke1_mlkem768`.
    private static func additionalGroup(_ word: Substring) -> String? {
        guard word.hasPrefix("ke"), let underscore = word.firstIndex(of: "_"),
            let index = UInt8(word.dropFirst(2).prefix(upTo: underscore)), (1...7).contains(index)
        else { return nil }
        return String(word[word.index(after: underscore)...])
    }
}
