public import Cryptography
public import IKEMessages
public import Policy

/// The proof of a peer that signs: the signature, and the certificate that says whose it is.
///
/// It takes up to some milliseconds and belongs to a `ComputeJob`.
public struct SignatureCheck: Sendable {
    /// Connections whose trust is asked at most.
    public static let mostConnections = 16

    let payload: AUTHPayload
    let identity: Identity
    let octets: SignedOctets
    private(set) var certificates: [CERTPayload]
    let connections: [ConnectionPolicy]

    /// Gathers what is to be checked.
    ///
    /// - Parameters:
    ///   - certificates: what the peer sent, its own first.
    ///   - connections: those that the peer can be meant for; each decides for itself.
    public init(
        _ payload: AUTHPayload,
        identity: Identity,
        octets: SignedOctets,
        certificates: [CERTPayload],
        connections: [ConnectionPolicy]
    ) {
        self.payload = payload
        self.identity = identity
        self.octets = octets
        self.certificates = Array(certificates.prefix(VerifiedCertificate.mostCertificates))
        self.connections = Array(connections.prefix(Self.mostConnections))
    }

    /// What came out.
    public struct Verdict: Sendable {
        /// The proof, and the numbers of the connections that accept it; nil when none does.
        public let proof: (peer: VerifiedPeer, connections: [Int])?
        /// Why a connection does not, the first one's reason first.
        public let refusals: [String]
        /// What must be asked of the network before it can be said; then the check is carried out again.
        public var inquiries: [RevocationInquiry] = []
    }

    /// Carries the check out.
    ///
    /// - Parameters:
    ///   - seconds: the time since 1970.
    ///   - knowledge: what the network says of certificates.
    func run(at seconds: Int64, knowing knowledge: some RevocationKnowledge) -> Verdict {
        let received: ReceivedSignature
        let signed: [UInt8]
        do {
            received = try ReceivedSignature(payload)
            signed = try octets.signed()
        } catch let unreadable as ReceivedSignature.Unreadable {
            return Verdict(proof: nil, refusals: [unreadable.text])
        } catch {
            return Verdict(proof: nil, refusals: ["\(error)"])
        }
        let resolved = CertificatesByURL(certificates, knowing: knowledge) { url in
            connections.contains { $0.credentials.acceptsCertificates(at: url) }
        }
        guard resolved.inquiries.isEmpty else {
            return Verdict(proof: nil, refusals: [], inquiries: resolved.inquiries)
        }
        var check = self
        check.certificates = Array(resolved.certificates.prefix(VerifiedCertificate.mostCertificates))
        return check.judgeAll(received, signed, resolved.refusals, seconds, knowledge)
    }

    private func judgeAll(
        _ received: ReceivedSignature,
        _ signed: [UInt8],
        _ earlier: [String],
        _ seconds: Int64,
        _ knowledge: some RevocationKnowledge
    ) -> Verdict {
        var peer: VerifiedPeer?
        var accepted: [Int] = []
        var refusals = earlier
        var inquiries: [RevocationInquiry] = []
        for (number, connection) in connections.enumerated() {
            switch judge(connection, received, signed, seconds, knowledge) {
            case .success(.unknown(let missing)):
                for inquiry in missing where !inquiries.contains(inquiry) { inquiries.append(inquiry) }
            case .success(.proved(let proved)):
                peer = peer ?? proved
                // One identity, proved in two ways, is two peers.
                if proved == peer { accepted.append(number) }
            case .failure(let refusal): if !refusals.contains(refusal.text) { refusals.append(refusal.text) }
            }
        }
        return Verdict(proof: peer.map { ($0, accepted) }, refusals: refusals, inquiries: inquiries)
    }

    /// What one connection says.
    private enum Finding {
        case proved(VerifiedPeer)
        case unknown([RevocationInquiry])
    }

