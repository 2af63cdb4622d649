/// Reads the values of one mapping; what is wrong goes to the sink, and reading goes on.
struct MappingReader {
    /// The keys that lead here: `connections.branch`.
    let path: String
    /// Where the mapping's own key stands; missing keys are reported there.
    let position: SourcePosition
    /// The entries in the order of the file, unknown ones too.
    let entries: [ConfigurationEntry]
    let sink: DiagnosticSink
    private let byKey: [String: ConfigurationEntry]

    /// Opens a mapping whose keys are names of the user's choice.
    init?(named node: ConfigurationNode, at position: SourcePosition, path: String, _ sink: DiagnosticSink) {
        self.init(node, at: position, path: path, expected: "names, each with a mapping", sink)
    }

    /// Opens a mapping and reports every key that is not `accepted`.
    init?(
        _ node: ConfigurationNode,
        at position: SourcePosition,
        path: String,
        accepting accepted: [String],
        _ sink: DiagnosticSink
    ) {
        self.init(node, at: position, path: path, expected: accepted.joined(separator: ", "), sink)
        for entry in entries where !accepted.contains(entry.key) {
            let nearest = NearestWord.nearest(to: entry.key, among: accepted).map {
                ", did you mean '\($0)'?"
            }
            sink.error(
                entry.position,
                path,
                "unknown key \(quoted(entry.key))\(nearest ?? ""); accepted: "
                    + accepted.joined(separator: ", ")
            )
        }
    }

    private init?(
        _ node: ConfigurationNode,
        at position: SourcePosition,
        path: String,
        expected: String,
        _ sink: DiagnosticSink
    ) {
        self.path = path
        self.position = position
        self.sink = sink
        if case .mapping(let entries) = node.content {
            self.entries = entries
        } else if node.isEmpty {
            entries = []
        } else {
            sink.error(node.position, path, "must be a mapping, not \(node.kind); accepted: \(expected)")
            return nil
        }
        byKey = Dictionary(entries.map { ($0.key, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// The entry of `key`, if it is there.
    func entry(_ key: String) -> ConfigurationEntry? { byKey[key] }

    /// The full name of `key`.
    func path(of key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// Reports an error of `key` where its value stands.
    func error(_ key: String, _ text: String) {
        sink.error(entry(key)?.value.position ?? position, path(of: key), text)
    }

    /// Reports that `key` is needed.
    func missing(_ key: String, _ expected: String) {
        sink.error(position, path, "needs the key '\(key)': \(expected)")
    }

    /// The value of `key` as `parse` makes it of its text.
    func value<Value>(_ key: String, _ parse: (String) throws(Refusal) -> Value) -> Value? {
        guard let entry = entry(key) else { return nil }
        return scalar(entry.value, path(of: key), parse)
    }

    /// The values of `key`: a list, or one text that stands for a list of one.
    ///
    /// - Returns: nil when the key is absent; values that were refused are left out.
    func list<Value>(_ key: String, _ parse: (String) throws(Refusal) -> Value) -> [Value]? {
        located(key, parse)?.map { $0.value }
    }

    /// As `list`, with the place of each value.
    func located<Value>(
        _ key: String,
        _ parse: (String) throws(Refusal) -> Value
    ) -> [(value: Value, position: SourcePosition)]? {
        guard let entry = entry(key) else { return nil }
        let nodes: [ConfigurationNode]
        switch entry.value.content {
        case .sequence(let elements):
            nodes = elements
            if elements.isEmpty { error(key, "is an empty list: name at least one value or drop the key") }
        case .scalar, .mapping: nodes = [entry.value]
        }
        return nodes.compactMap { node in
            scalar(node, path(of: key), parse).map { ($0, node.position) }
        }
    }

    private func scalar<Value>(
        _ node: ConfigurationNode,
        _ path: String,
        _ parse: (String) throws(Refusal) -> Value
    ) -> Value? {
        guard case .scalar(let text, _) = node.content, !node.isEmpty else {
            sink.error(node.position, path, "must be a text, not \(node.kind)")
            return nil
        }
        do throws(Refusal) {
            return try parse(text)
        } catch {
            sink.error(node.position, path, error.text)
            return nil
        }
    }
}
