import Yams

/// Reads YAML text into nodes with positions.
///
/// Yams stops at the first duplicate key of a document and names only its first place. To name the second one,
/// and to go on with the rest, the first is overwritten by as many private-use characters and the text read again.
struct YAMLDocument {
    /// The largest text that is accepted, in octets.
    static let maximumOctets = 4 * 1024 * 1024
    /// Values a document may have after its aliases were resolved.
    static let maximumNodes = 200_000
    /// Mappings and lists inside each other; the deepest legal value lies 6 deep.
    static let maximumDepth = 32
    /// Duplicate keys that are told of.
    private static let maximumDuplicates = 32

    private let sink: DiagnosticSink
    /// The names of overwritten keys by their number.
    private var overwritten: [String] = []
    private var nodesLeft = Self.maximumNodes
    private var isTooLarge = false

    private init(_ sink: DiagnosticSink) {
        self.sink = sink
    }

    /// The root of the only document in `text`; nil after an error, or for a text without any value.
    static func read(_ text: String, _ sink: DiagnosticSink) -> ConfigurationNode? {
        let start = SourcePosition(line: 1, column: 1)
        guard text.utf8.count <= maximumOctets else {
            sink.error(start, "", "has \(text.utf8.count) octets; at most \(maximumOctets) are accepted")
            return nil
        }
        if let refusal = YAMLPrecheck.refusal(of: text) {
            sink.error(refusal.position, "", refusal.text)
            return nil
        }
        var document = YAMLDocument(sink)
        // A byte order mark, which the parser takes for text.
        let body = text.unicodeScalars.first == "\u{feff}" ? String(text.unicodeScalars.dropFirst()) : text
        guard let root = document.compose(body) else { return nil }
        return document.convert(root, depth: 0)
    }

    private mutating func compose(_ text: String) -> Node? {
        var text = text
        while true {
            do {
                return try Parser(yaml: text, resolver: .basic, encoding: .utf8).singleRoot()
            } catch YamlError.duplicatedKeysInMapping(let duplicates, let context) {
                let mark = SourcePosition(line: context.mark.line, column: context.mark.column)
                let name = duplicates.first ?? ""
                guard overwritten.count < Self.maximumDuplicates,
                    let next = overwrite(name, at: mark, in: text)
                else {
                    sink.error(mark, "", "the key \(quoted(name)) stands more than once in this mapping")
                    return nil
                }
                overwritten.append(name)
                text = next
            } catch {
                report(error, in: text)
                return nil
            }
        }
    }

    // MARK: - Duplicate keys

    private func placeholder(_ number: Int) -> Unicode.Scalar? { Unicode.Scalar(0xe000 + UInt32(number)) }

    /// The text with the key `name` at `mark` replaced by as many placeholders, or nil if it is not there.
    private func overwrite(_ name: String, at mark: SourcePosition, in text: String) -> String? {
        guard !name.isEmpty, let filler = placeholder(overwritten.count) else { return nil }
        let scalars = text.unicodeScalars
        guard var index = Self.index(of: mark, in: scalars), index < scalars.endIndex else { return nil }
        if scalars[index] == "\"" || scalars[index] == "'" { index = scalars.index(after: index) }
        guard scalars[index...].starts(with: name.unicodeScalars) else { return nil }
        let end = scalars.index(index, offsetBy: name.unicodeScalars.count)
        var result = String.UnicodeScalarView(scalars[..<index])
        result.append(contentsOf: repeatElement(filler, count: name.unicodeScalars.count))
        result.append(contentsOf: scalars[end...])
        return String(result)
    }

    /// The name that a key stands for: its own, or the one that it was before.
    private func name(of key: String) -> String {
        guard let first = key.unicodeScalars.first, first.value >= 0xe000,
            let number = Int(exactly: first.value - 0xe000), overwritten.indices.contains(number),
            key.unicodeScalars.allSatisfy({ $0 == first }),
            key.unicodeScalars.count == overwritten[number].unicodeScalars.count
        else { return key }
        return overwritten[number]
    }

    /// Where a line and column lie, counted as libyaml counts them.
    private static func index(
        of position: SourcePosition,
        in scalars: String.UnicodeScalarView
    ) -> String.Index? {
        var line = 1
        var index = scalars.startIndex
        while line < position.line {
            guard index < scalars.endIndex else { return nil }
            let scalar = scalars[index]
            index = scalars.index(after: index)
            switch scalar {
            case "\r":
                if index < scalars.endIndex, scalars[index] == "\n" { index = scalars.index(after: index) }
                line += 1
            case "\n", "\u{85}", "\u{2028}", "\u{2029}": line += 1
            default: break
            }
        }
        return scalars.index(index, offsetBy: position.column - 1, limitedBy: scalars.endIndex)
    }