    private func judge(
        _ connection: ConnectionPolicy,
        _ received: ReceivedSignature,
        _ signed: [UInt8],
        _ seconds: Int64,
        _ knowledge: some RevocationKnowledge
    ) -> Result<Finding, CredentialRefusal> {
        let remote = connection.remoteAuthentication
        guard remote.acceptsSignature else {
            return .failure(CredentialRefusal(text: "\(connection.origin) accepts a pre-shared key alone"))
        }
        do throws(CredentialRefusal) {
            let (key, method, certificate) = try owner(connection, seconds)
            if let reason = remote.constraint.refusal(of: key) { throw CredentialRefusal(text: reason) }
            let proof = VerifiedPeer.signed(
                received,
                signed,
                key,
                identity: identity,
                method: method,
                addressBlocks: certificate?.addressBlocks
            )
            guard let (peer, scheme) = proof else {
                throw CredentialRefusal(text: "its signature is not one by the key of \(method)")
            }
            if let reason = remote.constraint.refusal(of: scheme) { throw CredentialRefusal(text: reason) }
            // Last, so that nobody but the owner of a certificate that leads to an anchor makes us ask the network.
            guard let certificate else { return .success(.proved(peer)) }
            let missing = try connection.revocationInquiries(certificate, knowing: knowledge, at: seconds)
            return .success(missing.isEmpty ? .proved(peer) : .unknown(missing))
        } catch {
            return .failure(error)
        }
    }

    /// The key that the peer signs with, and what says that it is its own.
    private func owner(
        _ connection: ConnectionPolicy,
        _ seconds: Int64
    ) throws(CredentialRefusal) -> (PublicKeyInfo, VerifiedPeer.Method, VerifiedCertificate?) {
        let remote = connection.remoteAuthentication
        if let key = bareKey(remote, connection.credentials) { return (key, .publicKey, nil) }
        guard remote.publicKeys.isEmpty || !remote.certificates.isEmpty else {
            // Whatever authority vouches for another key: the key is named.
            throw CredentialRefusal(
                text: "its key is not the one that \(connection.origin(of: "remote-public-key")) names"
            )
        }
        let sent = certificates.filter { $0.encoding == CertificateEncoding.x509Signature }.map { $0.data }
        let chain = sent.isEmpty ? known(connection) : sent
        guard let leaf = chain.first else {
            throw CredentialRefusal(text: "it sent no certificate, and none for '\(identity)' is known here")
        }
        let certificate = try connection.believed(chain, as: identity, at: seconds)
        let method = VerifiedPeer.Method.certificate(subject: certificate.subject, encoded: leaf)
        return (certificate.publicKey, method, certificate)
    }

    /// A bare key of the peer's that the configuration names, if it can be the one.
    private func bareKey(_ remote: RemoteAuthentication, _ credentials: CredentialStore) -> PublicKeyInfo? {
        let sent = certificates.first { $0.encoding == CertificateEncoding.rawPublicKey }
        if let sent { return remote.publicKeys.first { $0.encoded == sent.data } }
        guard certificates.isEmpty else {
            // A certificate around a key that is named says nothing more.
            guard !remote.publicKeys.isEmpty, let first = certificates.first,
                let info = try? CertificateInfo(parsing: first.data)
            else { return nil }
            return remote.publicKeys.first { $0.keyID == info.keyID }
        }
        if !remote.publicKeys.isEmpty { return remote.publicKeys.count == 1 ? remote.publicKeys.first : nil }
        // Who has no name but its key.
        guard case .keyID(let hash) = identity else { return nil }
        return credentials.publicKeys.first { $0.infoHash == hash }
    }

    /// A certificate for the identity that is loaded here, for peers that send none.
    private func known(_ connection: ConnectionPolicy) -> [[UInt8]] {
        let remote = connection.remoteAuthentication
        if let named = remote.certificates.first { return [named] }
        return connection.credentials.peers.first { $0.names(identity) }.map { [$0.encoded] } ?? []
    }
}
