import Dispatch
public import LinuxIO
import Primitives
import Synchronization
public import Vici

/// The daemon's end of vici: listens on unix sockets and gives commands to a handler.
///
/// All its work runs on a serial queue of its own. What it holds is under a lock that proves this to the
/// compiler and for which no other queue contends.
public final class ViciServer: Sendable {
    /// The most clients at a time; more are refused.
    public static let maximumClients = 64
    /// The most octets that wait for one client; one that leaves more unread is disconnected.
    public static let queueOctets = 4 * 1024 * 1024
    /// Below this, a `streamAll` makes its next events.
    static let lowWaterOctets = 256 * 1024
    /// What a `streamAll` makes in one turn; then the other clients have theirs.
    private static let sliceOctets = 4 * 1024
    /// A client that leaves more unread gets no log lines until it has read.
    private static let logOctets = 512 * 1024
    /// The event of log lines, the only one that may be dropped for a client that is slow.
    private static let logEvent = "log"
    private static let writeOctets = 128 * 1024

    /// What serves one client.
    private struct Client {
        let stream: UnixStream
        let reading: ReadinessSource
        let writing: ReadinessSource
        /// Octets given to the server for this client and not yet written, counted from any queue.
        let backlog: Backlog
        var session = ViciServerSession()
        var output = ViciOutputQueue()
        var series: ViciSeries?
        /// What it passed; it belongs to its next command.
        var descriptor: FileDescriptorOwner?
        /// The next slice of the series is due.
        var hasTurn = false
    }

    private struct State {
        var listeners: [(listener: UnixListener, source: ReadinessSource)] = []
        var clients: [UInt64: Client] = [:]
        var nextIdentifier: UInt64 = 1
        var isStopped = false
    }

    private let queue: DispatchQueue
    private let key = DispatchSpecificKey<Bool>()
    private let commands: Set<String>
    private let events: Set<String>
    private let group: UInt32?
    private let handler: @Sendable (ViciRequest) -> Void
    private let state = Mutex(State())
    private let statistics = Mutex(ViciServerCounters())
    private let wanted = Mutex<Set<String>>([])
    private let published = Backlog()

    /// Listens on `paths`; clients are served after `start`.
    ///
    /// Let in are root, the user of this process, and the members of `group`. `handler` is called on the
    /// queue of the server and must not block it.
    public init(
        paths: [String],
        commands: Set<String>,
        events: Set<String>,
        group: UInt32? = nil,
        label: String = "vici",
        handler: @escaping @Sendable (ViciRequest) -> Void
    ) throws(UnixSocketError) {
        queue = DispatchQueue(label: label, qos: .userInitiated)
        queue.setSpecific(key: key, value: true)
        self.commands = commands
        self.events = events
        self.group = group
        self.handler = handler
        var listeners: [UnixListener] = []
        for path in paths { listeners.append(try UnixListener(path: path, group: group)) }
        for listener in listeners { watch(listener) }
    }

    deinit { stop() }

    /// Begins to serve.
    public func start() {
        onQueue {
            state.withLock { state in
                for entry in state.listeners { entry.source.resume() }
            }
        }
    }

    /// Disconnects all clients, stops listening and removes the paths; returns when that is done.
    public func stop() {
        onQueue {
            state.withLock { state in
                state.isStopped = true
                for entry in state.listeners {
                    entry.source.cancel()
                    entry.listener.removePath()
                }
                state.listeners = []
                for client in state.clients.values { ViciServer.close(client) }
                state.clients = [:]
            }
            statistics.withLock { $0.clients = 0 }
            wanted.withLock { $0 = [] }
        }
    }

    /// Runs `body` on the queue and waits for it.
    ///
    /// Also when this is the queue: the last reference to the server may go there.
    private func onQueue(_ body: () -> Void) {
        if DispatchQueue.getSpecific(key: key) == true { body() } else { queue.sync(execute: body) }
    }

    /// What was seen so far.
    public var counters: ViciServerCounters { statistics.withLock { $0 } }

    /// True if a client registered for `event`, so that it is worth making.
    public func isWanted(_ event: String) -> Bool { wanted.withLock { $0.contains(event) } }

