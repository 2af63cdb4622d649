import Cryptography
import Policy

/// Reads a connection's post-quantum pre-shared key (RFC 8784).
struct PostquantumReader {
    let reader: MappingReader
    let context: ConnectionContext

    /// Octets at least: what breaks a key exchange one day must not find the key by trying.
    private static let leastOctets = 32
    private static let longest = 1024

    /// Nil when the connection names none, and after an error.
    func read() -> PostquantumPolicy? {
        let identity = reader.value("ppk-id") { (text) throws(Refusal) -> Identity in
            guard let identity = Identity(configured: text), !identity.isPattern else {
                throw Refusal("\(quoted(text)) is no name for a key; accepted: a name, or user@host")
            }
            return identity
        }
        let octets = reader.value("ppk-file") { (path) throws(Refusal) in try context.secret(path) }
        let isRequired = reader.value("ppk-required", ScalarText.boolean)
        guard reader.entry("ppk-id") != nil || reader.entry("ppk-file") != nil || isRequired != nil else {
            return nil
        }
        if reader.entry("ppk-id") == nil {
            reader.missing("ppk-id", "the name by which both ends know the key")
        }
        guard let entry = reader.entry("ppk-file") else {
            reader.missing("ppk-file", "the path of a file that holds the key and nobody else can read")
            return nil
        }
        guard let identity, var octets else { return nil }
        guard (1...Self.longest).contains(octets.count) else {
            reader.error("ppk-file", "holds \(octets.count) octets; accepted: 1 to \(Self.longest)")
            return nil
        }
        if octets.count < Self.leastOctets {
            context.sink.warning(
                entry.value.position,
                reader.path(of: "ppk-file"),
                "the key has only \(octets.count) octets; RFC 8784 §6 advises \(Self.leastOctets) of chance"
            )
        }
        guard let key = try? SecretKey(wiping: &octets) else {
            reader.error("ppk-file", "no protected memory is left for the key")
            return nil
        }
        return PostquantumPolicy(
            identity: identity,
            isRequired: isRequired ?? false,
            keys: SharedKeyring([SharedKeyring.Entry(id: "", owners: [identity], key: key)])
        )
    }
}
