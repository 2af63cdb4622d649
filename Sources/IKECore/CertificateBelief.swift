import Cryptography
import Policy

/// Why a credential of a peer's is not taken, and which line says so.
struct CredentialRefusal: Error {
    let text: String
    /// OpenSSL's number of the reason; 0 for reasons of ours.
    var code = 0
}

/// What a connection believes of a peer that has a certificate.
extension ConnectionPolicy {
    /// The peer's certificate, if it leads to an anchor, is of the configured authority, and is one for `identity`.
    ///
    /// - Parameters:
    ///   - chain: in DER, the peer's own first.
    ///   - identity: nil for whatever the certificate says.
    func believed(
        _ chain: [[UInt8]],
        as identity: Identity?,
        at seconds: Int64
    ) throws(CredentialRefusal) -> VerifiedCertificate {
        let remote = remoteAuthentication
        guard remote.certificates.isEmpty || chain.first.map({ remote.certificates.contains($0) }) == true
        else {
            throw CredentialRefusal(
                text: "its certificate is not the one that \(origin(of: "remote-certificate")) names"
            )
        }
        let trust = credentials.trust(remote)
        guard !trust.anchors.isEmpty else {
            throw CredentialRefusal(text: "no authority is believed (\(origin(of: "ca")))")
        }
        switch VerifiedCertificate.verify(peer: chain, by: trust, at: seconds) {
        case .failure(let refusal):
            throw CredentialRefusal(text: "\(refusal) (\(origin(of: "ca")))", code: refusal.code)
        case .success(let certificate):
            guard
                remote.authorities.isEmpty
                    || certificate.chain.contains(where: { remote.authorities.contains($0) })
            else {
                throw CredentialRefusal(
                    text: "certificate '\(certificate.subject)' is of another authority than "
                        + "\(origin(of: "ca")) names"
                )
            }
            if let identity,
                !identity.isNamed(
                    subject: certificate.subjectName,
                    alternatives: certificate.alternativeNames
                )
            {
                throw CredentialRefusal(
                    text: "certificate '\(certificate.subject)' is not one for '\(identity)' "
                        + "(\(origin(of: "remote-id")))"
                )
            }
            return certificate
        }
    }

    /// What must be asked of the network before it is known that nothing of the chain is revoked; nothing when it is.
    func revocationInquiries(
        _ certificate: VerifiedCertificate,
        knowing knowledge: some RevocationKnowledge,
        at seconds: Int64
    ) throws(CredentialRefusal) -> [RevocationInquiry] {
        let trust = credentials.trust(remoteAuthentication)
        switch certificate.revocation(by: trust, knowing: knowledge, at: seconds) {
        case .believed: return []
        case .unknown(let inquiries): return inquiries
        case .refused(let refusal):
            // Whichever line made us look.
            let key = ["revocation", "crl"].first { keyOrigins[$0] != nil } ?? "ca"
            throw CredentialRefusal(text: "\(refusal) (\(origin(of: key)))", code: refusal.code)
        }
    }
}
