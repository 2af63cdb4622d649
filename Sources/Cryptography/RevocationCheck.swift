/// What may be asked of the network about certificates: what was revoked, and certificates themselves.
public struct RevocationInquiry: Hashable, Sendable {
    /// What is asked for.
    public enum Subject: Hashable, Sendable {
        /// A revocation list.
        case list
        /// An answer to this OCSP request, in DER.
        case ocsp([UInt8])
        /// A certificate, or a bundle, with this SHA-1 (RFC 7296 §3.6).
        case certificate(hash: [UInt8])
    }

    /// Where: a URI of the scheme http.
    public let uri: String
    /// What.
    public let subject: Subject

    /// Describes an inquiry.
    public init(uri: String, subject: Subject) {
        self.uri = uri
        self.subject = subject
    }
}

/// What is known from the network.
public protocol RevocationKnowledge: Sendable {
    /// What the inquiry brought; nil when it was not made, or too long ago.
    func answer(to inquiry: RevocationInquiry) -> RevocationKnowledgeAnswer?
}

/// What an inquiry brought.
public enum RevocationKnowledgeAnswer: Hashable, Sendable {
    /// These octets.
    case octets([UInt8])
    /// Nothing.
    case failed(String)
}

/// Nothing can be asked.
public struct NoRevocationKnowledge: RevocationKnowledge {
    /// Makes it.
    public init() {}

    /// Every inquiry fails.
    public func answer(to inquiry: RevocationInquiry) -> RevocationKnowledgeAnswer? {
        .failed("nothing is fetched")
    }
}

/// Where else lists and responders of an authority are, by the configuration.
public struct RevocationSources: Hashable, Sendable {
    /// URIs of lists.
    public var listURIs: [String]
    /// URIs of OCSP responders.
    public var responderURIs: [String]

    /// Describes the sources.
    public init(listURIs: [String] = [], responderURIs: [String] = []) {
        self.listURIs = listURIs
        self.responderURIs = responderURIs
    }

    /// More URIs of a kind than a certificate is asked for.
    static let most = 4
}

/// What is found of a chain's revocation.
public enum RevocationVerdict: Sendable {
    /// It may be believed.
    case believed
    /// It may not.
    case refused(CertificateRefusal)
    /// These inquiries must be made first.
    case unknown([RevocationInquiry])
}

extension VerifiedCertificate {
    /// Asks responders and lists about each certificate of the chain below its anchor, the peer's own first.
    ///
    /// A responder that says good or revoked decides; else lists do, those at hand before any is fetched. What is wrong,
    /// out of date or signed by somebody else is as if it were not there, and the policy says what that means.
    public func revocation(
        by trust: CertificateTrust,
        knowing knowledge: some RevocationKnowledge,
        at seconds: Int64
    ) -> RevocationVerdict {
        do throws(CryptoError) {
            var missing = [RevocationInquiry]()
            for (depth, certificate) in certificates.dropLast().enumerated() {
                var trial = RevocationTrial(
                    certificate: certificate,
                    issuer: certificates[depth + 1],
                    others: certificates,
                    trust: trust,
                    seconds: seconds
                )
                switch try trial.judge(knowledge) {
                case .good: continue
                case .wait(let inquiries): missing += inquiries
                case .refused(let reason, let code):
                    return .refused(
                        CertificateRefusal(
                            reason: reason,
                            subject: certificate.subject(),
                            depth: depth,
                            code: code
                        )
                    )
                }
            }
            return missing.isEmpty ? .believed : .unknown(missing)
        } catch {
            return .refused(CertificateRefusal(reason: "\(error)", subject: subject, depth: 0, code: -3))
        }
    }
}

/// The question whether one certificate is revoked.
struct RevocationTrial {
    let certificate: Certificate
    let issuer: Certificate
    let others: [Certificate]
    let trust: CertificateTrust
    let seconds: Int64
    /// What was asked and said nothing that helps.
    private var remarks: [String] = []

    init(
        certificate: Certificate,
        issuer: Certificate,
        others: [Certificate],
        trust: CertificateTrust,
        seconds: Int64
    ) {
        self.certificate = certificate
        self.issuer = issuer
        self.others = others
        self.trust = trust
        self.seconds = seconds
    }

    enum Outcome {
        case good
        case wait([RevocationInquiry])
        case refused(String, code: Int)
    }

    private var sources: RevocationSources {
        get throws(CryptoError) { trust.sources[try issuer.encoded()] ?? RevocationSources() }
    }

