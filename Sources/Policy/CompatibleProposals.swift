public import IPsecTypes

/// What a vendor's gateways offer and accept by default where that is weaker than what we do.
public enum CompatibleProposals: CaseIterable, Sendable {
    /// Azure's route-based gateways without a custom policy, as documented in 2023: AES-CBC and 3DES with SHA-1 and
    /// SHA-256, group 2, no PFS of its own but any that is asked for.
    ///
    /// Single DES, which Azure answers too, is left out: whoever takes it takes one of the others.
    case azure2023

    /// The name in configuration files.
    public var name: String {
        switch self {
        case .azure2023: "azure-2023"
        }
    }

    /// IKE: what is sound of it first.
    public var ike: [Proposal] {
        switch self {
        case .azure2023: Self.azure2023IKE
        }
    }

    /// ESP: without PFS first, as the vendor offers it.
    public var esp: [Proposal] {
        switch self {
        case .azure2023: Self.azure2023ESP
        }
    }

    private static let azure2023IKE = DefaultProposals.build(
        [
            "aes256gcm16-prfsha384-prfsha256-ecp384-ecp256-modp2048",
            "aes256-aes128-sha256-sha1-ecp384-ecp256-modp2048-modp1024",
            "3des-sha256-sha1-modp2048-modp1024",
        ],
        .ike
    )

    private static let azure2023ESP = DefaultProposals.build(
        [
            "aes256gcm16",
            "aes256-aes128-sha256-sha1-modpnone-modp2048-modp2048s256-modp1024",
            "3des-sha256-sha1-modpnone-modp2048-modp1024",
        ],
        .esp
    )
}
