/// Why a message of vici's load- and unload- commands was refused; nothing of it was taken over.
///
/// Holds no secret: values are quoted only where they are configuration.
public struct LoadRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// The text for `errmsg` of the answer.
    public let description: String

    init(_ description: String) {
        self.description = description
    }

    /// charon's words for a key that it does not know.
    static func unknownOption(_ key: String) -> LoadRefusal {
        LoadRefusal("unknown option: \(key), config discarded")
    }

    /// charon's words for a value that it cannot read.
    static func invalidValue(_ key: String) -> LoadRefusal {
        LoadRefusal("invalid value for: \(key), config discarded")
    }

    /// A valid setting that Causeway does not carry out.
    static func notSupported(_ path: String, _ value: String) -> LoadRefusal {
        LoadRefusal("\(path) = \(shortened(value)): not supported yet")
    }

    /// A table is full.
    static func limit(_ number: Int, _ things: String) -> LoadRefusal {
        LoadRefusal("limit of \(number) \(things) reached")
    }

    private static func shortened(_ value: String) -> String {
        value.count <= 100 ? value : String(value.prefix(100)) + "…"
    }
}
