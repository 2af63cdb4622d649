import Primitives

extension ViciMessage {
    /// The message as a JSON object: values as strings, lists as arrays, sections as objects, in order.
    ///
    /// Where a name occurs twice the last counts, as a JSON object has a name once. Octets that are no UTF-8
    /// become `0x` and hexadecimal digits.
    public var json: String {
        var last: [String: Int] = [:]
        for (index, element) in elements.enumerated() { last[element.name] = index }
        let members = elements.enumerated().compactMap { index, element -> String? in
            guard last[element.name] == index else { return nil }
            return "\(ViciJSON.quoted(element.name)):\(ViciJSON.text(of: element.value))"
        }
        return "{\(members.joined(separator: ","))}"
    }
}

/// JSON text.
public enum ViciJSON {
    /// `text` in quotation marks, with what JSON forbids escaped.
    public static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\u{0}"..."\u{1f}", "\u{7f}"..."\u{9f}":
                result += "\\u" + Hex.encode(UInt16(truncatingIfNeeded: scalar.value))
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }

    /// An object of `members`, whose values are JSON text; those without a value are left out.
    public static func object(_ members: [(name: String, value: String?)]) -> String {
        let texts = members.compactMap { member in member.value.map { "\(quoted(member.name)):\($0)" } }
        return "{\(texts.joined(separator: ","))}"
    }

    /// An array of strings.
    public static func array(_ texts: [String]) -> String {
        "[\(texts.map { quoted($0) }.joined(separator: ","))]"
    }

    static func text(of value: ViciMessage.Value) -> String {
        switch value {
        case .section(let message): message.json
        case .value(let octets): quoted(string(octets))
        case .list(let items): "[\(items.map { quoted(string($0)) }.joined(separator: ","))]"
        }
    }

    private static func string(_ octets: [UInt8]) -> String {
        String(validating: octets, as: UTF8.self) ?? "0x" + Hex.encode(octets)
    }
}
