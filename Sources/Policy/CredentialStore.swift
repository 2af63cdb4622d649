public import Cryptography
import IPPackets

/// Certificates and keys: our own, and those by which peers are believed.
///
/// Connections share one by value.
public struct CredentialStore: Sendable {
    /// A certificate of ours with its key.
    public struct Own: Sendable {
        /// The certificate.
        public let certificate: CertificateInfo
        /// Its key.
        public let key: PrivateKeyInfo

        /// Joins them.
        public init(certificate: CertificateInfo, key: PrivateKeyInfo) {
            self.certificate = certificate
            self.key = key
        }
    }

    /// Our own, in the order of loading.
    public let own: [Own]
    /// Keys without a certificate.
    public let bareKeys: [PrivateKeyInfo]
    /// Certificates of authorities.
    public let authorities: [CertificateInfo]
    /// Certificates of peers, which are believed because the configuration names them.
    public let peers: [CertificateInfo]
    /// Bare keys of peers.
    public let publicKeys: [PublicKeyInfo]
    /// Lists of what was revoked.
    public let revocations: [RevocationListInfo]
    /// Where else lists and responders of authorities are, by the DER of their certificates.
    public var sources: [[UInt8]: RevocationSources] = [:]
    /// Certificates whose OCSP answers are believed.
    public var responderSigners: [CertificateInfo] = []
    /// What the URLs of certificates begin with by which an authority's are named (RFC 7296 §3.6), by the DER of its
    /// certificate; under no octets for all others.
    public var urlBases: [[UInt8]: String] = [:]
    private let byCertificate: [[UInt8]: Int]
    private let bySubject: [[UInt8]: [Int]]

    /// Intermediate certificates sent behind our own at most.
    private static let longestPath = 8

    /// Nothing.
    public static let empty = CredentialStore(certificates: [], keys: [])

    /// Sorts certificates by what they are: with a key of ours, of an authority, of a peer.
    public init(
        certificates: [CertificateInfo],
        keys: [PrivateKeyInfo],
        publicKeys: [PublicKeyInfo] = [],
        revocations: [RevocationListInfo] = []
    ) {
        let byKey = Dictionary(keys.map { ($0.keyID, $0) }) { first, _ in first }
        var own: [Own] = []
        var authorities: [CertificateInfo] = []
        var peers: [CertificateInfo] = []
        var used: Set<[UInt8]> = []
        var known: Set<[UInt8]> = []
        for certificate in certificates where known.insert(certificate.encoded).inserted {
            if let key = byKey[certificate.keyID] {
                own.append(Own(certificate: certificate, key: key))
                used.insert(key.keyID)
            } else if !certificate.isAuthority {
                peers.append(certificate)
            }
            if certificate.isAuthority { authorities.append(certificate) }
        }
        self.own = own
        self.authorities = authorities
        self.peers = peers
        self.publicKeys = publicKeys
        self.revocations = revocations
        bareKeys = keys.filter { !used.contains($0.keyID) }
        byCertificate = Dictionary(own.enumerated().map { ($1.certificate.encoded, $0) }) { first, _ in first
        }
        bySubject = Dictionary(grouping: authorities.indices) { authorities[$0].subjectName }
    }

    /// The certificate with its key; nil when it is none of ours.
    public func own(_ encoded: [UInt8]) -> Own? { byCertificate[encoded].map { own[$0] } }

    /// A certificate of ours for an identity, or for any: one that an authority of `requested` vouches for comes first.
    ///
    /// - Parameters:
    ///   - named: the certificates, in DER, of which it must be one; empty for all.
    ///   - requested: hashes of a CERTREQ payload.
    public func choose(named: [[UInt8]], identity: Identity?, requested: [[UInt8]]) -> Own? {
        let candidates = named.isEmpty ? own : named.compactMap { own($0) }
        let fitting = candidates.filter { one in
            identity.map { one.certificate.names($0) } ?? true
        }
        let wanted = Set(requested)
        return fitting.first { one in path(of: one.certificate).contains { wanted.contains($0.publicKeyHash) }
        }
            ?? fitting.first
    }

    /// The authorities above a certificate as far as they are known here, the nearest first.
    public func path(of certificate: CertificateInfo) -> [CertificateInfo] {
        var path: [CertificateInfo] = []
        var current = certificate
        while !current.isSelfIssued, path.count < Self.longestPath,
            let index = bySubject[current.issuerName]?.first
        {
            let issuer = authorities[index]
            if path.contains(issuer) { break }
            path.append(issuer)
            current = issuer
        }
        return path
    }

