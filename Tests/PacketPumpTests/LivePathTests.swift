import Cryptography
import ESP
import Foundation
import IPPackets
import IPsecTypes
import Testing

@testable import PacketPump

// One suite with the others, so that no two of them run at once.

/// ESP over each kind of path: IPv4 and IPv6 outside, in UDP and without, IPv4 and IPv6 inside.
extension LivePumpTests {
    private static let host6A: [UInt8] = [0xfd, 1] + [UInt8](repeating: 0, count: 13) + [1]
    private static let host6B: [UInt8] = [0xfd, 2] + [UInt8](repeating: 0, count: 13) + [1]

    /// A socket behind each gateway, connected to the other.
    private func sockets(
        _ lab: Lab,
        isIPv6: Bool,
        port: UInt16 = 7000,
        dontFragment: Bool = false
    ) throws -> (
        TestSocket, TestSocket
    ) {
        func socket(_ gateway: Gateway, _ host: UInt32, _ host6: [UInt8]) throws -> TestSocket {
            try gateway.host.run {
                isIPv6
                    ? try TestSocket(port: port, to6: (host6, port), dontFragment: dontFragment)
                    : try TestSocket(port: port, to: (host, port), dontFragment: dontFragment)
            }
        }
        return (try socket(lab.a, hostB, Self.host6B), try socket(lab.b, hostA, Self.host6A))
    }

    /// Whether the next datagram is `octets`, without printing either.
    private func gets(_ octets: [UInt8], _ socket: TestSocket) -> Bool { socket.receive() == octets }

    @Test(arguments: Way.all)
    func carriesBothFamiliesInside(way: Way) throws {
        let lab = try Lab()
        defer { lab.end() }
        try lab.install(over: way)
        for isIPv6 in [false, true] {
            let (near, far) = try sockets(lab, isIPv6: isIPv6)
            for size in [0, 1, 100, 1300] {
                let text = [UInt8](repeating: UInt8(size & 255), count: size)
                near.send(text)
                #expect(gets(text, far))
                far.send(text)
                #expect(gets(text, near))
            }
        }
        let counters = lab.b.pump.counters()
        #expect(counters.perSA[1]?.packetsIn == 8 && counters.perSA[1]?.packetsOut == 8)
        // The kernel's own router solicitations and reports apart, which are no tunnel's.
        #expect(counters.drops.allSatisfy { $0.count == 0 || $0.reason == "noPolicy" })
        let raw = way.encapsulation == .none
        #expect(lab.b.events.all.allSatisfy { if case .inboundFrom = $0 { !raw } else { true } })
    }

    @Test func rawESPForNobodyIsToldWithItsEnds() throws {
        let lab = try Lab()
        defer { lab.end() }
        for way in Way.all where way.encapsulation == .none {
            let (a, _) = try descriptions(id: 1, over: way)
            lab.a.pump.install(a)
            _ = lab.a.pump.counters()
            let (near, _) = try sockets(lab, isIPv6: true)
            near.send([1])
            let path = try way.path(isA: false, isRouted: false)
            let unknown = PumpEvent.unknownSPI(
                a.outboundSPI,
                local: Endpoint(path.local.address, 0),
                remote: Endpoint(path.remote.address, 0)
            )
            #expect(lab.b.events.first { $0 == unknown } != nil)
            lab.a.pump.remove(saID: 1)
            _ = lab.a.pump.counters()
        }
        // Nobody told the sender that the protocol were unreachable.
        #expect(lab.a.pump.counters().dropped(.sendFailed) == 0)
    }

    @Test func withoutRawSocketsSuchAnSACannotSend() throws {
        let lab = try Lab()
        defer { lab.end() }
        lab.a.pump.stop()
        let plain = try lab.a.host.run {
            try DataPlane(configuration: PumpConfiguration(tunName: "cw0", mark: 0x77)) { _ in }
        }
        defer { plain.stop() }
        plain.start()
        try lab.a.host.waitForLinks()
        plain.install(try descriptions(id: 1, over: Way(isIPv6: false, encapsulation: .none)).a)
        _ = plain.counters()
        let (near, _) = try sockets(lab, isIPv6: false)
        near.send([1])
        for _ in 0..<100 where plain.counters().dropped(.noSocket) == 0 { usleep(10_000) }
        #expect(plain.counters().dropped(.noSocket) == 1)
    }

