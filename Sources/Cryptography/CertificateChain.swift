/// What certificates are believed: roots, what may help to reach them, and what was revoked.
public struct CertificateTrust: Sendable {
    /// Certificates that are believed because the configuration says so; those of authorities, or a peer's own.
    public var anchors: [CertificateInfo]
    /// Certificates that may stand between: believed only if they lead to an anchor.
    public var intermediates: [CertificateInfo]
    /// Lists of what was revoked.
    public var revocations: [RevocationListInfo]
    /// What a certificate needs of them.
    public var revocation: RevocationPolicy
    /// Where else lists and responders of authorities are, by the DER of their certificates.
    public var sources: [[UInt8]: RevocationSources] = [:]
    /// Certificates whose OCSP answers are believed because the configuration says so.
    public var responderSigners: [CertificateInfo] = []

    /// Describes what is believed.
    public init(
        anchors: [CertificateInfo],
        intermediates: [CertificateInfo] = [],
        revocations: [RevocationListInfo] = [],
        revocation: RevocationPolicy = .relaxed
    ) {
        self.anchors = anchors
        self.intermediates = intermediates
        self.revocations = revocations
        self.revocation = revocation
    }
}

/// How sure it must be that a certificate is not revoked, in strongSwan's words.
public enum RevocationPolicy: String, Hashable, Sendable, CaseIterable {
    /// There must be a valid list for each certificate.
    case strict
    /// There must be one for each certificate that says where its list is.
    case ifURI = "ifuri"
    /// What a valid list names is refused; without one nothing is.
    case relaxed
}

/// Why a certificate is not believed.
public struct CertificateRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// The check that failed, in OpenSSL's words.
    public let reason: String
    /// The subject of the certificate that failed it.
    public let subject: String
    /// How far it is from the peer's own, which is 0.
    public let depth: Int
    /// OpenSSL's number of the reason.
    public let code: Int

    /// As one line.
    public var description: String {
        depth == 0 ? "certificate '\(subject)': \(reason)" : "issuer '\(subject)' (\(depth) above): \(reason)"
    }
}

/// A certificate that leads to an anchor, with what its owner can be known by.
///
/// Made by `verify` alone.
public struct VerifiedCertificate: Sendable {
    /// The key that it vouches for.
    public let publicKey: PublicKeyInfo
    /// The subject in DER.
    public let subjectName: [UInt8]
    /// The subject as text.
    public let subject: String
    /// The names of its subjectAltName.
    public let alternativeNames: [AlternativeName]
    /// DER of the certificates from the peer's own to the anchor.
    public let chain: [[UInt8]]
    /// The addresses that it lets its owner stand for (RFC 3779); nil for all.
    public let addressBlocks: [AddressBlock]?
    /// The chain as OpenSSL has it.
    let certificates: [Certificate]

    /// Certificates that are looked at between a peer's own and an anchor.
    public static let longestChain = 8
    /// Certificates that a peer may send.
    public static let mostCertificates = 16

    /// Finds a way from a peer's certificate to an anchor and checks all that lies on it (RFC 5280 §6): signatures,
    /// validity at `seconds` since 1970, constraints of names, lengths and key usage; `revocation` follows.
    ///
    /// It takes up to some milliseconds: not for a queue that others wait for.
    /// - Parameter peer: what the peer sent in DER, its own certificate first.
    public static func verify(
        peer: [[UInt8]],
        by trust: CertificateTrust,
        at seconds: Int64
    ) -> Result<VerifiedCertificate, CertificateRefusal> {
        guard let first = peer.first, peer.count <= mostCertificates else {
            return .failure(CertificateRefusal(reason: "none, or too many", subject: "", depth: 0, code: -1))
        }
        do throws(CryptoError) {
            let leaf = try Certificate(der: first)
            let subject = leaf.subject()
            guard leaf.maySign() else {
                return .failure(
                    CertificateRefusal(
                        reason: "its key usage allows no signature",
                        subject: subject,
                        depth: 0,
                        code: -2
                    )
                )
            }
            var others = [Certificate]()
            // What cannot be read helps nobody, and harms nobody.
            for octets in peer.dropFirst() {
                if let one = try? Certificate(der: octets) { others.append(one) }
            }
            others += trust.intermediates.map { $0.parsed }
            let store = try CertificateStore()
            try store.prepare(trust, seconds)
            switch try store.run(leaf, others) {
            case .failure(let refusal): return .failure(refusal)
            case .success(let chain):
                return .success(
                    VerifiedCertificate(
                        publicKey: try leaf.publicKey(),
                        subjectName: try leaf.subjectName(),
                        subject: subject,
                        alternativeNames: leaf.alternativeNames(),
                        chain: try chain.map { (one) throws(CryptoError) in try one.encoded() },
                        addressBlocks: try AddressBlocks.blocks(of: chain),
                        certificates: chain
                    )
                )
            }
        } catch {
            return .failure(CertificateRefusal(reason: "\(error)", subject: "", depth: 0, code: -3))
        }
    }
}