    /// A certificate may be fetched from here, because the configuration names the place.
    ///
    /// A place that does not name its host to the end, by a slash, would be one of other hosts too.
    public func acceptsCertificates(at url: String) -> Bool {
        urlBases.values.contains { base in Self.namesHost(base) && url.hasPrefix(base) }
    }

    /// True for `http://host/` and what goes on behind it.
    public static func namesHost(_ base: String) -> Bool {
        let scheme = "http://"
        guard base.hasPrefix(scheme) else { return false }
        let rest = base.dropFirst(scheme.count)
        return rest.first != "/" && rest.contains("/")
    }

    /// Where a certificate of ours is to be had; nil when it is nowhere.
    public func url(of certificate: CertificateInfo) -> String? {
        let issuer = path(of: certificate).first?.encoded ?? []
        guard let base = urlBases[issuer] ?? urlBases[[]], let hash = try? Digest.sha1([certificate.encoded])
        else { return nil }
        return base + hash.map { octet in (octet < 16 ? "0" : "") + String(octet, radix: 16) }.joined()
    }

    /// What believes a peer: roots, authorities that the connection names and whose root is not known here, and
    /// certificates of peers that the configuration names; other authorities lead to them.
    public func trust(_ remote: RemoteAuthentication) -> CertificateTrust {
        let named = Set(remote.authorities)
        let pinned = Set(remote.certificates)
        let isAnchor = authorities.map { authority in
            authority.isSelfIssued
                || named.contains(authority.encoded) && path(of: authority).last?.isSelfIssued != true
        }
        let sorted = zip(authorities, isAnchor)
        var trust = CertificateTrust(
            anchors: sorted.filter { $0.1 }.map { $0.0 }
                + peers.filter { pinned.isEmpty || pinned.contains($0.encoded) },
            intermediates: sorted.filter { !$0.1 }.map { $0.0 },
            revocations: revocations,
            revocation: remote.revocation
        )
        trust.sources = sources
        trust.responderSigners = responderSigners
        return trust
    }

    /// The authorities that a peer is asked for a certificate of.
    public func requested(_ remote: RemoteAuthentication) -> [CertificateInfo] {
        guard !remote.authorities.isEmpty else { return authorities }
        let named = Set(remote.authorities)
        return authorities.filter { named.contains($0.encoded) }
    }

    /// True when both hold the same, whatever the order of loading.
    public func isEquivalent(to other: CredentialStore) -> Bool {
        func all(_ store: CredentialStore) -> Set<[UInt8]> {
            Set((store.own.map { $0.certificate } + store.authorities + store.peers).map { $0.encoded })
                .union(store.publicKeys.map { $0.encoded }).union(store.bareKeys.map { $0.keyID })
        }
        return all(self) == all(other) && urlBases == other.urlBases
    }
}

extension CertificateInfo {
    /// True when the certificate is one for this identity (RFC 4945 §5.1.3.3, RFC 7296 §3.5).
    public func names(_ identity: Identity) -> Bool {
        identity.isNamed(subject: subjectName, alternatives: alternativeNames)
    }

    /// The subject as an identity.
    public var subjectIdentity: Identity { Identity(type: 9, data: subjectName) }
}

extension Identity {
    /// True when a certificate with this subject and these alternative names is one for this identity.
    ///
    /// A distinguished name is the subject, or a directoryName beside it; everything else stands in the subjectAltName,
    /// whole: names are compared without case, and a wildcard in a certificate stands for nothing.
    public func isNamed(subject: [UInt8], alternatives: [AlternativeName]) -> Bool {
        switch self {
        case .fqdn(let name):
            return alternatives.contains {
                if case .dns(let other) = $0 { Self.same(name, other) } else { false }
            }
        case .email(let name):
            return alternatives.contains {
                if case .email(let other) = $0 { Self.same(name, other) } else { false }
            }
        case .address(let address): return alternatives.contains(.address(address.octets))
        case .distinguishedName(let name):
            let names =
                [subject] + alternatives.compactMap { if case .directory(let der) = $0 { der } else { nil } }
            return names.contains { DistinguishedName(encoded: $0)?.match(name) == .exact }
        case .keyID, .network, .any, .other: return false
        }
    }

    private static func same(_ left: String, _ right: String) -> Bool { folded(left) == folded(right) }
}
