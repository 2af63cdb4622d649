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
    /// Fixed bits of a prefix, at most, that means everything rather than a network.
    private static let wide = 1
    /// The metric of the unreachable routes: any other route wins.
    static let unreachableMetric: UInt32 = 0xffff_fff0

    private let netlink: Netlink
    private var device: FileDescriptorOwner?
    private var current: GatewayDescription
    private var link: LinkInfo?
    /// The routes of the configuration as they were made.
    private var made: [RouteKey: Route] = [:]
    /// Destinations of the configuration's routes into tunnels.
    private var covered: Set<IPPrefix> = []
    /// Destinations that the configuration keeps out of tunnels that are wider.
    private var kept: Set<IPPrefix> = []
    /// Destinations that only CHILD_SAs have, with the CHILD_SAs.
    private var carried: [IPPrefix: Set<UInt32>] = [:]
    private var carriedBy: [UInt32: [IPPrefix]] = [:]
    /// Addresses that peers gave us, with the IKE_SAs that have them.
    private var virtual: [IPAddress: Set<UInt32>] = [:]

    init(_ description: GatewayDescription) throws(LinuxError) {
        netlink = try Netlink()
        current = description
    }

    /// Makes the TUN and everything else; repeated calls apply a difference.
    ///
    /// The filter goes first: from its first route on, no plaintext may come in from outside.
    ///
    /// - Returns: what could not be done but need not stop the gateway.
    func apply(_ description: GatewayDescription) throws(LinuxError) -> [String] {
        var warnings = [String]()
        let link = try prepareDevice(description)
        self.link = link
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
        // What a run before this one was given is nobody's now; what somebody else put there stays.
        for address in try netlink.addresses()
        where address.linkIndex == link.index && address.origin == InterfaceAddress.ownOrigin
            && virtual[address.address] == nil
        {
            try netlink.deleteAddress(address)
        }
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
        note(wanted)
        for prefix in carried.keys where !covered.contains(prefix) {
            try netlink.addRoute(carriedRoute(prefix))
        }
        for route in present where made[RouteKey(route)] == nil && carried[route.destination] == nil {
            try netlink.deleteRoute(route)
        }
    }

    private func note(_ wanted: [Route]) {
        made = Dictionary(wanted.map { (RouteKey($0), $0) }, uniquingKeysWith: { first, _ in first })
        covered = Set(wanted.filter { $0.type == .unicast }.map { $0.destination })
        kept = Set(wanted.filter { $0.type == .throw }.map { $0.destination })
    }

    /// Adds and removes the routes in which `description` differs from what was applied last; nothing is asked of
    /// the kernel.
    func applyDifference(_ description: GatewayDescription) throws(LinuxError) {
        guard let link else { return }
        let before = made
        let wanted = try routes(description, link)
        note(wanted)
        if description.tunMTU != current.tunMTU { try netlink.setLink(link.index, mtu: description.tunMTU) }
        current = description
        for (key, route) in made where before[key] != route { try netlink.addRoute(route) }
        for (key, route) in before where made[key] == nil {
            if route.type == .unicast, carried[route.destination] != nil {
                try netlink.addRoute(carriedRoute(route.destination))
            } else {
                try remove(route)
            }
        }
    }

    private func remove(_ route: Route) throws(LinuxError) {
        do throws(LinuxError) { try netlink.deleteRoute(route) } catch {
            // Somebody else was faster.
            guard error.isAbsence else { throw error }
        }
    }

    // MARK: - Virtual addresses

    /// Puts addresses that a peer gave on the TUN; returns those that are new there.
    func addAddresses(_ addresses: [IPAddress], of ikeID: UInt32) throws(LinuxError) -> [IPAddress] {
        guard let link else { return [] }
        var added = [IPAddress]()
        for address in addresses {
            let isNew = virtual[address] == nil
            virtual[address, default: []].insert(ikeID)
            guard isNew else { continue }
            let entry = InterfaceAddress(
                linkIndex: link.index,
                address: address,
                prefixLength: address.bitWidth,
                origin: InterfaceAddress.ownOrigin
            )
            try netlink.addAddress(entry, prefixRoute: false)
            added.append(address)
        }
        return added
    }

    /// Takes back the addresses that only this IKE_SA had; returns them.
    func removeAddresses(of ikeID: UInt32) throws(LinuxError) -> [IPAddress] {
        guard let link else { return [] }
        var removed = [IPAddress]()
        for (address, holders) in virtual where holders.contains(ikeID) {
            virtual[address]?.remove(ikeID)
            guard holders.count == 1 else { continue }
            virtual[address] = nil
            removed.append(address)
            let entry = InterfaceAddress(
                linkIndex: link.index,
                address: address,
                prefixLength: address.bitWidth
            )
            do throws(LinuxError) { try netlink.deleteAddress(entry) } catch {
                guard error.isAbsence else { throw error }
            }
        }
        return removed
    }

    // MARK: - Routes of CHILD_SAs

    /// Leads what a CHILD_SA negotiated into the tunnel, where no route of the configuration does: the peers of
    /// road warriors and of selectors without addresses are known only now.
    func childInstalled(_ id: UInt32, local: [TrafficSelector], remote: [TrafficSelector]) throws(LinuxError)
    {
        let prefixes = remote.flatMap { $0.prefixes }
        carriedBy[id] = prefixes
        for prefix in prefixes {
            let isNew = carried[prefix] == nil
            carried[prefix, default: []].insert(id)
            if isNew, !isCovered(prefix) { try netlink.addRoute(carriedRoute(prefix, local: local)) }
        }
    }

    /// Takes back what only this CHILD_SA carried.
    func childRemoved(_ id: UInt32) throws(LinuxError) {
        for prefix in carriedBy.removeValue(forKey: id) ?? [] {
            carried[prefix]?.remove(id)
            guard carried[prefix]?.isEmpty == true else { continue }
            carried[prefix] = nil
            if !isCovered(prefix) { try remove(carriedRoute(prefix)) }
        }
    }

    /// True when a route of the configuration leads there.
    private func isCovered(_ prefix: IPPrefix) -> Bool {
        // The longest prefix decides, as it does in the kernel.
        for length in stride(from: prefix.length, through: 0, by: -1) {
            guard let wider = IPPrefix(prefix.address, length: length) else { continue }
            if covered.contains(wider) { return true }
            if kept.contains(wider) { return false }
        }
        return false
    }

    private func carriedRoute(_ prefix: IPPrefix, local: [TrafficSelector] = []) -> Route {
        var route = Route(destination: prefix, table: current.routingTable, linkIndex: link?.index)
        if !local.isEmpty, let addresses = try? netlink.addresses().map({ $0.address }) {
            route.preferredSource = Self.source(addresses, local, prefix)
        }
        return route
    }

    /// The address of ours that lies in the tunnel's local side: what this machine itself sends gets it.
    private static func source(
        _ addresses: [IPAddress],
        _ local: [TrafficSelector],
        _ destination: IPPrefix
    ) -> IPAddress? {
        addresses.first { address in
            address.bitWidth == destination.address.bitWidth
                && local.contains { $0.first <= address && address <= $0.last }
        }
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
            for prefix in tunnel.remote.flatMap({ $0.prefixes }) where seen.insert(prefix).inserted {
                result.append(
                    Route(
                        destination: prefix,
                        table: table,
                        linkIndex: link.index,
                        preferredSource: Self.source(addresses, tunnel.local, prefix)
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
        // A tunnel to a wide prefix must not swallow our own networks, nor what other tunnels, or it itself, have as theirs.
        let wide = seen.filter { $0.length <= Self.wide }
        var own = Set(description.networks)
        if !wide.isEmpty {
            for tunnel in description.connections.flatMap({ $0.tunnels }) {
                own.formUnion(tunnel.local.flatMap { $0.prefixes })
            }
        }
        for network in own.sorted() where !seen.contains(network) {
            guard
                description.networks.contains(network)
                    ? seen.contains(where: { $0.contains(network) })
                    : wide.contains(where: { $0.length < network.length && $0.contains(network) })
            else { continue }
            result.append(Route(destination: network, table: table, type: .throw))
        }
        return result
    }

    /// The packet filter of a configuration; it lets the outer packets of `peers` in, some of whom may lie in a
    /// protected network.
    static func filter(_ description: GatewayDescription, peers: [IPAddress]) throws(LinuxError)
        -> NoLeakFilter
    {
        let remote = description.connections.flatMap { $0.tunnels }.flatMap { $0.remote }
            .flatMap { $0.prefixes }.filter { $0.length > 0 }
        let protected = remote.filter { prefix in
            // What also covers our side cannot be told from it by its source.
            !description.networks.contains { prefix.overlaps($0) }
        }
        // A peer elsewhere needs no exception; left out, it changes nothing when its name stands for another address.
        let (known, lengths) = (Set(protected), Set(protected.map { $0.length }))
        let inside = peers.filter { peer in
            lengths.contains { length in IPPrefix(peer, length: length).map { known.contains($0) } ?? false }
        }
        return try NoLeakFilter(
            instance: description.name,
            tunNames: [description.interfaceName],
            protected: protected,
            exceptSources: inside
        )
    }

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
    /// The TUN's MTU: the configured one, or what AES-CBC leaves of 1500 octets behind a NAT.
    ///
    /// The packet path tells senders of larger packets what each tunnel takes. Where some tunnel takes all of them, so must the device.
    var tunMTU: Int {
        if let innerMTU { return innerMTU }
        return connections.contains { $0.tunnels.contains { !$0.copying.df } } ? 1500 : 1422
    }
}
