/// Hexadecimal text of octets, lower case.
public enum Hex {
    private static let digits = Array("0123456789abcdef".utf8)

    /// Two digits an octet, no separator.
    public static func encode(_ octets: some Sequence<UInt8>) -> String {
        var text = [UInt8]()
        for octet in octets {
            text.append(digits[Int(octet >> 4)])
            text.append(digits[Int(octet & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// A number as digits with leading zeros, two an octet of its type.
    public static func encode<Number: FixedWidthInteger & UnsignedInteger>(_ number: Number) -> String {
        let octets = stride(from: Number.bitWidth - 8, through: 0, by: -8)
            .map { UInt8(truncatingIfNeeded: number >> Number($0)) }
        return encode(octets)
    }

    /// The octets that `text` spells, or nil for an odd count or a character that is no digit.
    public static func decode(_ text: String) -> [UInt8]? {
        var octets = [UInt8]()
        var high: UInt8?
        for character in text.utf8 {
            guard let digit = value(of: character) else { return nil }
            if let upper = high {
                octets.append(upper << 4 | digit)
                high = nil
            } else {
                high = digit
            }
        }
        return high == nil ? octets : nil
    }

    private static func value(of character: UInt8) -> UInt8? {
        switch character {
        case 48...57: character - 48
        case 65...70: character - 55
        case 97...102: character - 87
        default: nil
        }
    }
}
