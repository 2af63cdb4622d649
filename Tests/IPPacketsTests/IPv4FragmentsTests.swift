import Testing

@testable import IPPackets

struct IPv4FragmentsTests {
    private func cut(_ packet: [UInt8], mtu: Int) -> [[UInt8]] {
        guard let header = PacketBuilder.header(packet),
            var pieces = IPv4Fragments(header, in: packet.span, at: 0, mtu: mtu)
        else { return [] }
        var result = [[UInt8]]()
        while !pieces.isDone {
            var target = [UInt8](repeating: 0xff, count: mtu)
            var span = target.mutableSpan
            guard let length = pieces.writeNext(from: packet.span, to: &span, at: 0) else { break }
            result.append(Array(target.prefix(length)))
        }
        return result
    }

    private func field(_ piece: [UInt8]) -> (offset: Int, more: Bool) {
        let word = Int(piece[6]) << 8 | Int(piece[7])
        return ((word & 0x1fff) * 8, word & 0x2000 != 0)
    }

    /// Puts pieces together by their own headers.
    private func reassemble(_ pieces: [[UInt8]], from start: Int = 0) -> [UInt8] {
        var data = [UInt8]()
        for piece in pieces {
            guard field(piece).offset == start + data.count else { return [] }
            data += piece.dropFirst(Int(piece[0] & 15) * 4)
        }
        return data
    }

    @Test(arguments: [28, 68, 100, 576, 1438])
    func piecesFitAndMakeTheWhole(mtu: Int) {
        let data = (0..<3001).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let packet = PacketBuilder.v4(17, payload: data)
        let pieces = cut(packet, mtu: mtu)
        #expect(reassemble(pieces) == data)
        for (index, piece) in pieces.enumerated() {
            #expect(piece.count <= mtu && Int(piece[2]) << 8 | Int(piece[3]) == piece.count)
            #expect(field(piece).more == (index < pieces.count - 1))
            #expect(PacketBuilder.slowChecksum(Array(piece.prefix(20))) == 0)
            #expect(PacketBuilder.header(piece)?.isLaterFragment == (index > 0))
            #expect(piece[4...5] == packet[4...5] && piece[8...9] == packet[8...9])
        }
        // As large as they can be.
        #expect(pieces.dropLast().allSatisfy { $0.count > mtu - 8 })
    }

    @Test func pieceOfAPieceKeepsItsPlace() {
        let data = (0..<200).map { UInt8($0) }
        for (more, offset) in [(true, 5), (false, 5)] {
            let packet = PacketBuilder.v4(17, payload: data, fragment: (more ? 0x2000 : 0) | UInt16(offset))
            let pieces = cut(packet, mtu: 100)
            #expect(reassemble(pieces, from: offset * 8) == data)
            #expect(pieces.map { field($0).more } == [true, true, more])
        }
    }

    @Test func onlyOptionsThatAskForItAreInAllPieces() {
        let data = [UInt8](repeating: 9, count: 200)
        // Record route (7) is not copied, security (130) is; a no-operation between.
        let options: [UInt8] = [7, 7, 4, 0, 0, 0, 0, 1, 130, 4, 1, 2]
        let pieces = cut(PacketBuilder.v4(17, payload: data, options: options), mtu: 100)
        #expect(reassemble(pieces) == data)
        #expect(pieces.map { $0[0] } == [0x48, 0x46, 0x46])
        #expect(pieces[0][20..<32] == options[...])
        #expect(pieces.dropFirst().allSatisfy { Array($0[20..<24]) == [130, 4, 1, 2] })
        #expect(pieces.allSatisfy { PacketBuilder.slowChecksum(Array($0.prefix(Int($0[0] & 15) * 4))) == 0 })
        // Options that lie about their length end the walk, not the process.
        for broken in [[130, 0, 0, 0], [130, 1, 0, 0], [130, 99, 0, 0], [1, 1, 1, 130]] as [[UInt8]] {
            let pieces = cut(PacketBuilder.v4(17, payload: data, options: broken), mtu: 100)
            #expect(reassemble(pieces) == data)
        }
    }

    @Test func whatCannotBeCutIsRefused() {
        let data = [UInt8](repeating: 9, count: 200)
        #expect(cut(PacketBuilder.v4(17, payload: data, fragment: 0x4000), mtu: 100).isEmpty)
        #expect(cut(PacketBuilder.v4(17, payload: data), mtu: 27).isEmpty)
        #expect(cut(PacketBuilder.v4(17, payload: []), mtu: 100).isEmpty)
        #expect(cut(PacketBuilder.v6(17, payload: data), mtu: 100).isEmpty)
    }
}
