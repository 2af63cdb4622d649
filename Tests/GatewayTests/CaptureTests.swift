import Foundation
import IKECore
import IKEMessages
import IPPackets
import LinuxIO
import Primitives
import Synchronization
import Testing
import Vici

@testable import Gateway

/// Captures: the format, and that they end and are bounded.
@Suite struct CaptureTests {
    private static let west = Endpoint(IPAddress.v4(IPv4Address(0xc000_0201)), 4500)
    private static let east = Endpoint(IPAddress.v4(IPv4Address(0xc000_0202)), 4500)

    private static func u32(_ octets: [UInt8], _ at: Int) -> Int {
        octets[at..<at + 4].reversed().reduce(0) { $0 << 8 | Int($1) }
    }

    /// The blocks of a file, by type.
    private static func blocks(_ file: [UInt8]) -> [(type: Int, body: [UInt8])] {
        var (at, found) = (0, [(type: Int, body: [UInt8])]())
        while at + 12 <= file.count {
            let length = u32(file, at + 4)
            #expect(length.isMultiple(of: 4) && length >= 12 && at + length <= file.count)
            #expect(u32(file, at + length - 4) == length)
            found.append((u32(file, at), Array(file[at + 8..<at + length - 4])))
            at += max(length, 12)
        }
        #expect(at == file.count)
        return found
    }

