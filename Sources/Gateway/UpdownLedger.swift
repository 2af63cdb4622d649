/// What an updown script was told of, so that every `up` is followed by exactly one `down` with the same words.
struct UpdownLedger: Sendable {
    /// A script and what it was told.
    struct Entry: Equatable, Sendable {
        let command: String
        let environment: UpdownEnvironment
    }

    /// By CHILD_SA.
    private var entries: [UInt32: Entry] = [:]

    /// The script ran, or will, for `child`.
    mutating func up(_ child: UInt32, _ entry: Entry) {
        entries[child] = entry
    }

    /// The tunnel goes on in another CHILD_SA: no script runs.
    mutating func rekeyed(old: UInt32, new: UInt32) {
        guard let entry = entries.removeValue(forKey: old) else { return }
        entries[new] = entry
    }

    /// What the script must be told of the end of `child`; nil if it never heard of it.
    mutating func down(_ child: UInt32) -> Entry? {
        entries.removeValue(forKey: child)
    }

    /// What is still up, in order of the CHILD_SAs, and forgotten here.
    mutating func removeAll() -> [Entry] {
        defer { entries = [:] }
        return entries.sorted { $0.key < $1.key }.map(\.value)
    }
}
