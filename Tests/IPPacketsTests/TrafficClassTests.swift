import Testing

@testable import IPPackets

struct TrafficClassTests {
    @Test func isReadFromBothFamilies() {
        for value in [0, 1, 0x2e << 2, 0xb9, 0xff] as [UInt8] {
            var v4 = PacketBuilder.v4(17, payload: [1, 2, 3, 4])
            v4[1] = value
            #expect(PacketBuilder.header(v4)?.trafficClass == value)
            var v6 = PacketBuilder.v6(17, payload: [1, 2, 3, 4])
            v6[0] |= value >> 4
            v6[1] = value << 4 | 0x0f
            #expect(PacketBuilder.header(v6)?.trafficClass == value)
        }
    }

    @Test func pieceOfAPacketHasNoPorts() throws {
        let whole = try #require(PacketBuilder.header(PacketBuilder.v4(17, payload: [1, 2, 3, 4])))
        let piece = whole.ofLaterFragment
        #expect(whole.hasPorts && !piece.hasPorts && piece.isLaterFragment && piece.source == whole.source)
        #expect(piece.destination == whole.destination && piece.ipProtocol == 17)
    }
}
