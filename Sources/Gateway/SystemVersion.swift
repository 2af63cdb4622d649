import LinuxIO
import Vici

/// The answer of `version` and the calendar text of `stats`.
public enum SystemVersion {
    /// The version of this daemon.
    public static let number = "0.1.0"

    static var message: ViciMessage {
        ViciMessage { message in
            message.set("daemon", "causewayd")
            message.set("version", number)
            message.set("sysname", "Linux")
            message.set("release", (try? TextFile.read("/proc/sys/kernel/osrelease"))?.trimmed ?? "")
            message.set("machine", machine)
        }
    }

    private static var machine: String {
        #if arch(x86_64)
            "x86_64"
        #elseif arch(arm64)
            "aarch64"
        #else
            "unknown"
        #endif
    }

    /// Seconds since 1970 as strongSwan prints UTC, by the civil-from-days rule of the proleptic Gregorian calendar.
    static func calendarText(_ seconds: Int64) -> String {
        let (days, second) = seconds.quotientAndRemainder(dividingBy: 86_400)
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        let two = { (number: Int64) in number < 10 ? "0\(number)" : "\(number)" }
        let clock = "\(two(second / 3600)):\(two(second / 60 % 60)):\(two(second % 60))"
        return "\(names[Int(month - 1)]) \(two(day)) \(clock) UTC \(year)"
    }

    /// A span in strongSwan's words: in the largest unit of which there are more than two.
    static func spanText(_ seconds: Int64) -> String {
        let units: [(size: Int64, name: String)] = [(86_400, "day"), (3_600, "hour"), (60, "minute")]
        let unit = units.first { seconds > 2 * $0.size } ?? (1, "second")
        let count = seconds / unit.size
        return "\(count) \(unit.name)\(count == 1 ? "" : "s")"
    }
}

extension String {
    fileprivate var trimmed: String { String(self.drop { $0.isWhitespace }.prefix { !$0.isNewline }) }
}