    /// Sends an event to every client that registered for it.
    public func publish(event: String, message: ViciMessage) {
        guard isWanted(event) else { return }
        let size = message.encodedOctets
        let isLog = event == ViciServer.logEvent
        guard published.add(size, limit: ViciServer.queueOctets) else {
            return count { isLog ? ($0.droppedLogLines += 1) : ($0.droppedEvents += 1) }
        }
        queue.async { [weak self] in
            guard let self else { return }
            self.published.remove(size)
            let octets = ViciRequest.frame(event, message)
            guard let octets else { return self.count { $0.droppedEvents += 1 } }
            for identifier in self.identifiers() {
                self.withClient(identifier) { client in
                    guard client.session.events.contains(event) else { return nil }
                    if isLog, client.backlog.octets > ViciServer.logOctets {
                        self.count { $0.droppedLogLines += 1 }
                        return nil
                    }
                    self.enqueue(octets, to: &client)
                    return client.backlog.octets > ViciServer.queueOctets ? .overflowed : nil
                }
            }
        }
    }
}

// MARK: - Connections

extension ViciServer {
    private func watch(_ listener: UnixListener) {
        let source = ReadinessSource(
            fileDescriptor: listener.fileDescriptor,
            direction: .read,
            owner: listener,
            queue: queue
        ) { [weak self, weak listener] in
            guard let self, let listener else { return }
            self.accept(from: listener)
        }
        state.withLock { $0.listeners.append((listener, source)) }
    }

    private func accept(from listener: UnixListener) {
        do throws(UnixSocketError) {
            while let stream = try listener.accept() { admit(stream) }
        } catch {
            // No descriptor or memory for another connection: the source would call again at once, for ever.
            pause(listener)
        }
    }

    private func pause(_ listener: UnixListener) {
        let source = state.withLock { state in
            state.listeners.first { $0.listener === listener }?.source
        }
        source?.suspend()
        queue.asyncAfter(deadline: .now() + 1) { source?.resume() }
    }

    private func admit(_ stream: UnixStream) {
        guard let credentials = try? stream.peerCredentials(), isAllowed(credentials) else {
            return count { $0.refused += 1 }
        }
        let isAdmitted = state.withLock { state in
            guard !state.isStopped, state.clients.count < ViciServer.maximumClients else { return false }
            let identifier = state.nextIdentifier
            state.nextIdentifier += 1
            let client = makeClient(stream, identifier)
            state.clients[identifier] = client
            client.reading.resume()
            return true
        }
        count {
            if isAdmitted {
                $0.accepted += 1
                $0.clients += 1
            } else {
                $0.refused += 1
            }
        }
    }

    private func isAllowed(_ peer: UnixPeerCredentials) -> Bool {
        if peer.userID == 0 || peer.userID == UnixPeerCredentials.ownUserID { return true }
        return group.map { peer.isMember(of: $0) } ?? false
    }

    private func makeClient(_ stream: UnixStream, _ identifier: UInt64) -> Client {
        let descriptor = stream.fileDescriptor
        let reading = ReadinessSource(
            fileDescriptor: descriptor,
            direction: .read,
            owner: stream,
            queue: queue
        ) { [weak self] in self?.readable(identifier) }
        let writing = ReadinessSource(
            fileDescriptor: descriptor,
            direction: .write,
            owner: stream,
            queue: queue
        ) { [weak self] in self?.withClient(identifier) { _ in nil } }
        return Client(stream: stream, reading: reading, writing: writing, backlog: Backlog())
    }

    private static func close(_ client: Client) {
        client.backlog.leave()
        client.reading.cancel()
        client.writing.cancel()
    }

    private func identifiers() -> [UInt64] {
        state.withLock { $0.clients.keys.sorted() }
    }
}

// MARK: - One client

extension ViciServer {
    /// Why a client is disconnected.
    private enum Departure {
        case left
        case malformed
        case overflowed
    }

