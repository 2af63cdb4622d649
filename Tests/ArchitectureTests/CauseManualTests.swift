import Foundation
import Testing

/// The manual says of every cause what to do.
@Suite struct CauseManualTests {
    @Test func everyCauseStandsInTheManual() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let source = try String(
            contentsOf: root.appending(path: "Sources/Gateway/ControlPlane+Engine.swift"),
            encoding: .utf8
        )
        let manual = try String(contentsOf: root.appending(path: "Docs/causewayd.8"), encoding: .utf8)
        let start = try #require(source.range(of: "var reasonName: String {"))
        let words = source[start.upperBound...].split(separator: "\n").compactMap { line -> Substring? in
            let parts = line.split(separator: "\"", omittingEmptySubsequences: false)
            return line.contains("case .") && parts.count == 3 ? parts[1] : nil
        }.filter { !$0.contains("\\") }
        #expect(words.count >= 20, "\(words)")
        for word in words { #expect(manual.contains("\n.It Li \(word)\n"), "\(word) is not in CAUSES") }
    }
}
