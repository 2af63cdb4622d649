import IPPackets
import IPsecTypes
import Policy

/// Reads a connection's tunnels, or makes the one it has without any.
struct TunnelReader {
    static let keys =
        [
            "local", "remote", "esp-proposals", "start", "replay-window", "tfc-padding", "copy-dscp",
            "copy-ecn", "copy-df", "child-sas", "inactivity",
        ] + LifetimeReader.childKeys

    let connection: ConnectionReader
    let site: LocatedSite?
    let policy: NamedPolicy?
    let compatible: CompatibleProposals?
    let start: StartMode
    /// The connection asks for virtual addresses: they are the local side where nothing else is said.
    let isVirtual: Bool

    private var context: ConnectionContext { connection.context }

    func tunnels() -> [TunnelPolicy] {
        let (lifetime, volumes) = childLifetime([connection.reader])
        var defaults = TunnelPolicy(
            name: connection.name,
            local: context.gateway.networks.map { TrafficSelector($0) },
            remote: site?.site.networks.map { TrafficSelector($0) } ?? [],
            proposals: connection.proposals("esp-proposals", .esp, in: connection.reader)
                ?? policy?.esp?.proposals ?? compatible?.esp ?? DefaultProposals.esp,
            start: start,
            replayWindow: replayWindow(connection.reader) ?? 1024,
            lifetime: lifetime,
            rekeyVolume: volumes.soft,
            limit: volumes.hard,
            origin: context.origin(connection.reader.position)
        )
        if isVirtual { defaults.localSelectors = [.dynamic(ipProtocol: 0, ports: 0...65_535)] }
        defaults.padding = padding(connection.reader) ?? .none
        defaults.copying = copying(connection.reader, defaults.copying)
        defaults.inactivity = inactivity(connection.reader, defaults.start)
        guard let entry = connection.reader.entry("tunnels") else {
            checkNetworks(defaults)
            return defaults.spread(over: childCount(connection.reader) ?? 1)
        }
        let path = connection.reader.path(of: "tunnels")
        guard
            let reader = MappingReader(named: entry.value, at: entry.position, path: path, context.sink)
        else { return [] }
        if reader.entries.isEmpty {
            context.sink.error(entry.position, path, "is empty: name at least one tunnel or drop the key")
        }
        return reader.entries.flatMap { tunnels($0, defaults, path) }
    }

    private func childLifetime(_ readers: [MappingReader]) -> (SALifetime, (soft: SAVolume, hard: SAVolume)) {
        let keys = LifetimeReader(readers)
        let standard = (soft: policy?.rekeyVolume ?? SAVolume(), hard: policy?.limit ?? SAVolume())
        return (keys.lifetime(policy?.lifetime ?? .childDefault), keys.volumes(standard))
    }

    private func replayWindow(_ reader: MappingReader) -> Int? {
        reader.value("replay-window") { (text) throws(Refusal) in try ScalarText.integer(text, in: 32...8192)
        }
    }

    private func padding(_ reader: MappingReader) -> TrafficFlowPadding? {
        reader.value("tfc-padding") { (text) throws(Refusal) in
            if text == "mtu" { return .mtu }
            let octets = try ScalarText.integer(text, in: 0...65_535)
            return octets == 0 ? .none : .octets(octets)
        }
    }

    private func copying(_ reader: MappingReader, _ standard: HeaderCopying) -> HeaderCopying {
        let dscp = reader.value("copy-dscp") { (text) throws(Refusal) in
            try ScalarText.choice(text, HeaderCopying.DSCP.allCases.map { ($0.rawValue, $0) })
        }
        return HeaderCopying(
            dscp: dscp ?? standard.dscp,
            ecn: reader.value("copy-ecn", ScalarText.boolean) ?? standard.ecn,
            df: reader.value("copy-df", ScalarText.boolean) ?? standard.df
        )
    }

