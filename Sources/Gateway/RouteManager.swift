import GatewayConfiguration
import IPPackets
import IPsecTypes
import LinuxIO
import Policy

/// What the gateway adds to the kernel: the TUN, routes in a table of their own, the rules that lead there, and the
/// packet filter that lets no plaintext in from outside.
///
/// Routes stay while a tunnel is down, over a crash and a restart; an unreachable route of high metric beneath them
/// holds if the TUN should vanish. All is taken back at an orderly stop only.
final class RouteManager {
    /// The metric of the unreachable routes: any other route wins.
    static let unreachableMetric: UInt32 = 0xffff_fff0

    private let netlink: Netlink
    private var device: FileDescriptorOwner?
    private var current: GatewayDescription
    /// Peers whose packets the filter lets in.
    private var exceptions: Set<IPAddress> = []

    init(_ description: GatewayDescription) throws(LinuxError) {
        netlink = try Netlink()
        current = description
    }

    /// Makes the TUN and everything else; repeated calls apply a difference.
    ///
    /// - Returns: what could not be done but need not stop the gateway.
    func apply(_ description: GatewayDescription) throws(LinuxError) -> [String] {
        var warnings = [String]()
        // The filter first: from its first route on, no plaintext may come in from outside.
        do throws(LinuxError) { try filter(description, peers: configuredPeers(description)).apply() } catch {
            warnings.append("no filter against plaintext from outside: \(error)")
        }
        let link = try prepareDevice(description)
        try syncRoutes(description, link)
        for rule in rules(description) { try netlink.addRule(rule) }
        if (try? Sysctl.read("/proc/sys/net/ipv4/ip_forward")) == "0" {
            warnings.append(
                "net.ipv4.ip_forward is 0: nothing is forwarded between the TUN and other interfaces"
            )
        }
        current = description
        return warnings
    }

    private func prepareDevice(_ description: GatewayDescription) throws(LinuxError) -> LinkInfo {
        let (opened, link) = try TunDeviceControl.prepare(
            name: description.interfaceName,
            instance: description.name,
            netlink: netlink
        )
        try netlink.setLink(link.index, up: true, mtu: description.tunMTU, txQueueLength: 2000)
        // This descriptor is a queue that nobody reads: it only made the device, the pump opens its own.
        _ = opened
        _ = try? Sysctl.writeIfDifferent(
            "/proc/sys/net/ipv4/conf/\(description.interfaceName)/rp_filter",
            "0"
        )
        return link
    }

    private func rules(_ description: GatewayDescription) -> [Rule] {
        Rule.exceptMarked(
            Rule.Mark(value: description.mark),
            to: description.routingTable,
            priority: description.rulePriority
        )
    }

    private func syncRoutes(_ description: GatewayDescription, _ link: LinkInfo) throws(LinuxError) {
        let wanted = try routes(description, link)
        let present = try netlink.routes(table: description.routingTable)
            .filter { $0.protocol == Route.ownProtocol }
        // New ones first, so that a prefix that stays covered is never uncovered in between.
        for route in wanted { try netlink.addRoute(route) }
        let keys = Set(wanted.map { RouteKey($0) })
        for route in present where !keys.contains(RouteKey(route)) { try netlink.deleteRoute(route) }
    }

    /// What makes two routes the same to the kernel.
    private struct RouteKey: Hashable {
        let destination: IPPrefix
        let type: Route.Kind
        let metric: UInt32?

        init(_ route: Route) {
            destination = route.destination
            type = route.type
            metric = route.type == .unreachable ? RouteManager.unreachableMetric : nil
        }
    }

    private func routes(_ description: GatewayDescription, _ link: LinkInfo) throws(LinuxError) -> [Route] {
        let addresses = try netlink.addresses().map { $0.address }
        let table = description.routingTable
        var result = [Route]()
        var seen: Set<IPPrefix> = []
        for tunnel in description.connections.flatMap({ $0.tunnels }) {
            let source = addresses.first { address in
                tunnel.local.contains { $0.first <= address && address <= $0.last }
            }
            for prefix in tunnel.remote.flatMap({ $0.prefixes }) where seen.insert(prefix).inserted {
                let sameFamily = source.flatMap { $0.bitWidth == prefix.address.bitWidth ? $0 : nil }
                result.append(
                    Route(
                        destination: prefix,
                        table: table,
                        linkIndex: link.index,
                        preferredSource: sameFamily
                    )
                )
                result.append(
                    Route(
                        destination: prefix,
                        table: table,
                        metric: Self.unreachableMetric,
                        type: .unreachable
                    )
                )
            }
        }
        // A tunnel to a wide prefix must not swallow our own networks.
        for network in description.networks where !seen.contains(network) {
            guard seen.contains(where: { $0.contains(network) }) else { continue }
            result.append(Route(destination: network, table: table, type: .throw))
        }
        return result
    }

    private func configuredPeers(_ description: GatewayDescription) -> [IPAddress] {
        description.connections.flatMap { $0.remoteAddress.initiatorTargets }
    }

    /// Lets the outer packets of peers in, whose addresses are these now: some may lie in a protected network.
    func updateFilter(_ description: GatewayDescription, peers: [IPAddress]) throws(LinuxError) {
        let protected = description.connections.flatMap { $0.tunnels }.flatMap { $0.remote }
            .flatMap { $0.prefixes }.filter { $0.length > 0 }
        let added = Set(peers).subtracting(exceptions)
        guard added.contains(where: { peer in protected.contains { $0.contains(peer) } }) else { return }
        try filter(description, peers: peers).apply()
    }

    private func filter(
        _ description: GatewayDescription,
        peers: [IPAddress]
    ) throws(LinuxError) -> NoLeakFilter {
        exceptions = Set(peers)
        let protected = description.connections.flatMap { $0.tunnels }.flatMap { $0.remote }
            .flatMap { $0.prefixes }
            .filter { prefix in
                // What also covers our side cannot be told from it by its source.
                prefix.length > 0 && !description.networks.contains { prefix.overlaps($0) }
            }
        return try NoLeakFilter(
            instance: description.name,
            tunNames: [description.interfaceName],
            protected: protected,
            exceptSources: peers
        )
    }

    /// Packets that the filter dropped.
    var leaksPrevented: UInt64 { (try? NoLeakFilter.droppedPackets(instance: current.name)) ?? 0 }

    /// Takes back all that was added; what fails is returned, and the rest is done all the same.
    func removeAll() -> [String] {
        var failures = [String]()
        func attempt(_ body: () throws(LinuxError) -> Void) {
            do throws(LinuxError) { try body() } catch {
                // What a start that failed never made is not missing.
                if !error.isAbsence { failures.append(error.description) }
            }
        }
        for rule in rules(current) { attempt { () throws(LinuxError) in try netlink.deleteRule(rule) } }
        attempt { () throws(LinuxError) in try netlink.deleteAllRoutes(table: current.routingTable) }
        attempt { () throws(LinuxError) in
            for link in try TunDeviceControl.devices(netlink, instance: current.name) {
                try netlink.deleteLink(link.index)
            }
        }
        attempt { () throws(LinuxError) in try NoLeakFilter.remove(instance: current.name) }
        return failures
    }
}

extension GatewayDescription {
    /// The TUN's MTU: the configured one, or what AES-CBC leaves of 1500 octets behind a NAT; the packet path
    /// tells senders of larger packets what each tunnel takes.
    var tunMTU: Int { innerMTU ?? 1422 }
}
