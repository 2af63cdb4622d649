import Dispatch
import Foundation
import LinuxIO
import Primitives
import Synchronization
import Testing
import Vici

@testable import Gateway

/// A client for tests: sends packets and waits for packets.
private final class TestClient {
    let stream: UnixStream
    private var buffer = ViciFrameBuffer()

    init(_ path: String) throws {
        stream = try UnixStream.connect(path: path)
    }

    func send(_ packet: ViciPacket) throws { try send(packet.framed()) }

    func send(_ octets: [UInt8]) throws {
        var rest = octets
        while !rest.isEmpty {
            rest.removeFirst(try stream.write(rest))
            if !rest.isEmpty { try #require(try stream.wait(for: .write, milliseconds: 5_000)) }
        }
    }

    /// The next packet, or nil when the server closed the connection.
    func receive() throws -> ViciPacket? {
        while true {
            if let packet = try buffer.next() { return packet }
            try #require(try stream.wait(for: .read, milliseconds: 10_000))
            do throws(UnixSocketError) {
                switch try stream.read(upTo: ViciFrameBuffer.chunkOctets) {
                case .octets(let octets): try? buffer.append(octets)
                case .wouldBlock: continue
                case .endOfStream: return nil
                }
            } catch {
                return nil
            }
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct ViciServerTests {
    private static let commands: Set<String> = [
        "version", "list-sas", "flood", "forget", "large", "late", "pass",
    ]
    private static let events: Set<String> = ["list-sa", "log"]

    /// Runs `body` with a server in a directory of its own and the path of its socket.
    private func withServer(_ body: (ViciServer, String) throws -> Void) throws {
        let directory = FileManager.default.temporaryDirectory
            .appendingPathComponent("vici-\(UInt32.random(in: 0...UInt32.max))")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let path = directory.appendingPathComponent("s").path
        let server = try ViciServer(
            paths: [path],
            commands: ViciServerTests.commands,
            events: ViciServerTests.events,
            handler: ViciServerTests.handle
        )
        server.start()
        defer { server.stop() }
        try body(server, path)
    }

    /// A descriptor that comes with a command is that command's, and no later one's.
    @Test func aPassedDescriptorBelongsToItsCommand() throws {
        try withServer { _, path in
            let client = try TestClient(path)
            let directory = FileManager.default.temporaryDirectory.path
            let file = "\(directory)/passed-\(UInt32.random(in: 0...UInt32.max))"
            #expect(FileManager.default.createFile(atPath: file, contents: nil))
            defer { try? FileManager.default.removeItem(atPath: file) }
            let handle = try #require(FileHandle(forWritingAtPath: file))
            let octets = try ViciPacket.request(command: "pass", ViciMessage()).framed()
            #expect(try client.stream.write(octets, passing: handle.fileDescriptor) == octets.count)
            guard case .response(let answer) = try client.receive() else {
                Issue.record("no answer")
                return
            }
            #expect(answer.flag("passed") == true)
            #expect(try String(contentsOfFile: file, encoding: .utf8) == "written by the daemon")
            try client.send(.request(command: "pass", ViciMessage()))
            guard case .response(let next) = try client.receive() else {
                Issue.record("no answer")
                return
            }
            #expect(next.flag("passed") == false)
        }
    }

    @Sendable private static func handle(_ request: ViciRequest) {
        let numbered: @Sendable (Int) -> ViciMessage? = { number in
            ViciMessage {
                $0.set("number", number)
                $0.set("fill", octets: Array(repeating: 0x61, count: 1_000))
            }
        }
        switch request.command {
        case "pass":
            let isWritten = request.descriptor?.writeAll(Array("written by the daemon".utf8)) ?? false
            request.reply(ViciMessage { $0.set("passed", flag: isWritten) })
        case "list-sas":
            let count = request.message.number("count", as: Int.self) ?? 1
            request.streamAll(
                "list-sa",
                count,
                { number in numbered(number).flatMap { ViciRequest.frame("list-sa", $0) } },
                .success
            )
        case "flood":
            for number in 0..<20_000 {
                if let message = numbered(number) { request.stream("list-sa", message) }
            }
            request.reply(.success)
        case "forget": break
        case "large":
            request.reply(
                ViciMessage { message in
                    for _ in 0..<9 { message.set("k", octets: Array(repeating: 0, count: 65_000)) }
                }
            )
        case "late":
            DispatchQueue.global().asyncAfter(deadline: .now() + 0.1) {
                request.reply(request.message)
                request.reply(.failure("a second answer"))
            }
        default: request.reply(ViciMessage { $0.set("daemon", "test") })
        }
    }

    private func eventually(_ condition: () -> Bool) -> Bool {
        for _ in 0..<500 {
            if condition() { return true }
            usleep(10_000)
        }
        return false
    }

    @Test func answersInOrderOneAtATime() throws {
        try withServer { server, path in
            let client = try TestClient(path)
            let late = ViciMessage { $0.set("first", flag: true) }
            try client.send(.request(command: "late", late))
            try client.send(.request(command: "version", ViciMessage()))
            try client.send(.request(command: "nonsense", ViciMessage()))
            try client.send(.register(event: "nonsense"))
            try client.send(.register(event: "log"))
            #expect(try client.receive() == .response(late))
            #expect(try client.receive() == .response(ViciMessage { $0.set("daemon", "test") }))
            #expect(try client.receive() == .unknownCommand)
            #expect(try client.receive() == .unknownEvent)
            #expect(try client.receive() == .confirm)
            #expect(server.counters.clients == 1 && server.counters.accepted == 1)
        }
    }

    @Test func publishesToThoseWhoRegistered() throws {
        try withServer { server, path in
            let listener = try TestClient(path)
            let other = try TestClient(path)
            #expect(!server.isWanted("log"))
            try listener.send(.register(event: "log"))
            #expect(try listener.receive() == .confirm)
            #expect(server.isWanted("log"))
            server.publish(event: "log", message: .success)
            server.publish(event: "list-sa", message: .success)
            server.publish(event: "log", message: .failure("second"))
            #expect(try listener.receive() == .event("log", .success))
            #expect(try listener.receive() == .event("log", .failure("second")))
            try other.send(.request(command: "version", ViciMessage()))
            #expect(try other.receive() == .response(ViciMessage { $0.set("daemon", "test") }))
            try listener.send(.unregister(event: "log"))
            #expect(try listener.receive() == .confirm)
            #expect(eventually { !server.isWanted("log") })
            server.publish(event: "log", message: .success)
            try listener.send(.request(command: "version", ViciMessage()))
            #expect(try listener.receive() == .response(ViciMessage { $0.set("daemon", "test") }))
        }
    }

    @Test func aListFarLargerThanTheQueueReachesAClientThatReads() throws {
        try withServer { server, path in
            let client = try TestClient(path)
            try client.send(.register(event: "list-sa"))
            #expect(try client.receive() == .confirm)
            try client.send(.request(command: "list-sas", ViciMessage { $0.set("count", 20_000) }))
            var next = 0
            while case .event("list-sa", let message)? = try client.receive() {
                guard message.number("number", as: Int.self) == next else { break }
                next += 1
            }
            #expect(next == 20_000)
            #expect(server.counters.overflowed == 0)
        }
    }

    @Test func eventsOfACommandAreNotSentToAClientThatDidNotRegister() throws {
        try withServer { _, path in
            let client = try TestClient(path)
            try client.send(.request(command: "list-sas", ViciMessage { $0.set("count", 20_000) }))
            #expect(try client.receive() == .response(.success))
        }
    }

    @Test func aClientThatDoesNotReadIsDisconnectedAndCounted() throws {
        try withServer { server, path in
            let client = try TestClient(path)
            try client.send(.register(event: "list-sa"))
            #expect(try client.receive() == .confirm)
            try client.send(.request(command: "flood", ViciMessage()))
            #expect(eventually { server.counters.overflowed == 1 })
            #expect(server.counters.clients == 0)
            let other = try TestClient(path)
            try other.send(.request(command: "version", ViciMessage()))
            #expect(try other.receive() != nil)
        }
    }

    @Test func aMalformedClientIsDisconnectedAndCounted() throws {
        try withServer { server, path in
            for octets in [[0xff, 0xff, 0xff, 0xff], [0, 0, 0, 1, 9], [0, 0, 0, 1, 1]] as [[UInt8]] {
                let client = try TestClient(path)
                try client.send(octets)
                #expect(try client.receive() == nil)
            }
            #expect(server.counters.malformed == 3)
            #expect(eventually { server.counters.clients == 0 })
        }
    }

    @Test func anAnswerIsAlwaysGiven() throws {
        try withServer { _, path in
            let client = try TestClient(path)
            for command in ["forget", "large"] {
                try client.send(.request(command: command, ViciMessage()))
                guard case .response(let answer)? = try client.receive() else {
                    return #expect(Bool(false), "no answer to \(command)")
                }
                #expect(answer.flag("success") == false)
            }
        }
    }

    @Test func moreThanSixtyFourClientsAreRefused() throws {
        try withServer { server, path in
            let clients = try (0..<64).map { _ in try TestClient(path) }
            #expect(eventually { server.counters.clients == 64 })
            let refused = try TestClient(path)
            #expect(try refused.receive() == nil)
            #expect(server.counters.refused == 1)
            try withExtendedLifetime(clients) {
                try clients[63].send(.request(command: "version", ViciMessage()))
                #expect(try clients[63].receive() != nil)
            }
        }
    }

    @Test func theSocketIsPrivateReplacedWhenStaleAndRemovedAtTheStop() throws {
        try withServer { server, path in
            let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
            #expect(mode == 0o660)
            // Somebody serves it: a second server must not take it over.
            #expect(throws: UnixSocketError("bind", code: EADDRINUSE, path: path)) {
                _ = try UnixListener(path: path)
            }
            let client = try TestClient(path)
            server.stop()
            #expect(try client.receive() == nil)
            #expect(!FileManager.default.fileExists(atPath: path))
            #expect(FileManager.default.createFile(atPath: path, contents: Data()))
            #expect(throws: UnixSocketError("bind", code: EEXIST, path: path)) {
                _ = try UnixListener(path: path)
            }
        }
    }

    @Test func credentialsNameThePeer() throws {
        try withServer { _, path in
            let credentials = try TestClient(path).stream.peerCredentials()
            #expect(credentials.processID == getpid())
            #expect(credentials.userID == UnixPeerCredentials.ownUserID)
            #expect(credentials.isMember(of: credentials.groupID))
            #expect(!credentials.isMember(of: 4_000_000_000))
        }
    }
}
