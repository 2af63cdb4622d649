import IKECore
import IKEMessages
import IPPackets
import Primitives

/// The last conversations with each peer, message by message, within bounds of memory.
///
/// Lines of a connection are kept until they exceed its share, oldest first, but for what set up the IKE_SA that lives.
/// What strangers say is kept by itself, so that nobody pushes out what was said with a peer.
struct TranscriptStore {
    /// Octets of text for one connection at most.
    static let connectionOctets = 8 * 1024
    /// Octets for all connections together; above 8,192 connections each gets less.
    static let totalOctets = 64 * 1024 * 1024
    /// Octets for all that belongs to no connection.
    static let strangerOctets = 256 * 1024

    /// One connection's conversations, or all of the strangers'.
    private struct Shelf {
        var ids: [UInt64] = []
        var octets = 0
    }

    private var conversations: [UInt64: Conversation] = [:]
    private var byIKE: [UInt32: UInt64] = [:]
    private var shelves: [String: Shelf] = [:]
    private var strangers = Shelf()
    private var lastID: UInt64 = 0
    private(set) var share = Self.connectionOctets

    /// Octets of all lines.
    var octets: Int { shelves.values.reduce(strangers.octets) { $0 + $1.octets } }

    /// The connections are these now; what was said with others is forgotten.
    mutating func keep(_ names: Set<String>) {
        share = min(Self.connectionOctets, Self.totalOctets / max(names.count, 1))
        for (name, shelf) in shelves where !names.contains(name) {
            for id in shelf.ids { drop(id) }
            shelves[name] = nil
        }
        for name in shelves.keys { trim(name) }
    }

    /// Enters a message; demands for a cookie are left out, of which a flood makes any number.
    mutating func note(_ record: MessageRecord, at now: Instant, wallClock: Int64) {
        if record.ikeID == nil, record.payloads.contains(where: { $0.isCookie }) { return }
        let id = conversation(
            ikeID: record.ikeID,
            connection: record.connection,
            isInitiator: record.header.isFromInitiator == record.isOutgoing,
            (record.local, record.remote),
            at: now,
            wallClock
        )
        change(id) { $0.append(record, at: now) }
    }

    /// Enters what became of an IKE_SA or an attempt.
    mutating func note(_ event: EngineEvent, _ text: String, at now: Instant, wallClock: Int64) {
        switch event {
        case .attemptFailed(let failure):
            let id = conversation(
                ikeID: failure.ikeID,
                connection: failure.connection,
                isInitiator: failure.isInitiator,
                (nil, failure.remote),
                at: now,
                wallClock
            )
            change(id) { $0.end(.failed, failure.cause, text, at: now) }
        case .ikeUp(let ike):
            let id = conversation(ike, at: now, wallClock)
            change(id) { conversation in
                conversation.append(text, at: now)
                conversation.isEstablished(ike)
            }
        case .ikeDown(let ike, let cause):
            let id = conversation(ike, at: now, wallClock)
            change(id) { $0.end(.ended, cause, text, at: now) }
        case .ikeRekeyed(let old, let new):
            let before = conversation(old, at: now, wallClock)
            change(before) { $0.hasSuccessor(text, at: now) }
            let after = conversation(new, at: now, wallClock)
            change(after) { conversation in
                conversation.append(text, at: now)
                conversation.isEstablished(new)
            }
        case .ikeMoved(let ike), .childUp(let ike, _), .childDown(let ike, _, _),
            .childRekeyed(let ike, _, _):
            let id = conversation(ike, at: now, wallClock)
            change(id) { $0.append(text, at: now) }
        case .childFailed(let ike, _, let cause), .rekeyFailed(let ike, _, let cause, _):
            let id = conversation(ike, at: now, wallClock)
            change(id) { conversation in
                conversation.append(text, at: now)
                conversation.fail(cause)
            }
        case .pathProbed, .progress: break
        }
    }

    /// The conversations of a connection, the oldest first.
    func conversations(of connection: String) -> [Conversation] {
        (shelves[connection]?.ids ?? []).compactMap { conversations[$0] }
    }

    /// The conversations with whoever has, or had, this address, the oldest first.
    func conversations(with address: IPAddress) -> [Conversation] {
        let found = conversations.filter { $0.value.remote.address == address }
        return found.sorted { $0.key < $1.key }.map { $0.value }
    }

