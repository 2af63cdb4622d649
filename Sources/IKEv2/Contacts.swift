import IKECore
import IPPackets
import IPsecTypes
import Policy

/// Which IKE_SAs are established between which identities: what INITIAL_CONTACT (RFC 7296 §2.4) and uniqueness ask.
struct Contacts {
    /// Who speaks to whom.
    struct Pair: Hashable {
        let local: Identity
        let remote: Identity

        init(_ local: Identity, _ remote: Identity) {
            self.local = local.normalized
            self.remote = remote.normalized
        }
    }

    /// What is known of one IKE_SA.
    struct Contact: Equatable {
        let pair: Pair
        let connection: String
        let remote: Endpoint
        /// False once it is being deleted, or another one takes over.
        let stays: Bool
        /// Names of the tunnels that it carries.
        let tunnels: [String]
    }

    /// Whom a connection is with: thousands of peers may share one.
    private struct Peer: Hashable {
        let connection: String
        let identity: Identity
    }

    private var contacts: [IKESPI: Contact] = [:]
    private var members: [Pair: Set<IKESPI>] = [:]
    private var peers: [Peer: Set<IKESPI>] = [:]

    /// The IKE_SA of `spi` is this now; nil when it is none, or ends.
    mutating func set(_ contact: Contact?, for spi: IKESPI) {
        let old = contacts[spi]
        guard old != contact else { return }
        contacts[spi] = contact
        let (former, new) = (old.map { Self.peer($0) }, contact.map { Self.peer($0) })
        if former != new {
            if let former {
                peers[former]?.remove(spi)
                if peers[former]?.isEmpty ?? false { peers[former] = nil }
            }
            if let new { peers[new, default: []].insert(spi) }
        }
        guard old?.pair != contact?.pair else { return }
        if let pair = old?.pair {
            members[pair]?.remove(spi)
            if members[pair]?.isEmpty ?? false { members[pair] = nil }
        }
        if let pair = contact?.pair { members[pair, default: []].insert(spi) }
    }

    private static func peer(_ contact: Contact) -> Peer {
        Peer(connection: contact.connection, identity: contact.pair.remote)
    }

    subscript(spi: IKESPI) -> Contact? { contacts[spi] }

    /// The IKE_SAs of a connection with one peer, whoever we are in them, in a fixed order.
    func with(_ identity: Identity, of connection: String) -> [IKESPI] {
        (peers[Peer(connection: connection, identity: identity.normalized)] ?? []).sorted()
    }

    /// True when another IKE_SA of a connection with a peer carries the tunnel too.
    func carries(_ tunnel: String, beside spi: IKESPI, with identity: Identity, of connection: String) -> Bool
    {
        let others = peers[Peer(connection: connection, identity: identity.normalized)] ?? []
        return others.contains { $0 != spi && contacts[$0]?.tunnels.contains(tunnel) == true }
    }

    /// True while there is an IKE_SA between these that is to stay.
    func has(_ pair: Pair) -> Bool { members[pair]?.contains { contacts[$0]?.stays ?? false } ?? false }

    /// All IKE_SAs between these, in a fixed order, those included that are about to end.
    func all(_ pair: Pair) -> [IKESPI] { (members[pair] ?? []).sorted() }

    /// The IKE_SAs of one connection between these that are to stay, in a fixed order.
    func established(_ pair: Pair, of connection: String) -> [(spi: IKESPI, remote: Endpoint)] {
        (members[pair] ?? []).sorted().compactMap { spi in
            guard let contact = contacts[spi], contact.connection == connection, contact.stays
            else { return nil }
            return (spi, contact.remote)
        }
    }
}

extension Contacts.Contact {
    /// The contact that an IKE_SA is: nil unless it is established.
    init?(_ sa: IKESA) {
        guard case .established(let state) = sa.state else { return nil }
        self.init(
            pair: Contacts.Pair(state.localIdentity, state.peer.identity),
            connection: state.connection.name,
            remote: sa.common.remote,
            stays: state.closing == nil && state.successor == nil && !state.awaitsHandover && !state.isSilent,
            tunnels: state.children.filter { $0.isCurrent }.map { $0.snapshot.tunnel }
        )
    }
}
