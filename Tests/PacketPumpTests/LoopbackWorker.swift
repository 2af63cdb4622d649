import CLinux
import Cryptography
import ESP
import Glibc
import IPPackets
import IPsecTypes
import Testing

@testable import PacketPump

/// A worker on one thread that talks to itself: what the device gives goes out by an SA, over loopback, and comes
/// back by the same SA.
final class LoopbackWorker {
    var state: WorkerState
    let socket: OwnedDescriptor
    private let far: OwnedDescriptor
    /// What was written to the device last.
    private(set) var received = [UInt8](repeating: 0, count: 70_000)

    init(_ transform: CipherTransform, offloads: Offloads = .all) throws {
        var ends: [Int32] = [0, 0]
        guard unsafe socketpair(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue), 0, &ends) == 0
        else {
            throw NamespaceHost.Failure(text: "socketpair")
        }
        let near = OwnedDescriptor(ends[0])
        far = OwnedDescriptor(ends[1])
        socket = try OuterSocket.open(
            port: 0,
            isIPv6: false,
            mark: 0,
            buffer: 4 << 20,
            sharesPort: false,
            dontFragment: true
        )
        let port = UInt16(clamping: clinux_bound_port(socket.number))
        let device = TunDevice(near, offloads: offloads.intersection([.tunTCP, .tunUDP]))
        let configuration = PumpConfiguration(
            tunName: "",
            natTraversalPort: port,
            mark: 0,
            offloads: offloads
        )
        state = try WorkerState(
            device: device,
            sockets: WorkerState.Sockets(udp4: socket, udp6: nil, raw4: nil, raw6: nil),
            configuration
        )
        let end = Endpoint(try #require(IPAddress("127.0.0.1")), port)
        let key = try SecretKey(copying: [UInt8](repeating: 7, count: transform.encryptionKeyLength))
        let count = transform.integrityKeyLength
        let integrity = count == 0 ? nil : try SecretKey(copying: [UInt8](repeating: 8, count: count))
        let keys = SAKeys(encryption: key, integrity: integrity)
        let spi = try #require(SPI(0xa000_0001))
        let all = ["10.0.0.0/8", "fd00::/8"].compactMap { IPPrefix($0) }.map { TrafficSelector($0) }
        let description = ChildSADescription(
            id: 1,
            connection: "c",
            tunnel: "t",
            inboundSPI: spi,
            outboundSPI: spi,
            transform: transform,
            usesESN: true,
            inboundKeys: keys,
            outboundKeys: keys,
            localSelectors: all,
            remoteSelectors: all,
            path: OuterPath(local: end, remote: end, encapsulation: .udp),
            replayWindow: 1024,
            limit: SAVolume()
        )
        state.install(description, sends: true)
    }

    /// Gives a packet to the worker as the device would.
    func give(_ offload: OffloadHeader, _ packet: [UInt8]) {
        var octets = [UInt8](repeating: 0, count: OffloadHeader.length) + packet
        var span = octets.mutableSpan
        offload.write(to: &span, before: OffloadHeader.length)
        _ = unsafe octets.withUnsafeBytes { unsafe write(far.number, $0.baseAddress, $0.count) }
    }

    /// Both ways once.
    func turn() {
        state.drainDevice()
        state.drainSocket(socket.number, .udp4)
    }

    /// The length of the next packet that was written to the device, its header included; 0 when there is none.
    func take() -> Int {
        let descriptor = far.number
        return max(
            0,
            unsafe received.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
        )
    }

    var drops: [DropReason] { DropReason.allCases.filter { state.engine.drops[$0] > 0 } }
}

/// Super-packets for tests of the whole way.
enum SuperPacketBuilder {
    static func put(_ packet: inout [UInt8], _ offset: Int, _ value: Int) {
        packet[offset] = UInt8(truncatingIfNeeded: value >> 8)
        packet[offset + 1] = UInt8(truncatingIfNeeded: value)
    }

    static func sum(_ octets: [UInt8]) -> UInt16 {
        var sum = InternetChecksum()
        sum.add(octets.span, 0..<octets.count)
        return sum.folded
    }

    /// A TCP super-packet from 10.0.0.1 to 10.0.0.2 as the kernel makes it.
    static func tcp(payload: Int, segment: Int, sequence: UInt32 = 1) -> (OffloadHeader, [UInt8]) {
        let total = 40 + payload
        var packet: [UInt8] = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
        put(&packet, 2, total)
        put(&packet, 10, Int(~sum(packet)))
        packet +=
            [0x12, 0x34, 0x56, 0x78]
            + (0..<4).map { UInt8(truncatingIfNeeded: sequence >> (24 - 8 * UInt32($0))) }
        packet += [0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]
        put(
            &packet,
            36,
            Int(sum(Array(packet[12..<20]) + [0, 6, UInt8((total - 20) >> 8), UInt8((total - 20) & 255)]))
        )
        packet += (0..<payload).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        var offload = OffloadHeader()
        offload.kind = .tcp4
        offload.needsChecksum = true
        (offload.headerLength, offload.segmentSize) = (40, segment)
        (offload.checksumStart, offload.checksumOffset) = (20, 16)
        return (offload, packet)
    }

    /// A datagram whose checksum the kernel left to the device.
    static func udp(payload: Int) -> (OffloadHeader, [UInt8]) {
        let total = 28 + payload
        var packet: [UInt8] = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
        put(&packet, 2, total)
        put(&packet, 10, Int(~sum(packet)))
        packet += [0x12, 0x34, 0x56, 0x78, UInt8((total - 20) >> 8), UInt8((total - 20) & 255), 0, 0]
        put(
            &packet,
            26,
            Int(sum(Array(packet[12..<20]) + [0, 17, UInt8((total - 20) >> 8), UInt8((total - 20) & 255)]))
        )
        packet += (0..<payload).map { UInt8(truncatingIfNeeded: $0 &* 11) }
        var offload = OffloadHeader()
        offload.needsChecksum = true
        (offload.checksumStart, offload.checksumOffset) = (20, 6)
        return (offload, packet)
    }
}
