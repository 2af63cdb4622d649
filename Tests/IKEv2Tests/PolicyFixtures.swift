import Cryptography
import IPPackets
import IPsecTypes
import Policy
import Primitives

@testable import IKEv2

/// One of the two gateways of a test.
enum Side: Int, CaseIterable, Sendable {
    /// The one that initiates, at 192.0.2.1, with 10.1.0.0/16 behind it and the identity a.test.
    case initiator
    /// The other, at 198.51.100.2, with 10.2.0.0/16 and b.test.
    case responder

    var other: Side { self == .initiator ? .responder : .initiator }
    var publicAddress: IPAddress { self == .initiator ? fixed("192.0.2.1") : fixed("198.51.100.2") }
    /// Its own address where a NAT stands before it.
    var privateAddress: IPAddress { self == .initiator ? fixed("172.16.1.1") : fixed("172.16.2.2") }
    var identity: Identity { .fqdn(self == .initiator ? "a.test" : "b.test") }
    var network: String { self == .initiator ? "10.1.0.0/16" : "10.2.0.0/16" }
}

/// An address written in a test's source.
func fixed(_ text: String) -> IPAddress {
    guard let address = IPAddress(text) else { fatalError("not an address: \(text)") }
    return address
}

/// The selector of a prefix written in a test's source.
func selector(_ text: String) -> TrafficSelector {
    guard let prefix = IPPrefix(text) else { fatalError("not a prefix: \(text)") }
    return TrafficSelector(prefix)
}

/// Proposals written in a test's source.
func proposals(_ texts: [String], _ securityProtocol: SecurityProtocol) -> [Proposal] {
    texts.map { text in
        do throws(ProposalSyntaxError) {
            return try Proposal(keywords: text, for: securityProtocol)
        } catch {
            fatalError("not a proposal: \(text): \(error)")
        }
    }
}

/// A pre-shared key written in a test's source.
func key(_ text: String) -> SecretKey {
    do throws(CryptoError) {
        return try SecretKey(copying: Array(text.utf8))
    } catch {
        fatalError("no key: \(error)")
    }
}

/// The connection `net` with the tunnel `sub`, as one side has it; `file.yaml` lines tell the origins.
struct PolicyFixture {
    var name = "net"
    var ike = ["aes256gcm16-prfsha256-x25519"]
    var esp = ["aes256gcm16"]
    var sharedKey = "correct horse battery staple"
    var localIdentity: Identity?
    var remoteIdentity: Identity?
    var localSelectors: [String]
    var remoteSelectors: [String]
    var remoteAddress: RemoteAddress
    var forcesEncapsulation = false
    var livenessDelay: Duration? = .seconds(30)
    var fragmentation = FragmentationPolicy.yes
    var mobike = false
    var childless = ChildlessPolicy.allow
    var retransmission = RetransmissionPolicy()
    var childLifetime = SALifetime.childDefault
    var ikeLifetime = SALifetime.ikeDefault
    /// CHILD_SAs that `sub` has (RFC 9611).
    var childCount = 1
    /// Names of further tunnels: `one` is 10.x.1.0/24 on both sides of a second octet of its own.
    var furtherTunnels: [String] = []
    private let file: String

    init(_ side: Side) {
        localIdentity = side.identity
        remoteIdentity = side.other.identity
        localSelectors = [side.network]
        remoteSelectors = [side.other.network]
        remoteAddress = .address(side.other.publicAddress)
        file = side == .initiator ? "a.yaml" : "b.yaml"
    }

    var policy: ConnectionPolicy {
        func origin(_ line: Int) -> ConfigurationOrigin { ConfigurationOrigin(source: file, line: line) }
        let tunnel = TunnelPolicy(
            name: "sub",
            local: localSelectors.map(selector),
            remote: remoteSelectors.map(selector),
            proposals: proposals(esp, .esp),
            start: .start,
            lifetime: childLifetime,
            origin: origin(20)
        )
        let further = furtherTunnels.enumerated().map { index, name in
            // Another second octet a tunnel, so that none is part of another.
            func other(_ text: String) -> TrafficSelector {
                selector(text.replacingOccurrence(of: "10.", with: "\(20 + index)."))
            }
            return TunnelPolicy(
                name: name,
                local: localSelectors.map(other),
                remote: remoteSelectors.map(other),
                proposals: tunnel.proposals,
                start: .start,
                lifetime: childLifetime,
                origin: origin(30 + index)
            )
        }
        var connection = ConnectionPolicy(
            name: name,
            localAddresses: [],
            remoteAddress: remoteAddress,
            localIdentity: localIdentity,
            remoteIdentity: remoteIdentity,
            sharedKeys: SharedKeyring(key(sharedKey)),
            proposals: proposals(ike, .ike),
            tunnels: tunnel.spread(over: childCount) + further,
            forcesEncapsulation: forcesEncapsulation,
            livenessDelay: livenessDelay,
            lifetime: ikeLifetime,
            retransmission: retransmission,
            origin: origin(1),
            keyOrigins: [
                "ike-proposals": origin(11), "esp-proposals": origin(12), "local-id": origin(13),
                "remote-id": origin(14), "psk-file": origin(15),
            ]
        )
        connection.fragmentation = fragmentation
        connection.mobike = mobike
        connection.childless = childless
        return connection
    }
}

extension String {
    /// The text with its first `prefix` replaced; itself if it does not begin so.
    fileprivate func replacingOccurrence(of prefix: String, with other: String) -> String {
        hasPrefix(prefix) ? other + dropFirst(prefix.count) : self
    }
}
