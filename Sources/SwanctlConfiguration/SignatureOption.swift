import Cryptography
import Policy

/// `auth = pubkey-sha256`, `rsa-3072`, `ike:rsa/pss-sha512`: kinds of keys, their least sizes, and hashes.
struct SignatureOption {
    private(set) var constraint = SignatureConstraint()

    /// Nil for a word that is not known here.
    init?(_ text: String) {
        var kind: SignatureKeyAlgorithm?
        let rest = text.hasPrefix("ike:") ? text.dropFirst(4) : text[...]
        for word in rest.split(separator: "-") {
            switch word.lowercased() {
            case "pubkey": kind = nil
            case "rsa": kind = .rsa
            case "rsa/pss":
                kind = .rsa
                constraint.usesPSS = true
            case "rsa/pkcs1":
                kind = .rsa
                constraint.usesPSS = false
            case "ecdsa": kind = .ecdsa
            case "ed25519": kind = .ed25519
            case "ed448": kind = .ed448
            case "sha256", "sha2_256": constraint.hashes.append(.sha256)
            case "sha384", "sha2_384": constraint.hashes.append(.sha384)
            case "sha512", "sha2_512": constraint.hashes.append(.sha512)
            case "identity": break
            default:
                guard let bits = Int(word), (1...16_384).contains(bits), let kind else { return nil }
                switch kind {
                case .rsa: constraint.leastRSABits = max(bits, SignatureConstraint.leastRSABits)
                case .ecdsa: constraint.leastCurveBits = bits
                case .ed25519, .ed448: return nil
                }
            }
            if let kind { constraint.algorithms.insert(kind) }
        }
    }
}