    /// All conversations with those that belong to no connection, the oldest first.
    var strangerConversations: [Conversation] { strangers.ids.compactMap { conversations[$0] } }

    // MARK: - Entering

    private mutating func conversation(_ ike: IKESASnapshot, at now: Instant, _ wallClock: Int64) -> UInt64 {
        conversation(
            ikeID: ike.id,
            connection: ike.connection.isEmpty ? nil : ike.connection,
            isInitiator: ike.isInitiator,
            (ike.local, ike.remote),
            at: now,
            wallClock
        )
    }

    /// The conversation of an IKE_SA, or a new one; what is said to a stranger who left nothing behind goes with what was
    /// said to the same before.
    private mutating func conversation(
        ikeID: UInt32?,
        connection: String?,
        isInitiator: Bool,
        _ path: (local: Endpoint?, remote: Endpoint),
        at now: Instant,
        _ wallClock: Int64
    ) -> UInt64 {
        if let ikeID, let id = byIKE[ikeID], let known = conversations[id] {
            if let connection, known.connection != connection { move(id, to: connection) }
            return id
        }
        if ikeID == nil, let last = strangers.ids.last, let known = conversations[last],
            known.remote == path.remote, known.ikeID == nil, connection == nil
        {
            return last
        }
        lastID += 1
        let fresh = Conversation(
            ikeID: ikeID,
            connection: connection,
            isInitiator: isInitiator,
            local: path.local,
            remote: path.remote,
            startedAt: now,
            wallClock: wallClock
        )
        conversations[lastID] = fresh
        if let ikeID { byIKE[ikeID] = lastID }
        place(lastID, in: connection, octets: fresh.octets)
        return lastID
    }

    private mutating func place(_ id: UInt64, in connection: String?, octets: Int) {
        guard let connection else {
            strangers.ids.append(id)
            strangers.octets += octets
            return
        }
        shelves[connection, default: Shelf()].ids.append(id)
        shelves[connection]?.octets += octets
    }

    /// A stranger turned out to be a connection's peer.
    private mutating func move(_ id: UInt64, to connection: String) {
        guard let known = conversations[id] else { return }
        if let before = known.connection {
            shelves[before]?.ids.removeAll { $0 == id }
            shelves[before]?.octets -= known.octets
        } else {
            strangers.ids.removeAll { $0 == id }
            strangers.octets -= known.octets
        }
        conversations[id]?.connection = connection
        place(id, in: connection, octets: known.octets)
    }

    private mutating func change(_ id: UInt64, _ body: (inout Conversation) -> Void) {
        guard var conversation = conversations.removeValue(forKey: id) else { return }
        let before = conversation.octets
        body(&conversation)
        conversations[id] = conversation
        let added = conversation.octets - before
        if let name = conversation.connection {
            shelves[name]?.octets += added
            trim(name)
        } else {
            strangers.octets += added
            while strangers.octets > Self.strangerOctets, let oldest = strangers.ids.first {
                strangers.octets -= conversations[oldest]?.octets ?? 0
                strangers.ids.removeFirst()
                drop(oldest)
            }
        }
    }

    private mutating func trim(_ name: String) {
        guard var shelf = shelves[name], shelf.octets > share else { return }
        // Conversations that are over go first, then single lines of the one that lives.
        for id in shelf.ids where shelf.octets > share && shelf.ids.count > 1 {
            guard let known = conversations[id], known.outcome != .underWay, known.outcome != .established
            else { continue }
            shelf.octets -= known.octets
            shelf.ids.removeAll { $0 == id }
            drop(id)
        }
        for id in shelf.ids where shelf.octets > share {
            guard var known = conversations[id] else { continue }
            let before = known.octets
            known.shorten(by: shelf.octets - share)
            conversations[id] = known
            shelf.octets -= before - known.octets
        }
        shelves[name] = shelf
    }

    private mutating func drop(_ id: UInt64) {
        guard let gone = conversations.removeValue(forKey: id) else { return }
        if let ikeID = gone.ikeID, byIKE[ikeID] == id { byIKE[ikeID] = nil }
    }
}

extension Payload {
    fileprivate var isCookie: Bool {
        if case .notify(let notify) = self { notify.type == .cookie } else { false }
    }
}