    // MARK: - Nodes

    private mutating func convert(_ node: Node, depth: Int) -> ConfigurationNode? {
        let position = SourcePosition(line: node.mark?.line ?? 1, column: node.mark?.column ?? 1)
        nodesLeft -= 1
        guard nodesLeft >= 0 else {
            if !isTooLarge { sink.error(position, "", "the file has more than \(Self.maximumNodes) values") }
            isTooLarge = true
            return nil
        }
        guard depth <= Self.maximumDepth else {
            sink.error(
                position,
                "",
                "mappings and lists lie more than \(Self.maximumDepth) deep in each other"
            )
            return nil
        }
        switch node {
        case .scalar(let scalar):
            return ConfigurationNode(
                position: position,
                content: .scalar(scalar.string, isPlain: scalar.style == .plain)
            )
        case .sequence(let sequence):
            var elements = [ConfigurationNode]()
            for element in sequence where !isTooLarge {
                if let element = convert(element, depth: depth + 1) { elements.append(element) }
            }
            return ConfigurationNode(position: position, content: .sequence(elements))
        case .mapping(let mapping):
            return ConfigurationNode(position: position, content: .mapping(entries(of: mapping, depth)))
        case .alias:
            sink.error(position, "", "an alias without an anchor")
            return nil
        }
    }

    private mutating func entries(of mapping: Node.Mapping, _ depth: Int) -> [ConfigurationEntry] {
        var result = [ConfigurationEntry]()
        var lines: [String: Int] = [:]
        var merged = [ConfigurationEntry]()
        for (keyNode, valueNode) in mapping where !isTooLarge {
            let position = SourcePosition(line: keyNode.mark?.line ?? 1, column: keyNode.mark?.column ?? 1)
            guard case .scalar(let scalar) = keyNode else {
                sink.error(position, "", "a key must be a text")
                continue
            }
            let key = name(of: scalar.string)
            if let line = lines[key] {
                sink.error(
                    position,
                    "",
                    "the key \(quoted(key)) stands here again; it was first on line \(line)"
                )
                continue
            }
            lines[key] = position.line
            guard let value = convert(valueNode, depth: depth + 1) else { continue }
            if key == "<<", scalar.style == .plain {
                merged += mergedEntries(value)
            } else {
                result.append(ConfigurationEntry(key: key, position: position, value: value))
            }
        }
        for entry in merged where lines[entry.key] == nil {
            lines[entry.key] = entry.position.line
            result.append(entry)
        }
        return result
    }

    /// What `<<` takes over: the entries of one mapping or of several, the first ones first.
    private func mergedEntries(_ node: ConfigurationNode) -> [ConfigurationEntry] {
        switch node.content {
        case .mapping(let entries): return entries
        case .sequence(let elements): return elements.flatMap { mergedEntries($0) }
        case .scalar:
            sink.error(node.position, "", "'<<' takes a mapping or a list of mappings, not \(node.kind)")
            return []
        }
    }

    // MARK: - Errors

    private func report(_ error: any Error, in text: String) {
        let start = SourcePosition(line: 1, column: 1)
        guard let error = error as? YamlError else {
            sink.error(start, "", "is not valid YAML")
            return
        }
        switch error {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            // At the end of a text libyaml counts a line more than there is.
            let end = Self.position(ofCharacter: text.count, in: text)
            let position = min(SourcePosition(line: max(1, mark.line), column: max(1, mark.column)), end)
            let background = context.map { " (\($0.text), line \($0.mark.line))" } ?? ""
            sink.error(position, "", "is not valid YAML: \(problem)\(background)")
        case .reader(let problem, let offset, _, _):
            sink.error(
                offset.map { Self.position(ofCharacter: $0, in: text) } ?? start,
                "",
                "is not valid YAML: \(problem)"
            )
        case .no, .memory, .writer, .emitter, .representer, .dataCouldNotBeDecoded, .duplicatedKeysInMapping:
            sink.error(start, "", "is not valid YAML")
        }
    }

    private static func position(ofCharacter offset: Int, in text: String) -> SourcePosition {
        var line = 1
        var column = 1
        for character in text.prefix(max(0, offset)) {
            if character.isNewline {
                line += 1
                column = 1
            } else {
                column += 1
            }
        }
        return SourcePosition(line: line, column: column)
    }
}
