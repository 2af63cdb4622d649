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

    /// The longest turn: then control commands and the other queues' threads have theirs.
    private static let turn = Duration.milliseconds(4)
    /// How long a worker waits for more before it goes back to Dispatch, which costs more than a short sleep.
    private static let lingerMilliseconds: Int32 = 1

    private let queue: DispatchQueue
    private let report: @Sendable (PumpEvent) -> Void
    private let waitingStrays = Atomic(0)
    /// Calls that wait for the queue: while there are any, the worker does not wait for packets.
    private let calls = Atomic(0)
    /// Readable from a call until it is served, so that it ends such a wait.
    private let alarm: OwnedDescriptor
    private var state: WorkerState
    private var sources = [any DispatchSourceProtocol]()
    /// The device's, the sockets', the alarm's.
    private let descriptors: [Int32]
    /// Those that were readable since the last tick, a bit for each.
    private var lively: UInt32 = 0
    private let relay: @Sendable (Int, OuterError) -> Void
    private let number: Int

    init(
        number: Int,
        state: consuming WorkerState,
        relay: @escaping @Sendable (_ from: Int, OuterError) -> Void = { _, _ in },
        report: @escaping @Sendable (PumpEvent) -> Void
    ) throws(PumpError) {
        let alarm = OwnedDescriptor(try PumpError.check(clinux_event_open(), "make an event"))
        self.alarm = alarm
        self.number = number
        self.relay = relay
        descriptors = state.descriptors + [alarm.number]
        // Packets first: a busy control plane must not starve the data plane of threads.
        queue = DispatchQueue(label: "pump.\(number)", qos: .userInteractive)
        self.state = state
        self.report = report
    }

    func start() {
        queue.sync {
            guard sources.isEmpty else { return }
            watch(state.device.descriptor)
            for kind in OuterKind.allCases {
                guard let watched = state.watched(kind) else { continue }
                watch(watched)
            }
            let timer = DispatchSource.makeTimerSource(queue: queue)
            timer.schedule(deadline: .now() + 1, repeating: 1, leeway: .milliseconds(100))
            timer.setEventHandler { [unowned self] in
                lively = 0
                turn { $0.tick() }
            }
            sources.append(timer)
            for source in sources { source.resume() }
        }
    }

    private func watch(_ descriptor: OwnedDescriptor) {
        let source = DispatchSource.makeReadSource(fileDescriptor: descriptor.number, queue: queue)
        source.setEventHandler { [unowned self] in serve() }
        sources.append(source)
    }

    /// Serves all that is ready until nothing comes for a moment, or the turn is over.
    private func serve() {
        let end = PumpClock.now().advanced(by: Self.turn)
        var patience: Int32 = 0
        repeat {
            let ready = readable(within: patience)
            guard ready != 0 else { return }
            turn { $0.serve(ready) }
            patience = Self.lingerMilliseconds
        } while calls.load(ordering: .sequentiallyConsistent) == 0 && PumpClock.now() < end
    }

    /// Runs `body` on the queue, soon although the worker may wait for packets.
    private func call(_ body: @escaping @Sendable () -> Void) {
        announce()
        queue.async { [self] in
            beginCall()
            body()
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

    /// Which of the descriptors are readable: at once all are looked at, with patience those that lately were, for
    /// Dispatch watches the others.
    private func readable(within milliseconds: Int32) -> UInt32 {
        var mask = UInt32.max
        if milliseconds > 0 { mask = lively | 1 | 1 << UInt32(descriptors.count - 1) }
        // A device that is gone would be readable for ever.
        if state.isDeviceGone { mask &= ~1 }
        let ready = unsafe descriptors.withUnsafeBufferPointer { all in
            unsafe clinux_wait_readable(all.baseAddress, UInt32(all.count), mask, milliseconds)
        }
        lively |= ready
        return ready
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
        call { [self] in turn(body) }
    }

    func counters() -> PumpCounters {
        announce()
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
