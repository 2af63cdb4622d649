import Policy

/// An identity as swanctl.conf writes it.
struct IdentityOption: Hashable {
    /// What it stands for; nil for a regular expression, which only strongSwan from 6.0.2 on has.
    let identity: Identity?
    private let text: String

    init?(_ octets: [UInt8]) {
        guard let text = OptionText.printable(octets), text.utf8.count <= 511 else { return nil }
        self.text = text
        if Self.isExpression(text) {
            identity = nil
        } else {
            guard let identity = Identity(swanctl: text) else { return nil }
            self.identity = identity
        }
    }

    /// `fqdn:^gw[0-9]+$`: a type that can be matched by an expression, anchored at both ends.
    private static func isExpression(_ text: String) -> Bool {
        guard let colon = text.firstIndex(of: ":") else { return false }
        let rest = text[text.index(after: colon)...]
        return ["fqdn", "dns", "email", "rfc822", "userfqdn", "asn1dn", "keyid", "xmppaddr"]
            .contains(text[..<colon].lowercased()) && rest.first == "^" && rest.last == "$"
    }

    /// Text for lists, as charon prints it.
    var description: String { identity?.description ?? text }
}
