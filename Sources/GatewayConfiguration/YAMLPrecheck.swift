/// Refuses, before the parser sees it, text that would cost it more than its length warrants.
///
/// Yams hashes keys and resolves aliases by sharing, so an alias inside a key can stand for exponentially many
/// values; and it descends by recursion, so nesting is bounded by the stack. Neither has a use in a configuration.
enum YAMLPrecheck {
    /// Flow collections inside each other.
    private static let maximumNesting = 100
    /// Indentation and indicators before the first value of a line.
    private static let maximumIndentation = 200

    /// Where and why `text` is refused, or nil.
    static func refusal(of text: String) -> (position: SourcePosition, text: String)? {
        let octets = Array(text.utf8)
        let problem =
            deepNesting(octets).map { ($0, "mappings and lists are nested too deeply") }
            ?? aliasInKey(octets).map { ($0, "an alias cannot be a key or stand inside of one") }
        guard let (offset, message) = problem else { return nil }
        return (position(of: offset, in: octets), message)
    }

    private static func position(of offset: Int, in octets: [UInt8]) -> SourcePosition {
        let before = octets[..<offset]
        let lineStart = before.lastIndex(of: 10).map { $0 + 1 } ?? 0
        let column = before[lineStart...].count { $0 & 0xc0 != 0x80 }
        return SourcePosition(line: before.count { $0 == 10 } + 1, column: column + 1)
    }

    private static func deepNesting(_ octets: [UInt8]) -> Int? {
        // Brackets in quotes are text. Where quotes begin is a guess without parsing, so that the larger one of two
        // counts decides: that of all brackets, and that of those outside of what looks like quotes.
        var all = Nesting()
        var unquoted = Nesting()
        var quote: UInt8?
        var leading: Int? = 0
        var isComment = false
        for (offset, octet) in octets.enumerated() {
            if octet == 10 || octet == 13 {
                leading = 0
                isComment = false
                continue
            }
            if let count = leading { leading = " -?:\t".utf8.contains(octet) ? count + 1 : nil }
            if octet == UInt8(ascii: "#"), quote == nil, offset == 0 || isBlank(octets[offset - 1]) {
                isComment = true
            }
            if isComment { continue }
            all.count(octet)
            if let open = quote {
                if octet == open { quote = nil }
            } else if octet == UInt8(ascii: "\"") || octet == UInt8(ascii: "'"), startsToken(octets, offset) {
                quote = octet
            } else {
                unquoted.count(octet)
            }
            if max(all.depth, unquoted.depth) > maximumNesting || (leading ?? 0) > maximumIndentation {
                return offset
            }
        }
        return nil
    }

    private struct Nesting {
        private(set) var depth = 0

        mutating func count(_ octet: UInt8) {
            switch octet {
            case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
            case UInt8(ascii: "]"), UInt8(ascii: "}"): depth = max(0, depth - 1)
            default: break
            }
        }
    }

    private static func aliasInKey(_ octets: [UInt8]) -> Int? {
        var firstAlias: Int?
        var suspicious: Int?
        for (offset, octet) in octets.enumerated() {
            switch octet {
            case UInt8(ascii: "*") where startsToken(octets, offset):
                var end = offset + 1
                while end < octets.count, isNameOctet(octets[end]) { end += 1 }
                guard end > offset + 1 else { continue }
                firstAlias = firstAlias ?? offset
                if isFollowedByColon(octets, end) { return offset }
            case UInt8(ascii: "]"), UInt8(ascii: "}"):
                if isFollowedByColon(octets, offset + 1) { suspicious = suspicious ?? offset }
            case UInt8(ascii: "?") where startsToken(octets, offset):
                let next = offset + 1 < octets.count ? octets[offset + 1] : 10
                if isBlank(next) { suspicious = suspicious ?? offset }
            default: break
            }
        }
        return firstAlias == nil ? nil : suspicious
    }

    /// True where libyaml may see an indicator rather than text.
    private static func startsToken(_ octets: [UInt8], _ offset: Int) -> Bool {
        guard offset > 0 else { return true }
        let before = octets[offset - 1]
        return isBlank(before) || "[{,:?\"'".utf8.contains(before) || before >= 0x80
    }

    private static func isFollowedByColon(_ octets: [UInt8], _ start: Int) -> Bool {
        var index = start
        while index < octets.count, isBlank(octets[index]) { index += 1 }
        return index < octets.count && octets[index] == UInt8(ascii: ":")
    }

    private static func isBlank(_ octet: UInt8) -> Bool {
        octet == 32 || octet == 9 || octet == 10 || octet == 13
    }

    private static func isNameOctet(_ octet: UInt8) -> Bool {
        switch octet {
        case 48...57, 65...90, 97...122, UInt8(ascii: "_"), UInt8(ascii: "-"): true
        default: false
        }
    }
}
