import Cryptography
import IKEMessages
import Policy

/// Certificates that a peer names by hash and URL (RFC 7296 §3.6): what stands behind a URL counts if its hash is right.
struct CertificatesByURL {
    /// The payloads with what was fetched in place of hash and URL.
    private(set) var certificates: [CERTPayload] = []
    /// What must be fetched first.
    private(set) var inquiries: [RevocationInquiry] = []
    /// Why something stays away.
    private(set) var refusals: [String] = []

    private static let hashLength = 20
    private static let longestURL = 512

    /// - Parameter isAccepted: whether a URL is one that the configuration lets us fetch; a stranger may name any.
    init(
        _ payloads: [CERTPayload],
        knowing knowledge: some RevocationKnowledge,
        isAccepted: (String) -> Bool
    ) {
        for payload in payloads {
            guard
                [CertificateEncoding.hashAndURL, CertificateEncoding.hashAndURLOfBundle].contains(
                    payload.encoding
                )
            else {
                certificates.append(payload)
                continue
            }
            let octets = payload.data.dropFirst(Self.hashLength)
            guard (1...Self.longestURL).contains(octets.count),
                octets.allSatisfy({ (0x21...0x7e).contains($0) })
            else {
                refusals.append("what it says of where its certificate is cannot be read")
                continue
            }
            let url = String(decoding: octets, as: UTF8.self)
            guard isAccepted(url) else {
                refusals.append("its certificate is at '\(url)', from where none is fetched")
                continue
            }
            let hash = Array(payload.data.prefix(Self.hashLength))
            let inquiry = RevocationInquiry(uri: url, subject: .certificate(hash: hash))
            switch knowledge.answer(to: inquiry) {
            case nil: inquiries.append(inquiry)
            case .failed(let reason):
                refusals.append("its certificate was not to be had at '\(url)': \(reason)")
            case .octets(let found):
                let isBundle = payload.encoding == CertificateEncoding.hashAndURLOfBundle
                certificates += (isBundle ? CertificateBundle.certificates(found) : [found]).map {
                    CERTPayload($0)
                }
            }
        }
    }
}
