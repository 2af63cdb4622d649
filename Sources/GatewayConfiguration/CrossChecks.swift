import IPPackets
import Policy

/// Checks that need more than one section.
struct CrossChecks {
    let sink: DiagnosticSink

    private struct Network {
        let prefix: IPPrefix
        let owner: String
        let path: String
        let position: SourcePosition
    }

    /// Networks of different sites, or of a site and this gateway, must not overlap: a packet's way is then unclear.
    ///
    /// A site's default route is no overlap: whatever has a longer prefix goes before it.
    func checkOverlaps(
        gateway: [(value: IPPrefix, position: SourcePosition)],
        sites: [LocatedSite]
    ) {
        var networks = gateway.map {
            Network(prefix: $0.value, owner: "this gateway", path: "gateway.networks", position: $0.position)
        }
        for site in sites {
            networks += site.networks.map {
                Network(
                    prefix: $0.value,
                    owner: "site '\(site.site.name)'",
                    path: "sites.\(site.site.name).networks",
                    position: $0.position
                )
            }
        }
        checkDefaultRoutes(networks.filter { $0.prefix.length == 0 })
        let sorted = networks.filter { $0.prefix.length > 0 }.sorted {
            ($0.prefix, $0.position) < ($1.prefix, $1.position)
        }
        // Sorted by address, the wider first, a network overlaps an earlier one if and only if that contains it.
        var containing = [Network]()
        for network in sorted {
            while let last = containing.last, !last.prefix.overlaps(network.prefix) {
                containing.removeLast()
            }
            if let other = containing.last(where: { $0.owner != network.owner }) { report(network, other) }
            containing.append(network)
        }
    }

    private func checkDefaultRoutes(_ networks: [Network]) {
        for family in [32, 128] {
            let routes = networks.filter { $0.prefix.address.bitWidth == family }
            guard let first = routes.first else { continue }
            for other in routes.dropFirst() where other.owner != first.owner { report(other, first) }
        }
    }

    private func report(_ one: Network, _ other: Network) {
        let (earlier, later) = one.position < other.position ? (one, other) : (other, one)
        sink.error(
            later.position,
            later.path,
            "\(later.prefix) overlaps \(earlier.prefix) of \(earlier.owner) on line \(earlier.position.line); "
                + "accepted: networks that no other site or this gateway has"
        )
    }

    /// A site whose networks hold its own outer address is legal: marked packets do not enter the tunnel.
    func noteOuterAddresses(_ sites: [LocatedSite]) {
        for site in sites {
            let addresses = site.site.address.initiatorTargets
            for network in site.networks where network.value.length > 0 {
                guard let address = addresses.first(where: { network.value.contains($0) }) else { continue }
                sink.warning(
                    network.position,
                    "sites.\(site.site.name).networks",
                    "\(network.value) holds the site's own outer address \(address), "
                        + "which is reached outside of the tunnel"
                )
            }
        }
    }

    /// A peer must be able to tell two connections apart by address or identity.
    func checkDistinguishable(_ connections: [(policy: ConnectionPolicy, position: SourcePosition)]) {
        struct Key: Hashable {
            let remote: RemoteAddress
            let localIdentity: Identity?
            let remoteIdentity: Identity?
        }
        var groups: [Key: [(policy: ConnectionPolicy, position: SourcePosition)]] = [:]
        for connection in connections {
            let policy = connection.policy
            let key = Key(
                remote: policy.remoteAddress,
                localIdentity: policy.localIdentity,
                remoteIdentity: policy.effectiveRemoteIdentity
            )
            let twin = groups[key, default: []].first { sharesAddress($0.policy, policy) }
            groups[key, default: []].append(connection)
            guard let twin else { continue }
            sink.error(
                connection.position,
                "connections.\(policy.name)",
                "a peer cannot tell it from '\(twin.policy.name)' on line \(twin.position.line): both have the same "
                    + "remote address, local-id and remote-id; accepted: a difference in one of them"
            )
        }
    }

    private func sharesAddress(_ one: ConnectionPolicy, _ other: ConnectionPolicy) -> Bool {
        one.localAddresses.isEmpty || other.localAddresses.isEmpty
            || one.localAddresses.contains { other.localAddresses.contains($0) }
    }
}
