import Cryptography
import Dispatch
import IPPackets
import IPsecTypes
import Testing

@testable import PacketPump

/// A gateway in a namespace: device, pump, IKE sockets.
final class Gateway: Sendable {
    let host: NamespaceHost
    let ike: IKESocketSet
    let pump: DataPlane
    let events = Inbox<PumpEvent>()
    let datagrams = Inbox<OuterDatagram>()
    let strays = Inbox<[UInt8]>()

    init(_ host: NamespaceHost, workers: Int = 1) throws {
        self.host = host
        let (events, datagrams, strays) = (events, datagrams, strays)
        (ike, pump) = try host.run {
            let raw = RawESPSockets(mark: 0x77)
            let ike = try IKESocketSet(
                ikePort: 500,
                natTraversalPort: 4500,
                mark: 0x77,
                queue: DispatchQueue(label: "ike")
            ) { datagrams.add($0) }
            let configuration = PumpConfiguration(tunName: "cw0", mark: 0x77, workers: workers)
            return (ike, try DataPlane(configuration: configuration, rawESP: raw) { events.add($0) })
        }
        ike.setStrayESPHandler { octets, _, _ in strays.add(octets) }
        ike.setErrorHandler { [pump] in pump.outerError($0) }
    }
}

/// Two gateways on one wire, or with a router between them on two.
///
/// 192.0.2.1, fd00::1 and 192.0.2.2, fd00::2, with 10.1.0.1, fd01::1 and 10.2.0.1, fd02::1 behind them. With the
/// router:
///
///     A 192.0.2.1, fd00::1 --- 192.0.2.254, fd00::fe  R  198.51.100.254, fd0f::fe --- B 198.51.100.2, fd0f::2
struct Lab {
    let a: Gateway
    let b: Gateway
    let router: NamespaceHost?

    init(withRouter: Bool = false, workers: Int = 1) throws {
        let (first, second) = (try NamespaceHost(), try NamespaceHost())
        let router = withRouter ? try NamespaceHost() : nil
        let (middle, far4, far6) =
            router == nil ? (second, "192.0.2", "fd00") : (second, "198.51.100", "fd0f")
        // Addresses are for use at once.
        for host in [first, second] + [router].compactMap({ $0 }) {
            try host.shell("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0")
        }
        if let router {
            try first.shell("ip link add w0 type veth peer name r0 netns \(router.threadID)")
            try router.shell("ip link add r1 type veth peer name w0 netns \(middle.threadID)")
            try router.shell("ip link set lo up && ip link set r0 up && ip link set r1 up")
            try router.shell("ip addr add 192.0.2.254/24 dev r0 && ip addr add fd00::fe/64 dev r0 nodad")
            try router.shell("ip addr add 198.51.100.254/24 dev r1 && ip addr add fd0f::fe/64 dev r1 nodad")
            try router.shell("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        } else {
            try first.shell("ip link add w0 type veth peer name w0 netns \(second.threadID)")
        }
        let ends = [(1, first, "192.0.2", "fd00"), (2, second, far4, far6)]
        for (number, host, net4, net6) in ends {
            try host.shell("ip link set lo up && ip link set w0 up")
            try host.shell("ip addr add \(net4).\(number)/24 dev w0")
            try host.shell("ip addr add \(net6)::\(number)/64 dev w0 nodad")
            guard router != nil else { continue }
            try host.shell("ip route add default via \(net4).254")
            try host.shell("ip -6 route add default via \(net6)::fe")
        }
        self.router = router
        a = try Gateway(first, workers: workers)
        b = try Gateway(second, workers: workers)
        for (number, host) in [(1, first), (2, second)] {
            try host.shell("ip link set cw0 up && ip addr add 10.\(number).0.1/32 dev cw0")
            try host.shell("ip route add 10.\(3 - number).0.0/16 dev cw0 src 10.\(number).0.1")
            try host.shell("ip addr add fd0\(number)::1/128 dev cw0 nodad")
            try host.shell("ip -6 route add fd0\(3 - number)::/64 dev cw0 src fd0\(number)::1")
        }
        a.pump.start()
        b.pump.start()
        for gateway in [a, b] { try gateway.host.waitForLinks() }
        try router?.waitForLinks()
    }

    /// Installs an SA on both sides and waits until it is there.
    func install(id: UInt32 = 1, _ transform: CipherTransform = .aesGCM16(keyBits: 256), over way: Way) throws
    {
        let (first, second) = try descriptions(id: id, transform, over: way, isRouted: router != nil)
        b.pump.install(second)
        a.pump.install(first)
        _ = b.pump.counters()
        _ = a.pump.counters()
    }

    func end() {
        for gateway in [a, b] {
            gateway.pump.stop()
            gateway.ike.close()
            gateway.host.end()
        }
        router?.end()
    }
}

/// How ESP travels.
struct Way: Sendable, CustomStringConvertible {
    let isIPv6: Bool
    let encapsulation: Encapsulation

