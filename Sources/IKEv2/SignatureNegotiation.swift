import Cryptography
import IKECore
import IKEMessages
import IPPackets
import Policy

/// What a peer said of the signatures and certificates that it understands.
struct PeerWishes {
    /// Its SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4); nil when it sent none.
    var hashes: Set<UInt16>?
    /// It sent a CERTREQ.
    var asksForCertificate = false
    /// It sent one itself: then it has use for ours, though it may name no authority.
    var sentCertificate = false
    /// It fetches certificates by hash and URL.
    var fetchesCertificates = false
    /// The authorities that it named, by hash.
    var authorities: [[UInt8]] = []

    /// More than anybody trusts: what a stranger makes us remember stays small.
    private static let mostAuthorities = 256

    /// Adds what a message says.
    mutating func note(_ payloads: [Payload]) {
        for payload in payloads {
            switch payload {
            case .notify(let notify) where notify.type == .signatureHashAlgorithms:
                hashes = (hashes ?? []).union(notify.hashes)
            case .certificate: sentCertificate = true
            case .notify(let notify) where notify.type == .httpCertLookupSupported:
                fetchesCertificates = true
            case .certificateRequest(let request):
                asksForCertificate = true
                guard request.encoding == CertificateEncoding.x509Signature else { continue }
                authorities += request.authorities.prefix(Self.mostAuthorities - authorities.count)
            default: break
            }
        }
    }
}

extension NotifyPayload {
    /// The hashes that we check signatures with: SHA-1 is none of them (RFC 8247 §3.2).
    static var signatureHashes: NotifyPayload {
        let numbers: [UInt16] =
            [SignatureHash.sha256, .sha384, .sha512].map { $0.rawValue } + [SignatureHash.identity]
        return NotifyPayload(
            .signatureHashAlgorithms,
            data: numbers.flatMap { [UInt8(truncatingIfNeeded: $0 >> 8), UInt8(truncatingIfNeeded: $0)] }
        )
    }

    fileprivate var hashes: Set<UInt16> {
        Set(
            stride(from: 0, to: data.count - data.count % 2, by: 2).prefix(64).map {
                UInt16(data[$0]) << 8 | UInt16(data[$0 + 1])
            }
        )
    }
}

extension ConnectionPolicy {
    /// Signatures are made or accepted.
    var usesSignatures: Bool {
        localRounds.contains { $0.authentication.method == .signature }
            || remoteRounds.contains { $0.authentication.acceptsSignature }
    }

    /// The connection in which we are `wanted`; nil when we are not.
    func speaking(as wanted: Identity, at address: IPAddress) -> ConnectionPolicy? {
        if effectiveLocalIdentity(at: address).matches(wanted) { return self }
        let local = localAuthentication
        guard local.takesWantedIdentity,
            credentials.choose(named: local.certificates, identity: wanted, requested: []) != nil
        else { return nil }
        var connection = self
        connection.localIdentity = wanted
        return connection
    }

    /// The authorities that a peer is asked for a certificate of; nil when it is not asked.
    var requestedAuthorities: [CertificateInfo]? {
        let asking = remoteRounds.map { $0.authentication }.filter {
            $0.acceptsSignature && $0.requestsCertificate
        }
        let found = asking.flatMap { credentials.requested($0) }
        return found.isEmpty ? nil : found
    }
}

extension Payload {
    /// Asks for a certificate that one of these vouches for; nil when there is none.
    static func certificateRequest(of authorities: some Sequence<CertificateInfo>) -> Payload? {
        var hashes: [[UInt8]] = []
        for authority in authorities where !hashes.contains(authority.publicKeyHash) && hashes.count < 64 {
            hashes.append(authority.publicKeyHash)
        }
        return hashes.isEmpty ? nil : .certificateRequest(CERTREQPayload(authorities: hashes))
    }
}

/// What we prove our identity with.
enum OwnProof {
    case sharedKey(SecretKey)
    case signature(PrivateKeyInfo, SignatureMethod, certificates: [Payload])
    /// By EAP, which the responder begins.
    case eap(EAPOptions)
}

extension ConnectionPolicy {
    /// The proof that we are `ours`, or why there is none.
    ///
    /// - Parameter shared: the key by which the peer proved itself, if it did.
    func ownProof(
        of ours: Identity,
        _ wishes: PeerWishes,
        sharing shared: SecretKey? = nil,
        _ common: SACommon
    ) -> Result<OwnProof, DownCause> {
        switch localAuthentication.method {
        case .sharedKey:
            guard let key = shared ?? ownKey(as: ours, common) else {
                return .failure(.authenticationFailed(missingKey(as: ours)))
            }
            return .success(.sharedKey(key))
        case .signature: return signature(of: ours, wishes)
        case .eap(let options): return .success(.eap(options))
        }
    }

    private func signature(of ours: Identity, _ wishes: PeerWishes) -> Result<OwnProof, DownCause> {
        let local = localAuthentication
        let own = credentials.choose(
            named: local.certificates,
            identity: ours,
            requested: wishes.authorities
        )
        let isWanted = wishes.asksForCertificate || wishes.sentCertificate
        let sends = local.sending == .always || local.sending == .ifAsked && isWanted
        guard let key = own?.key ?? bareKey else {
            return .failure(
                .authenticationFailed(
                    "no certificate with a private key is for '\(ours)' (\(origin(of: "certificate")))"
                )
            )
        }
        guard let method = SignatureMethod(for: key, hashes: wishes.hashes, constraint: local.constraint)
        else {
            let understood =
                wishes.hashes.map { "the hashes \($0.sorted().map { "\($0)" }.joined(separator: ", "))" }
                ?? "no signatures of RFC 7427"
            return .failure(
                .authenticationFailed(
                    "our \(key.algorithm.rawValue) key of \(key.bits) bits makes no signature that it takes: it says that "
                        + "it understands \(understood) (\(origin(of: "private-key")))"
                )
            )
        }
        var certificates: [Payload] = []
        if sends, let own {
            let path = credentials.path(of: own.certificate).filter { !$0.isSelfIssued }
            certificates = ([own.certificate] + path).map { certificate in
                .certificate(payload(of: certificate, byURL: wishes.fetchesCertificates))
            }
        } else if sends, let info = try? key.publicKey() {
            certificates = [
                .certificate(CERTPayload(info.encoded, encoding: CertificateEncoding.rawPublicKey))
            ]
        }
        return .success(.signature(key, method, certificates: certificates))
    }

    /// The certificate, or where it is, if the peer fetches it there.
    private func payload(of certificate: CertificateInfo, byURL: Bool) -> CERTPayload {
        guard byURL, let url = credentials.url(of: certificate),
            let hash = try? Digest.sha1([certificate.encoded])
        else { return CERTPayload(certificate.encoded) }
        return CERTPayload(hash + Array(url.utf8), encoding: CertificateEncoding.hashAndURL)
    }

    /// A peer may name its certificate by hash and URL.
    var fetchesCertificates: Bool {
        remoteRounds.contains { $0.authentication.acceptsSignature }
            && credentials.urlBases.values.contains { CredentialStore.namesHost($0) }
    }

    private var bareKey: PrivateKeyInfo? {
        localAuthentication.certificates.isEmpty ? credentials.bareKeys.first : nil
    }
}

extension [Payload] {
    /// The CERT payloads, the peer's own first.
    var certificates: [CERTPayload] {
        compactMap { if case .certificate(let payload) = $0 { payload } else { nil } }
    }
}
