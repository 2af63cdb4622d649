import Dispatch
import Glibc
import IPPackets
import Primitives
import Testing

@testable import LinuxIO

@Suite(.enabled(if: NamespaceThread.isRoot, "needs root: makes network namespaces"))
struct NetlinkTests {
    /// A fresh namespace with `lo` and two TUN devices that are up and have addresses.
    struct Lab {
        let netlink: Netlink
        let first: Int32
        let second: Int32
        let devices: [FileDescriptorOwner]

        init() throws {
            let netlink = try Netlink()
            let links = try ["lo", "tun1", "tun2"].map {
                (name: String) throws -> (FileDescriptorOwner?, Int32) in
                let device = name == "lo" ? nil : try TunDeviceControl.open(name: name)
                let index = try #require(try netlink.link(named: name)).index
                try netlink.setLink(index, up: true)
                return (device, index)
            }
            self.netlink = netlink
            devices = links.compactMap(\.0)
            first = links[1].1
            second = links[2].1
            for (index, v4, v6) in [(first, "10.1.0.1", "fd01::1"), (second, "10.2.0.1", "fd02::1")] {
                try netlink.addAddress(try Self.address(index, v4, 24))
                try netlink.addAddress(try Self.address(index, v6, 64))
            }
        }

        static func address(_ index: Int32, _ text: String, _ length: Int) throws -> InterfaceAddress {
            InterfaceAddress(linkIndex: index, address: try #require(IPAddress(text)), prefixLength: length)
        }
    }

