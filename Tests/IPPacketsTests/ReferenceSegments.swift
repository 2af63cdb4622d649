import IPPackets
import TestSupport

/// Segmentation as its definition says, slowly and with no code of the module under test.
enum ReferenceSegments {
    /// The packets that a super-packet stands for.
    static func cut(_ packet: [UInt8], headerLength: Int, transport: Int, segmentSize: Int) -> [[UInt8]] {
        let isIPv6 = packet[0] >> 4 == 6
        let isTCP = headerLength - transport > 8
        let payload = Array(packet[headerLength...])
        var pieces = [[UInt8]]()
        for start in stride(from: 0, to: payload.count, by: segmentSize) {
            let data = Array(payload[start..<min(start + segmentSize, payload.count)])
            var piece = Array(packet[..<headerLength]) + data
            if isTCP {
                let sequence = word(packet, transport + 4) &+ UInt32(start)
                for index in 0..<4 {
                    piece[transport + 4 + index] = UInt8(
                        truncatingIfNeeded: sequence >> (24 - 8 * UInt32(index))
                    )
                }
                if start + segmentSize < payload.count { piece[transport + 13] &= 0xf6 }
                if start > 0 { piece[transport + 13] &= 0x7f }
            } else {
                put(&piece, transport + 4, 8 + data.count)
            }
            if isIPv6 {
                put(&piece, 4, piece.count - 40)
            } else {
                put(&piece, 2, piece.count)
                put(&piece, 4, (Int(packet[4]) * 256 + Int(packet[5]) + pieces.count) & 0xffff)
            }
            finish(&piece, transport: transport, isTCP: isTCP)
            pieces.append(piece)
        }
        return pieces
    }

    /// Sets the checksums that a packet must have.
    static func finish(_ packet: inout [UInt8], transport: Int, isTCP: Bool) {
        let isIPv6 = packet[0] >> 4 == 6
        if !isIPv6 {
            put(&packet, 10, 0)
            put(&packet, 10, Int(PacketBuilder.slowChecksum(Array(packet[..<transport]))))
        }
        let field = transport + (isTCP ? 16 : 6)
        put(&packet, field, 0)
        let length = packet.count - transport
        let pseudo = pseudoHeader(packet, isTCP: isTCP, length: length)
        let sum = PacketBuilder.slowChecksum(pseudo + Array(packet[transport...]))
        put(&packet, field, !isTCP && sum == 0 ? 0xffff : Int(sum))
    }

    static func pseudoHeader(_ packet: [UInt8], isTCP: Bool, length: Int) -> [UInt8] {
        let addresses = packet[0] >> 4 == 6 ? packet[8..<40] : packet[12..<20]
        return Array(addresses) + [0, isTCP ? 6 : 17, UInt8(length >> 8), UInt8(length & 255)]
    }

    static func put(_ packet: inout [UInt8], _ offset: Int, _ value: Int) {
        packet[offset] = UInt8(truncatingIfNeeded: value >> 8)
        packet[offset + 1] = UInt8(truncatingIfNeeded: value)
    }

    static func word(_ packet: [UInt8], _ offset: Int) -> UInt32 {
        packet[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }
}

/// Random packets of random flows.
struct PacketSource {
    var random: SplitMix64

    struct Made {
        var packet: [UInt8]
        let headerLength: Int
        let transport: Int
    }

    /// A packet with right checksums; `flow` decides on family, protocol, addresses and ports.
    mutating func make(
        flow: Int,
        payload: Int,
        sequence: UInt32 = 0,
        identification: Int = 0,
        flags: UInt8 = 0x10,
        dontFragment: Bool = true,
        ipOptions: Int = 0,
        tcpOptions: [UInt8] = [],
        extensionHeader: Bool = false,
        trafficClass: UInt8 = 0
    ) -> Made {
        let (isTCP, isIPv6) = (flow & 1 == 0, flow & 2 != 0)
        let data = (0..<payload).map { _ in UInt8.random(in: 0...255, using: &random) }
        let ports: [UInt8] = [0x12, UInt8(flow >> 2 & 3), 0x34, UInt8(flow >> 4)]
        var transport: [UInt8]
        if isTCP {
            transport = ports + (0..<4).map { UInt8(truncatingIfNeeded: sequence >> (24 - 8 * UInt32($0))) }
            transport += [
                9, 8, 7, UInt8(flow & 7), UInt8((5 + tcpOptions.count / 4) << 4), flags, 0x20, 0, 0, 0, 0, 0,
            ]
            transport += tcpOptions
        } else {
            transport = ports + [UInt8((8 + payload) >> 8 & 255), UInt8((8 + payload) & 255), 0, 0]
        }
        let number: UInt8 = isTCP ? 6 : 17
        var network: [UInt8]
        if isIPv6 {
            let extra: [UInt8] = extensionHeader ? [number, 0, 1, 4, 0, 0, 0, 0] : []
            let length = extra.count + transport.count + payload
            network = [
                0x60 | trafficClass >> 4, trafficClass << 4, 0, 1, UInt8(length >> 8 & 255),
                UInt8(length & 255),
            ]
            network += [extensionHeader ? 60 : number, 64]
            network +=
                [0xfd] + [UInt8](repeating: 0, count: 14) + [1] + [0xfd] + [UInt8](repeating: 0, count: 14)
            network += [UInt8(2 + flow % 3)] + extra
        } else {
            let options = [UInt8](repeating: 1, count: ipOptions)
            let length = 20 + options.count + transport.count + payload
            network = [
                0x45 + UInt8(options.count / 4), trafficClass, UInt8(length >> 8), UInt8(length & 255),
            ]
            network += [
                UInt8(identification >> 8 & 255), UInt8(identification & 255), dontFragment ? 0x40 : 0, 0,
            ]
            network += [64, number, 0, 0, 10, 1, 0, 1, 10, 2, 0, UInt8(1 + flow % 3)] + options
        }
        var packet = network + transport + data
        ReferenceSegments.finish(&packet, transport: network.count, isTCP: isTCP)
        return Made(packet: packet, headerLength: network.count + transport.count, transport: network.count)
    }
}

extension PacketBuilder {
    /// The folded sum of some octets, by the definition.
    static func slowSum(_ octets: [UInt8]) -> UInt16 { ~slowChecksum(octets) }
}
