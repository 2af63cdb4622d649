import Primitives
import Testing

@Suite("ByteReader")
struct ByteReaderTests {
    private static let octets: [UInt8] = Array(1...40)

    /// One read of every kind; 1 + 2 + 4 + 8 + 3 + 5 + (2 + 1 of 4) + rest.
    private func readAll(_ octets: [UInt8]) throws(WireError) -> [UInt64] {
        var reader = ByteReader(octets.span)
        var result = [
            UInt64(try reader.u8()), UInt64(try reader.u16()), UInt64(try reader.u32()), try reader.u64(),
        ]
        result += try reader.bytes(3).map { UInt64($0) }
        try reader.skip(5)
        var inner = try reader.sub(4)
        result += [UInt64(try inner.u16()), UInt64(try inner.u8()), UInt64(inner.remaining)]
        return result
    }

    @Test func readsBigEndian() throws {
        #expect(
            try readAll(Self.octets) == [
                0x01, 0x0203, 0x0405_0607, 0x0809_0a0b_0c0d_0e0f, 0x10, 0x11, 0x12, 0x1819, 0x1a, 1,
            ]
        )
    }

    @Test(arguments: 0..<27)
    func rejectsEveryTruncation(count: Int) {
        let error = #expect(throws: WireError.self) { try readAll(Array(Self.octets.prefix(count))) }
        guard let error, case .truncated(let needed, let available) = error.reason else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(needed > available && error.offset + available == count)
    }

    @Test func acceptsExactlyEnough() throws {
        #expect(try readAll(Array(Self.octets.prefix(27))).count == 10)
    }

    @Test func failedReadsDoNotMove() throws {
        let octets: [UInt8] = [1, 2, 3]
        var reader = ByteReader(octets.span)
        _ = try reader.u8()
        do throws(WireError) {
            _ = try reader.u32()
            Issue.record("read past the end")
        } catch {
            #expect(error == WireError(.truncated(needed: 4, available: 2), at: 1))
        }
        #expect(reader.offset == 1)
        #expect(try reader.u16() == 0x0203)
    }

    @Test(arguments: [-1, Int.min, 4, Int.max])
    func rejectsImpossibleLengths(count: Int) {
        let octets: [UInt8] = [1, 2, 3]
        var reader = ByteReader(octets.span)
        do throws(WireError) {
            _ = try reader.bytes(count)
            Issue.record("read \(count) octets")
        } catch {
            #expect(error.offset == 0)
            #expect(
                error.reason == (count < 0 ? .invalidLength(count) : .truncated(needed: count, available: 3))
            )
        }
        do throws(WireError) {
            try reader.skip(count)
            Issue.record("skipped \(count) octets")
        } catch {
            #expect(reader.remaining == 3)
        }
    }

    @Test func subReaderEndsWhereItIsToldAndNamesAbsoluteOffsets() throws {
        let octets: [UInt8] = [1, 2, 3, 4, 5]
        var outer = ByteReader(octets.span, base: 100)
        try outer.skip(1)
        var inner = try outer.sub(2)
        #expect(inner.offset == 101 && outer.offset == 103)
        _ = try inner.u8()
        do throws(WireError) {
            _ = try inner.u16()
            Issue.record("read past the part")
        } catch {
            #expect(error == WireError(.truncated(needed: 2, available: 1), at: 102))
        }
        #expect(outer.rest() == [4, 5] && outer.isAtEnd)
    }

    @Test func tellsTrailingOctets() throws {
        let octets: [UInt8] = [1, 2, 3]
        var reader = ByteReader(octets.span)
        _ = try reader.u8()
        do throws(WireError) {
            try reader.expectEnd()
            Issue.record("octets were left")
        } catch {
            #expect(error == WireError(.trailingOctets(2), at: 1))
        }
        #expect(reader.rest() == [2, 3])
        try reader.expectEnd()
        #expect(reader.rest().isEmpty)
    }

    @Test func copySavesThePosition() throws {
        let octets: [UInt8] = [1, 2]
        var reader = ByteReader(octets.span)
        let saved = reader
        _ = try reader.u16()
        #expect(reader.isAtEnd && saved.remaining == 2)
    }
}

@Suite("ByteWriter")
struct ByteWriterTests {
    @Test func writesWhatTheReaderReads() throws {
        var writer = ByteWriter()
        writer.u8(1)
        writer.u16(0x0203)
        writer.u32(0x0405_0607)
        writer.u64(0x0809_0a0b_0c0d_0e0f)
        writer.append([0x10])
        writer.zeros(2)
        writer.zeros(-3)
        #expect(writer.bytes == Array(1...16) + [0, 0] && writer.count == 18)
    }

    @Test func patchesInsideOnly() throws {
        var writer = ByteWriter()
        writer.zeros(6)
        try writer.patch16(0x0102, at: 0, field: "length")
        try writer.patch32(0x0304_0506, at: 2, field: "length")
        #expect(writer.bytes == [1, 2, 3, 4, 5, 6])
        for offset in [-1, 6, Int.max - 3] {
            #expect(throws: WireError.self) { try writer.patch8(0, at: offset) }
        }
        #expect(throws: WireError.self) { try writer.patch16(0, at: 5, field: "length") }
        #expect(writer.count == 6)
    }

    @Test func valuesThatDoNotFitAreErrors() {
        var writer = ByteWriter()
        writer.zeros(4)
        for value in [-1, 65_536] {
            #expect(throws: WireError(.overflow("length"), at: 0)) {
                try writer.patch16(value, at: 0, field: "length")
            }
        }
        for value in [-1, 1 << 32] {
            #expect(throws: WireError(.overflow("length"), at: 0)) {
                try writer.patch32(value, at: 0, field: "length")
            }
        }
        #expect(writer.bytes == [0, 0, 0, 0])
    }
}
