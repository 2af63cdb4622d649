/// The scalars of swanctl.conf as charon reads them; all answer nil where charon refuses.
enum OptionText {
    /// Printable ASCII, as charon demands for all texts.
    static func printable(_ octets: [UInt8]) -> String? {
        guard octets.allSatisfy({ (0x20...0x7e).contains($0) }) else { return nil }
        return String(decoding: octets, as: UTF8.self)
    }

    /// Printable ASCII with at least one character.
    static func word(_ octets: [UInt8]) -> String? {
        printable(octets).flatMap { $0.isEmpty ? nil : $0 }
    }

    /// One of `words`, whatever its case.
    static func choice<Value>(_ octets: [UInt8], _ words: [(String, Value)]) -> Value? {
        guard let text = printable(octets)?.lowercased() else { return nil }
        return words.first { $0.0 == text }?.1
    }

    /// yes, true, enabled, 1, no, false, disabled, 0.
    static func flag(_ octets: [UInt8]) -> Bool? {
        choice(
            octets,
            [
                ("yes", true), ("true", true), ("enabled", true), ("1", true),
                ("no", false), ("false", false), ("disabled", false), ("0", false),
            ]
        )
    }

    /// A number in decimal, in hexadecimal behind `0x`, or in octal behind `0`.
    static func number<Number: FixedWidthInteger>(_ octets: [UInt8], as type: Number.Type = Number.self)
        -> Number?
    {
        guard let text = printable(octets), let (value, rest) = leadingNumber(text), rest.isEmpty else {
            return nil
        }
        return Number(exactly: value)
    }

    /// Binary digits.
    static func bits(_ octets: [UInt8]) -> UInt8? {
        guard let text = word(octets), text.utf8.allSatisfy({ $0 == 48 || $0 == 49 }) else { return nil }
        // As in charon: only six bits are a code point.
        return UInt32(text, radix: 2).map { UInt8(truncatingIfNeeded: $0) & 0x3f }
    }

    /// A duration in seconds, or with one of the units s, m, h, d.
    static func seconds(_ octets: [UInt8]) -> UInt64? {
        scaled(octets, ["s": 1, "m": 60, "h": 3_600, "d": 86_400]).flatMap { value in
            // charon keeps 32 bits of it; more than a century is a mistake.
            value <= UInt64(UInt32.max) ? value : nil
        }
    }

    /// A volume in octets, or with one of the units k, m, g of 1024 each.
    static func volume(_ octets: [UInt8]) -> UInt64? {
        scaled(octets, ["k": 1 << 10, "m": 1 << 20, "g": 1 << 30])
    }

    private static func scaled(_ octets: [UInt8], _ units: [String: UInt64]) -> UInt64? {
        guard let text = printable(octets), let (value, rest) = leadingNumber(text) else { return nil }
        let unit = rest.drop { $0 == " " }.lowercased()
        guard !unit.isEmpty else { return value }
        guard let factor = units[unit] else { return nil }
        let (product, overflows) = value.multipliedReportingOverflow(by: factor)
        return overflows ? UInt64.max : product
    }

    /// The number that begins `text`, and what follows it.
    static func leadingNumber(_ text: String) -> (value: UInt64, rest: Substring)? {
        let isHexadecimal = text.hasPrefix("0x") || text.hasPrefix("0X")
        let digits = isHexadecimal ? text.dropFirst(2) : text[...]
        let end = digits.firstIndex { !(isHexadecimal ? $0.isHexDigit : $0.isNumber) } ?? digits.endIndex
        let number = digits[..<end]
        let radix = isHexadecimal ? 16 : number.count > 1 && number.hasPrefix("0") ? 8 : 10
        guard !number.isEmpty, let value = UInt64(number, radix: radix) else { return nil }
        return (value, digits[end...])
    }
}
