/// What became of one key of a section.
enum OptionOutcome {
    /// Its value was read and kept.
    case accepted
    /// No such key.
    case unknown
    /// The key exists, but its value cannot be read.
    case invalid

    /// Keeps a value that could be read; a later one of the same key replaces it.
    static func keep<Value>(_ value: Value?, in target: inout Value?) -> OptionOutcome {
        guard let value else { return .invalid }
        target = value
        return .accepted
    }

    /// Appends a value that could be read.
    static func append<Value>(_ value: Value?, to target: inout [Value]) -> OptionOutcome {
        guard let value else { return .invalid }
        target.append(value)
        return .accepted
    }

    /// Throws charon's words for what was not accepted.
    func check(_ key: String) throws(LoadRefusal) {
        switch self {
        case .accepted: return
        case .unknown: throw .unknownOption(key)
        case .invalid: throw .invalidValue(key)
        }
    }
}
