import Dispatch
import Glibc
import Primitives
import Testing

@testable import LinuxIO

@Suite struct DeadlineTimerTests {
    let queue = DispatchQueue(label: "timer")

    @Test func clockGoesForward() {
        let first = MonotonicClock.now()
        usleep(2000)
        let passed = first.duration(to: MonotonicClock.now())
        #expect(passed >= .milliseconds(2) && passed < .seconds(10))
        #expect(MonotonicClock.wallClockSeconds() > 1_700_000_000)
    }

    @Test func firesOnceNotBeforeTheDeadline() throws {
        let inbox = Inbox<Instant>()
        let timer = try DeadlineTimer(queue: queue) { inbox.add(MonotonicClock.now()) }
        let deadline = MonotonicClock.now().advanced(by: .milliseconds(60))
        timer.arm(at: deadline)
        #expect(inbox.wait())
        #expect(inbox.all[0] >= deadline)
        #expect(!inbox.wait(0.15))
    }

    @Test func deadlineInThePastFiresAtOnce() throws {
        let inbox = Inbox<Int>()
        let timer = try DeadlineTimer(queue: queue) { inbox.add(1) }
        for past in [Instant.zero, Instant(sinceStart: .seconds(-5)), MonotonicClock.now()] {
            timer.arm(at: past)
            #expect(inbox.wait())
        }
    }

    @Test func armingAgainMovesTheDeadline() throws {
        let inbox = Inbox<Instant>()
        let timer = try DeadlineTimer(queue: queue) { inbox.add(MonotonicClock.now()) }
        timer.arm(at: MonotonicClock.now().advanced(by: .milliseconds(50)))
        let later = MonotonicClock.now().advanced(by: .milliseconds(200))
        timer.arm(at: later)
        #expect(inbox.wait())
        #expect(inbox.all[0] >= later)
        timer.arm(at: Instant(sinceStart: .seconds(Int64.max)))
        #expect(!inbox.wait(0.1))
        timer.arm(at: MonotonicClock.now())
        #expect(inbox.wait())
    }

    @Test func disarmedOrReleasedTimerIsSilent() throws {
        let inbox = Inbox<Int>()
        let timer = try DeadlineTimer(queue: queue) { inbox.add(1) }
        timer.arm(at: MonotonicClock.now().advanced(by: .milliseconds(50)))
        timer.disarm()
        do {
            let released = try DeadlineTimer(queue: queue) { inbox.add(2) }
            released.arm(at: MonotonicClock.now().advanced(by: .milliseconds(50)))
        }
        #expect(!inbox.wait(0.2))
        timer.arm(at: MonotonicClock.now())
        #expect(inbox.wait())
        #expect(inbox.all == [1])
    }

    @Test func deadlineMovedInsideTheQueueDoesNotFireEarly() throws {
        let inbox = Inbox<Instant>()
        let timer = try DeadlineTimer(queue: queue) { inbox.add(MonotonicClock.now()) }
        var deadline = Instant.zero
        queue.sync {
            timer.arm(at: MonotonicClock.now().advanced(by: .milliseconds(5)))
            usleep(30_000)
            // It has expired, but its handler could not run yet.
            deadline = MonotonicClock.now().advanced(by: .milliseconds(120))
            timer.arm(at: deadline)
        }
        #expect(inbox.wait())
        #expect(inbox.all.allSatisfy { $0 >= deadline })
    }
}

/// One at a time: signals belong to the process.
@Suite(.serialized) struct SignalSourcesTests {
    let queue = DispatchQueue(label: "signals")

    @Test func deliversEachSignalOnTheQueue() throws {
        let inbox = Inbox<SignalSources.Signal>()
        let sources = try SignalSources(queue: queue) { signal in
            dispatchPrecondition(condition: .onQueue(self.queue))
            inbox.add(signal)
        }
        for (number, signal) in [
            (SIGTERM, SignalSources.Signal.terminate), (SIGINT, .interrupt), (SIGHUP, .hangUp),
        ] {
            #expect(kill(getpid(), number) == 0)
            #expect(inbox.wait())
            #expect(inbox.all.last == signal)
        }
        // Ignored: this process would end here otherwise.
        #expect(kill(getpid(), SIGPIPE) == 0)
        #expect(!inbox.wait(0.1))
        withExtendedLifetime(sources) {}
    }

    @Test func theLatestOwnerGetsTheSignal() throws {
        let first = Inbox<SignalSources.Signal>()
        let second = Inbox<SignalSources.Signal>()
        var older: SignalSources? = try SignalSources([.hangUp], queue: queue) { first.add($0) }
        let newer = try SignalSources([.hangUp], queue: queue) { second.add($0) }
        // Its release must not take the signal from the newer one.
        withExtendedLifetime(older) {}
        older = nil
        #expect(kill(getpid(), SIGHUP) == 0)
        #expect(second.wait())
        #expect(first.all.isEmpty)
        withExtendedLifetime(newer) {}
    }
}
