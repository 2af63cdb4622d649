/// A source file with its comments and the text of its strings blanked out, so that rules see code only.
struct SourceText {
    let path: String
    /// The file as it is, line by line.
    let lines: [String]
    /// The same lines with blanks for comments and strings; line numbers agree.
    let code: [String]

    init(path: String, _ text: String) {
        self.path = path
        lines = Self.split(text)
        var blanker = Blanker(text)
        code = Self.split(blanker.blanked())
    }

    /// The code as one sequence, for rules that look beyond a line.
    var characters: [Character] { Array(code.joined(separator: "\n")) }

    /// The target whose file this is: `Sources/NAME/...`.
    var module: String? {
        let parts = path.split(separator: "/")
        guard let first = parts.first, first == "Sources", parts.count > 2 else { return nil }
        return String(parts[1])
    }

    private static func split(_ text: String) -> [String] {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { String($0) }
    }
}

/// Replaces comments and string contents by blanks.
///
/// Interpolations stay: they are code.
private struct Blanker {
    private let input: [Character]
    private var output: [Character] = []
    private var position = 0

    init(_ text: String) {
        input = Array(text)
        output.reserveCapacity(input.count)
    }

    mutating func blanked() -> String {
        while position < input.count {
            if isNext("//") {
                while position < input.count, input[position] != "\n" { blank() }
            } else if isNext("/*") {
                blankComment()
            } else if let hashes = stringStart() {
                blankString(hashes: hashes)
            } else {
                output.append(input[position])
                position += 1
            }
        }
        return String(output)
    }

    private func isNext(_ text: String) -> Bool {
        input[position...].starts(with: text)
    }

    private mutating func blank(_ count: Int = 1) {
        for _ in 0..<count where position < input.count {
            output.append(input[position] == "\n" ? "\n" : " ")
            position += 1
        }
    }

    private mutating func blankComment() {
        var depth = 0
        repeat {
            if isNext("/*") {
                depth += 1
                blank(2)
            } else if isNext("*/") {
                depth -= 1
                blank(2)
            } else {
                blank()
            }
        } while depth > 0 && position < input.count
    }

    /// The number of `#` before a quote that begins here, or nil.
    private func stringStart() -> Int? {
        var at = position
        while at < input.count, input[at] == "#" { at += 1 }
        return at < input.count && input[at] == "\"" ? at - position : nil
    }

    private mutating func blankString(hashes: Int) {
        let marks = String(repeating: "#", count: hashes)
        blank(hashes)
        let quote = isNext("\"\"\"") ? "\"\"\"" : "\""
        blank(quote.count)
        while position < input.count {
            if isNext(quote + marks) {
                blank(quote.count + hashes)
                return
            }
            if isNext("\\" + marks + "(") {
                blank(hashes + 1)
                copyInterpolation()
            } else if isNext("\\" + marks) {
                blank(hashes + 2)
            } else if quote.count == 1, input[position] == "\n" {
                return
            } else {
                blank()
            }
        }
    }

    /// From the opening parenthesis to its closing one, both included.
    private mutating func copyInterpolation() {
        var depth = 0
        repeat {
            if let hashes = stringStart() {
                blankString(hashes: hashes)
                continue
            }
            if input[position] == "(" { depth += 1 }
            if input[position] == ")" { depth -= 1 }
            output.append(input[position])
            position += 1
        } while depth > 0 && position < input.count
    }
}
