/// A place in the configuration file, both numbers from 1.
struct SourcePosition: Hashable, Comparable {
    let line: Int
    let column: Int

    static func < (left: SourcePosition, right: SourcePosition) -> Bool {
        (left.line, left.column) < (right.line, right.column)
    }
}

/// A key with its value.
struct ConfigurationEntry {
    let key: String
    let position: SourcePosition
    let value: ConfigurationNode
}

/// A value of the file: aliases and merge keys are resolved, scalars are text whatever YAML would make of them.
struct ConfigurationNode {
    enum Content {
        case scalar(String, isPlain: Bool)
        case sequence([ConfigurationNode])
        case mapping([ConfigurationEntry])
    }

    let position: SourcePosition
    let content: Content

    /// True for a key without a value.
    var isEmpty: Bool {
        if case .scalar("", isPlain: true) = content { true } else { false }
    }

    /// What it is, for messages.
    var kind: String {
        switch content {
        case .scalar(let text, _): isEmpty ? "nothing" : "the text \(quoted(text))"
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }
}

/// Text of the file for a message: in quotes, printable and short.
func quoted(_ text: String) -> String {
    var result = "'"
    var count = 0
    for scalar in text.unicodeScalars {
        guard count < 80 else {
            result += "…"
            break
        }
        if scalar.properties.generalCategory == .control || scalar.value == 0x2028 || scalar.value == 0x2029 {
            result += "\\u{\(String(scalar.value, radix: 16))}"
        } else {
            result.unicodeScalars.append(scalar)
        }
        count += 1
    }
    return result + "'"
}
