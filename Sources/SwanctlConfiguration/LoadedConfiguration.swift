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

    /// An empty one.
    public init() {}

    /// What all its connections share: the pre-shared keys of type `ike`.
    public var keyring: SharedKeyring { secrets.keyring }

    /// The connections in the order of their first loading.
    public var connections: [LoadedConnection] {
        let keyring = keyring
        return connectionTable.values.map { Self.refreshed($0, keyring) }
    }

    /// The connections' names in the same order.
    public var connectionNames: [String] { connectionTable.names }

    /// The connection of a name; nil when none was loaded.
    public func connection(_ name: String) -> LoadedConnection? {
        connectionTable[name].map { Self.refreshed($0, keyring) }
    }

    private static func refreshed(_ connection: LoadedConnection, _ keyring: SharedKeyring)
        -> LoadedConnection
    {
        var policy = connection.policy
        policy.sharedKeys = keyring
        return LoadedConnection(policy: policy, listing: connection.listing, settings: connection.settings)
    }

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
        secrets.settle()
        let connection = LoadedConnection(
            policy: ConnectionBuilder(options: options).policy(keyring),
            listing: ConnectionListing(options),
            settings: message.section(options.name) ?? ViciMessage()
        )
        connectionTable.set(options.name, connection)
    }

    /// Carries out `unload-conn`.
    public mutating func unloadConnection(_ name: String) throws(LoadRefusal) {
        guard connectionTable.remove(name) != nil else {
            throw LoadRefusal("unload: connection '\(name)' not found")
        }
    }
}
