import Cryptography
import EAP
import Policy

/// Reads how we prove ourselves by EAP as initiator (RFC 7296 §2.16).
struct EAPReader {
    static let keys = ["eap", "eap-id", "eap-password-file", "eap-server-id", "eap-only"]
    private static let longestPassword = 256

    private let reader: MappingReader
    private let context: ConnectionContext

    init(_ reader: MappingReader, _ context: ConnectionContext) {
        (self.reader, self.context) = (reader, context)
    }

    /// What was read.
    struct Own {
        var options: EAPOptions
        var secrets: EAPSecrets
    }

    /// Nil inside where the connection has no EAP; nil after an error.
    func read() -> Own?? {
        let identity = reader.value("eap-id", Self.name)
        let server = reader.value("eap-server-id", ScalarText.identity)
        guard reader.entry("eap") != nil else {
            for key in Self.keys where reader.entry(key) != nil {
                reader.error(key, "is not used: 'eap' names no method")
                return nil
            }
            return .some(nil)
        }
        let words = EAPMethod.allCases.map { ($0.name, $0) }
        let methods = reader.list("eap") { (text) throws(Refusal) in try ScalarText.choice(text, words) }
        guard let methods, !methods.isEmpty else { return nil }
        let options = EAPOptions(methods: methods, identity: identity, server: server)
        guard methods.contains(where: { $0 != .tls }) else {
            guard reader.entry("eap-password-file") == nil else {
                reader.error("eap-password-file", "is not used: tls proves us by the certificate")
                return nil
            }
            guard reader.entry("certificate") != nil else {
                reader.missing("certificate", "the path of the certificate by which tls proves us")
                return nil
            }
            return Own(options: options, secrets: .none)
        }
        guard reader.entry("eap-password-file") != nil else {
            reader.missing(
                "eap-password-file",
                "the path of a file that holds the password and nobody else can read"
            )
            return nil
        }
        let octets = reader.value("eap-password-file") { (path) throws(Refusal) in try context.secret(path) }
        guard var octets else { return nil }
        guard (1...Self.longestPassword).contains(octets.count) else {
            reader.error(
                "eap-password-file",
                "holds \(octets.count) octets; accepted: 1 to \(Self.longestPassword)"
            )
            return nil
        }
        guard let key = try? SecretKey(wiping: &octets) else {
            reader.error("eap-password-file", "no protected memory is left for the password")
            return nil
        }
        let secrets = EAPSecrets(passwords: SharedKeyring(key), hashes: SharedKeyring([]))
        return Own(options: options, secrets: secrets)
    }

    /// A user's name, taken as it stands.
    private static func name(_ text: String) throws(Refusal) -> Identity {
        guard (1...253).contains(text.utf8.count), text.unicodeScalars.allSatisfy({ $0.value >= 0x20 }) else {
            throw Refusal("\(quoted(text)) is no name; accepted: a user's name, or user@realm")
        }
        return .keyID(Array(text.utf8))
    }
}
