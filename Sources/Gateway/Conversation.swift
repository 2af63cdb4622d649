import IKECore
import IKEMessages
import IPPackets
import Primitives

/// What was said about one IKE_SA, from its first message on.
struct Conversation: Sendable {
    /// What became of it.
    enum Outcome: String, Sendable {
        /// Still being negotiated.
        case underWay = "under-way"
        /// The IKE_SA lives.
        case established
        /// The IKE_SA lived and is over.
        case ended
        /// It did not come to an IKE_SA.
        case failed
    }

    /// What a line tells of.
    enum Kind: String, Sendable {
        /// A message of ours.
        case sent
        /// A message of the peer's.
        case received
        /// What followed from it.
        case event
    }

    /// One message, or several of the same kind in a row, or an event.
    struct Line: Sendable {
        let kind: Kind
        let at: Instant
        /// When the last of several was.
        var lastAt: Instant
        /// How many there were.
        var count = 1
        /// How many of them were repeated because no answer came.
        var repetitions = 0
        /// What the message is; empty for an event.
        let title: String
        /// Its payloads, or what happened.
        let text: String
        /// Octets of the message as it went on the wire, without the headers outside IKE; 0 for an event.
        let octets: Int
        /// Datagrams that it took.
        let datagrams: Int
        /// By what outer addresses it went, where that changed.
        let path: String?
        /// The liveness checks and their answers are one line.
        let isRoutine: Bool

        /// What it costs, with what surrounds the text.
        var cost: Int { title.utf8.count + text.utf8.count + (path?.utf8.count ?? 0) + 80 }
    }

    /// The IKE_SA's number.
    let ikeID: UInt32?
    var connection: String?
    let isInitiator: Bool
    private(set) var local: Endpoint?
    private(set) var remote: Endpoint
    let startedAt: Instant
    /// Seconds of the epoch when it started.
    let wallClock: Int64
    private(set) var lines: [Line] = []
    /// Lines that were dropped to make room.
    private(set) var dropped = 0
    private(set) var outcome = Outcome.underWay
    /// Why it is not what it should be: the word for causes of one kind, and what happened.
    private(set) var failure: (reason: String, text: String)?
    private(set) var octets = 120
    /// Lines that led to the IKE_SA, which are kept while it lives.
    private var setupLines = 0

    init(
        ikeID: UInt32?,
        connection: String?,
        isInitiator: Bool,
        local: Endpoint?,
        remote: Endpoint,
        startedAt: Instant,
        wallClock: Int64
    ) {
        self.ikeID = ikeID
        self.connection = connection
        self.isInitiator = isInitiator
        self.local = local
        self.remote = remote
        self.startedAt = startedAt
        self.wallClock = wallClock
    }

    /// A single line is no longer than this, whoever wrote what it tells of.
    private static let lineOctets = 1024

    mutating func append(_ record: MessageRecord, at now: Instant) {
        let contents = record.contents
        let isRoutine = record.header.exchange == .informational && record.payloads.isEmpty
        let kind: Kind = record.isOutgoing ? .sent : .received
        if let index = lastLike(record, kind, contents, isRoutine) {
            lines[index].count += 1
            lines[index].lastAt = now
            if record.isRepeated { lines[index].repetitions += 1 }
            return
        }
        let hasMoved = local != record.local || remote != record.remote
        let path = lines.isEmpty || !hasMoved ? nil : "\(record.local)...\(record.remote)"
        (local, remote) = (record.local, record.remote)
        add(
            Line(
                kind: kind,
                at: now,
                lastAt: now,
                repetitions: record.isRepeated ? 1 : 0,
                title: isRoutine ? "\(record.header.exchange) liveness" : record.title,
                text: contents,
                octets: record.datagrams.reduce(0) { $0 + $1.count },
                datagrams: record.datagrams.count,
                path: path,
                isRoutine: isRoutine
            )
        )
    }

    mutating func append(_ event: String, at now: Instant) {
        let text = Self.bounded(event)
        add(
            Line(
                kind: .event,
                at: now,
                lastAt: now,
                title: "",
                text: text,
                octets: 0,
                datagrams: 0,
                path: nil,
                isRoutine: false
            )
        )
    }

    /// Enters a failure that the IKE_SA lives on with.
    mutating func fail(_ cause: DownCause) {
        failure = (cause.reasonName, Self.bounded(cause.description))
    }

    private static func bounded(_ text: String) -> String {
        text.utf8.count > lineOctets ? String(text.unicodeScalars.prefix(lineOctets)) + "…" : text
    }

    /// Another IKE_SA has taken over.
    mutating func hasSuccessor(_ text: String, at now: Instant) {
        append(text, at: now)
        outcome = .ended
        setupLines = 0
    }

    /// The IKE_SA is up: what led to it is worth keeping.
    mutating func isEstablished(_ ike: IKESASnapshot) {
        outcome = .established
        setupLines = lines.count
        (local, remote) = (ike.local, ike.remote)
    }

    mutating func end(_ outcome: Outcome, _ cause: DownCause, _ text: String, at now: Instant) {
        append(text, at: now)
        self.outcome = outcome
        fail(cause)
        setupLines = 0
    }

    /// Drops the oldest lines that may go until `wanted` octets are free.
    mutating func shorten(by wanted: Int) {
        var freed = 0
        // The last line tells what is now.
        while freed < wanted, lines.count > 1 {
            let index = setupLines < lines.count - 1 ? setupLines : 0
            if index == 0 { setupLines = max(0, setupLines - 1) }
            freed += lines.remove(at: index).cost
            dropped += 1
        }
        octets -= freed
    }

    /// The same message again, or a further liveness check with nothing of interest in between.
    private func lastLike(_ record: MessageRecord, _ kind: Kind, _ contents: String, _ isRoutine: Bool)
        -> Int?
    {
        // A request and its response alternate.
        for index in lines.indices.suffix(2).reversed() {
            let line = lines[index]
            if isRoutine, line.isRoutine, line.kind == kind { return index }
            if !isRoutine, record.isRepeated || kind == .received, line.kind == kind,
                line.title == record.title, line.text == contents
            {
                return index
            }
            guard line.isRoutine == isRoutine, line.kind != .event else { return nil }
        }
        return nil
    }

    private mutating func add(_ line: Line) {
        lines.append(line)
        octets += line.cost
    }
}