    mutating func judge(_ knowledge: some RevocationKnowledge) throws(CryptoError) -> Outcome {
        switch try askResponders(knowledge) {
        case .good: return .good
        case .revoked(let uri):
            return .refused("certificate revoked, says the responder '\(uri)'", code: Self.revokedCode)
        case .wait(let inquiry): return .wait([inquiry])
        case .nothing: break
        }
        let outcome = try askLists(knowledge)
        guard case .refused(let reason, let code) = outcome, code != Self.revokedCode, !remarks.isEmpty else {
            return outcome
        }
        return .refused("\(reason); \(remarks.joined(separator: "; "))", code: code)
    }

    /// Only http: what is fetched is signed, and https would need the very check that is being made (RFC 5280 §8).
    private static func usable(_ uris: [String]) -> [String] {
        Array(uris.filter { $0.lowercased().hasPrefix("http://") }.prefix(RevocationSources.most))
    }

    // MARK: - Responders

    private enum Said { case good, revoked(by: String), nothing, wait(RevocationInquiry) }

    private mutating func askResponders(_ knowledge: some RevocationKnowledge) throws(CryptoError) -> Said {
        let uris = Self.usable(try sources.responderURIs + certificate.responderURIs)
        guard !uris.isEmpty else { return .nothing }
        let question = try OCSPQuestion(about: certificate, issuer: issuer)
        let signers = trust.responderSigners.map { $0.parsed }
        let store = try CertificateStore()
        try store.prepare(trust, seconds)
        for uri in uris {
            let inquiry = RevocationInquiry(uri: uri, subject: .ocsp(question.request))
            switch knowledge.answer(to: inquiry) {
            case nil: return .wait(inquiry)
            case .failed(let reason)?: remarks.append("'\(uri)': \(reason)")
            case .octets(let octets)?:
                let answer = OCSPAnswer.judge(
                    octets,
                    about: certificate,
                    issuer: issuer,
                    signers: signers,
                    believed: store,
                    at: seconds
                )
                switch answer {
                case .good: return .good
                case .revoked: return .revoked(by: uri)
                case .useless(let reason): remarks.append("'\(uri)': \(reason)")
                }
            }
        }
        return .nothing
    }

    // MARK: - Lists

    /// X509_V_ERR_CERT_REVOKED.
    static let revokedCode = 23

    private mutating func askLists(_ knowledge: some RevocationKnowledge) throws(CryptoError) -> Outcome {
        let uris = Self.usable(try sources.listURIs + certificate.listURIs)
        if !trust.revocations.isEmpty {
            guard let refusal = try refusal(trust.revocations) else { return .good }
            if refusal.code == Self.revokedCode { return .refused(refusal.reason, code: refusal.code) }
        }
        var lists = trust.revocations
        // One place after the other: the first one that helps spares the wait for others that may not answer.
        for uri in uris {
            let list: RevocationListInfo
            switch fetched(uri, knowledge) {
            case .wait(let inquiry): return .wait([inquiry])
            case .nothing: continue
            case .list(let found): list = found
            }
            lists.append(list)
            for uri in Self.usable(certificate.freshestListURIs + list.freshestListURIs) {
                switch fetched(uri, knowledge) {
                case .wait(let inquiry): return .wait([inquiry])
                case .nothing: continue
                case .list(let changes): lists.append(changes)
                }
            }
            guard let refusal = try refusal(lists) else { return .good }
            if refusal.code == Self.revokedCode { return .refused(refusal.reason, code: refusal.code) }
        }
        // With nothing at hand the answer is known, and costs a look at the policy alone.
        if lists.isEmpty, trust.revocation == .relaxed { return .good }
        guard let refusal = try refusal(lists) else { return .good }
        let needsAnswer =
            switch trust.revocation {
            case .strict: true
            case .ifURI: certificate.saysWhereListsAre
            case .relaxed: false
            }
        guard needsAnswer || refusal.code == Self.revokedCode else { return .good }
        return .refused(refusal.reason, code: refusal.code)
    }

    private enum Fetched { case list(RevocationListInfo), nothing, wait(RevocationInquiry) }

    private mutating func fetched(_ uri: String, _ knowledge: some RevocationKnowledge) -> Fetched {
        let inquiry = RevocationInquiry(uri: uri, subject: .list)
        switch knowledge.answer(to: inquiry) {
        case nil: return .wait(inquiry)
        case .failed(let reason)?: remarks.append("'\(uri)': \(reason)")
        case .octets(let octets)?:
            if let list = try? RevocationListInfo(parsing: octets) { return .list(list) }
            remarks.append("'\(uri)': it is no revocation list")
        }
        return .nothing
    }

    /// What the lists say against the certificate; nil when a valid one is for it.
    private func refusal(_ lists: [RevocationListInfo]) throws(CryptoError) -> CertificateRefusal? {
        var believed = trust
        believed.revocations = lists
        let store = try CertificateStore()
        try store.prepare(believed, seconds, asksLists: true)
        guard case .failure(let refusal) = try store.run(certificate, others) else { return nil }
        return refusal
    }
}
