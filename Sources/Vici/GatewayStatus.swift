/// The state of the daemon as a user sees it, merged from `version`, `stats`, `list-conns` and `list-sas`.
public struct GatewayStatus: Equatable, Sendable {
    /// Where a connection stands.
    public enum ConnectionState: String, Equatable, Sendable {
        /// An IKE_SA is established.
        case up = "UP"
        /// An IKE_SA is being negotiated.
        case connecting = "CONNECTING"
        /// The only IKE_SAs left are being deleted.
        case closing = "CLOSING"
        /// There is no IKE_SA.
        case down = "DOWN"
    }

    /// A connection: its configuration and its IKE_SAs.
    public struct Connection: Equatable, Sendable {
        /// The name.
        public let name: String
        /// What `list-conns` says; empty if it does not list the connection any more.
        public let configuration: ViciMessage
        /// What `list-sas` says, one message for each IKE_SA.
        public internal(set) var sas: [ViciMessage]

        /// Where the connection stands: the best of its IKE_SAs.
        public var state: ConnectionState {
            let states = sas.map { $0.string("state") ?? "" }
            if states.contains(where: { ["ESTABLISHED", "REKEYING", "REKEYED"].contains($0) }) { return .up }
            if states.contains(where: { ["CREATED", "CONNECTING", "PASSIVE"].contains($0) }) {
                return .connecting
            }
            return states.isEmpty ? .down : .closing
        }

        /// The names of the configured tunnels, in order.
        public var tunnels: [String] {
            configuration.section("children")?.sections.map(\.name) ?? []
        }

        /// The configured tunnels that no CHILD_SA carries.
        public var missingTunnels: [String] {
            let present = sas.flatMap { $0.section("child-sas")?.sections ?? [] }
                .filter { ["INSTALLED", "REKEYING"].contains($0.message.string("state") ?? "") }
                .compactMap { $0.message.string("name") }
            return tunnels.filter { !present.contains($0) }
        }
    }

    /// The answer to `version`.
    public let version: ViciMessage
    /// The answer to `stats`.
    public let stats: ViciMessage
    /// The connections in the order of `list-conns`, then those that only `list-sas` knows.
    public let connections: [Connection]

    /// Merges the answers and events; `name` limits the connections to one.
    public init(
        version: ViciMessage,
        stats: ViciMessage,
        connections events: [ViciMessage],
        sas: [ViciMessage],
        name: String? = nil
    ) {
        self.version = version
        self.stats = stats
        var merged: [Connection] = []
        var index: [String: Int] = [:]
        for (connection, configuration) in events.flatMap(\.sections)
        where index[connection] == nil && (name == nil || name == connection) {
            index[connection] = merged.count
            merged.append(Connection(name: connection, configuration: configuration, sas: []))
        }
        for (connection, sa) in sas.flatMap(\.sections) where name == nil || name == connection {
            if let position = index[connection] {
                merged[position].sas.append(sa)
            } else {
                index[connection] = merged.count
                merged.append(Connection(name: connection, configuration: ViciMessage(), sas: [sa]))
            }
        }
        connections = merged
    }

    /// Packets that the daemon dropped, by reason, without the zeros.
    public var drops: [(reason: String, count: UInt64)] {
        guard let drops = stats.section("causeway")?.section("drops") else { return [] }
        return drops.elements.compactMap { element in
            guard let count = drops.number(element.name, as: UInt64.self), count > 0 else { return nil }
            return (element.name, count)
        }
    }

    /// The merged data as one JSON object on one line.
    public var json: String {
        let connections = self.connections.map { connection in
            let sas = connection.sas.map(\.json).joined(separator: ",")
            return "{\"name\":\(ViciJSON.quoted(connection.name)),\"state\":\"\(connection.state.rawValue)\","
                + "\"configuration\":\(connection.configuration.json),\"sas\":[\(sas)]}"
        }
        return "{\"version\":\(version.json),\"stats\":\(stats.json),"
            + "\"connections\":[\(connections.joined(separator: ","))]}"
    }
}
