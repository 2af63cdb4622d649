import CLinux
import Dispatch
import IPPackets
import IPsecTypes
import Primitives
import Synchronization

/// One worker: a serial queue, its sources, and the state that only this queue touches.
///
/// Safe to share: `state` and `sources` are used on `queue` alone.
final class Worker: @unchecked Sendable {
    /// Packets from other sockets that may wait.
    private static let strayLimit = 256

    /// Time between two ticks.
    private static let tickInterval = Duration.seconds(1)

    private let queue: DispatchQueue
    private let report: @Sendable (PumpEvent) -> Void
    private let waitingStrays = Atomic(0)
    /// Calls that wait for the queue: while there are any, the worker does not wait for packets.
    private let calls = Atomic(0)
    /// Readable from a call until it is served, so that it ends such a wait.
    private let alarm: OwnedDescriptor
    /// Readable while the device, a socket or the alarm is.
    private let poller: OwnedDescriptor
    private var state: WorkerState
    private var sources = [any DispatchSourceProtocol]()
    private var readsDevice = true
    /// When the tick is due.
    private var nextTick = Instant(sinceStart: .zero)
    private let relay: @Sendable (Int, OuterError) -> Void
    private let number: Int

    init(
        number: Int,
        state: consuming WorkerState,
        relay: @escaping @Sendable (_ from: Int, OuterError) -> Void = { _, _ in },
        report: @escaping @Sendable (PumpEvent) -> Void
    ) throws(PumpError) {
        let alarm = OwnedDescriptor(try PumpError.check(clinux_event_open(), "make an event"))
        let poller = OwnedDescriptor(try PumpError.check(clinux_poller_open(), "make a poller"))
        for (number, descriptor) in (state.descriptors + [alarm.number]).enumerated() {
            let added = clinux_poller_add(poller.number, descriptor, UInt32(number))
            try PumpError.check(added, "watch a descriptor")
        }
        self.alarm = alarm
        self.poller = poller
        self.number = number
        self.relay = relay
        // Packets first: a busy control plane must not starve the data plane of threads.
        queue = DispatchQueue(label: "pump.\(number)", qos: .userInteractive)
        self.state = state
        self.report = report
    }

    func start() {
        queue.sync {
            guard sources.isEmpty else { return }
            nextTick = PumpClock.now().advanced(by: Self.tickInterval)
            let packets = DispatchSource.makeReadSource(fileDescriptor: poller.number, queue: queue)
            packets.setEventHandler { [unowned self] in serve() }
            let timer = DispatchSource.makeTimerSource(queue: queue)
            timer.schedule(deadline: .now() + 1, repeating: 1, leeway: .milliseconds(100))
            timer.setEventHandler { [unowned self] in
                turn { $0.tick() }
                nextTick = PumpClock.now().advanced(by: Self.tickInterval)
                serve()
            }
            sources = [packets, timer]
            for source in sources { source.resume() }
        }
    }

    /// Serves what is ready and waits for more, until the tick is due or a call waits for the queue.
    ///
    /// To go back to Dispatch between packets would cost the wake-ups of two threads each time.
    private func serve() {
        var pace = Pace()
        defer { pace.end() }
        var isDue = false
        while !isDue, !sources.isEmpty, calls.load(ordering: .sequentiallyConsistent) == 0 {
            let left = PumpClock.now().duration(to: nextTick).wholeMilliseconds
            isDue = left <= 0
            let ready = clinux_poller_wait(poller.number, Int32(clamping: max(0, left)))
            guard ready != 0 else { continue }
            pace.noteTurn()
            turn { $0.serve(ready) }
        }
    }

    /// Runs `body` on the queue, soon although the worker may wait for packets.
    private func call(_ body: @escaping @Sendable () -> Void) {
        announce()
        queue.async { [self] in
            beginCall()
            body()
            serve()
        }
    }

    private func announce() {
        calls.wrappingAdd(1, ordering: .sequentiallyConsistent)
        clinux_event_signal(alarm.number)
    }

    private func beginCall() {
        calls.wrappingSubtract(1, ordering: .sequentiallyConsistent)
        // Another call that waits is counted, so its signal may go with this one.
        clinux_event_clear(alarm.number)
    }

    /// Runs `body` on the state and reports afterwards: a handler may call back.
    private func turn(_ body: (inout WorkerState) -> Void) {
        body(&state)
        if state.isDeviceGone { stopReadingDevice() }
        for event in state.takeEvents() { report(event) }
        guard !state.errorsForOthers.isEmpty else { return }
        for error in state.errorsForOthers { relay(number, error) }
        state.errorsForOthers.removeAll()
    }

    /// A device that is gone would be readable for ever.
    private func stopReadingDevice() {
        guard readsDevice else { return }
        readsDevice = false
        clinux_poller_remove(poller.number, state.device.descriptor.number)
    }

    /// Cancels the sources and waits until none calls any more.
    func stop() {
        let group = DispatchGroup()
        announce()
        queue.sync {
            beginCall()
            for source in sources {
                group.enter()
                source.setCancelHandler { group.leave() }
                source.cancel()
            }
            sources.removeAll()
        }
        group.wait()
    }

    func perform(_ body: @escaping @Sendable (inout WorkerState) -> Void) {
        call { [self] in turn(body) }
    }

    func counters() -> PumpCounters {
        announce()
        defer { queue.async { [self] in serve() } }
        return queue.sync {
            beginCall()
            return state.counters()
        }
    }

    /// Hands over an ESP packet of another socket; false when too many wait.
    func receiveStray(_ octets: [UInt8], local: Endpoint, remote: Endpoint) -> Bool {
        let waiting = waitingStrays.wrappingAdd(1, ordering: .relaxed).newValue
        guard waiting <= Self.strayLimit else {
            waitingStrays.wrappingSubtract(1, ordering: .relaxed)
            return false
        }
        call { [self] in
            waitingStrays.wrappingSubtract(1, ordering: .relaxed)
            turn { $0.receiveStray(octets, local: local, remote: remote) }
        }
        return true
    }
}
