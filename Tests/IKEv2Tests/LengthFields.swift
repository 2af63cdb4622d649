/// Where octets say how long something is: found by walking a message, for tests that make them lie.
struct LengthField {
    let offset: Int
    /// 1, 2 or 4 octets.
    let width: Int

    func value(in octets: [UInt8]) -> UInt64 {
        octets[offset..<offset + width].reduce(0) { $0 << 8 | UInt64($1) }
    }

    func setting(_ value: UInt64, in octets: [UInt8]) -> [UInt8] {
        var result = octets
        for index in 0..<width {
            result[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - index)))
        }
        return result
    }

    /// The octets with this field at each of the values that break parsers.
    func lies(about octets: [UInt8]) -> [[UInt8]] {
        let true_ = value(in: octets)
        return [0, 1, 3, 4, true_ &- 1, true_ &+ 1, 0xffff, 0xffff_ffff, 0x7fff_ffff].map {
            setting($0, in: octets)
        }
    }

    /// The fields of a chain of payloads that starts at `start`; for version 1 those of the generic headers.
    static func chain(_ octets: [UInt8], first: UInt8, from start: Int, version: UInt8 = 2) -> [LengthField] {
        var fields = [LengthField]()
        var (type, offset) = (first, start)
        while type != 0, offset + 4 <= octets.count {
            fields.append(LengthField(offset: offset + 2, width: 2))
            let length = Int(octets[offset + 2]) << 8 | Int(octets[offset + 3])
            guard length >= 4, offset + length <= octets.count else { break }
            if version == 2 { fields += inside(octets, type, offset + 4, offset + length) }
            type = octets[offset]
            offset += length
        }
        return fields
    }

    private static func inside(_ octets: [UInt8], _ type: UInt8, _ start: Int, _ end: Int) -> [LengthField] {
        switch type {
        case 33: proposals(octets, start, end)
        case 41 where end - start >= 4: [LengthField(offset: start + 1, width: 1)]
        case 42 where end - start >= 4:
            [LengthField(offset: start + 1, width: 1), LengthField(offset: start + 2, width: 2)]
        case 44, 45: selectors(octets, start, end)
        default: []
        }
    }

    private static func proposals(_ octets: [UInt8], _ start: Int, _ end: Int) -> [LengthField] {
        var fields = [LengthField]()
        var offset = start
        while offset + 8 <= end {
            fields.append(LengthField(offset: offset + 2, width: 2))
            fields.append(LengthField(offset: offset + 6, width: 1))
            fields.append(LengthField(offset: offset + 7, width: 1))
            let length = Int(octets[offset + 2]) << 8 | Int(octets[offset + 3])
            guard length >= 8, offset + length <= end else { break }
            var inner = offset + 8 + Int(octets[offset + 6])
            while inner + 8 <= offset + length {
                fields.append(LengthField(offset: inner + 2, width: 2))
                // The attribute, read as if its value were a length.
                if inner + 12 <= offset + length { fields.append(LengthField(offset: inner + 8, width: 2)) }
                let size = Int(octets[inner + 2]) << 8 | Int(octets[inner + 3])
                guard size >= 8 else { break }
                inner += size
            }
            offset += length
        }
        return fields
    }

    private static func selectors(_ octets: [UInt8], _ start: Int, _ end: Int) -> [LengthField] {
        var fields = [LengthField(offset: start, width: 1)]
        var offset = start + 4
        while offset + 4 <= end {
            fields.append(LengthField(offset: offset + 2, width: 2))
            let length = Int(octets[offset + 2]) << 8 | Int(octets[offset + 3])
            guard length >= 4 else { break }
            offset += length
        }
        return fields
    }

    /// The fields of a whole message.
    static func message(_ octets: [UInt8]) -> [LengthField] {
        guard octets.count >= 28 else { return [] }
        return [LengthField(offset: 24, width: 4)]
            + chain(octets, first: octets[16], from: 28, version: octets[17] >> 4)
    }
}
