import IKECore
import IPPackets
import IPsecTypes
import Policy

/// What an updown script is told: the variables of strongSwan's interface, version 1.1.
///
/// What a peer chose reaches the script as the value of a variable and in no other way, in printable ASCII.
struct UpdownEnvironment: Equatable, Sendable {
    /// The most pairs of selectors for which a script is run.
    static let pairLimit = 64
    /// Where the script's programs are; nothing of the daemon's own environment is handed on.
    static let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    let tunnel: TunnelKey
    let ikeID: UInt32
    /// The number of its traffic, which a rekey keeps.
    let reqid: UInt32
    let local: Endpoint
    let remote: Endpoint
    let localIdentity: Identity
    let remoteIdentity: Identity
    /// The interface that has our outer address; nil when it is not known.
    let outerInterface: String?
    /// The TUN device, where plaintext appears.
    let tunInterface: String
    let encapsulation: Encapsulation
    /// The pairs of selectors that packets can match, in order.
    let pairs: [Pair]
    /// How many more there are than `pairLimit`.
    let pairsLeftOut: Int
    /// Addresses that the peer gave us.
    var localVirtualAddresses: [IPAddress] = []
    /// The script is to let this machine itself be reached.
    var grantsHostAccess = false
    /// Name servers that the peer gave us.
    var nameServers: [IPAddress] = []
    /// Addresses that we gave the peer.
    var remoteVirtualAddresses: [IPAddress] = []

    /// One selector of each side, for which the script is run once.
    struct Pair: Equatable, Sendable {
        let local: TrafficSelector
        let remote: TrafficSelector
    }

    init(
        _ ike: IKESASnapshot,
        _ child: ChildSASnapshot,
        reqid: UInt32,
        outerInterface: String?,
        tunInterface: String
    ) {
        tunnel = TunnelKey(connection: ike.connection, tunnel: child.tunnel)
        ikeID = ike.id
        self.reqid = reqid
        local = ike.local
        remote = ike.remote
        localIdentity = ike.localIdentity ?? .address(ike.local.address)
        remoteIdentity = ike.remoteIdentity ?? .address(ike.remote.address)
        self.outerInterface = outerInterface
        self.tunInterface = tunInterface
        encapsulation = child.encapsulation
        localVirtualAddresses = ike.virtualAddresses
        nameServers = ike.nameServers
        let all = child.localSelectors.flatMap { local in
            child.remoteSelectors.filter { Self.canMatch(local, $0) }.map { Pair(local: local, remote: $0) }
        }
        pairs = Array(all.prefix(Self.pairLimit))
        pairsLeftOut = all.count - pairs.count
    }

    /// The variables for `pair` when the CHILD_SA comes up or goes down.
    func variables(_ pair: Pair, isUp: Bool) -> [(name: String, value: String)] {
        let isHost = pair.local.first == local.address && pair.local.last == local.address
        let isIPv6 = pair.local.first.bitWidth == 128
        let verb = (isUp ? "up" : "down") + (isHost ? "-host" : "-client") + (isIPv6 ? "-v6" : "")
        var list: [(name: String, value: String)] = [
            ("PATH", Self.path),
            ("PLUTO_VERSION", "1.1"),
            ("PLUTO_VERB", verb),
            ("PLUTO_CONNECTION", tunnel.tunnel),
            ("PLUTO_INTERFACE", outerInterface ?? "unknown"),
            ("PLUTO_REQID", "\(reqid)"),
            ("PLUTO_PROTO", "esp"),
            ("PLUTO_UNIQUEID", "\(ikeID)"),
            ("PLUTO_ME", "\(local.address)"),
            ("PLUTO_MY_ID", "\(localIdentity)"),
            ("PLUTO_MY_CLIENT", "\(Self.block(pair.local))"),
            ("PLUTO_MY_PORT", Self.port(pair, of: pair.local, isICMPType: true)),
            ("PLUTO_MY_PROTOCOL", "\(pair.local.ipProtocol)"),
            ("PLUTO_PEER", "\(remote.address)"),
            ("PLUTO_PEER_ID", "\(remoteIdentity)"),
            ("PLUTO_PEER_CLIENT", "\(Self.block(pair.remote))"),
            ("PLUTO_PEER_PORT", Self.port(pair, of: pair.remote, isICMPType: false)),
            ("PLUTO_PEER_PROTOCOL", "\(pair.remote.ipProtocol)"),
        ]
        list += Self.sourceAddresses("MY", localVirtualAddresses)
        list += Self.sourceAddresses("PEER", remoteVirtualAddresses)
        for (family, width) in [("4", 32), ("6", 128)] {
            for (index, server) in nameServers.filter({ $0.bitWidth == width }).enumerated() {
                list.append(("PLUTO_DNS\(family)_\(index + 1)", "\(server)"))
            }
        }
        if grantsHostAccess { list.append(("PLUTO_HOST_ACCESS", "1")) }
        if encapsulation == .udp { list.append(("PLUTO_UDP_ENC", "\(remote.port)")) }
        // Ours: strongSwan has no TUN device to name.
        list.append(("CAUSEWAY_CONNECTION", tunnel.connection))
        list.append(("CAUSEWAY_INTERFACE", tunInterface))
        return list.map { ($0.name, Self.printable($0.value)) }
    }

    /// `text` with everything but printable ASCII replaced.
    static func printable(_ text: String) -> String {
        String(decoding: text.utf8.map { (0x20...0x7e).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    }

    private static func canMatch(_ local: TrafficSelector, _ remote: TrafficSelector) -> Bool {
        local.first.bitWidth == remote.first.bitWidth
            && (local.ipProtocol == 0 || remote.ipProtocol == 0 || local.ipProtocol == remote.ipProtocol)
    }

    /// The smallest block that holds the selector's addresses.
    static func block(_ selector: TrafficSelector) -> IPPrefix {
        for length in stride(from: selector.first.bitWidth, to: 0, by: -1) {
            if let prefix = IPPrefix(selector.first, length: length), prefix.contains(selector.last) {
                return prefix
            }
        }
        return IPPrefix(selector.first, length: 0) ?? IPPrefix(host: selector.first)
    }

    /// A port, `low:high`, 0 for all; of ICMP the type for us and the code for the peer.
    private static func port(_ pair: Pair, of selector: TrafficSelector, isICMPType: Bool) -> String {
        let number = max(pair.local.ipProtocol, pair.remote.ipProtocol)
        if number == 1 || number == 58 {
            let value = max(pair.local.ports.lowerBound, pair.remote.ports.lowerBound)
            return "\(isICMPType ? value >> 8 : value & 0xff)"
        }
        let ports = selector.ports
        return ports.count == 1 || ports == 0...65535
            ? "\(ports.lowerBound)" : "\(ports.lowerBound):\(ports.upperBound)"
    }

    private static func sourceAddresses(
        _ side: String,
        _ addresses: [IPAddress]
    ) -> [(name: String, value: String)] {
        guard let first = addresses.first else { return [] }
        var list: [(name: String, value: String)] = [("PLUTO_\(side)_SOURCEIP", "\(first)")]
        for (family, bits) in [("4", 32), ("6", 128)] {
            for (index, address) in addresses.filter({ $0.bitWidth == bits }).enumerated() {
                list.append(("PLUTO_\(side)_SOURCEIP\(family)_\(index + 1)", "\(address)"))
            }
        }
        return list
    }
}
