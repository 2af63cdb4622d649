/// Collects what is wrong with one file.
final class DiagnosticSink {
    /// More errors than this are not told: who has so many mends the first ones first.
    static let limit = 200

    let file: String
    private var errors: [(SourcePosition, String)] = []
    private var notes: [(SourcePosition, String)] = []

    init(file: String) {
        self.file = file
    }

    var hasErrors: Bool { !errors.isEmpty }

    func error(_ position: SourcePosition, _ path: String, _ text: String) {
        guard errors.count < Self.limit else { return }
        errors.append((position, path.isEmpty ? text : "\(path): \(text)"))
    }

    func warning(_ position: SourcePosition, _ path: String, _ text: String) {
        guard notes.count < Self.limit else { return }
        notes.append((position, path.isEmpty ? text : "\(path): \(text)"))
    }

    /// The errors in the order of the file, each once (an alias shows its anchor's mistakes again).
    var sortedErrors: [ConfigurationDiagnostic] { sorted(errors) }
    var sortedWarnings: [ConfigurationDiagnostic] { sorted(notes) }

    private func sorted(_ findings: [(SourcePosition, String)]) -> [ConfigurationDiagnostic] {
        var seen: Set<ConfigurationDiagnostic> = []
        return findings.enumerated()
            .sorted { ($0.element.0, $0.offset) < ($1.element.0, $1.offset) }
            .map { _, finding in
                ConfigurationDiagnostic(
                    file: file,
                    line: finding.0.line,
                    column: finding.0.column,
                    message: finding.1
                )
            }
            .filter { seen.insert($0).inserted }
    }
}

/// Why a scalar was refused: what is wrong and what is accepted.
struct Refusal: Error {
    let text: String

    init(_ text: String) {
        self.text = text
    }
}
