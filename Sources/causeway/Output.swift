import ArgumentParser
import Foundation
import Vici

/// Prints a line on standard error.
func printError(_ line: String) {
    FileHandle.standardError.write(Data("causeway: \(line)\n".utf8))
}

/// Makes what was printed appear at once, also in a pipe.
func flushOutput() {
    fflush(nil)
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
        let log = lines.map { ViciJSON.quoted($0) }.joined(separator: ",")
        let message = error.map { ",\"errmsg\":\(ViciJSON.quoted($0))" } ?? ""
        return
            "{\"command\":\(ViciJSON.quoted(command)),\"success\":\(error == nil),\"log\":[\(log)]\(message)}"
    }
}
