import CChecksum
import Cryptography
import TestSupport
import Testing

/// Sums and copies against the definition of RFC 1071, word by word.
@Suite struct ArenaSumTests {
    private static func sum(_ octets: ArraySlice<UInt8>) -> UInt16 {
        var sum = 0
        for (index, octet) in octets.enumerated() { sum += Int(octet) << (index % 2 == 0 ? 8 : 0) }
        while sum > 0xffff { sum = (sum & 0xffff) + (sum >> 16) }
        return UInt16(sum)
    }

    private static func random(_ count: Int, _ generator: inout SplitMix64) -> [UInt8] {
        // Full octets make the largest sums.
        let isFull = Bool.random(using: &generator)
        return (0..<count).map { _ in isFull ? 0xff : UInt8.random(in: 0...255, using: &generator) }
    }

    @Test func sumsAndCopiesAreThoseOfTheDefinition() {
        var generator = SplitMix64(state: 1071)
        var source = PacketArena(capacity: 4096)
        for _ in 0..<2000 {
            let octets = Self.random(Int.random(in: 0...1700, using: &generator), &generator)
            let offset = Int.random(in: 0...70, using: &generator)
            source.write(octets, at: offset)
            let range = offset..<offset + octets.count
            let expected = Self.sum(octets[...])
            #expect(source.onesComplementSum(range) == expected)
            var target = PacketArena(capacity: 4096)
            let place = Int.random(in: 1...90, using: &generator)
            #expect(target.copySumming(from: source, range, to: place) == expected)
            #expect(target.octets(place..<place + octets.count) == octets)
            #expect(target.load8(at: place - 1) == 0 && target.load8(at: place + octets.count) == 0)
        }
    }

    @Test func aMachineWithoutWideInstructionsSumsTheSame() {
        var generator = SplitMix64(state: 1624)
        for _ in 0..<2000 {
            let octets = Self.random(Int.random(in: 0...1700, using: &generator), &generator)
            var copy = [UInt8](repeating: 0, count: octets.count + 1)
            let sums = unsafe octets.withUnsafeBytes { source in
                unsafe copy.withUnsafeMutableBytes { target in
                    (
                        unsafe cchecksum_sum_plain(source.baseAddress, source.count),
                        unsafe cchecksum_copy_plain(target.baseAddress, source.baseAddress, source.count)
                    )
                }
            }
            #expect(UInt16(bigEndian: sums.0) == Self.sum(octets[...]))
            #expect(sums.1 == sums.0)
            #expect(copy == octets + [0])
        }
    }
}
