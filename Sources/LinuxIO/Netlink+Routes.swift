import Glibc
public import IPPackets
import Primitives

/// How the kernel would send a packet now.
public struct RouteLookup: Hashable, Sendable {
    /// The interface.
    public var linkIndex: Int32
    /// The next hop; nil when the destination is on the link.
    public var gateway: IPAddress?
    /// The source that a socket without one of its own would get.
    public var preferredSource: IPAddress?
    /// The table that decided.
    public var table: UInt32
    /// True when the destination is this machine itself.
    public var isLocal: Bool
}

extension Netlink {
    /// Adds `route`; one with the same destination, table and metric is replaced.
    public func addRoute(_ route: Route) throws(LinuxError) {
        try change(
            NetlinkNumber.newRoute,
            flags: NetlinkNumber.create | NetlinkNumber.replace,
            route.payload(forDeletion: false),
            "add route \(route.destination) to table \(route.table)"
        )
    }

    /// Removes `route`; fails with ESRCH when there is none such.
    public func deleteRoute(_ route: Route) throws(LinuxError) {
        try change(
            NetlinkNumber.deleteRoute,
            route.payload(forDeletion: true),
            "delete route \(route.destination) from table \(route.table)"
        )
    }

    /// All routes of `table`, IPv4 before IPv6.
    public func routes(table: UInt32) throws(LinuxError) -> [Route] {
        let operation = "list routes of table \(table)"
        var routes = [Route]()
        for family in [NetlinkNumber.familyV4, NetlinkNumber.familyV6] {
            var writer = ByteWriter()
            writer.u8(family)
            writer.zeros(11)
            writer.attribute(RouteAttribute.table, host32: table)
            do throws(LinuxError) {
                let messages = try dump(NetlinkNumber.getRoute, writer.bytes, operation)
                routes += try decode(messages, type: NetlinkNumber.newRoute, operation) {
                    message throws(WireError) in
                    try Route(payload: message.payload)
                }
            } catch {
                // A table that never held a route does not exist.
                guard error.errno == ENOENT else { throw error }
            }
        }
        // Kernels before 4.20 ignore the filter.
        return routes.filter { $0.table == table }
    }

    /// Removes every route of `table` that `protocol` made; how many there were.
    @discardableResult
    public func deleteAllRoutes(
        protocol: UInt8 = Route.ownProtocol,
        table: UInt32
    ) throws(LinuxError) -> Int {
        var count = 0
        for route in try routes(table: table) where route.protocol == `protocol` {
            do throws(LinuxError) {
                try deleteRoute(route)
                count += 1
            } catch {
                // It went with its interface in the meantime.
                guard error.errno == ESRCH || error.errno == ENODEV else { throw error }
            }
        }
        return count
    }

    /// How a packet to `destination` with socket mark `mark` would leave; nil when it would not.
    public func routeLookup(to destination: IPAddress, mark: UInt32 = 0) throws(LinuxError) -> RouteLookup? {
        let operation = "look up route to \(destination)"
        var writer = ByteWriter()
        writer.u8(destination.family)
        writer.u8(UInt8(clamping: destination.bitWidth))
        writer.zeros(6)
        // RTM_F_LOOKUP_TABLE: the answer names the table that decided. IPv6 always does, and refuses it.
        writer.host32(UInt32(destination.bitWidth == 32 ? 0x1000 : 0))
        writer.attribute(RouteAttribute.destination, destination.octets)
        if mark != 0 { writer.attribute(RouteAttribute.mark, host32: mark) }
        do throws(LinuxError) {
            let messages = try get(NetlinkNumber.getRoute, writer.bytes, operation)
            let found = try decode(messages, type: NetlinkNumber.newRoute, operation) {
                message throws(WireError) in
                try Route(payload: message.payload)
            }
            return found.first.flatMap { Self.usable($0) }
        } catch {
            // What IPv4 says of unreachable, prohibit, throw and blackhole routes. The kernel explains the
            // EINVAL of a request that it does not understand, and only that.
            let refusals = [ENETUNREACH, EHOSTUNREACH, EACCES, EAGAIN]
            let isBlackhole = error.errno == EINVAL && error.detail == nil
            guard isBlackhole || refusals.contains(error.errno) else { throw error }
            return nil
        }
    }

    private static func usable(_ route: Route) -> RouteLookup? {
        // RTN_LOCAL is 2.
        guard route.type == .unicast || route.type == .other(2), let linkIndex = route.linkIndex else {
            return nil
        }
        return RouteLookup(
            linkIndex: linkIndex,
            gateway: route.gateway,
            preferredSource: route.preferredSource,
            table: route.table,
            isLocal: route.type == .other(2)
        )
    }
}
