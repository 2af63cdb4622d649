/// Finds function bodies in blanked code by counting brackets.
struct FunctionFinder {
    struct Function: Equatable {
        let name: String
        let line: Int
        /// From the keyword to the closing brace, both included.
        let lines: Int
    }

    private let code: [Character]
    private(set) var functions: [Function] = []

    init(_ code: [Character]) {
        self.code = code
        var line = 1
        for index in code.indices {
            if code[index] == "\n" { line += 1 }
            guard let keyword = keyword(at: index), let body = body(after: index + keyword.count),
                let end = close(of: body)
            else { continue }
            let length = code[index...end].count { $0 == "\n" } + 1
            functions.append(Function(name: name(at: index, keyword), line: line, lines: length))
        }
    }

    private func keyword(at index: Int) -> String? {
        guard "fidsv".contains(code[index]) else { return nil }
        if index > 0, isWord(code[index - 1]) || code[index - 1] == "." || code[index - 1] == "`" {
            return nil
        }
        return ["func", "init", "deinit", "subscript", "var"].first { word in
            let end = index + word.count
            return code[index...].starts(with: word) && (end >= code.count || !isWord(code[end]))
        }
    }

    private func name(at index: Int, _ keyword: String) -> String {
        guard keyword == "func" || keyword == "var" else { return keyword }
        let rest = code[(index + keyword.count)...].drop { $0 == " " }
        return String(rest.prefix { !" (<:=\n".contains($0) })
    }

    /// The opening brace of what is declared here; nil for a requirement or a stored property.
    private func body(after start: Int) -> Int? {
        var depth = 0
        var isLineStart = false
        for index in start..<max(start, code.count) {
            switch code[index] {
            case "(", "[": depth += 1
            case ")", "]": depth -= 1
            case "{" where depth == 0: return index
            case "}" where depth <= 0, "=" where depth == 0 && isAssignment(index): return nil
            case "\n": isLineStart = true
            case " ": break
            default:
                if isLineStart, depth == 0, beginsDeclaration(index) { return nil }
                isLineStart = false
            }
            if depth < 0 { return nil }
        }
        return nil
    }

    private func isAssignment(_ index: Int) -> Bool {
        let operators: Set<Character> = ["=", "<", ">", "!", "+", "-", "*", "&", "|", "~"]
        return !(index > 0 && operators.contains(code[index - 1]))
            && !(index + 1 < code.count && operators.contains(code[index + 1]))
    }

    private func beginsDeclaration(_ index: Int) -> Bool {
        if code[index] == "@" || code[index] == "#" { return true }
        let word = String(code[index...].prefix { isWord($0) })
        return [
            "func", "init", "deinit", "subscript", "var", "let", "case", "struct", "class", "enum",
            "extension",
            "mutating", "static", "public", "private", "package", "internal", "fileprivate", "associatedtype",
            "typealias", "override", "return", "if", "guard", "for", "while", "switch", "do", "try",
            "default",
        ].contains(word)
    }

    private func close(of open: Int) -> Int? {
        var depth = 0
        for index in open..<code.count {
            if code[index] == "{" { depth += 1 }
            if code[index] == "}" {
                depth -= 1
                if depth == 0 { return index }
            }
        }
        return nil
    }

    private func isWord(_ character: Character) -> Bool {
        character.isLetter || character.isNumber || character == "_"
    }
}
