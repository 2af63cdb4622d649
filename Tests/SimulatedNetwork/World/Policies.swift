import Cryptography
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// One of the two gateways of a simulation.
enum Side: Int, CaseIterable, Sendable, CustomStringConvertible {
    /// 192.0.2.1, with 10.1.0.0/16 and more behind it; the one that may stand behind a NAT.
    case west
    /// 198.51.100.2, with 10.2.0.0/16 and more.
    case east

    var other: Side { self == .west ? .east : .west }
    var publicAddress: IPAddress { self == .west ? Fixed.westAddress : Fixed.eastAddress }
    /// Its own address where a NAT stands before it.
    var privateAddress: IPAddress { self == .west ? Fixed.westPrivate : Fixed.eastPrivate }
    /// Where it goes when it moves.
    var secondAddress: IPAddress { self == .west ? Fixed.westSecond : Fixed.eastSecond }
    var identity: Identity { .fqdn("\(self).test") }
    var description: String { self == .west ? "west" : "east" }
}

/// Values that are read once from their text.
enum Fixed {
    static let westAddress = address("192.0.2.1")
    static let eastAddress = address("198.51.100.2")
    static let westSecond = address("192.0.2.77")
    static let eastSecond = address("198.51.100.77")
    static let westPrivate = address("172.16.1.1")
    static let eastPrivate = address("172.16.2.2")
    static let sharedKey = key("correct horse battery staple")

    static func address(_ text: String) -> IPAddress {
        guard let address = IPAddress(text) else { fatalError("not an address: \(text)") }
        return address
    }

    static func selector(_ text: String) -> TrafficSelector {
        guard let prefix = IPPrefix(text) else { fatalError("not a prefix: \(text)") }
        return TrafficSelector(prefix)
    }

    static func proposal(_ text: String, _ securityProtocol: SecurityProtocol) -> Proposal {
        do throws(ProposalSyntaxError) {
            return try Proposal(keywords: text, for: securityProtocol)
        } catch {
            fatalError("not a proposal: \(text): \(error)")
        }
    }

    static func key(_ text: String) -> SecretKey {
        do throws(CryptoError) {
            return try SecretKey(copying: Array(text.utf8))
        } catch {
            fatalError("no key: \(error)")
        }
    }
}

/// The connection `net` with the tunnels `t0`, `t1`, …, as one side has it.
struct PolicyShape: Sendable {
    static let connection = "net"

    var tunnels = 1
    /// CHILD_SAs of each tunnel (RFC 9611).
    var childCount = 1
    var ike = "aes256gcm16-prfsha256-x25519"
    var esp = "aes256gcm16"
    var start = StartMode.start
    var childLifetime = SALifetime.unlimited
    var ikeLifetime = SALifetime.unlimited
    var livenessDelay: Duration? = .seconds(5)
    /// Octets of an IP datagram: a small one cuts nearly all messages that are not empty.
    var fragmentSize = 1280
    var mobike = false
    /// Certificates instead of a pre-shared key.
    var isCertified = false
    /// What proves the ends beside.
    enum Proofs: Sendable {
        case one
        /// A certificate behind the pre-shared key, of either side (RFC 4739).
        case several
        /// A post-quantum key mixed in (RFC 8784).
        case postquantum
    }
    var proofs = Proofs.one
    /// Age at which an IKE_SA is made anew with a new proof.
    var reauthentication: Duration?
    var retransmission = RetransmissionPolicy(
        initial: .milliseconds(500),
        base: 1.5,
        tries: 5,
        limit: .seconds(10)
    )

    static func tunnelName(_ index: Int) -> String { "t\(index)" }

    func policy(for side: Side) -> ConnectionPolicy {
        let origin = ConfigurationOrigin(source: "\(side).yaml", line: 1)
        let offers = esp.split(separator: " ").map { Fixed.proposal(String($0), .esp) }
        let entries = (0..<tunnels).flatMap { index in
            let (west, east) = (Self.network(.west, index), Self.network(.east, index))
            return TunnelPolicy(
                name: Self.tunnelName(index),
                local: [side == .west ? west : east],
                remote: [side == .west ? east : west],
                proposals: offers,
                start: start,
                lifetime: childLifetime,
                origin: origin
            ).spread(over: childCount)
        }
        var connection = ConnectionPolicy(
            name: Self.connection,
            localAddresses: [],
            remoteAddress: .address(side.other.publicAddress),
            localIdentity: side.identity,
            remoteIdentity: side.other.identity,
            sharedKeys: SharedKeyring(Fixed.sharedKey),
            proposals: ike.split(separator: " ").map { Fixed.proposal(String($0), .ike) },
            tunnels: entries,
            livenessDelay: livenessDelay,
            lifetime: ikeLifetime,
            retransmission: retransmission,
            origin: origin
        )
        connection.mobike = mobike
        if isCertified {
            connection.credentials = Certificates.store(side)
            connection.localAuthentication = LocalAuthentication(.signature)
            connection.remoteAuthentication = .signature
        }
        connection.reauthentication = reauthentication
        switch proofs {
        case .one: break
        case .several:
            connection.credentials = Certificates.store(side)
            connection.laterLocalRounds = [
                LocalRound(identity: side.identity, authentication: LocalAuthentication(.signature))
            ]
            connection.laterRemoteRounds = [
                RemoteRound(identity: side.other.identity, authentication: .signature)
            ]
        case .postquantum:
            connection.postquantum = PostquantumPolicy(
                identity: .fqdn("ppk.test"),
                isRequired: false,
                keys: SharedKeyring(Fixed.sharedKey)
            )
        }
        return connection
    }

    private static func network(_ side: Side, _ index: Int) -> TrafficSelector {
        Fixed.selector("10.\(2 * index + (side == .west ? 1 : 2)).0.0/16")
    }
}
