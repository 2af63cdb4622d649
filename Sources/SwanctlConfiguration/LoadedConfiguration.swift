import Cryptography
public import Policy
public import Vici

/// A connection that a vici client loaded.
public struct LoadedConnection: Sendable {
    /// What the engines work by, with the keyring of the moment.
    public let policy: ConnectionPolicy
    /// What `list-conns` tells of it.
    public let listing: ConnectionListing
    /// What was said to load it, without its name.
    let settings: ViciMessage
    /// The certificates that came with it.
    let certificates: [CertificateInfo]

    func with(_ keyrings: LoadedKeyrings, _ credentials: CredentialStore) -> LoadedConnection {
        LoadedConnection(
            policy: policy.with(keyrings, credentials),
            listing: listing,
            settings: settings,
            certificates: certificates
        )
    }
}

/// Everything that vici's load- commands brought: connections, secrets, keys, certificates, authorities, pools.
///
/// Each command is taken over as a whole or refused as a whole.
public struct LoadedConfiguration: Sendable {
    private var connectionTable = OrderedTable<LoadedConnection>()
    var secrets = SecretTable()
    var privateKeys = OrderedTable<LoadedKey>()
    var certificateTable = CertificateTable()
    var authorityTable = OrderedTable<LoadedAuthority>()
    var poolTable = OrderedTable<LoadedPool>()
    /// The credentials since the last change; nil while they must be built.
    private var settledCredentials: CredentialStore?

    /// An empty one.
    public init() {}

    /// What all its connections share: the pre-shared keys of type `ike`.
    public var keyring: SharedKeyring { secrets.keyring }

    /// The connections in the order of their first loading.
    public var connections: [LoadedConnection] {
        let (keyrings, credentials) = (secrets.keyrings, credentials)
        return connectionTable.values.map { $0.with(keyrings, credentials) }
    }

    /// The connections' names in the same order.
    public var connectionNames: [String] { connectionTable.names }

    /// The connection of a name; nil when none was loaded.
    public func connection(_ name: String) -> LoadedConnection? {
        connectionTable[name].map { $0.with(secrets.keyrings, credentials) }
    }

    /// What all its connections share: certificates, keys and lists.
    public var credentials: CredentialStore { settledCredentials ?? builtCredentials }

    private var builtCredentials: CredentialStore {
        var certificates: [CertificateInfo] = []
        var publicKeys: [PublicKeyInfo] = []
        var revocations: [RevocationListInfo] = []
        var signers: [CertificateInfo] = []
        for loaded in certificateTable.certificates {
            switch loaded.facts {
            // Who may sign OCSP answers is nobody's peer.
            case .certificate(let certificate) where loaded.flag == .ocsp: signers.append(certificate)
            case .certificate(let certificate): certificates.append(certificate)
            case .publicKey(let key): publicKeys.append(key)
            case .revocationList(let list): revocations.append(list)
            }
        }
        certificates += authorityTable.values.map { $0.certificate }
        certificates += connectionTable.values.flatMap { $0.certificates }
        var store = CredentialStore(
            certificates: certificates,
            keys: privateKeys.values.map { $0.key },
            publicKeys: publicKeys,
            revocations: revocations
        )
        store.responderSigners = signers
        for authority in authorityTable.values {
            let encoded = authority.certificate.encoded
            store.sources[encoded, default: RevocationSources()].listURIs += authority.revocationListURIs
            store.sources[encoded, default: RevocationSources()].responderURIs += authority.ocspURIs
            store.urlBases[encoded] = authority.certificateURIBase
        }
        return store
    }

    /// Builds what all ask for once, until the next change.
    mutating func settleCredentials() {
        if settledCredentials == nil { settledCredentials = builtCredentials }
    }

    /// A certificate or a key came or went.
    mutating func credentialsChanged() { settledCredentials = nil }

    /// The tunnels of a loaded connection that would be others, or none, once `message` is loaded: all of them if anything
    /// but a tunnel changes.
    public func changedTunnels(of name: String, by message: ViciMessage) -> [TunnelPolicy] {
        guard let old = connectionTable[name] else { return [] }
        guard let new = message.section(name), Self.common(new) == Self.common(old.settings) else {
            return old.policy.tunnels
        }
        let (before, after) = (old.settings.section("children"), new.section("children"))
        return old.policy.tunnels.filter { before?[$0.name] != after?[$0.name] }
    }

    /// What all tunnels of a connection share.
    private static func common(_ settings: ViciMessage) -> ViciMessage {
        ViciMessage(settings.elements.filter { $0.name != "children" })
    }

    /// Carries out `load-conn`: the message has one section, named as the connection.
    ///
    /// A connection of that name is replaced and keeps its place.
    /// - Throws: `LoadRefusal` for a key or value that strongSwan would refuse as well, in its words, and for a
    ///   setting that is valid but not carried out, by its path.
    public mutating func loadConnection(_ message: ViciMessage) throws(LoadRefusal) {
        let options = try ConnectionOptions(parsing: message)
        try UnsupportedSettings(options).check()
        guard connectionTable[options.name] != nil || connectionTable.count < LoadLimits.connections else {
            throw .limit(LoadLimits.connections, "connections")
        }
        let credentials = try RoundCredentials(options)
        secrets.settle()
        let connection = LoadedConnection(
            policy: ConnectionBuilder(options: options, credentials: credentials).policy(keyring),
            listing: ConnectionListing(options, credentials),
            settings: message.section(options.name) ?? ViciMessage(),
            certificates: credentials.certificates
        )
        let bringsOthers = connectionTable[options.name]?.certificates != connection.certificates
        connectionTable.set(options.name, connection)
        if bringsOthers, !credentials.certificates.isEmpty { credentialsChanged() }
        settleCredentials()
    }

    /// Carries out `unload-conn`.
    public mutating func unloadConnection(_ name: String) throws(LoadRefusal) {
        guard connectionTable.remove(name) != nil else {
            throw LoadRefusal("unload: connection '\(name)' not found")
        }
    }
}
