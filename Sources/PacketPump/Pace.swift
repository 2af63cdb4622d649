import CLinux
import Primitives

/// How often a worker is woken, and its scheduling class by that.
///
/// A busy worker that preempts whoever gives it packets is woken for each few of them, and both pay for it. As
/// SCHED_BATCH it runs at once where a CPU is idle, but takes nobody's turn: in a flood of small packets there are a
/// sixth of the context switches. A worker that has little to do stays as it is, for then its delay counts.
struct Pace {
    /// Turns over which the rate is measured.
    private static let window = 64
    /// The time that they take at the rate that counts as busy, a thousand a second.
    private static let busyWithin = Duration.milliseconds(64)

    private var turns = 0
    private var start = PumpClock.now()
    private var isBatch = false

    /// To be called before each turn.
    mutating func noteTurn() {
        turns += 1
        guard turns >= Self.window else { return }
        let now = PumpClock.now()
        let isBusy = start.duration(to: now) < Self.busyWithin
        (turns, start) = (0, now)
        guard isBusy != isBatch else { return }
        if isBusy {
            isBatch = clinux_schedule_batch(1) != 0
        } else {
            end()
        }
    }

    /// Gives the thread back as it was: it is Dispatch's.
    mutating func end() {
        guard isBatch else { return }
        isBatch = false
        _ = clinux_schedule_batch(0)
    }
}
