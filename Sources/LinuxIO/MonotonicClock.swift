import Glibc
public import Primitives

/// The clocks of this machine.
public enum MonotonicClock {
    /// Time since boot, suspension included: a lifetime must also end while the machine sleeps.
    public static func now() -> Instant {
        let time = read(CLOCK_BOOTTIME)
        return Instant(sinceStart: .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec))
    }

    /// Seconds since 1970 by the wall clock, for certificates and log lines only.
    public static func wallClockSeconds() -> Int64 {
        Int64(read(CLOCK_REALTIME).tv_sec)
    }

    /// Nanoseconds since 1970 by the wall clock, for captures.
    public static func wallClockNanoseconds() -> UInt64 {
        let time = read(CLOCK_REALTIME)
        return UInt64(max(0, time.tv_sec)) &* 1_000_000_000 &+ UInt64(max(0, time.tv_nsec))
    }

    /// Microseconds of CLOCK_MONOTONIC, which systemd compares with its own.
    static func monotonicMicroseconds() -> UInt64 {
        let time = read(CLOCK_MONOTONIC)
        return UInt64(max(0, time.tv_sec)) &* 1_000_000 &+ UInt64(max(0, time.tv_nsec)) / 1000
    }

    private static func read(_ clock: clockid_t) -> timespec {
        var time = timespec()
        unsafe clock_gettime(clock, &time)
        return time
    }
}
