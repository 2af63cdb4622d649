import LinuxIO
import Primitives
import Vici

/// Why the daemon did not do what was asked.
enum ViciClientError: Error, CustomStringConvertible {
    /// There is no daemon, or it went away.
    case unreachable(String)
    /// The daemon refused, with its reason.
    case refused(String)

    /// 1 for a refusal, 2 for a daemon that cannot be reached.
    var exitCode: Int32 {
        switch self {
        case .unreachable: 2
        case .refused: 1
        }
    }

    var description: String {
        switch self {
        case .unreachable(let reason): "cannot reach the daemon: \(reason)"
        case .refused(let reason): reason
        }
    }
}

/// A connection to the daemon that asks one thing at a time and waits for the answer.
final class UnixViciClient {
    /// How long the daemon may be silent before an answer that takes no negotiation.
    static let patience: Duration = .seconds(10)

    private let stream: UnixStream
    private var session = ViciClientSession()

    init(path: String) throws(ViciClientError) {
        do throws(UnixSocketError) {
            stream = try UnixStream.connect(path: path)
        } catch {
            throw .unreachable(error.description)
        }
    }

    /// Sends a command and returns its answer; the events of `event` that come before go to `handle`.
    func request(
        _ command: String,
        _ message: ViciMessage = ViciMessage(),
        event: String? = nil,
        patience: Duration = UnixViciClient.patience,
        passing descriptor: Int32? = nil,
        handle: (ViciMessage) -> Void = { _ in }
    ) throws(ViciClientError) -> ViciMessage {
        if let event {
            try send { session throws(WireError) in try session.register(event) }
            guard case .confirm = try receive(patience, { handle($1) }) else {
                throw .refused("the daemon does not know the event \(event)")
            }
        }
        try send(passing: descriptor) { session throws(WireError) in try session.request(command, message) }
        guard case .response(let answer) = try receive(patience, { handle($1) }) else {
            throw .refused("the daemon does not know the command \(command)")
        }
        if let event {
            try send { session throws(WireError) in try session.unregister(event) }
            _ = try receive(patience, { handle($1) })
        }
        return answer
    }

    /// Hands `handle` every event of these names, until it returns false or the daemon goes away.
    ///
    /// Those that the daemon does not offer go to `isMissing`; it is an error if it offers none of them.
    func listen(
        _ events: [String],
        isMissing: (String) -> Void,
        handle: (String, ViciMessage) -> Bool
    ) throws(ViciClientError) {
        var early: [(name: String, message: ViciMessage)] = []
        var missing: [String] = []
        for event in events {
            try send { session throws(WireError) in try session.register(event) }
            guard case .confirm = try receive(Self.patience, { early.append(($0, $1)) }) else {
                missing.append(event)
                continue
            }
        }
        guard missing.count < events.count else {
            throw .refused(
                "the daemon does not offer the event\(events.count == 1 ? "" : "s") "
                    + "\(events.joined(separator: ", ")); is it older than this command?"
            )
        }
        missing.forEach(isMissing)
        for (name, message) in early {
            guard handle(name, message) else { return }
        }
        while true {
            while let input = session.next() {
                switch input {
                case .event(let name, let message):
                    guard handle(name, message) else { return }
                case .response, .unknownCommand, .confirm, .unknownEvent: break
                case .malformed(let error): throw .unreachable("it broke the protocol: \(error)")
                }
            }
            try fill(waiting: 60_000)
        }
    }

    /// As `request`, for a command that is answered with `success`.
    func carryOut(
        _ command: String,
        _ message: ViciMessage = ViciMessage(),
        event: String? = nil,
        patience: Duration = UnixViciClient.patience,
        handle: (ViciMessage) -> Void = { _ in }
    ) throws(ViciClientError) {
        let answer = try request(command, message, event: event, patience: patience, handle: handle)
        guard answer.flag("success") != false else {
            throw .refused(StatusReport.printable(answer.string("errmsg") ?? "\(command) failed"))
        }
    }

    private func send(
        passing descriptor: Int32? = nil,
        _ make: (inout ViciClientSession) throws(WireError) -> [UInt8]
    ) throws(ViciClientError) {
        var octets: [UInt8]
        do throws(WireError) {
            octets = try make(&session)
        } catch {
            throw .refused("the request cannot be sent: \(error)")
        }
        let deadline = ContinuousClock.now + UnixViciClient.patience
        var passed = descriptor
        do throws(UnixSocketError) {
            while !octets.isEmpty {
                let written =
                    if let passed { try stream.write(octets, passing: passed) } else {
                        try stream.write(octets)
                    }
                if written > 0 { passed = nil }
                octets.removeFirst(written)
                guard !octets.isEmpty else { break }
                guard ContinuousClock.now < deadline else { throw UnixSocketError("send", code: 110) }
                _ = try stream.wait(for: .write, milliseconds: 1000)
            }
        } catch {
            throw .unreachable(error.description)
        }
    }

    /// Waits for an answer; each event on the way starts the patience anew.
    private func receive(
        _ patience: Duration,
        _ handle: (String, ViciMessage) -> Void
    ) throws(ViciClientError) -> ViciClientSession.Input {
        var deadline = ContinuousClock.now + patience
        while true {
            while let input = session.next() {
                switch input {
                case .event(let name, let message):
                    handle(name, message)
                    deadline = ContinuousClock.now + patience
                case .malformed(let error): throw .unreachable("it broke the protocol: \(error)")
                case .response, .unknownCommand, .confirm, .unknownEvent: return input
                }
            }
            guard ContinuousClock.now < deadline else { throw .unreachable("no answer in time") }
            try fill(waiting: 500)
        }
    }

    private func fill(waiting milliseconds: Int32) throws(ViciClientError) {
        let result: UnixStream.ReadResult
        do throws(UnixSocketError) {
            guard try stream.wait(for: .read, milliseconds: milliseconds) else { return }
            result = try stream.read(upTo: ViciFrameBuffer.chunkOctets)
        } catch {
            throw .unreachable(error.description)
        }
        switch result {
        case .octets(let octets): session.receive(octets)
        case .wouldBlock: return
        case .endOfStream: throw .unreachable("it closed the connection")
        }
    }
}
