/// One thing that is wrong, or worth knowing, in a configuration file.
public struct ConfigurationDiagnostic: Hashable, Sendable, CustomStringConvertible {
    /// The file's path as it was given.
    public let file: String
    /// The line, from 1.
    public let line: Int
    /// The column, from 1, in characters.
    public let column: Int
    /// The key, what is wrong with it and what is accepted.
    public let message: String

    /// Makes a diagnostic.
    public init(file: String, line: Int, column: Int, message: String) {
        self.file = file
        self.line = line
        self.column = column
        self.message = message
    }

    /// `file:line:column: message`.
    public var description: String { "\(file):\(line):\(column): \(message)" }
}

/// Why a configuration file was refused: all of its errors, in the order of the file.
public struct ConfigurationErrors: Error, Hashable, Sendable, CustomStringConvertible {
    /// The errors; never empty.
    public let diagnostics: [ConfigurationDiagnostic]

    /// Makes the refusal.
    public init(diagnostics: [ConfigurationDiagnostic]) {
        self.diagnostics = diagnostics
    }

    /// One line an error.
    public var description: String { diagnostics.map { $0.description }.joined(separator: "\n") }
}

/// How the loader reads files: it opens none itself.
public protocol ConfigurationFiles {
    /// The text of the configuration file at `path`; throws for one that is unreadable or not UTF-8.
    func text(_ path: String) throws -> String
    /// The octets of the secret at `path`; throws for one that is unreadable or that others can read.
    func secret(_ path: String) throws -> [UInt8]
}
