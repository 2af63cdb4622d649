/// What a rule found, as an editor can jump to it.
struct Violation: Equatable, CustomStringConvertible {
    let path: String
    let line: Int
    let message: String

    var description: String { "\(path):\(line): \(message)" }
}

/// The rules that one source file must keep.
///
/// Each returns every place where it does not.
enum Rules {
    static let longestFile = 600
    static let longestFunction = 70

    static func all(_ source: SourceText) -> [Violation] {
        imports(source) + unsafeCode(source) + forcedCode(source) + fileLength(source)
            + functionLength(source) + typeNames(source)
    }

    /// Imports follow the module table.
    static func imports(_ source: SourceText) -> [Violation] {
        guard let module = source.module else { return [] }
        guard let rule = ModuleTable.rule(module) else {
            return [
                Violation(
                    path: source.path,
                    line: 1,
                    message: "the target \(module) is not in the module table"
                )
            ]
        }
        return source.code.enumerated().compactMap { index, line in
            guard let imported = importedModule(line), !rule.allowed.contains(imported) else { return nil }
            let kind = rule.kind == .pure ? ", which is pure," : ""
            let accepted = rule.allowed.sorted().joined(separator: ", ")
            return Violation(
                path: source.path,
                line: index + 1,
                message: "\(module)\(kind) may not import \(imported); it may import \(accepted)"
            )
        }
    }

    /// `public import struct A.B` imports A.
    static func importedModule(_ line: String) -> String? {
        guard line.contains("import"), let match = line.firstMatch(of: importLine) else { return nil }
        return String(match.output.1)
    }

    /// `unsafe` and what hides it stay in the targets that may hold it.
    static func unsafeCode(_ source: SourceText) -> [Violation] {
        guard let module = source.module, ModuleTable.rule(module)?.mayBeUnsafe != true else { return [] }
        let homes = ModuleTable.modules.filter(\.mayBeUnsafe).map(\.name).joined(separator: ", ")
        return find(unsafeWord, in: source, marks: ["nsafe", "@", "Opaque", "Unmanaged"]) {
            "'\($0)' belongs into \(homes) only"
        }
    }

    /// No `try!`, `as!`, force unwrap or implicitly unwrapped optional.
    static func forcedCode(_ source: SourceText) -> [Violation] {
        find(forcedWord, in: source, marks: ["!"]) { "'\($0)' traps" }
            + find(forceUnwrap, in: source, marks: ["!"]) { "'\($0)' traps when it is nil" }
    }

    static func fileLength(_ source: SourceText) -> [Violation] {
        let count = source.lines.last == "" ? source.lines.count - 1 : source.lines.count
        guard count > longestFile else { return [] }
        let message = "\(count) lines; a file has at most \(longestFile)"
        return [Violation(path: source.path, line: longestFile + 1, message: message)]
    }

    static func functionLength(_ source: SourceText) -> [Violation] {
        FunctionFinder(source.characters).functions.compactMap { function in
            guard function.lines > longestFunction else { return nil }
            return Violation(
                path: source.path,
                line: function.line,
                message:
                    "\(function.name) has \(function.lines) lines; a function has at most \(longestFunction)"
            )
        }
    }

    /// A type with a module's name makes `Module.Type` mean something else.
    static func typeNames(_ source: SourceText) -> [Violation] {
        source.code.enumerated().compactMap { index, line in
            let words = ["struct", "class", "enum", "actor", "protocol", "typealias"]
            guard words.contains(where: { line.contains($0) }), importedModule(line) == nil,
                let match = line.firstMatch(of: typeDeclaration)
            else { return nil }
            let name = String(match.output.2)
            guard ModuleTable.names.contains(name) else { return nil }
            return Violation(
                path: source.path,
                line: index + 1,
                message: "the type \(name) bears the name of a module"
            )
        }
    }

    private static func find(
        _ pattern: Regex<Substring>,
        in source: SourceText,
        marks: [String],
        message: (Substring) -> String
    ) -> [Violation] {
        // A regex takes its time: lines without any of the marks cannot match.
        let candidates = source.code.enumerated().filter { _, line in marks.contains { line.contains($0) } }
        return candidates.flatMap { index, line in
            line.matches(of: pattern).map { match in
                Violation(path: source.path, line: index + 1, message: message(match.output))
            }
        }
    }

    // Regexes are not Sendable, so each use makes its own. Without `.simple` there is no word boundary in `a.b`.
    private static var importLine: Regex<(Substring, Substring)> {
        // swift-format-ignore
        /^\s*(?:@\w+(?:\([^)]*\))?\s+)*(?:(?:public|package|internal|fileprivate|private)\s+)?import\s+(?:(?:struct|class|enum|protocol|typealias|func|var|let)\s+)?(\w+)/
    }

    private static var unsafeWord: Regex<Substring> {
        // swift-format-ignore
        /\bunsafe\b|@unchecked\b|\bUnsafe\w*Pointer\b|\bOpaquePointer\b|\bUnmanaged\b|\bunsafeBitCast\b|\bwithUnsafe\w*|@safe\b|@_(?!lifetime)\w+/.wordBoundaryKind(.simple)
    }

    private static var forcedWord: Regex<Substring> { /\b(?:try|as)!/.wordBoundaryKind(.simple) }

    private static var forceUnwrap: Regex<Substring> {
        /(?!(?:try|as)!)\b\w+!(?!=)|[)\]}>`"]!(?!=)/.wordBoundaryKind(.simple)
    }

    private static var typeDeclaration: Regex<(Substring, Substring, Substring)> {
        /\b(struct|class|enum|actor|protocol|typealias)\s+(\w+)/.wordBoundaryKind(.simple)
    }
}

/// Words that have no place in the project: it speaks of itself alone.
enum BannedWords {
    /// Turned by thirteen letters, so that this file may be searched as well.
    private static let turned = [
        "pynhqr", "naguebcvp", "bcranv", "pungtcg", "tcg", "pbcvybg", "yyz", "yyzf", "ynathntr zbqry",
        "nv nffvfgnag",
        "nv-trarengrq", "nv trarengrq", "/jbex/",
    ]

    static let words = turned.map { String($0.map(turn)) }

    static func violations(path: String, _ text: String) -> [Violation] {
        text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().flatMap { index, line in
            let folded = line.lowercased()
            return words.filter { contains($0, in: folded) }.map {
                Violation(path: path, line: index + 1, message: "'\($0)' has no place here")
            }
        }
    }

    /// The word with no letter or digit beside it, or a path anywhere.
    private static func contains(_ word: String, in line: String) -> Bool {
        line.ranges(of: word).contains { range in
            if word.hasPrefix("/") { return true }
            let before = line[..<range.lowerBound].last
            let after = line[range.upperBound...].first
            return ![before, after].contains { $0?.isLetter == true || $0?.isNumber == true }
        }
    }

    private static func turn(_ character: Character) -> Character {
        guard let value = character.asciiValue, (97...122).contains(value) else { return character }
        return Character(UnicodeScalar((value - 97 + 13) % 26 + 97))
    }
}
