/// A conversation that `explain` told, as people read it.
public struct TranscriptText: Sendable {
    private let conversation: ViciMessage

    /// Reads a `conversation` event.
    public init(_ conversation: ViciMessage) {
        self.conversation = conversation
    }

    /// Why it failed, or nil.
    public var cause: String? { conversation.string("cause").map { StatusReport.printable($0) } }

    /// A title, a line for each message or event with the seconds since the start, and what became of it.
    ///
    /// - Parameter started: the time of the start as it is to be shown.
    public func text(started: String) -> String {
        var lines = StatusReport.wrapped(title, prefix: StatusReport.printable(started) + "  ", margin: 4)
        for (_, line) in conversation.section("lines")?.sections ?? [] {
            lines += StatusReport.wrapped(Self.text(line), prefix: Self.stamp(line.string("at")))
        }
        if let dropped = conversation.string("dropped-lines") {
            lines.append("  \(dropped) lines between were dropped to make room")
        }
        if let outcome = conversation.string("outcome") {
            let reason = conversation.string("reason").map { " (\($0))" } ?? ""
            lines.append("  → \(outcome)\(reason)")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private var title: String {
        let id = conversation.string("ike-id").map { "IKE_SA [\($0)]" } ?? "no IKE_SA"
        let name = conversation.string("connection").map { "\($0): " } ?? ""
        let role = conversation.flag("initiator") == true ? "we began" : "the peer began"
        return "\(name)\(id), \(role), \(end("local")) ... \(end("remote"))"
    }

    private func end(_ side: String) -> String {
        let host = conversation.string("\(side)-host") ?? "?"
        return conversation.string("\(side)-port").map { "\(host)[\($0)]" } ?? host
    }

    private static func text(_ line: ViciMessage) -> String {
        let arrow =
            switch line.string("kind") {
            case "sent": "→ "
            case "received": "← "
            default: "* "
            }
        guard let title = line.string("message") else { return arrow + (line.string("event") ?? "") }
        var text = arrow + title
        if let contents = line.string("contents"), !contents.isEmpty { text += " [\(contents)]" }
        if let octets = line.string("octets") { text += " \(octets) octets" }
        if let parts = line.string("fragments") { text += " in \(parts) fragments" }
        if let path = line.string("path") { text += ", by \(path)" }
        if let count = line.string("count") {
            text += ", \(count) times"
            if let last = line.string("last") { text += ", last at \(seconds(last))" }
        }
        if let repeated = line.string("repeated") { text += ", \(repeated) of them sent again" }
        return text
    }

    /// `+12.034 ` in ten columns.
    private static func stamp(_ milliseconds: String?) -> String {
        let text = seconds(milliseconds ?? "0")
        return String(repeating: " ", count: max(0, 9 - text.count)) + text + " "
    }

    private static func seconds(_ milliseconds: String) -> String {
        let digits = String(repeating: "0", count: max(0, 4 - milliseconds.count)) + milliseconds
        return "+\(digits.dropLast(3)).\(digits.suffix(3))"
    }
}