    /// The router's second link carries 1300 octets, and B's device too.
    private func narrowLab() throws -> Lab {
        let lab = try Lab(withRouter: true)
        try lab.router?.shell("ip link set r1 mtu 1300")
        return lab
    }

    private func innerMTU(_ way: Way, path: Int) -> Int {
        TunnelMTU.innerMTU(
            path: path,
            outerIsIPv6: way.isIPv6,
            encapsulation: way.encapsulation,
            transform: .aesGCM16(keyBits: 256)
        )
    }

    @Test(arguments: Way.all)
    func learnsWhatThePathCarries(way: Way) throws {
        let lab = try narrowLab()
        defer { lab.end() }
        try lab.install(over: way)
        let (near, far) = try sockets(lab, isIPv6: false, dontFragment: true)
        near.send([1])
        #expect(gets([1], far))
        // This one is lost; the router tells why.
        near.send([UInt8](repeating: 2, count: 1380))
        #expect(lab.a.events.first { $0 == .pathTooBig(saID: 1, mtu: 1300) } != nil)
        let mtu = innerMTU(way, path: 1300)
        near.send([UInt8](repeating: 3, count: 1380))
        for _ in 0..<200 where near.pathMTU == 1500 { usleep(10_000) }
        #expect(Int(near.pathMTU) == mtu)
        let fitting = [UInt8](repeating: 4, count: mtu - 28)
        // The first call may only report the error of the datagram before.
        near.send(fitting)
        near.send(fitting)
        #expect(gets(fitting, far))
        // Those that may be cut pass, cut to what fits.
        let (cuttable, other) = try sockets(lab, isIPv6: false, port: 7001)
        for size in [1380, 3000, 20_000] {
            let large = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
            cuttable.send(large)
            #expect(gets(large, other))
        }
        // IPv6 packets of 1280 octets pass, whatever the path.
        let (near6, far6) = try sockets(lab, isIPv6: true, port: 7002)
        let least = [UInt8](repeating: 6, count: 1280 - 48)
        near6.send(least)
        #expect(gets(least, far6))
        #expect(lab.a.events.all.count { if case .pathTooBig = $0 { true } else { false } } == 1)
        #expect(lab.a.pump.counters().dropped(.sendFailed) == 0)
    }

    /// Newer kernels give all errors about the shared port to its first socket, others choose by a hash.
    @Test func errorsArriveByWhicheverSocketTheKernelChooses() throws {
        let lab = try narrowLab()
        defer { lab.end() }
        try lab.install(over: Way.all[0])
        let (near, _) = try sockets(lab, isIPv6: false)
        near.ignorePathMTU()
        for number in 10..<26 {
            try lab.a.host.shell("ip addr add 192.0.2.\(number)/24 dev w0")
            // Another way: what was learnt of the last one is forgotten.
            lab.a.pump.updatePath(saID: 1, path: try path("192.0.2.\(number)", "198.51.100.2"))
            _ = lab.a.pump.counters()
            near.send([UInt8](repeating: 2, count: 1380))
            let count = number - 9
            for _ in 0..<200 where learnt(lab) < count { usleep(10_000) }
            #expect(learnt(lab) == count)
        }
    }

    private func learnt(_ lab: Lab) -> Int {
        lab.a.events.all.count { $0 == .pathTooBig(saID: 1, mtu: 1300) }
    }

    @Test(arguments: Way.all)
    func learnsWhatItsOwnDeviceCarries(way: Way) throws {
        let lab = try Lab()
        defer { lab.end() }
        try lab.a.host.shell("ip link set w0 mtu 1320")
        try lab.install(over: way)
        let (near, far) = try sockets(lab, isIPv6: false, dontFragment: true)
        near.send([UInt8](repeating: 2, count: 1380))
        #expect(lab.a.events.first { $0 == .pathTooBig(saID: 1, mtu: 1320) } != nil)
        let fitting = [UInt8](repeating: 4, count: innerMTU(way, path: 1320) - 28)
        near.send(fitting)
        #expect(gets(fitting, far))
        #expect(lab.a.pump.counters().dropped(.sendFailed) == 1)
    }