    static let all = [
        Way(isIPv6: false, encapsulation: .udp), Way(isIPv6: false, encapsulation: .none),
        Way(isIPv6: true, encapsulation: .udp), Way(isIPv6: true, encapsulation: .none),
    ]

    var description: String { "\(isIPv6 ? "IPv6" : "IPv4") \(encapsulation)" }

    func path(isA: Bool, isRouted: Bool) throws -> OuterPath {
        let a = isIPv6 ? "fd00::1" : "192.0.2.1"
        let b = isIPv6 ? (isRouted ? "fd0f::2" : "fd00::2") : isRouted ? "198.51.100.2" : "192.0.2.2"
        return OuterPath(
            local: try endpoint(isA ? a : b),
            remote: try endpoint(isA ? b : a),
            encapsulation: encapsulation
        )
    }
}

func selector(_ text: String) throws -> TrafficSelector {
    TrafficSelector(try #require(IPPrefix(text)))
}

func endpoint(_ text: String, _ port: UInt16 = 4500) throws -> Endpoint {
    Endpoint(try #require(IPAddress(text)), port)
}

func path(_ local: String, _ remote: String) throws -> OuterPath {
    OuterPath(local: try endpoint(local), remote: try endpoint(remote), encapsulation: .udp)
}

func descriptions(
    id: UInt32,
    _ transform: CipherTransform = .aesGCM16(keyBits: 256),
    over way: Way = Way(isIPv6: false, encapsulation: .udp),
    isRouted: Bool = false
) throws -> (a: ChildSADescription, b: ChildSADescription) {
    func keys(_ octet: UInt8) throws -> SAKeys {
        func key(_ count: Int) throws -> SecretKey {
            try SecretKey(copying: [UInt8](repeating: octet, count: count))
        }
        let length = transform.integrityKeyLength
        return SAKeys(
            encryption: try key(transform.encryptionKeyLength),
            integrity: length == 0 ? nil : try key(length)
        )
    }
    func make(
        _ spis: (UInt32, UInt32),
        _ keys: (SAKeys, SAKeys),
        _ nets: ([String], [String]),
        _ path: OuterPath
    ) throws -> ChildSADescription {
        ChildSADescription(
            id: id,
            connection: "c",
            tunnel: "t",
            inboundSPI: try #require(SPI(spis.0)),
            outboundSPI: try #require(SPI(spis.1)),
            transform: transform,
            usesESN: true,
            inboundKeys: keys.0,
            outboundKeys: keys.1,
            localSelectors: try nets.0.map { try selector($0) },
            remoteSelectors: try nets.1.map { try selector($0) },
            path: path,
            replayWindow: 1024,
            limit: SAVolume()
        )
    }
    let (one, two) = (try keys(0x11), try keys(0x22))
    let (near, far) = (["10.1.0.0/16", "fd01::/64"], ["10.2.0.0/16", "fd02::/64"])
    let first = id * 0x1_0001
    let (spiA, spiB) = (0xa000_0000 | first, 0xb000_0000 | first)
    return (
        try make((spiA, spiB), (one, two), (near, far), try way.path(isA: true, isRouted: isRouted)),
        try make((spiB, spiA), (two, one), (far, near), try way.path(isA: false, isRouted: isRouted))
    )
}

func tunnel(_ local: String, _ remote: String, traps: Bool = true) throws -> DataPlaneTunnel {
    DataPlaneTunnel(
        id: 7,
        connection: "c",
        tunnel: "t",
        local: [try selector(local)],
        remote: [try selector(remote)],
        traps: traps
    )
}

let hostA: UInt32 = 0x0a01_0001
let hostB: UInt32 = 0x0a02_0001
