/// How much a vici client may load: every table is bounded in number and in octets.
public enum LoadLimits {
    /// Connections.
    public static let connections = 20_000
    /// Tunnels of one connection.
    public static let children = 1_000
    /// Rounds of authentication of one side.
    public static let rounds = 8
    /// Addresses, proposals or selectors of one list.
    public static let listItems = 256
    /// Octets of a name of a connection, tunnel, authority or pool.
    public static let nameOctets = 255
    /// Secrets of all types together.
    public static let secrets = 50_000
    /// Octets of one secret.
    public static let secretOctets = 4_096
    /// Owners of one secret.
    public static let owners = 64
    /// Private keys.
    public static let privateKeys = 1_000
    /// Certificates, CRLs included.
    public static let certificates = 10_000
    /// Octets of all certificates together.
    public static let certificateOctets = 64 * 1024 * 1024
    /// Certification authorities.
    public static let authorities = 1_000
    /// URIs of one kind of one authority.
    public static let uris = 16
    /// Pools.
    public static let pools = 1_000
    /// Attributes of one pool.
    public static let poolAttributes = 256
}
