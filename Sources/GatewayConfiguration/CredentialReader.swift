import Cryptography
import IPPackets
import Policy

/// Reads how both ends of a connection prove who they are: `psk-file`, or certificates and keys.
struct CredentialReader {
    static let keys =
        [
            "psk-file", "certificate", "private-key", "ca", "remote-certificate", "remote-public-key", "crl",
            "revocation", "signature", "send-certificate", "certificate-url",
        ] + ProofRounds.keys + EAPReader.keys
    /// What a pre-shared key should have at least: 128 bits (RFC 7296 §5).
    private static let shortKey = 16
    private static let longestKey = 1024

    let reader: MappingReader
    let context: ConnectionContext

    /// What was read.
    struct Proofs {
        var keyring: SharedKeyring
        /// Our proofs, in order.
        var local: [LocalAuthentication]
        /// The peer's.
        var remote: [RemoteAuthentication]
        var credentials: CredentialStore
        var eapSecrets: EAPSecrets
        /// Our identity where none is configured: the subject of our certificate.
        var identity: Identity?
    }

    /// Nil after an error.
    func read(localIdentity: Identity?) -> Proofs? {
        guard let rounds = ProofRounds(reader), let own = EAPReader(reader, context).read() else {
            return nil
        }
        var keyring = SharedKeyring([])
        if rounds.uses(.psk) {
            guard let key = sharedKey(rounds) else { return nil }
            keyring = SharedKeyring(key)
        }
        guard rounds.refuseUnused(own?.options) else { return nil }
        let certificates = rounds.hasOwnCertificate ? ownCredentials() : ([], [])
        guard let certificates, let trust = trust(), let constraint = constraint() else { return nil }
        var result = Proofs(
            keyring: keyring,
            local: [],
            remote: [],
            credentials: CredentialStore(
                certificates: certificates.0 + trust.authorities + trust.pinned,
                keys: certificates.1,
                publicKeys: trust.keys,
                revocations: trust.lists
            ),
            eapSecrets: own?.secrets ?? .none
        )
        if let base = reader.value("certificate-url", Self.base) { result.credentials.urlBases[[]] = base }
        if let first = certificates.0.first {
            result.identity = checkIdentity(localIdentity, first)
            if result.identity == nil { return nil }
        }
        let sending = sending()
        for kind in rounds.local {
            var local = LocalAuthentication(
                certificates: certificates.0.first.map { [$0.encoded] } ?? [],
                sending: sending
            )
            switch kind {
            case .psk: local = LocalAuthentication()
            case .certificate: (local.method, local.constraint) = (.signature, constraint)
            case .eap: local.method = .eap(own?.options ?? EAPOptions())
            }
            result.local.append(local)
        }
        for kind in rounds.remote { result.remote.append(remote(kind, trust)) }
        return result
    }

    /// What URLs of certificates begin with.
    private static func base(_ text: String) throws(Refusal) -> String {
        guard CredentialStore.namesHost(text), text.utf8.count <= 256,
            text.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
        else { throw Refusal("\(quoted(text)) is no beginning of URLs; accepted: http://host/path/") }
        return text
    }

    // MARK: - Trust

    /// Whom we believe.
    private struct Trust {
        let authorities: [CertificateInfo]
        let pinned: [CertificateInfo]
        let keys: [PublicKeyInfo]
        let lists: [RevocationListInfo]
        let revocation: RevocationPolicy
    }

    private func trust() -> Trust? {
        let (authorities, pinned) = (certificates("ca"), certificates("remote-certificate"))
        let (keys, lists) = (publicKeys(), revocations())
        guard let authorities, let pinned, let keys, let lists else { return nil }
        if let other = authorities.first(where: { !$0.isAuthority }) {
            reader.error("ca", "the certificate '\(other.subject)' is not an authority's")
            return nil
        }
        if ProofRounds.checksSignatures(reader) { checkRemote(authorities) }
        return Trust(
            authorities: authorities,
            pinned: pinned,
            keys: keys,
            lists: lists,
            revocation: revocationPolicy()
        )
    }

    private func remote(_ kind: ProofRounds.Kind, _ trust: Trust) -> RemoteAuthentication {
        var remote: RemoteAuthentication
        switch kind {
        case .psk: return .sharedKey
        case .certificate: remote = .signature
        case .eap: remote = .eap
        }
        remote.authorities = trust.authorities.map { $0.encoded }
        remote.certificates = trust.pinned.map { $0.encoded }
        remote.publicKeys = trust.keys
        remote.revocation = trust.revocation
        return remote
    }

    /// When our certificate is sent.
    private func sending() -> CertificateSending {
        reader.value("send-certificate") { (text) throws(Refusal) in
            try ScalarText.choice(text, CertificateSending.allCases.map { ($0.rawValue, $0) })
        } ?? .ifAsked
    }

    // MARK: - Pre-shared key

    private func sharedKey(_ rounds: ProofRounds) -> SecretKey? {
        guard let entry = reader.entry("psk-file") else {
            let (ours, theirs) = (rounds.local.contains(.psk), rounds.remote.contains(.psk))
            reader.missing(
                "psk-file",
                "the path of a file that holds the pre-shared key and nobody else can read"
                    + (ours && theirs
                        ? "; or certificate, private-key and ca"
                        : theirs
                            ? ", by which the peer proves itself; or ca, if it has a certificate"
                            : ", by which we prove ourselves; or certificate and private-key")
            )
            return nil
        }
        let octets = reader.value("psk-file") { (path) throws(Refusal) in try context.secret(path) }
        guard var octets else { return nil }
        guard (1...Self.longestKey).contains(octets.count) else {
            reader.error("psk-file", "holds \(octets.count) octets; accepted: 1 to \(Self.longestKey)")
            return nil
        }
        if octets.count < Self.shortKey {
            context.sink.warning(
                entry.value.position,
                reader.path(of: "psk-file"),
                "the key has only \(octets.count) octets and may be guessed; \(Self.shortKey) or more are advised"
            )
        }
        guard let key = try? SecretKey(wiping: &octets) else {
            reader.error("psk-file", "no protected memory is left for the key")
            return nil
        }
        return key
    }

