import IKECore
import IPPackets
import IPsecTypes

/// The IKE_SAs of an engine, found by whatever names one: its SPI, its number, a CHILD_SA's, its connection, its peer.
///
/// Nothing here takes longer because there are many: ten thousand connections come up, and back after a failure, in
/// time that grows with their number alone. An IKE_SA is changed where it is; the table is a value all the same.
struct IKESATable {
    fileprivate final class Entry {
        var sa: IKESA
        var key: Key

        init(_ sa: IKESA) {
            self.sa = sa
            key = Key()
        }
    }

    /// What an entry is found by, besides its SPI.
    fileprivate struct Key {
        var id: UInt32?
        var connection: String?
        var remote: IPAddress?
        var children: [UInt32] = []
    }

    private var entries: [IKESPI: Entry] = [:]
    private var byID: [UInt32: IKESPI] = [:]
    private var byChild: [UInt32: IKESPI] = [:]
    private var byConnection: [String: Set<IKESPI>] = [:]
    private var byPeer: [IPAddress: Set<IKESPI>] = [:]

    var count: Int { entries.count }

    /// All of them, in no order.
    var all: some Sequence<IKESA> { entries.values.lazy.map { $0.sa } }

    /// All SPIs in their order.
    var spis: [IKESPI] { entries.keys.sorted() }

    subscript(spi: IKESPI) -> IKESA? { entries[spi]?.sa }

    /// What all states share, without a copy of the state.
    func common(_ spi: IKESPI) -> SACommon? { entries[spi]?.sa.common }

    /// The IKE_SA of a number.
    func spi(ofID id: UInt32) -> IKESPI? { byID[id] }

    /// The established IKE_SA that carries a CHILD_SA.
    func spi(ofChild id: UInt32) -> IKESPI? { byChild[id] }

    /// The IKE_SAs of a connection, in no order.
    func of(connection: String) -> [IKESA] { (byConnection[connection] ?? []).compactMap { self[$0] } }

    /// The IKE_SAs with whom is at an address, in no order.
    func with(_ address: IPAddress) -> some Sequence<IKESA> {
        (byPeer[address] ?? []).lazy.compactMap { self[$0] }
    }

    mutating func insert(_ sa: IKESA) {
        let spi = sa.common.localSPI
        remove(spi)
        let entry = Entry(sa)
        entries[spi] = entry
        index(entry, spi)
    }

    @discardableResult
    mutating func remove(_ spi: IKESPI) -> IKESA? {
        guard let entry = entries.removeValue(forKey: spi) else { return nil }
        withdraw(entry.key, spi, for: Key())
        return entry.sa
    }

    /// Lets `body` change one where it is; nil when there is none.
    mutating func change<Result>(_ spi: IKESPI, _ body: (inout IKESA) -> Result) -> Result? {
        guard let position = entries.index(forKey: spi) else { return nil }
        if !isKnownUniquelyReferenced(&entries.values[position]) {
            let copy = Entry(entries.values[position].sa)
            copy.key = entries.values[position].key
            entries.values[position] = copy
        }
        let entry = entries.values[position]
        let result = body(&entry.sa)
        index(entry, spi)
        return result
    }

    /// Keeps the indices in step with what an entry became.
    private mutating func index(_ entry: Entry, _ spi: IKESPI) {
        guard !entry.isIndexed else { return }
        let old = entry.key
        let new = Key(
            id: entry.sa.common.id,
            connection: entry.sa.connectionName,
            remote: entry.sa.common.remote.address,
            children: entry.sa.childIDs
        )
        withdraw(old, spi, for: new)
        if old.id != new.id, let id = new.id { byID[id] = spi }
        if old.connection != new.connection, let name = new.connection {
            byConnection[name, default: []].insert(spi)
        }
        if old.remote != new.remote, let remote = new.remote { byPeer[remote, default: []].insert(spi) }
        for id in new.children { byChild[id] = spi }
        entry.key = new
    }

    private mutating func withdraw(_ old: Key, _ spi: IKESPI, for new: Key) {
        if let id = old.id, id != new.id { byID[id] = nil }
        if let name = old.connection, name != new.connection {
            byConnection[name]?.remove(spi)
            if byConnection[name]?.isEmpty ?? false { byConnection[name] = nil }
        }
        if let remote = old.remote, remote != new.remote {
            byPeer[remote]?.remove(spi)
            if byPeer[remote]?.isEmpty ?? false { byPeer[remote] = nil }
        }
        // A CHILD_SA that another IKE_SA has taken over is found there.
        for id in old.children where byChild[id] == spi && !new.children.contains(id) { byChild[id] = nil }
    }
}

extension IKESATable.Entry {
    /// True while nothing that it is found by has changed.
    fileprivate var isIndexed: Bool {
        key.id == sa.common.id && key.remote == sa.common.remote.address
            && key.connection == sa.connectionName
            && sa.hasChildren(key.children)
    }
}

extension IKESA {
    /// The numbers of the CHILD_SAs that it carries.
    fileprivate var childIDs: [UInt32] {
        guard case .established(let state) = state else { return [] }
        return state.children.map { $0.snapshot.id }
    }

    fileprivate func hasChildren(_ ids: [UInt32]) -> Bool {
        guard case .established(let state) = state else { return ids.isEmpty }
        return state.children.count == ids.count
            && zip(state.children, ids).allSatisfy { $0.snapshot.id == $1 }
    }
}
