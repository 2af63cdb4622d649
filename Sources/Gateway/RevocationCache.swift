import Cryptography
import Synchronization

/// What was fetched of revocation lists and OCSP answers, and what could not be fetched of late.
///
/// Bounded in entries and octets; the entry that ends first goes first.
final class RevocationCache: RevocationKnowledge {
    private struct Entry {
        let answer: RevocationKnowledgeAnswer
        let until: Int64

        var octets: Int { if case .octets(let octets) = answer { octets.count } else { 0 } }
    }

    private struct State {
        var entries: [RevocationInquiry: Entry] = [:]
        var octets = 0
    }

    /// Entries at most.
    static let mostEntries = 512
    /// Octets in all at most.
    static let mostOctets = 32 << 20
    /// Seconds for which a failure is not repeated.
    static let patience: Int64 = 60
    /// Seconds for which anything is kept at most: a list may be replaced before its time.
    static let longest: Int64 = 4 * 3600
    /// Seconds for which what does not say how long it is good is kept.
    static let shortest: Int64 = 60

    private let state = Mutex(State())
    private let seconds: @Sendable () -> Int64

    /// - Parameter seconds: the time since 1970.
    init(seconds: @escaping @Sendable () -> Int64) {
        self.seconds = seconds
    }

    func answer(to inquiry: RevocationInquiry) -> RevocationKnowledgeAnswer? {
        let now = seconds()
        return state.withLock { state in
            guard let entry = state.entries[inquiry], entry.until > now else { return nil }
            return entry.answer
        }
    }

    /// Keeps what an inquiry brought.
    func note(_ answer: RevocationKnowledgeAnswer, for inquiry: RevocationInquiry) {
        let now = seconds()
        let entry = Entry(answer: answer, until: Self.end(of: answer, inquiry, now))
        state.withLock { state in
            if let old = state.entries.removeValue(forKey: inquiry) { state.octets -= old.octets }
            guard entry.octets <= Self.mostOctets else { return }
            while state.entries.count >= Self.mostEntries || state.octets + entry.octets > Self.mostOctets {
                guard let first = state.entries.min(by: { $0.value.until < $1.value.until }) else { break }
                state.entries[first.key] = nil
                state.octets -= first.value.octets
            }
            state.entries[inquiry] = entry
            state.octets += entry.octets
        }
    }

    /// Forgets everything (`flush-certs`).
    func removeAll() {
        state.withLock { $0 = State() }
    }

    var counts: (entries: Int, octets: Int) { state.withLock { ($0.entries.count, $0.octets) } }

    private static func end(
        of answer: RevocationKnowledgeAnswer,
        _ inquiry: RevocationInquiry,
        _ now: Int64
    ) -> Int64 {
        guard case .octets(let octets) = answer else { return now + patience }
        let next: Int64? =
            switch inquiry.subject {
            case .list: (try? RevocationListInfo(parsing: octets))?.nextUpdate
            case .ocsp: OCSPResponse.nextUpdate(octets)
            // A hash stands for one thing alone.
            case .certificate: now + longest
            }
        return min(max(next ?? 0, now + shortest), now + longest)
    }
}

/// Nothing more is asked: what is not known counts as not to be had.
struct SettledKnowledge: RevocationKnowledge {
    let cache: RevocationCache

    func answer(to inquiry: RevocationInquiry) -> RevocationKnowledgeAnswer? {
        cache.answer(to: inquiry) ?? .failed("not in time")
    }
}
