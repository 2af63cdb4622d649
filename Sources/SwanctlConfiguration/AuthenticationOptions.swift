/// A section `local…` or `remote…`: one round of authentication (RFC 4739) of one side.
struct AuthenticationOptions {
    /// `auth`.
    enum Method: Equatable {
        case psk
        /// `pubkey`, `rsa`, `ecdsa` or `ike:`, with constraints on keys and schemes behind it.
        case publicKey(String)
        /// `eap` or `eap-TYPE`, with constraints behind a colon.
        case eap(String)
        /// `xauth` or `xauth-BACKEND`.
        case xauth(String)

        init?(_ octets: [UInt8]) {
            guard octets.count < 64, let text = OptionText.word(octets) else { return nil }
            let folded = text.lowercased()
            if ["ike:", "pubkey", "rsa", "ecdsa"].contains(where: { text.hasPrefix($0) }) {
                self = .publicKey(text)
            } else if folded == "psk" {
                self = .psk
            } else if folded.hasPrefix("xauth") {
                self = .xauth(text)
            } else if folded.hasPrefix("eap") {
                self = .eap(text)
            } else {
                return nil
            }
        }

        /// As it was written.
        var text: String {
            switch self {
            case .psk: "psk"
            case .publicKey(let text), .eap(let text), .xauth(let text): text
            }
        }
    }

    /// The section's name.
    let name: String

    var method: Method?
    var identity: IdentityOption?
    var caIdentity: IdentityOption?
    var aaaIdentity: IdentityOption?
    var eapIdentity: IdentityOption?
    var xauthIdentity: IdentityOption?
    var revocation: String?
    var round: UInt32?
    var groups: [IdentityOption] = []
    var certificatePolicies: [String] = []
    var certificates: [[UInt8]] = []
    var authorityCertificates: [[UInt8]] = []
    var publicKeys: [[UInt8]] = []
    /// Sections `cert…` and `cacert…`: certificates by file or on a token.
    var tokenSections: [String] = []

    init(name: String) {
        self.name = name
    }

    mutating func set(_ key: String, _ value: [UInt8]) -> OptionOutcome {
        switch key {
        case "auth": .keep(Method(value), in: &method)
        case "id": .keep(IdentityOption(value), in: &identity)
        case "ca_id": .keep(IdentityOption(value), in: &caIdentity)
        case "aaa_id": .keep(IdentityOption(value), in: &aaaIdentity)
        case "eap_id": .keep(IdentityOption(value), in: &eapIdentity)
        case "xauth_id": .keep(IdentityOption(value), in: &xauthIdentity)
        case "revocation":
            .keep(
                OptionText.choice(
                    value,
                    [("strict", "strict"), ("ifuri", "ifuri"), ("relaxed", "relaxed")]
                ),
                in: &revocation
            )
        case "round": .keep(OptionText.number(value), in: &round)
        default: .unknown
        }
    }

    mutating func append(_ key: String, _ item: [UInt8]) -> OptionOutcome {
        switch key {
        case "groups": .append(IdentityOption(item), to: &groups)
        case "cert_policy": .append(OptionText.printable(item), to: &certificatePolicies)
        case "certs": .append(item.isEmpty ? nil : item, to: &certificates)
        case "cacerts": .append(item.isEmpty ? nil : item, to: &authorityCertificates)
        case "pubkeys": .append(item.isEmpty ? nil : item, to: &publicKeys)
        default: .unknown
        }
    }
}
