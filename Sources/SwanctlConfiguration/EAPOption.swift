import EAP

/// The value of `auth` where it begins with `eap`: `eap` for any method, or `eap-METHOD`.
struct EAPOption {
    /// The methods, the preferred one first.
    let methods: [EAPMethod]

    /// Nil for a method that is not carried out.
    init?(_ text: String) {
        let folded = text.lowercased()
        if folded == "eap" {
            methods = [.tls, .mschapv2, .md5, .gtc]
        } else if folded.hasPrefix("eap-"), let method = EAPMethod(name: String(folded.dropFirst(4))) {
            methods = [method]
        } else {
            return nil
        }
    }
}