    /// Lets `body` work on a client, then writes what waits and takes up what the client asks next.
    private func withClient(_ identifier: UInt64, _ body: (inout Client) -> Departure?) {
        var request: Command?
        var hasUnregistered = false
        let departure = state.withLock { state -> Departure? in
            guard var client = state.clients.removeValue(forKey: identifier) else { return nil }
            let events = client.session.events
            let departure = body(&client) ?? advance(identifier, &client, request: &request)
            hasUnregistered = !events.isSubset(of: client.session.events)
            guard let departure else {
                state.clients[identifier] = client
                return nil
            }
            request = nil
            ViciServer.close(client)
            return departure
        }
        if let departure { depart(departure) }
        if departure != nil || hasUnregistered { refreshWanted() }
        // Outside of the lock: the handler may answer before it returns.
        if let request { handler(makeRequest(identifier, request)) }
    }

    private func readable(_ identifier: UInt64) {
        withClient(identifier) { client in
            guard !client.session.isBusy else { return nil }
            do throws(UnixSocketError) {
                let (result, passed) = try client.stream.readWithDescriptor(
                    upTo: ViciFrameBuffer.chunkOctets
                )
                if let passed { client.descriptor = passed }
                switch result {
                case .octets(let octets):
                    client.session.receive(octets)
                    return nil
                case .wouldBlock: return nil
                case .endOfStream: return .left
                }
            } catch {
                return .left
            }
        }
    }

    private func giveTurn(to identifier: UInt64) {
        queue.async { [weak self] in
            self?.withClient(identifier) { client in
                client.hasTurn = false
                return nil
            }
        }
    }

    private func advance(
        _ identifier: UInt64,
        _ client: inout Client,
        request: inout Command?
    ) -> Departure? {
        while true {
            if let departure = continueSeries(&client) ?? flush(&client) { return departure }
            // A series that waits for room goes on when the socket took some, any other in its next turn.
            if client.series != nil {
                if client.output.octets < ViciServer.lowWaterOctets, !client.hasTurn {
                    client.hasTurn = true
                    giveTurn(to: identifier)
                }
                break
            }
            guard let input = client.session.next() else { break }
            do throws(WireError) {
                switch input {
                case .malformed: return .malformed
                case .request(let command, let message) where commands.contains(command):
                    request = Command(
                        name: command,
                        message: message,
                        descriptor: client.descriptor,
                        backlog: client.backlog,
                        stream: client.stream
                    )
                    client.descriptor = nil
                case .request:
                    enqueue(try client.session.unknownCommand(), to: &client)
                case .register(let event), .unregister(let event):
                    let isKnown = events.contains(event)
                    let answer =
                        isKnown ? try client.session.eventConfirm() : try client.session.eventUnknown()
                    enqueue(answer, to: &client)
                    if client.session.events.contains(event) { wanted.withLock { _ = $0.insert(event) } }
                }
            } catch {
                return .malformed
            }
        }
        // While an answer is owed nothing is read: the buffer of the session stays within its bound.
        if client.session.isBusy { client.reading.suspend() } else { client.reading.resume() }
        return nil
    }

    private func flush(_ client: inout Client) -> Departure? {
        guard client.backlog.octets <= ViciServer.queueOctets + ViciLimits.packetOctets else {
            return .overflowed
        }
        do throws(UnixSocketError) {
            while !client.output.isEmpty {
                let written = try client.stream.write(client.output.chunk(limit: ViciServer.writeOctets))
                guard written > 0 else { break }
                client.output.advance(written)
                client.backlog.remove(written)
            }
        } catch {
            return .left
        }
        if client.output.isEmpty { client.writing.suspend() } else { client.writing.resume() }
        return nil
    }

    private func continueSeries(_ client: inout Client) -> Departure? {
        guard var series = client.series else { return nil }
        // Unheard, nothing of it needs to be made.
        guard client.session.events.contains(series.event) else {
            client.series = nil
            return answer(series.answer, to: &client, charged: 0)
        }
        let room = min(ViciServer.sliceOctets, ViciServer.lowWaterOctets - client.output.octets)
        let (frames, failures) = series.slice(room: room)
        for frame in frames { enqueue(frame, to: &client) }
        if failures > 0 { count { $0.droppedEvents += failures } }
        client.series = series.isOver ? nil : series
        return series.isOver ? answer(series.answer, to: &client, charged: 0) : nil
    }

    /// Appends an octet string that was counted with `charged` octets when it was given to the server.
    private func enqueue(_ octets: [UInt8], to client: inout Client, charged: Int = 0) {
        client.backlog.add(octets.count - charged)
        client.output.append(octets)
    }

