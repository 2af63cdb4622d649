import ArgumentParser
import Foundation
import LinuxIO
import Vici

struct Explain: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows what was said with a peer of late, message by message, and why it failed.",
        discussion: """
            The last conversations of a connection, or with an address. Without either: those that belong to no \
            connection, such as requests of strangers. Keys and proofs are named, never shown.
            """
    )

    @OptionGroup var daemon: DaemonOptions

    @Flag(help: "Print one JSON object with the conversations as the daemon tells them.")
    var json = false

    @Option(help: "Show so many of the last conversations at most.")
    var last: Int = 5

    @Argument(help: "The connection, or the address of a peer.")
    var subject: String?

    func validate() throws {
        guard last > 0 else { throw ValidationError("--last is at least 1.") }
    }

    func run() throws {
        try daemon.withDaemon { client in
            var found: [ViciMessage] = []
            var answer = try client.request("explain", filter("connection"), event: "conversation") {
                found.append($0)
            }
            // A name goes before an address, as a connection may be called anything.
            if let subject, answer.flag("success") == false, Self.isAddress(subject) {
                answer = try client.request("explain", filter("peer"), event: "conversation") {
                    found.append($0)
                }
            }
            guard answer.flag("success") != false else {
                throw ViciClientError.refused(StatusReport.printable(answer.string("errmsg") ?? "refused"))
            }
            found = Array(found.suffix(last))
            guard !json else {
                let list = found.map { $0.json }.joined(separator: ",")
                return print(ViciJSON.object([("conversations", "[\(list)]")]))
            }
            if found.isEmpty {
                print("nothing was said\(subject.map { " with \($0)" } ?? "") since the start")
            }
            print(
                found.map { TranscriptText($0).text(started: Self.time($0)) }.joined(separator: "\n"),
                terminator: ""
            )
        }
    }

    private func filter(_ key: String) -> ViciMessage {
        ViciMessage { if let subject { $0.set(key, subject) } }
    }

    private static func isAddress(_ text: String) -> Bool {
        text.contains(":") || text.split(separator: ".").allSatisfy { UInt8($0) != nil }
    }

    /// When a conversation began, by the clock here.
    private static func time(_ conversation: ViciMessage) -> String {
        let seconds = conversation.number("started", as: Int64.self) ?? 0
        let date = Date(timeIntervalSince1970: TimeInterval(seconds))
        return date.formatted(Date.ISO8601FormatStyle(timeZone: .current).dateTimeSeparator(.space))
    }
}

struct Capture: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Writes IKE messages into a pcapng file, each with what is inside it as a comment.",
        discussion: """
            The file is opened here and passed to the daemon. It ends after --seconds, --packets, or when this command \
            is interrupted. Keys are not written down: messages stay encrypted, their contents are named in comments.
            """
    )

    @OptionGroup var daemon: DaemonOptions

    @Option(help: "Capture the messages of this connection only.")
    var connection: String?

    @Option(help: "Capture the messages with this address only.")
    var peer: String?

    @Option(help: "End after so many seconds.")
    var seconds: UInt32?

    @Option(help: "End after so many packets.")
    var packets: UInt64?

    @Flag(help: "Print one JSON object: success, packets, bytes, dropped, and errmsg when it failed.")
    var json = false

    @Argument(help: "The file to write; - is standard output.")
    var file: String

    func run() throws {
        let handle = try output()
        try daemon.withDaemon { client in
            let message = ViciMessage {
                if let connection { $0.set("connection", connection) }
                if let peer { $0.set("peer", peer) }
                if let seconds { $0.set("seconds", seconds) }
                if let packets { $0.set("packets", packets) }
            }
            let answer = try client.request(
                "capture",
                message,
                patience: seconds.map { .seconds(Int64($0) + 10) } ?? .seconds(366 * 86_400),
                passing: handle.fileDescriptor
            )
            guard answer.flag("success") != false else {
                throw ViciClientError.refused(StatusReport.printable(answer.string("errmsg") ?? "refused"))
            }
            // Standard output may be the capture itself.
            let text =
                json
                ? answer.json
                : "\(answer.string("packets") ?? "0") packets, \(answer.string("dropped") ?? "0") dropped"
            if file == "-" { printError(text) } else { print(text) }
        }
    }

    /// Only who runs the command may read what was said.
    private func output() throws -> FileHandle {
        guard file != "-" else { return .standardOutput }
        guard
            FileManager.default.createFile(
                atPath: file,
                contents: nil,
                attributes: [.posixPermissions: 0o600]
            ),
            let handle = FileHandle(forWritingAtPath: file)
        else {
            printError("cannot write \(file)")
            throw ExitCode(1)
        }
        return handle
    }
}
