import ArgumentParser
import Foundation
import Vici

/// Prints a line on standard error.
func printError(_ line: String) {
    FileHandle.standardError.write(Data("causeway: \(line)\n".utf8))
}

/// Makes what was printed appear at once, also in a pipe; false when nobody reads it any more.
@discardableResult
func flushOutput() -> Bool {
    fflush(nil) == 0
}

/// When something was heard.
struct Timestamp {
    private let date = Date()

    /// The time of day here, for people.
    var timeOfDay: String {
        let parts = Calendar.current.dateComponents([.hour, .minute, .second], from: date)
        return [parts.hour, parts.minute, parts.second].map { part in
            let digits = String(part ?? 0)
            return digits.count < 2 ? "0" + digits : digits
        }.joined(separator: ":")
    }

    /// RFC 3339, UTC, with milliseconds, for programs.
    var universal: String { date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)) }
}

/// How a command that does something tells what came of it.
struct OutputForm: ParsableArguments {
    @Flag(help: "Print one JSON object: command, success, log, and errmsg when it failed.")
    var json = false

    /// Runs `body`; its log lines appear as they come, or in the object at the end.
    func report(_ command: String, _ body: (_ log: (String) -> Void) throws -> Void) throws {
        guard json else {
            return try body { line in
                print(line)
                flushOutput()
            }
        }
        var lines: [String] = []
        do {
            try body { lines.append($0) }
        } catch let error as ViciClientError {
            print(Self.outcome(command, lines, error: error.description))
            throw ExitCode(error.exitCode)
        }
        print(Self.outcome(command, lines, error: nil))
    }

    private static func outcome(_ command: String, _ lines: [String], error: String?) -> String {
        ViciJSON.object([
            ("command", ViciJSON.quoted(command)),
            ("success", error == nil ? "true" : "false"),
            ("log", ViciJSON.array(lines)),
            ("errmsg", error.map { ViciJSON.quoted($0) }),
        ])
    }
}