    static func prefix(_ text: String) throws -> IPPrefix { try #require(IPPrefix(text)) }

    @Test func linkRoundTrips() throws {
        let (links, all) = try NamespaceThread.run {
            let netlink = try Netlink()
            let device = try TunDeviceControl.open(name: "tun7")
            let before = try netlink.link(named: "tun7")
            let index = try #require(before).index
            try netlink.setLink(index, up: true, mtu: 1391, txQueueLength: 77, alias: "an alias", group: 9)
            let changed = try netlink.link(named: "tun7")
            try netlink.setLink(index, up: false)
            let down = try netlink.link(named: "tun7")
            let all = try netlink.allLinks()
            try netlink.deleteLink(index)
            let gone = try netlink.link(named: "tun7")
            _ = device.descriptor
            return ([before, changed, down, gone, try netlink.link(named: "far-too-long-a-name")], all)
        }
        let index = try #require(links[0]).index
        let expected = LinkInfo(
            index: index,
            name: "tun7",
            mtu: 1391,
            isUp: true,
            alias: "an alias",
            kind: "tun",
            group: 9
        )
        #expect(links[0] == LinkInfo(index: index, name: "tun7", mtu: 1500, isUp: false, kind: "tun"))
        #expect(links[1] == expected)
        #expect(links[2]?.isUp == false)
        #expect(links[2]?.alias == "an alias")
        #expect(links[3] == nil && links[4] == nil)
        #expect(all.map(\.name).sorted() == ["lo", "tun7"])
    }

    @Test func refusalNamesOperationAndErrno() throws {
        let error = try NamespaceThread.run { () -> LinuxError? in
            do throws(LinuxError) {
                try Netlink().setLink(4711, up: true)
                return nil
            } catch {
                return error
            }
        }
        #expect(error?.errno == ENODEV)
        #expect(error?.description.hasPrefix("set link 4711: No such device") == true)
    }

    @Test func addressRoundTrips() throws {
        let (added, routes, after, index) = try NamespaceThread.run {
            let lab = try Lab()
            let extra = [
                try Lab.address(lab.first, "10.9.0.5", 16), try Lab.address(lab.first, "fd09::5", 48),
            ]
            for address in extra { try lab.netlink.addAddress(address, prefixRoute: false) }
            // The same again is no error.
            try lab.netlink.addAddress(extra[0], prefixRoute: false)
            let added = try lab.netlink.addresses()
            let routes = try lab.netlink.routes(table: 254)
            for address in extra { try lab.netlink.deleteAddress(address) }
            return (added, routes, try lab.netlink.addresses(), lab.first)
        }
        let v4 = try Lab.address(index, "10.9.0.5", 16)
        let v6 = try Lab.address(index, "fd09::5", 48)
        #expect(added.filter { $0 == v4 }.count == 1 && added.filter { $0 == v6 }.count == 1)
        #expect(v4.prefix == (try Self.prefix("10.9.0.0/16")))
        // The one option under test: no route to the extra networks, one to the ordinary ones.
        #expect(!routes.contains { $0.destination == v4.prefix || $0.destination == v6.prefix })
        #expect(routes.contains { $0.destination.description == "10.1.0.0/24" })
        #expect(routes.contains { $0.destination.description == "fd01::/64" })
        #expect(!after.contains(v4) && !after.contains(v6))
        #expect(after.contains(try Lab.address(index, "10.1.0.1", 24)))
    }

    static func routes(_ table: UInt32, _ link: Int32) throws -> [Route] {
        [
            Route(destination: try prefix("0.0.0.0/0"), table: table, linkIndex: link, metric: 10),
            Route(
                destination: try prefix("10.50.0.0/16"),
                table: table,
                linkIndex: link,
                metric: 10,
                mtu: 1380
            ),
            Route(destination: try prefix("10.50.0.0/16"), table: table, metric: 9999, type: .unreachable),
            Route(
                destination: try prefix("10.51.0.0/16"),
                table: table,
                linkIndex: link,
                gateway: IPAddress("10.1.0.2"),
                preferredSource: IPAddress("10.1.0.1"),
                metric: 10
            ),
            Route(destination: try prefix("10.52.0.0/16"), table: table, metric: 10, type: .blackhole),
            Route(destination: try prefix("10.53.0.0/16"), table: table, metric: 10, type: .throw),
            Route(destination: try prefix("::/0"), table: table, linkIndex: link, metric: 10),
            Route(destination: try prefix("fd50::/16"), table: table, linkIndex: link, metric: 10, mtu: 1380),
            Route(destination: try prefix("fd50::/16"), table: table, metric: 9999, type: .unreachable),
            Route(
                destination: try prefix("fd51::/16"),
                table: table,
                linkIndex: link,
                gateway: IPAddress("fd01::2"),
                preferredSource: IPAddress("fd01::1"),
                metric: 10
            ),
            Route(destination: try prefix("fd52::/16"), table: table, metric: 10, type: .blackhole),
            Route(destination: try prefix("fd53::/16"), table: table, metric: 10, type: .throw),
        ]
    }

    @Test(arguments: [UInt32(200), 51_820]) func routeRoundTrips(table: UInt32) throws {
        let (dumped, wanted, emptied, foreign, empty) = try NamespaceThread.run {
            let lab = try Lab()
            let empty = try lab.netlink.routes(table: table)
            let wanted = try Self.routes(table, lab.first)
            for route in wanted { try lab.netlink.addRoute(route) }
            // Twice is the same as once.
            for route in wanted { try lab.netlink.addRoute(route) }
            let dumped = try lab.netlink.routes(table: table)
            try lab.netlink.deleteRoute(wanted[1])
            try lab.netlink.deleteRoute(wanted[7])
            var foreign = wanted[0]
            foreign.destination = try Self.prefix("10.60.0.0/16")
            foreign.protocol = 4
            try lab.netlink.addRoute(foreign)
            let count = try lab.netlink.deleteAllRoutes(table: table)
            return (dumped, wanted, (count, try lab.netlink.routes(table: table)), foreign, empty)
        }
        #expect(empty.isEmpty)
        #expect(Set(dumped) == Set(wanted))
        #expect(dumped.count == wanted.count)
        #expect(emptied.0 == wanted.count - 2)
        #expect(emptied.1 == [foreign])
    }

    @Test func replacesRouteInPlace() throws {
        let (dumped, second) = try NamespaceThread.run {
            let lab = try Lab()
            for destination in ["10.50.0.0/16", "fd50::/16"] {
                for link in [lab.first, lab.second] {
                    try lab.netlink.addRoute(
                        Route(
                            destination: try Self.prefix(destination),
                            table: 200,
                            linkIndex: link,
                            metric: 10
                        )
                    )
                }
            }
            return (try lab.netlink.routes(table: 200), lab.second)
        }
        #expect(dumped.map(\.linkIndex) == [second, second])
    }

    @Test func deletingWhatIsNotThereIsAnError() throws {
        let codes = try NamespaceThread.run { () -> [Int32] in
            let lab = try Lab()
            let route = try Self.routes(200, lab.first)[1]
            let rule = Rule(priority: 7, table: 200, family: .v4)
            var codes = [Int32]()
            do throws(LinuxError) { try lab.netlink.deleteRoute(route) } catch { codes.append(error.errno) }
            do throws(LinuxError) { try lab.netlink.deleteRule(rule) } catch { codes.append(error.errno) }
            return codes
        }
        #expect(codes == [ESRCH, ENOENT])
    }

    @Test func ruleRoundTripsAndIsIdempotent() throws {
        let mark = Rule.Mark(value: 0xca05, mask: 0xffff)
        let (wanted, dumped, after) = try NamespaceThread.run {
            let netlink = try Netlink()
            var wanted = Rule.exceptMarked(mark, to: 51_820, priority: 1000)
            wanted.append(Rule(priority: 999, table: 254, family: .v4, suppressPrefixLength: 0))
            for rule in wanted + wanted { try netlink.addRule(rule) }
            let dumped = try netlink.rules()
            for rule in wanted { try netlink.deleteRule(rule) }
            return (wanted, dumped, try netlink.rules())
        }
        let ours = dumped.filter { $0.protocol == Route.ownProtocol }
        #expect(ours.count == 3)
        #expect(Set(ours) == Set(wanted))
        #expect(!after.contains { $0.protocol == Route.ownProtocol })
        // The kernel's own: local, main and default for IPv4, local and main for IPv6.
        #expect(after.map(\.table) == [255, 254, 253, 255, 254])
    }

    @Test func markKeepsOuterPacketsOutOfTheTunnel() throws {
        let mark: UInt32 = 0xca05
        let (first, second, found) = try NamespaceThread.run {
            let lab = try Lab()
            for destination in ["0.0.0.0/0", "::/0"] {
                let prefix = try Self.prefix(destination)
                try lab.netlink.addRoute(
                    Route(destination: prefix, table: 51_820, linkIndex: lab.first, metric: 10)
                )
                let gateway = IPAddress(destination == "::/0" ? "fd02::2" : "10.2.0.2")
                try lab.netlink.addRoute(
                    Route(
                        destination: prefix,
                        table: 254,
                        linkIndex: lab.second,
                        gateway: gateway,
                        metric: 10
                    )
                )
            }
            for rule in Rule.exceptMarked(Rule.Mark(value: mark), to: 51_820, priority: 1000) {
                try lab.netlink.addRule(rule)
            }
            var found = [RouteLookup?]()
            for text in ["198.51.100.7", "2001:db8::7"] {
                let destination = try #require(IPAddress(text))
                found.append(try lab.netlink.routeLookup(to: destination))
                found.append(try lab.netlink.routeLookup(to: destination, mark: mark))
            }
            return (lab.first, lab.second, found)
        }
        #expect(found.map { $0?.linkIndex } == [first, second, first, second])
        #expect(found.map { $0?.table } == [51_820, 254, 51_820, 254])
        #expect(found.map { $0?.gateway?.description } == [nil, "10.2.0.2", nil, "fd02::2"])
        #expect(
            found.map { $0?.preferredSource?.description } == ["10.1.0.1", "10.2.0.1", "fd01::1", "fd02::1"]
        )
    }

