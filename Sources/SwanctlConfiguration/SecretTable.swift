import Cryptography
import Policy

/// A shared secret that a vici client loaded.
struct LoadedSecret: Sendable {
    /// What it is for.
    enum Purpose: String, Sendable {
        /// Pre-shared key of IKE.
        case ike
        /// Password of EAP and XAuth.
        case eap
        /// NT hash of a password.
        case ntlm
        /// Post-quantum pre-shared key (RFC 8784).
        case ppk
    }

    let purpose: Purpose
    let owners: [IdentityOption]
    let key: SecretKey
}

/// The secrets of the moment, by what they are for.
struct LoadedKeyrings: Sendable {
    let shared: SharedKeyring
    let postquantum: SharedKeyring
    let eap: EAPSecrets
}

/// The shared secrets by their identifier, bounded in number.
///
/// A secret without an identifier cannot be listed or unloaded, only cleared.
struct SecretTable: Sendable {
    private var table = OrderedTable<LoadedSecret>()
    private var nameless = 0
    /// Cannot begin an identifier that a client sends: those are printable.
    private static let namelessPrefix = "\u{0}"

    /// The identifiers in order.
    var identifiers: [String] { table.names.filter { !$0.hasPrefix(Self.namelessPrefix) } }

    /// Those of purpose `ike` with what is known of their owners.
    var keyring: SharedKeyring { settled ?? built }

    /// Those of purpose `ppk`, by their names.
    var postquantumKeys: SharedKeyring { SharedKeyring(entries(.ppk)) }

    /// Those of purposes `eap` and `ntlm`.
    var eapSecrets: EAPSecrets {
        EAPSecrets(passwords: SharedKeyring(entries(.eap)), hashes: SharedKeyring(entries(.ntlm)))
    }

    /// All of the moment.
    var keyrings: LoadedKeyrings {
        LoadedKeyrings(shared: keyring, postquantum: postquantumKeys, eap: eapSecrets)
    }

    /// The keyring since the last change; nil while it must be built.
    private var settled: SharedKeyring?

    /// Builds the keyring once for all that ask until the next change.
    mutating func settle() {
        if settled == nil { settled = built }
    }

    mutating func add(_ secret: LoadedSecret, identifier: String?) throws(LoadRefusal) {
        let isReplacement = identifier.map { table[$0] != nil } ?? false
        guard isReplacement || table.count < LoadLimits.secrets else {
            throw .limit(LoadLimits.secrets, "secrets")
        }
        if let identifier {
            table.set(identifier, secret)
        } else {
            nameless += 1
            table.set(Self.namelessPrefix + String(nameless), secret)
        }
        settled = nil
    }

    mutating func remove(_ identifier: String) {
        if table.remove(identifier) != nil { settled = nil }
    }

    mutating func removeAll() {
        table.removeAll()
        settled = nil
    }

    private var built: SharedKeyring { SharedKeyring(entries(.ike)) }

    private func entries(_ purpose: LoadedSecret.Purpose) -> [SharedKeyring.Entry] {
        zip(table.names, table.values).compactMap { name, secret in
            guard secret.purpose == purpose else { return nil }
            let owners = secret.owners.compactMap { $0.identity }
            // A key whose owners are all of a form that nobody can have must not become everybody's.
            guard !owners.isEmpty || secret.owners.isEmpty else { return nil }
            return SharedKeyring.Entry(id: name, owners: owners, key: secret.key)
        }
    }
}