    @Test func controlPlaneSetsWhatAPathCarries() throws {
        let lab = try Lab()
        defer { lab.end() }
        try lab.install(over: Way.all[0])
        lab.a.pump.setPathMTU(saID: 1, octets: 1400)
        _ = lab.a.pump.counters()
        for isIPv6 in [false, true] {
            let (near, far) = try sockets(lab, isIPv6: isIPv6, dontFragment: true)
            near.send([UInt8](repeating: 7, count: 1339 - (isIPv6 ? 48 : 28)))
            for _ in 0..<100 where near.pathMTU == 1500 { usleep(10_000) }
            #expect(near.pathMTU == 1338)
            let fitting = [UInt8](repeating: 7, count: 1338 - (isIPv6 ? 48 : 28))
            near.send(fitting)
            near.send(fitting)
            #expect(gets(fitting, far))
        }
    }

    @Test(arguments: [false, true])
    func probesOfThePathArriveWholeOrNotAtAll(isIPv6: Bool) throws {
        let lab = try narrowLab()
        defer { lab.end() }
        let way = Way(isIPv6: isIPv6, encapsulation: .udp)
        let path = try way.path(isA: true, isRouted: true)
        for port in [500, 4500] as [UInt16] {
            let (local, remote) = (Endpoint(path.local.address, port), Endpoint(path.remote.address, port))
            func send(_ octet: UInt8, _ total: Int, probe: Bool) -> [UInt8] {
                let octets = [UInt8](
                    repeating: octet,
                    count: total - (isIPv6 ? 48 : 28) - (port == 4500 ? 4 : 0)
                )
                lab.a.ike.send(octets, from: local, to: remote, forbidsFragmentation: probe)
                return octets
            }
            func arrives(_ octets: [UInt8], within seconds: Double = 3) -> Bool {
                lab.b.datagrams.first(within: seconds) { $0.octets == octets && $0.local.port == port } != nil
            }
            #expect(arrives(send(1, 1300, probe: true)))
            let lost = [send(2, 1301, probe: true), send(3, 1500, probe: true), send(4, 1501, probe: true)]
            // Others pass in pieces, before and after the router has complained.
            #expect(arrives(send(5, 1500, probe: false)) && arrives(send(6, 4000, probe: false)))
            #expect(lost.allSatisfy { !arrives($0, within: 0.1) })
        }
        let probes = lab.a.events.all.filter { if case .pathTooBig = $0 { true } else { false } }
        #expect(probes.isEmpty)
    }

    @Test(arguments: Way.all)
    func trafficClassPassesTheTunnel(way: Way) throws {
        let lab = try Lab(withRouter: true)
        defer { lab.end() }
        try lab.install(over: way)
        let (family, number) = way.isIPv6 ? ("ip6", "l4proto") : ("ip", "l4proto")
        let outer = "meta \(number) \(way.encapsulation == .udp ? "udp" : "esp")"
        try lab.router?.shell(
            """
            nft 'table inet t { chain c { type filter hook prerouting priority 0;
              \(family) dscp ef \(outer) counter; }; }'
            """
        )
        for isIPv6 in [false, true] {
            let (near, far) = try sockets(lab, isIPv6: isIPv6)
            for value in [0, 46 << 2, 46 << 2 | 1, 46 << 2 | 2, 46 << 2 | 3, 10 << 2] as [UInt8] {
                near.setTrafficClass(value)
                near.send([value])
                let received = far.receiveMarked()
                #expect(received?.octets == [value] && received?.trafficClass == value)
            }
        }
        try lab.router?.shell("nft list ruleset | grep -q 'counter packets 8 '")
        // From now on the router is congested: RFC 6040 §4.2.
        try lab.router?.shell(
            "nft flush ruleset && nft 'table inet t { chain c { type filter hook prerouting priority 0; "
                + "\(family) ecn set ce; }; }'"
        )
        for isIPv6 in [false, true] {
            let (near, far) = try sockets(lab, isIPv6: isIPv6)
            for (sent, expected) in [(2, 3), (1, 3), (3, 3), (46 << 2 | 2, 46 << 2 | 3)] as [(UInt8, UInt8)] {
                near.setTrafficClass(sent)
                near.send([sent])
                let received = far.receiveMarked()
                #expect(received?.octets == [sent] && received?.trafficClass == expected)
            }
            near.setTrafficClass(0)
            near.send([9])
        }
        for _ in 0..<200 where lab.b.pump.counters().dropped(.invalidECN) < 2 { usleep(10_000) }
        #expect(lab.b.pump.counters().dropped(.invalidECN) == 2)
    }
}