    private func send(
        _ event: String,
        _ message: ViciMessage,
        to client: inout Client,
        charged: Int
    ) -> Departure? {
        do throws(WireError) {
            guard let octets = try client.session.event(event, message) else {
                client.backlog.remove(charged)
                return nil
            }
            enqueue(octets, to: &client, charged: charged)
        } catch {
            client.backlog.remove(charged)
            count { $0.droppedEvents += 1 }
        }
        return client.backlog.octets > ViciServer.queueOctets ? .overflowed : nil
    }

    private func answer(_ message: ViciMessage, to client: inout Client, charged: Int) -> Departure? {
        let tooLarge = ViciMessage.failure("the answer does not fit into a vici message")
        guard let octets = (try? client.session.response(message)) ?? (try? client.session.response(tooLarge))
        else { return .malformed }
        enqueue(octets, to: &client, charged: charged)
        return nil
    }

    private func depart(_ departure: Departure) {
        count {
            $0.clients = max(0, $0.clients - 1)
            switch departure {
            case .left: break
            case .malformed: $0.malformed += 1
            case .overflowed: $0.overflowed += 1
            }
        }
    }

    private func refreshWanted() {
        let events = state.withLock { state in
            state.clients.values.reduce(into: Set<String>()) { $0.formUnion($1.session.events) }
        }
        wanted.withLock { $0 = events }
    }

    private func count(_ change: (inout ViciServerCounters) -> Void) {
        statistics.withLock { change(&$0) }
    }
}

// MARK: - Requests

extension ViciServer {
    /// What a client asks for.
    private struct Command {
        let name: String
        let message: ViciMessage
        let descriptor: FileDescriptorOwner?
        let backlog: Backlog
        let stream: UnixStream
    }

    private func makeRequest(_ identifier: UInt64, _ command: Command) -> ViciRequest {
        let backlog = command.backlog
        let answer = AnswerOnce { [weak self] client in
            self?.queue.async { [weak self] in self?.withClient(identifier, client) }
        }
        var request = ViciRequest(
            command: command.name,
            message: command.message,
            reply: { [weak self] message in
                let size = message.encodedOctets
                answer.give {
                    backlog.add(size)
                } body: { [weak self] client in
                    self?.answer(message, to: &client, charged: size)
                }
            },
            stream: { [weak self] event, message in
                let size = message.encodedOctets
                // Over the bound nothing more is taken, and the client is disconnected.
                guard backlog.add(size, limit: ViciServer.queueOctets) else {
                    guard backlog.overflow() else { return }
                    self?.queue.async { [weak self] in self?.withClient(identifier) { _ in .overflowed } }
                    return
                }
                self?.queue.async { [weak self] in
                    self?.withClient(identifier) { self?.send(event, message, to: &$0, charged: size) }
                }
            },
            streamAll: { event, count, make, last in
                answer.give {
                } body: { client in
                    client.series = ViciSeries(event: event, count: count, make: make, answer: last)
                    return nil
                }
            }
        )
        request.descriptor = command.descriptor
        // Nothing is read while an answer is owed: that the client hung up is to be asked for.
        let stream = command.stream
        request.isAbandoned = { backlog.hasLeft || stream.isHungUp }
        return request
    }

    /// Lets one answer through, and gives one itself if the handler forgot.
    private final class AnswerOnce: Sendable {
        typealias Body = @Sendable (inout Client) -> Departure?
        private let isGiven = Atomic(false)
        private let deliver: @Sendable (@escaping Body) -> Void

        init(_ deliver: @escaping @Sendable (@escaping Body) -> Void) {
            self.deliver = deliver
        }

        func give(charge: () -> Void, body: @escaping Body) {
            guard !isGiven.exchange(true, ordering: .relaxed) else { return }
            charge()
            deliver(body)
        }

        deinit {
            guard !isGiven.load(ordering: .relaxed) else { return }
            deliver { client in
                let octets = try? client.session.response(.failure("the command was not carried out"))
                client.output.append(octets ?? [])
                client.backlog.add(octets?.count ?? 0)
                return octets == nil ? .malformed : nil
            }
        }
    }
}
