import Dispatch
import IPPackets
import IPsecTypes
import Synchronization

/// One worker: a serial queue, its sources, and the state that only this queue touches.
///
/// Safe to share: `state` and `sources` are used on `queue` alone.
final class Worker: @unchecked Sendable {
    /// Packets from other sockets that may wait.
    private static let strayLimit = 256

    private let queue: DispatchQueue
    private let report: @Sendable (PumpEvent) -> Void
    private let waitingStrays = Atomic(0)
    private var state: WorkerState
    private var sources = [any DispatchSourceProtocol]()

    init(
        number: Int,
        state: consuming WorkerState,
        report: @escaping @Sendable (PumpEvent) -> Void
    ) {
        // Packets first: a busy control plane must not starve the data plane of threads.
        queue = DispatchQueue(label: "pump.\(number)", qos: .userInteractive)
        self.state = state
        self.report = report
    }

    func start() {
        queue.sync {
            guard sources.isEmpty else { return }
            watch(state.device.descriptor) { $0.drainDevice() }
            for kind in OuterKind.allCases {
                guard let socket = state.socket(kind), let watched = state.watched(kind) else { continue }
                let number = socket.number
                watch(watched) { $0.drainSocket(number, kind) }
            }
            let timer = DispatchSource.makeTimerSource(queue: queue)
            timer.schedule(deadline: .now() + 1, repeating: 1, leeway: .milliseconds(100))
            timer.setEventHandler { [unowned self] in turn { $0.tick() } }
            sources.append(timer)
            for source in sources { source.resume() }
        }
    }

    private func watch(
        _ descriptor: OwnedDescriptor,
        _ drain: @escaping @Sendable (inout WorkerState) -> Void
    ) {
        let source = DispatchSource.makeReadSource(fileDescriptor: descriptor.number, queue: queue)
        source.setEventHandler { [unowned self] in turn(drain) }
        sources.append(source)
    }

    /// Runs `body` on the state and reports afterwards: a handler may call back.
    private func turn(_ body: (inout WorkerState) -> Void) {
        body(&state)
        if state.isDeviceGone { stopReadingDevice() }
        for event in state.takeEvents() { report(event) }
    }

    /// The first source is the device's; nothing else can be done about a device that is gone.
    private func stopReadingDevice() {
        guard let source = sources.first, !source.isCancelled else { return }
        source.cancel()
    }

    /// Cancels the sources and waits until none calls any more.
    func stop() {
        let group = DispatchGroup()
        queue.sync {
            for source in sources where !source.isCancelled {
                group.enter()
                source.setCancelHandler { group.leave() }
                source.cancel()
            }
            sources.removeAll()
        }
        group.wait()
    }

    func perform(_ body: @escaping @Sendable (inout WorkerState) -> Void) {
        queue.async { [self] in turn(body) }
    }

    func counters() -> PumpCounters { queue.sync { state.counters() } }

    /// Hands over an ESP packet of another socket; false when too many wait.
    func receiveStray(_ octets: [UInt8], local: Endpoint, remote: Endpoint) -> Bool {
        let waiting = waitingStrays.wrappingAdd(1, ordering: .relaxed).newValue
        guard waiting <= Self.strayLimit else {
            waitingStrays.wrappingSubtract(1, ordering: .relaxed)
            return false
        }
        queue.async { [self] in
            waitingStrays.wrappingSubtract(1, ordering: .relaxed)
            turn { $0.receiveStray(octets, local: local, remote: remote) }
        }
        return true
    }
}
