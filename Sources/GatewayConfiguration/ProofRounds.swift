import EAP
import Policy

/// By what both ends prove themselves, and in which order where it is by several proofs (RFC 4739).
struct ProofRounds {
    static let keys = ["proofs", "remote-proofs"]
    private static let remoteKeys = ["ca", "remote-certificate", "remote-public-key"]

    /// A proof.
    enum Kind: String, CaseIterable {
        case psk
        case certificate
        case eap
    }

    let local: [Kind]
    let remote: [Kind]
    private let reader: MappingReader

    /// Nil after an error.
    init?(_ reader: MappingReader) {
        self.reader = reader
        let onlyEAP = reader.value("eap-only", ScalarText.boolean) ?? false
        let usesEAP = reader.entry("eap") != nil
        let ours: Kind = usesEAP ? .eap : Self.signs(reader) ? .certificate : .psk
        let theirs: Kind = onlyEAP ? .eap : Self.checksSignatures(reader) ? .certificate : .psk
        guard let local = Self.list("proofs", reader, ours),
            let remote = Self.list("remote-proofs", reader, theirs)
        else { return nil }
        (self.local, self.remote) = (local, remote)
        if local.contains(.eap) != usesEAP {
            let key = usesEAP ? "eap" : "proofs"
            reader.error(
                key,
                usesEAP ? "is not used: 'proofs' does not name it" : "names eap; accepted: with 'eap'"
            )
            return nil
        }
        if local.count + remote.count > 2, reader.entry("ppk-id") != nil {
            // RFC 8784 does not say which of several proofs the key is part of.
            reader.error("ppk-id", "does not go with several proofs; accepted: one proof of each end")
            return nil
        }
        if remote.contains(.eap), !onlyEAP || remote.count > 1 || !usesEAP {
            let key = reader.entry("remote-proofs") == nil ? "eap-only" : "remote-proofs"
            reader.error(
                key,
                "EAP proves the peer alone and together with us; accepted: eap-only beside 'eap'"
            )
            return nil
        }
    }

    private static func list(_ key: String, _ reader: MappingReader, _ standard: Kind) -> [Kind]? {
        guard reader.entry(key) != nil else { return [standard] }
        let kinds = reader.list(key) { (text) throws(Refusal) in
            try ScalarText.choice(text, Kind.allCases.map { ($0.rawValue, $0) })
        }
        guard let kinds else { return nil }
        guard !kinds.isEmpty, Set(kinds).count == kinds.count else {
            reader.error(key, "accepted: each of psk, certificate, eap once, in order")
            return nil
        }
        return kinds
    }

    static func signs(_ reader: MappingReader) -> Bool {
        reader.entry("certificate") != nil || reader.entry("private-key") != nil
    }

    static func checksSignatures(_ reader: MappingReader) -> Bool {
        remoteKeys.contains { reader.entry($0) != nil }
    }

    func uses(_ kind: Kind) -> Bool { local.contains(kind) || remote.contains(kind) }

    /// A certificate of ours is read.
    var hasOwnCertificate: Bool { Self.signs(reader) || local.contains(.certificate) }

    /// False after an error: secrets that are named and prove nothing are a mistake.
    func refuseUnused(_ eap: EAPOptions?) -> Bool {
        if reader.entry("psk-file") != nil, !uses(.psk) {
            let ours =
                local.contains(.eap)
                ? "we prove ourselves by EAP" : "both ends prove themselves by signatures"
            reader.error("psk-file", "is not used: \(ours)")
            return false
        }
        if Self.signs(reader), !local.contains(.certificate), eap?.methods.contains(.tls) != true {
            let key = reader.entry("certificate") != nil ? "certificate" : "private-key"
            reader.error(
                key,
                "is not used: no tls among 'eap'; accepted: 'proofs: [certificate, eap]' for both"
            )
            return false
        }
        return true
    }
}
