/// One line of the daemon's log, as its `log` event brings it.
public struct LogRecord: Equatable, Sendable {
    /// The part of the daemon that speaks, in strongSwan's words: `IKE`, `CHD`, `NET`.
    public let group: String
    /// How much detail it is: 0 for what an operator must see, up to 4.
    public let level: Int
    /// The connection that it is about; nil for none.
    public let connection: String?
    /// The IKE_SA that it is about, by its number; nil for none.
    public let ikeID: UInt64?
    /// What happened.
    public let text: String

    /// Reads an event; what is missing counts as said by the daemon as a whole.
    public init(_ event: ViciMessage) {
        group = event.string("group") ?? "DMN"
        level = event.number("level", as: Int.self) ?? 1
        connection = event.string("ikesa-name").flatMap { $0.isEmpty ? nil : $0 }
        ikeID = event.number("ikesa-uniqueid", as: UInt64.self)
        text = event.string("msg") ?? ""
    }

    /// True if the record is as important as `level` or more, and about `connection` if one is given.
    public func isWanted(level: Int, connection: String?) -> Bool {
        self.level <= level && (connection == nil || connection == self.connection)
    }

    /// One line for people.
    public var line: String {
        let number = ikeID.map { "[\($0)]" } ?? ""
        // Most texts name their connection themselves.
        let isNamed = connection.map { text.contains($0) } ?? true
        let about = isNamed ? "" : "\(connection ?? "")\(number): "
        return StatusReport.printable("\(group) \(about)\(text)")
    }

    /// One JSON object on one line; `time` is when it was heard.
    ///
    /// Its keys are part of the command's interface: `causeway(1)` lists them.
    public func json(time: String) -> String {
        ViciJSON.object([
            ("time", ViciJSON.quoted(time)),
            ("level", String(level)),
            ("group", ViciJSON.quoted(group)),
            ("connection", connection.map { ViciJSON.quoted($0) }),
            ("ike-id", ikeID.map(String.init)),
            ("message", ViciJSON.quoted(text)),
        ])
    }
}