    @Test(arguments: [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")])
    func packetsHaveRightHeaders(source: String, destination: String) throws {
        let payload = (0..<333).map { UInt8(truncatingIfNeeded: $0) }
        let datagram = CapturedDatagram(
            octets: payload,
            source: Endpoint(try #require(IPAddress(source)), 4500),
            destination: Endpoint(try #require(IPAddress(destination)), 4501),
            hasMarker: true
        )
        let packet = try #require(datagram.ipPacket)
        guard let header = PacketHeader(packet.span, at: 0, length: packet.count) else {
            Issue.record("no IP packet")
            return
        }
        #expect(header.sourcePort == 4500 && header.destinationPort == 4501)
        #expect(
            packet.suffix(payload.count) == payload[...] && packet.count == header.transportOffset + 12 + 333
        )
        // Over pseudo-header and payload a right checksum makes the sum zero.
        var sum = InternetChecksum()
        sum.addPseudoHeader(header, length: packet.count - header.transportOffset)
        sum.add(packet.span, header.transportOffset..<packet.count)
        #expect(sum.value == 0)
        if header.transportOffset == 20 {
            var own = InternetChecksum()
            own.add(packet.span, 0..<20)
            #expect(own.value == 0)
        }
        let record = try #require(CaptureFormat.packet(datagram, comment: "what", nanoseconds: 1 << 40 + 7))
        let blocks = Self.blocks(CaptureFormat.header(application: "test", interface: "ike") + record)
        #expect(blocks.map { $0.type } == [0x0a0d_0d0a, 1, 6])
        let body = blocks[2].body
        #expect(Self.u32(body, 12) == packet.count && Array(body[20..<20 + packet.count]) == packet)
        #expect(String(decoding: body, as: UTF8.self).contains("what"))
    }

    /// A client of a capture: what it was answered, and whether it is still there.
    private final class Client: Sendable {
        let answers = Mutex<[ViciMessage]>([])
        let hasLeft = Atomic(false)

        var request: ViciRequest {
            var request = ViciRequest(
                command: "capture",
                message: ViciMessage(),
                reply: { [self] message in answers.withLock { $0.append(message) } },
                stream: { _, _ in },
                streamAll: { _, _, _, _ in }
            )
            request.isAbandoned = { [self] in hasLeft.load(ordering: .relaxed) }
            return request
        }

        func answer() throws -> ViciMessage {
            for _ in 0..<500 {
                if let answer = answers.withLock({ $0.first }) { return answer }
                usleep(10_000)
            }
            throw LinuxError(operation: "no answer", errno: 0)
        }
    }

    private static func message(_ connection: String?, isOutgoing: Bool = true) -> MessageRecord {
        MessageRecord(
            ikeID: 1,
            connection: connection,
            isOutgoing: isOutgoing,
            local: west,
            remote: east,
            header: IKEHeader(
                initiatorSPI: 1,
                responderSPI: 2,
                exchange: .ikeAuth,
                isFromInitiator: true,
                isResponse: !isOutgoing,
                messageID: 1
            ),
            payloads: [.nonce([1])],
            datagrams: [[1, 2, 3], [4, 5, 6]]
        )
    }

    private func temporaryFile() throws -> (path: String, owner: FileDescriptorOwner) {
        let path = FileManager.default.temporaryDirectory
            .appendingPathComponent("capture-\(UInt32.random(in: 0...UInt32.max))").path
        #expect(FileManager.default.createFile(atPath: path, contents: nil))
        let handle = try #require(FileHandle(forWritingAtPath: path))
        return (path, FileDescriptorOwner(owning: dup(handle.fileDescriptor)))
    }

    @Test func writesMessagesWithWhatIsInsideAndDroppedOnes() throws {
        let (path, owner) = try temporaryFile()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let client = Client()
        var set = CaptureSet()
        let filter = Capture.Filter(packets: 4, octets: 1 << 20)
        let header = CaptureFormat.header(application: "test", interface: "ike")
        set.add(Capture(filter, to: owner, for: client.request, header: header))
        set.note(Self.message("branch"))
        let strange = IKEDatagram(octets: [9], local: Self.west, remote: Self.east)
        set.begin(strange)
        set.note(Self.message("branch", isOutgoing: false))
        set.end(droppedFor: nil)
        set.endFinished(at: .zero)
        #expect(!set.isActive)
        let answer = try client.answer()
        #expect(answer.flag("success") == true && answer.string("packets") == "4")
        let blocks = Self.blocks([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))))
        #expect(blocks.map { $0.type } == [0x0a0d_0d0a, 1, 6, 6, 6, 6])
        let text = String(decoding: blocks[5].body, as: UTF8.self)
        #expect(text.contains("fragment 2 of 2 of IKE_AUTH response 1 (branch): Nr"))
    }

    @Test func aFilterTakesItsOwnAlone() throws {
        let (path, owner) = try temporaryFile()
        defer { try? FileManager.default.removeItem(atPath: path) }
        let client = Client()
        var set = CaptureSet()
        let filter = Capture.Filter(connection: "branch", packets: 100, octets: 1 << 20)
        set.add(Capture(filter, to: owner, for: client.request, header: []))
        set.note(Self.message("other"))
        set.begin(IKEDatagram(octets: [9], local: Self.west, remote: Self.east))
        set.end(droppedFor: .malformed)
        set.note(Self.message("branch"))
        client.hasLeft.store(true, ordering: .relaxed)
        set.endFinished(at: .zero)
        #expect(try client.answer().string("packets") == "2" && set.count == 0)
    }

    /// A pipe that nobody reads holds up nobody else, and what does not fit is counted.
    @Test func aReaderThatDoesNotReadCostsABoundedAmount() throws {
        // As the daemon does.
        signal(SIGPIPE, SIG_IGN)
        var ends: [Int32] = [0, 0]
        #expect(unsafe pipe(&ends) == 0)
        let client = Client()
        let filter = Capture.Filter(packets: 1_000_000, octets: 1 << 40)
        let capture = Capture(
            filter,
            to: FileDescriptorOwner(owning: ends[1]),
            for: client.request,
            header: []
        )
        let datagram = CapturedDatagram(
            octets: [UInt8](repeating: 0, count: 60_000),
            source: Self.west,
            destination: Self.east,
            hasMarker: true
        )
        for _ in 0..<200 { capture.write(datagram, comment: "") }
        #expect(capture.dropped > 100)
        // The other end goes: writing fails, and the capture with it.
        close(ends[0])
        for _ in 0..<500 where !capture.isFinished(at: .zero) { usleep(10_000) }
        #expect(capture.isFinished(at: .zero))
        capture.finish()
        #expect(try client.answer().flag("success") == false)
    }
}