    // MARK: - Our side

    private func ownCredentials() -> ([CertificateInfo], [PrivateKeyInfo])? {
        guard reader.entry("private-key") != nil else {
            reader.missing("private-key", "the path of the certificate's key, which nobody else can read")
            return nil
        }
        let key = reader.value("private-key") { (path) throws(Refusal) -> PrivateKeyInfo in
            var octets = try context.secret(path)
            guard let key = try? PrivateKeyInfo(wiping: &octets) else {
                throw Refusal(
                    "holds no private key that is known here: unencrypted RSA, ECDSA, Ed25519 or Ed448"
                )
            }
            return key
        }
        guard let own = certificates("certificate"), let key else { return nil }
        if let first = own.first, first.keyID != key.keyID {
            reader.error("private-key", "is not the key of the certificate '\(first.subject)'")
            return nil
        }
        return (own, [key])
    }

    /// The identity that we prove: the certificate must be one for it.
    private func checkIdentity(_ configured: Identity?, _ certificate: CertificateInfo) -> Identity? {
        guard let configured else { return certificate.subjectIdentity }
        guard certificate.names(configured) else {
            let names = ([certificate.subject] + certificate.alternativeNames.compactMap { $0.text })
                .joined(separator: ", ")
            let key = reader.entry("local-id") == nil ? "certificate" : "local-id"
            reader.error(key, "the certificate is not one for '\(configured)'; it is for \(names)")
            return nil
        }
        return configured
    }

    private func constraint() -> SignatureConstraint? {
        guard reader.entry("signature") != nil else { return SignatureConstraint() }
        let words: [(String, SignatureConstraint)] = [true, false].flatMap { isPSS in
            [(nil, ""), (SignatureHash.sha256, "-sha256"), (.sha384, "-sha384"), (.sha512, "-sha512")].map {
                var constraint = SignatureConstraint()
                constraint.usesPSS = isPSS
                constraint.hashes = $0.0.map { [$0] } ?? []
                return ((isPSS ? "rsa-pss" : "rsa-pkcs1") + $0.1, constraint)
            }
        }
        return reader.value("signature") { (text) throws(Refusal) in try ScalarText.choice(text, words) }
    }

    // MARK: - The peer's side

    /// An authority vouches for many: which of them this is must be said.
    private func checkRemote(_ authorities: [CertificateInfo]) {
        guard !authorities.isEmpty, reader.entry("remote-id") == nil,
            reader.entry("remote-certificate") == nil, reader.entry("remote-public-key") == nil
        else { return }
        reader.missing(
            "remote-id",
            "the identity that the peer's certificate must have: everybody that the authority vouches for could be the peer "
                + "else ('%any' says so)"
        )
    }

    private func revocationPolicy() -> RevocationPolicy {
        reader.value("revocation") { (text) throws(Refusal) in
            try ScalarText.choice(text, RevocationPolicy.allCases.map { ($0.rawValue, $0) })
        } ?? .relaxed
    }

    // MARK: - Files

    /// The certificates of a key's files; none when the key is not there, nil after an error.
    private func certificates(_ key: String) -> [CertificateInfo]? {
        files(key, "CERTIFICATE") { try? CertificateInfo(parsing: $0) }
    }

    private func publicKeys() -> [PublicKeyInfo]? {
        files("remote-public-key", "PUBLIC KEY") { try? PublicKeyInfo(parsing: $0) }
    }

    private func revocations() -> [RevocationListInfo]? {
        files("crl", "X509 CRL") { try? RevocationListInfo(parsing: $0) }
    }

    private func files<Value>(_ key: String, _ label: String, _ parse: ([UInt8]) -> Value?) -> [Value]? {
        guard reader.entry(key) != nil else { return [] }
        return reader.list(key) { (path) throws(Refusal) -> [Value] in
            let blocks = PEMText.blocks(try context.file(path), label: label)
            guard !blocks.isEmpty else { throw Refusal("holds no -----BEGIN \(label)-----") }
            var values: [Value] = []
            for block in blocks {
                guard let value = parse(Array(block.utf8)) else {
                    throw Refusal("holds a \(label) that cannot be read")
                }
                values.append(value)
            }
            return values
        }.map { $0.flatMap { $0 } }
    }
}

extension AlternativeName {
    /// For messages; nil for what has no short text.
    fileprivate var text: String? {
        switch self {
        case .dns(let name), .email(let name): name
        case .address(let octets): IPAddress(octets: octets)?.description
        case .directory: nil
        }
    }
}

/// PEM files with several objects (RFC 7468 §2).
enum PEMText {
    /// Objects of one file at most.
    private static let most = 64

    /// The blocks with this label, each with its first and last line.
    static func blocks(_ text: String, label: String) -> [String] {
        let (begin, end) = ("-----BEGIN \(label)-----", "-----END \(label)-----")
        var blocks: [String] = []
        var current: [Substring]?
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            let trimmed = line.hasSuffix("\r") ? line.dropLast() : line
            if trimmed == begin { current = [] }
            current?.append(trimmed)
            if trimmed == end, let lines = current {
                blocks.append(lines.joined(separator: "\n") + "\n")
                current = nil
                if blocks.count == most { break }
            }
        }
        return blocks
    }
}
