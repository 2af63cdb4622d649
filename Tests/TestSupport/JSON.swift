import Primitives

/// A JSON value with accessors that never trap: a missing member is `.null`.
public enum JSON: Sendable, Hashable {
    /// null, or a member that does not exist.
    case null
    /// A number; true and false are 1 and 0.
    case number(Double)
    /// A string.
    case string(String)
    /// An array.
    case array([JSON])
    /// An object.
    case object([String: JSON])

    /// The member of an object.
    public subscript(_ key: String) -> JSON {
        if case .object(let members) = self { members[key] ?? .null } else { .null }
    }

    /// The element of an array.
    public subscript(_ index: Int) -> JSON {
        if case .array(let elements) = self, elements.indices.contains(index) {
            elements[index]
        } else {
            .null
        }
    }

    /// The elements of an array, none for anything else.
    public var elements: [JSON] {
        if case .array(let elements) = self { elements } else { [] }
    }

    /// The members of an object, none for anything else.
    public var members: [String: JSON] {
        if case .object(let members) = self { members } else { [:] }
    }

    /// The string, or nil.
    public var string: String? {
        if case .string(let text) = self { text } else { nil }
    }

    /// The string, or an empty one.
    public var text: String { string ?? "" }

    /// The number when it is whole, or nil.
    public var int: Int? {
        if case .number(let value) = self { Int(exactly: value) } else { nil }
    }

    /// True for true and for any number but zero.
    public var bool: Bool { (int ?? 0) != 0 }

    /// True for null and for a member that does not exist.
    public var isNull: Bool { self == .null }

    /// The octets of a hexadecimal string, or nil.
    public var hex: [UInt8]? { string.flatMap { Hex.decode($0) } }

    /// The octets of a hexadecimal string, none for anything else.
    public var octets: [UInt8] { hex ?? [] }
}
