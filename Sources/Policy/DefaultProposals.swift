public import Cryptography
public import IPsecTypes

/// What is offered and accepted where a connection names no algorithms.
public enum DefaultProposals {
    /// IKE: combined-mode ciphers first, then AES-CBC with SHA-2 for older devices (RFC 8247).
    public static let ike: [Proposal] = build(
        [
            "aes256gcm16-aes128gcm16-chacha20poly1305-prfsha384-prfsha256-x25519-ecp384-ecp256-modp2048",
            "aes256-aes128-sha384-sha256-x25519-ecp384-ecp256-modp2048",
        ],
        .ike
    )

    /// ESP: the same ciphers, without PFS in the first exchange (RFC 8221).
    public static let esp: [Proposal] = build(
        ["aes256gcm16-aes128gcm16-chacha20poly1305", "aes256-aes128-sha384-sha256-sha1"],
        .esp
    )

    /// What must have given its known answers before the gateway starts.
    public static var selfTestSubjects: [SelfTest.Subject] {
        (ike + esp).flatMap { $0.transforms }.compactMap { $0.selfTestSubject }
    }

    static func build(_ texts: [String], _ securityProtocol: SecurityProtocol) -> [Proposal] {
        texts.compactMap { try? Proposal(keywords: $0, for: securityProtocol) }.enumerated().map {
            var proposal = $1
            proposal.number = UInt8(truncatingIfNeeded: $0 + 1)
            return proposal
        }
    }
}
