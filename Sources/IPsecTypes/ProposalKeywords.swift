/// Why a proposal's text was refused.
public struct ProposalSyntaxError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong and what would be right.
    public let description: String
}

extension Proposal {
    /// Parses strongSwan's proposal syntax, `aes256gcm16-prfsha384-ecp384`, several words of a type allowed.
    ///
    /// As strongSwan does, an IKE proposal without a PRF gets those of its integrity algorithms, and an ESP
    /// proposal without `esn` gets `noesn`. Only what we carry out is accepted.
    public init(keywords text: String, for securityProtocol: SecurityProtocol) throws(ProposalSyntaxError) {
        var transforms = [Transform]()
        for word in text.split(separator: "-", omittingEmptySubsequences: false) {
            guard let (transform, entry) = AlgorithmTable.transform(keyword: word.lowercased()) else {
                throw ProposalSyntaxError(
                    description: "unknown algorithm '\(Self.printable(word))'; accepted: "
                        + Self.acceptedWords(securityProtocol)
                )
            }
            guard entry.isSupported else {
                throw ProposalSyntaxError(
                    description: "algorithm '\(word)' (\(entry.name)) is not supported; accepted: "
                        + Self.acceptedWords(securityProtocol)
                )
            }
            guard transform.isSupported else {
                throw ProposalSyntaxError(
                    description: "algorithm '\(word)' (\(entry.name)) is not in this machine's OpenSSL"
                )
            }
            if !transforms.contains(transform) { transforms.append(transform) }
        }
        self.init(securityProtocol: securityProtocol, transforms: transforms)
        switch securityProtocol {
        case .ike: try completeIKE()
        default: try completeESP()
        }
        sortByType()
    }

    private static func acceptedWords(_ securityProtocol: SecurityProtocol) -> String {
        let types: [TransformType] =
            securityProtocol == .ike
            ? [.encryption, .integrity, .prf, .keyExchange] : [.encryption, .integrity, .keyExchange, .esn]
        return types.flatMap { AlgorithmTable.acceptedKeywords(of: $0) }.joined(separator: " ")
    }

    /// The word for a message of one line: letters, digits and punctuation as they are, `?` for anything else.
    private static func printable(_ word: Substring) -> String {
        String(word.prefix(80).map { $0.isASCII && !$0.isWhitespace && $0 > " " ? $0 : "?" })
    }

    private func checkCiphers() throws(ProposalSyntaxError) {
        let ciphers = transforms(of: .encryption)
        guard let first = ciphers.first else {
            throw ProposalSyntaxError(description: "names no encryption algorithm")
        }
        guard ciphers.allSatisfy({ $0.isAEAD == first.isAEAD }) else {
            throw ProposalSyntaxError(
                description: "mixes combined-mode and other ciphers: write two proposals (RFC 5282 §8)"
            )
        }
        if first.isAEAD, securityProtocol == .esp, let extra = transform(of: .integrity) {
            throw ProposalSyntaxError(
                description: "\(first) is combined-mode and takes no integrity: drop \(extra)"
            )
        }
        if !first.isAEAD, transform(of: .integrity) == nil {
            throw ProposalSyntaxError(description: "\(first) needs an integrity algorithm, such as sha256")
        }
    }

    private mutating func completeIKE() throws(ProposalSyntaxError) {
        try checkCiphers()
        // RFC 7296 §5 and RFC 4543 §8: an IKE message is always encrypted.
        if let bare = transforms(of: .encryption).first(where: { $0.id == 11 || $0.id == 21 }) {
            throw ProposalSyntaxError(description: "\(bare) does not encrypt: it belongs to ESP proposals")
        }
        let integrity = transforms(of: .integrity)
        if transform(of: .prf) == nil {
            guard !integrity.isEmpty else {
                throw ProposalSyntaxError(description: "needs a PRF, such as prfsha256")
            }
            let matching: [UInt16: UInt16] = [1: 1, 2: 2, 5: 4, 6: 1, 7: 2, 8: 8, 12: 5, 13: 6, 14: 7]
            transforms += integrity.compactMap { matching[$0.id] }.map { Transform(.prf, $0) }
        }
        if transform(of: .encryption)?.isAEAD == true { transforms.removeAll { $0.type == .integrity } }
        guard transform(of: .keyExchange) != nil, !transforms.contains(Transform(.keyExchange, 0)) else {
            throw ProposalSyntaxError(description: "needs a key exchange group, such as x25519 or ecp384")
        }
        guard transform(of: .esn) == nil else {
            throw ProposalSyntaxError(description: "esn and noesn belong to ESP proposals")
        }
        try checkAdditional()
    }

    /// RFC 9370 §2.2.1: further key exchanges come after a first one, and are other ones.
    private func checkAdditional() throws(ProposalSyntaxError) {
        let additional = transforms.filter { $0.type.isKeyExchange && $0.type != .keyExchange }
        guard !additional.isEmpty else { return }
        guard transform(of: .keyExchange) != nil else {
            throw ProposalSyntaxError(
                description: "\(additional[0]) needs a first key exchange, such as x25519"
            )
        }
        let firsts = transforms(of: .keyExchange)
        for extra in additional where extra.id != 0 && firsts.count == 1 && firsts[0].id == extra.id {
            throw ProposalSyntaxError(
                description: "\(extra) repeats the first key exchange (RFC 9370 §2.2.1)"
            )
        }
    }

    private mutating func completeESP() throws(ProposalSyntaxError) {
        try checkCiphers()
        guard transform(of: .prf) == nil else {
            throw ProposalSyntaxError(description: "a PRF belongs to IKE proposals")
        }
        if transform(of: .esn) == nil { transforms.append(.noESN) }
        try checkAdditional()
    }

    private mutating func sortByType() {
        transforms = TransformType.known.flatMap { transforms(of: $0) }
    }
}
