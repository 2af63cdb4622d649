import Foundation
import Primitives
import Testing
import Vici

/// Frames that almost are what a client sends: whatever comes, the server's side neither traps nor grows.
///
/// `CAUSEWAY_FRAMES=n` sets how many; `CAUSEWAY_FRAME_SEED=n` the first state of the generator.
@Suite struct ViciFrameMutationTests {
    private static func setting(_ name: String) -> UInt64? {
        ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
    }

    /// SplitMix64: a run is repeated by its seed.
    private struct Generator: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var value = state
            value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
            value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
            return value ^ (value >> 31)
        }
    }

    private static let connection = ViciMessage { message in
        message.section("branch") { section in
            section.set("version", 2)
            section.list("local_addrs", ["192.0.2.1"])
            section.list("remote_addrs", ["192.0.2.2"])
            section.list("proposals", ["aes256gcm16-prfsha384-ecp384"])
            section.section("local-1") { $0.set("auth", "psk") }
            section.section("remote-1") { $0.set("auth", "psk") }
            section.section("children") { children in
                children.section("net") { child in
                    child.list("local_ts", ["10.1.0.0/24"])
                    child.list("remote_ts", ["10.2.0.0/24"])
                    child.set("start_action", "trap")
                }
            }
        }
    }

    private static func seeds() throws -> [[UInt8]] {
        let packets: [ViciPacket] =
            ViciPacketTests.all + [
                .request(command: "load-conn", connection),
                .request(command: "load-shared", ViciMessage { $0.set("data", octets: [0, 1, 255]) }),
                .request(command: "list-sas", ViciMessage { $0.set("noblock", flag: true) }),
            ]
        return try packets.map { try $0.framed() }
    }

    /// Changes a frame in one to four places, as lengths, types and octets go wrong.
    private static func mutated(_ seeds: [[UInt8]], _ generator: inout Generator) -> [UInt8] {
        var frame = seeds[Int(generator.next() % UInt64(seeds.count))]
        for _ in 0...(generator.next() % 4) where !frame.isEmpty {
            let place = Int(generator.next() % UInt64(frame.count))
            let value = UInt8(truncatingIfNeeded: generator.next())
            switch generator.next() % 8 {
            case 0: frame[place] ^= 1 << (value & 7)
            case 1: frame[place] = value
            case 2: frame[place] = [0, 1, 2, 6, 127, 255][Int(value) % 6]
            case 3: frame.removeSubrange(place..<min(frame.count, place + Int(value & 15) + 1))
            case 4: frame.insert(contentsOf: repeatElement(value, count: Int(value & 15) + 1), at: place)
            case 5: frame.removeLast(frame.count - place)
            case 6:
                let other = seeds[Int(value) % seeds.count]
                frame.replaceSubrange(place..., with: other.suffix(Int(value)))
            default: frame.append(contentsOf: frame.prefix(Int(value)))
            }
        }
        // Half of them say their true length, so that more than the frame's header is looked at.
        if generator.next() & 1 == 0, frame.count > 4 {
            let count = frame.count - 4
            frame[0] = 0
            frame[1] = UInt8(truncatingIfNeeded: count >> 16)
            frame[2] = UInt8(truncatingIfNeeded: count >> 8)
            frame[3] = UInt8(truncatingIfNeeded: count)
        }
        return frame
    }

    /// Octets of memory that this process has.
    private static func residentOctets() throws -> Int {
        let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        let fields = text.split(separator: " ")
        return try #require(fields.count > 1 ? Int(fields[1]) : nil) * 4096
    }

    @Test func mutatedFramesNeitherTrapNorGrow() throws {
        let count = Self.setting("CAUSEWAY_FRAMES") ?? 300_000
        var generator = Generator(state: Self.setting("CAUSEWAY_FRAME_SEED") ?? 1)
        let seeds = try Self.seeds()
        var (taken, malformed) = (0, 0)
        let before = try Self.residentOctets()
        let started = Date()
        var session = ViciServerSession()
        for _ in 0..<count {
            session.receive(Self.mutated(seeds, &generator))
            while let input = session.next() {
                switch input {
                case .malformed:
                    malformed += 1
                    session = ViciServerSession()
                case .request(_, let message):
                    taken += 1
                    // What was read can be written, and read again as the same.
                    let octets = try message.encoded()
                    var reader = ByteReader(octets.span)
                    #expect(try ViciMessage(parsing: &reader) == message)
                    _ = try session.response(.success)
                case .register: _ = try session.eventConfirm()
                case .unregister: _ = try session.eventUnknown()
                }
            }
            try #require(session.bufferedOctets <= ViciFrameBuffer.capacity)
            // A frame that announces more than it has swallows those that follow: now and then that may be.
            if session.bufferedOctets > 4096 || generator.next() & 3 != 0 { session = ViciServerSession() }
        }
        let grown = try Self.residentOctets() - before
        let seconds = Date().timeIntervalSince(started)
        print(
            "\(count) mutated frames in \(Int(seconds * 1000)) ms: \(taken) commands, \(malformed) malformed, "
                + "\(grown / 1024) KiB more memory"
        )
        #expect(taken > 0 && malformed > 0)
        #expect(grown < 64 * 1024 * 1024)
    }
}