    /// The default tunnel carries the gateway's networks to the site's, so neither may be missing.
    private func checkNetworks(_ tunnel: TunnelPolicy) {
        let reader = connection.reader
        if tunnel.localSelectors.isEmpty {
            reader.sink.error(
                reader.position,
                reader.path,
                "has no tunnels, so gateway.networks must name at least one network"
            )
        }
        if let site, tunnel.remote.isEmpty {
            reader.sink.error(
                reader.position,
                reader.path,
                "has no tunnels, so sites.\(site.site.name).networks must name at least one network"
            )
        }
        checkFamilies(tunnel, reader.position, reader.path)
    }

    /// Silence that ends a CHILD_SA: one that is to be up in any case would come up again at once.
    private func inactivity(_ reader: MappingReader, _ start: StartMode) -> Duration? {
        let limit = reader.value("inactivity") { (text) throws(Refusal) in
            try ScalarText.duration(text, in: .seconds(1) ... .seconds(30 * 86_400))
        }
        guard limit != nil, start == .start else { return limit }
        reader.error("inactivity", "does not go with start: start; accepted: start: on-demand, passive")
        return nil
    }

    /// CHILD_SAs with the same selectors.
    private func childCount(_ reader: MappingReader) -> Int? {
        reader.value("child-sas") { (text) throws(Refusal) in
            try ScalarText.integer(text, in: 1...ChildResource.most)
        }
    }

    private func tunnels(
        _ entry: ConfigurationEntry,
        _ defaults: TunnelPolicy,
        _ tunnelsPath: String
    ) -> [TunnelPolicy] {
        let path = "\(tunnelsPath).\(entry.key)"
        guard
            let reader = MappingReader(
                entry.value,
                at: entry.position,
                path: path,
                accepting: Self.keys,
                context.sink
            )
        else { return [] }
        checkName(entry, path)
        var tunnel = defaults
        tunnel.name = entry.key
        tunnel.origin = context.origin(entry.position)
        if let local = reader.list("local", SelectorText.selector) { tunnel.local = local }
        if let remote = reader.list("remote", SelectorText.selector) { tunnel.remote = remote }
        if reader.entry("local") == nil, tunnel.localSelectors.isEmpty {
            reader.missing("local", "selectors of this side, as gateway.networks names none")
        }
        if reader.entry("remote") == nil, site != nil, tunnel.remote.isEmpty {
            reader.missing("remote", "selectors of the peer's side, as the site names no networks")
        }
        checkFamilies(tunnel, entry.position, path)
        tunnel.proposals = connection.proposals("esp-proposals", .esp, in: reader) ?? tunnel.proposals
        tunnel.replayWindow = replayWindow(reader) ?? tunnel.replayWindow
        tunnel.padding = padding(reader) ?? tunnel.padding
        tunnel.copying = copying(reader, tunnel.copying)
        tunnel.inactivity = inactivity(reader, tunnel.start) ?? tunnel.inactivity
        if LifetimeReader.childKeys.contains(where: { reader.entry($0) != nil }) {
            let (lifetime, volumes) = childLifetime([reader, connection.reader])
            tunnel.lifetime = lifetime
            tunnel.rekeyVolume = volumes.soft
            tunnel.limit = volumes.hard
        }
        if let start = reader.value("start", ConnectionReader.startMode) {
            if start != .passive, let site, !site.site.address.canInitiate {
                reader.error(
                    "start",
                    "a site with the address \(site.addressWord) cannot be called; accepted: passive"
                )
            }
            tunnel.start = start
        }
        return tunnel.spread(over: childCount(reader) ?? childCount(connection.reader) ?? 1)
    }

    private func checkName(_ entry: ConfigurationEntry, _ path: String) {
        do throws(Refusal) {
            _ = try ScalarText.name(entry.key)
        } catch {
            context.sink.error(entry.position, path, error.text)
        }
    }

    /// Selectors of one family on one side only can never match a packet.
    private func checkFamilies(_ tunnel: TunnelPolicy, _ position: SourcePosition, _ path: String) {
        let local = Set(tunnel.local.map { $0.first.bitWidth })
        let remote = Set(tunnel.remote.map { $0.first.bitWidth })
        guard !local.isEmpty, !remote.isEmpty, local.isDisjoint(with: remote) else { return }
        context.sink.error(position, path, "local and remote have no address family in common")
    }
}
