import LinuxIO
public import Logging

/// Writes one line an event to standard error; under systemd with the priority in front, as the journal reads it.
public struct JournalLogHandler: LogHandler {
    /// The least severe level that is written.
    public var logLevel: Logger.Level
    /// Pairs that go with every line.
    public var metadata: Logger.Metadata = [:]

    private let hasPriorities: Bool
    private let feed: LogFeed?
    private var stream = StandardErrorLines()

    /// - Parameters:
    ///   - hasPriorities: true when standard error is the journal.
    ///   - feed: who else hears every line.
    public init(level: Logger.Level, hasPriorities: Bool, feed: LogFeed? = nil) {
        logLevel = level
        self.hasPriorities = hasPriorities
        self.feed = feed
    }

    /// One pair.
    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    /// Writes an event.
    public func log(event: LogEvent) {
        var line = hasPriorities ? "<\(Self.priority(event.level))>" : "\(event.level) "
        line += Self.oneLine(event.message.description)
        let pairs = metadata.merging(event.metadata ?? [:]) { $1 }
        if !pairs.isEmpty {
            let text = pairs.sorted { $0.key < $1.key }.map { "\($0.key)=\(Self.oneLine("\($0.value)"))" }
            line += " [\(text.joined(separator: " "))]"
        }
        stream.write(line)
        feed?.publish(event.level, Self.oneLine(event.message.description), pairs)
    }

    /// Control characters would let a peer forge lines or steer a terminal.
    private static func oneLine(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7f }) else {
            return text
        }
        return text.unicodeScalars.map { scalar in
            scalar.value < 0x20 || scalar.value == 0x7f
                ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
        }.joined()
    }

    private static func priority(_ level: Logger.Level) -> Int {
        switch level {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