    @Test func lookupOfWhatCannotBeSentIsNil() throws {
        let found = try NamespaceThread.run { () -> [RouteLookup?] in
            let lab = try Lab()
            for route in try Self.routes(254, lab.first) where route.type != .unicast {
                try lab.netlink.addRoute(route)
            }
            return try [
                "10.50.0.1", "10.52.0.1", "203.0.113.1", "fd50::1", "fd52::1", "2001:db8::1", "10.1.0.1",
            ]
            .map { try lab.netlink.routeLookup(to: try #require(IPAddress($0))) }
        }
        #expect(found.prefix(6).allSatisfy { $0 == nil })
        #expect(found.last??.isLocal == true)
    }

    @Test func unreachableBeneathTakesOverWhenTheLinkGoes() throws {
        let (before, after) = try NamespaceThread.run {
            let lab = try Lab()
            for route in try Self.routes(254, lab.first) where route.destination.length == 16 {
                try lab.netlink.addRoute(route)
            }
            let lookUp = { () throws -> [Bool] in
                try ["10.50.0.1", "fd50::1"].map {
                    try lab.netlink.routeLookup(to: try #require(IPAddress($0))) != nil
                }
            }
            let before = try lookUp()
            try lab.netlink.deleteLink(lab.first)
            let unreachable = try lab.netlink.routes(table: 254).filter { $0.type == .unreachable }
            return (before, (try lookUp(), unreachable.map(\.metric)))
        }
        #expect(before == [true, true])
        #expect(after.0 == [false, false])
        #expect(after.1 == [9999, 9999])
    }

    @Test func monitorReportsChangesButNotOurOwnRoutes() throws {
        let queue = DispatchQueue(label: "monitor")
        let (link, quiet, foreign) = try NamespaceThread.run {
            let inbox = Inbox<NetlinkMonitor.Changes>()
            let monitor = try NetlinkMonitor(queue: queue) { inbox.add($0) }
            let lab = try Lab()
            while inbox.wait(0.3) {}
            let link = inbox.all.reduce(NetlinkMonitor.Changes()) { $0.union($1) }
            let count = inbox.all.count
            let routes = try Self.routes(200, lab.first)
            try lab.netlink.addRoute(routes[0])
            let quiet = !inbox.wait(0.3) && inbox.all.count == count
            var foreign = routes[1]
            foreign.protocol = 4
            try lab.netlink.addRoute(foreign)
            let heard = inbox.wait()
            _ = monitor
            return (link, quiet, heard && inbox.all.last == .routesChanged)
        }
        #expect(link == .all)
        #expect(quiet)
        #expect(foreign)
    }
}
