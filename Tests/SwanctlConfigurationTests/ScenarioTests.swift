import Foundation
import Testing
import Vici

@testable import SwanctlConfiguration

/// The configurations of strongSwan's own scenarios: each connection is either loaded or refused by name.
@Suite(.enabled(if: Scenarios.areAvailable))
struct ScenarioTests {
    @Test func everyConnectionIsLoadedOrRefusedByName() throws {
        var loaded = 0
        var reasons: [String: Int] = [:]
        var secrets = 0
        for path in Scenarios.files {
            let text = Scenarios.completed(try String(contentsOfFile: path, encoding: .utf8))
            let file = SwanctlFile(text)
            var configuration = LoadedConfiguration()
            for message in file.secrets {
                #expect(throws: Never.self, "\(path)") { try configuration.loadShared(message) }
                secrets += 1
            }
            #expect(configuration.sharedIdentifiers.count == file.secrets.count)
            for message in file.connections {
                do throws(LoadRefusal) {
                    try configuration.loadConnection(message)
                    loaded += 1
                } catch {
                    let name = message.elements.first?.name ?? ""
                    #expect(error.description.hasSuffix(": not supported yet"), "\(path) \(name): \(error)")
                    reasons[Self.reason(error, name), default: 0] += 1
                }
            }
        }
        let refused = reasons.values.reduce(0, +)
        print(
            "scenarios: \(Scenarios.files.count) files, \(secrets) secrets, \(loaded) loaded, \(refused) refused"
        )
        for (reason, count) in reasons.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }) {
            print("  \(count) \(reason)")
        }
        #expect(loaded > 0)
    }

    /// The setting without the names in its path.
    private static func reason(_ refusal: LoadRefusal, _ name: String) -> String {
        let text = refusal.description.replacingOccurrences(of: ": not supported yet", with: "")
        let parts = text.split(separator: " ", maxSplits: 1)
        let path = (parts.first ?? "").split(separator: ".").filter { $0 != "connections" && $0 != name }
        return (path.suffix(1) + parts.dropFirst()).joined(separator: " ")
    }
}

enum Scenarios {
    static let folder: String = {
        if let folder = ProcessInfo.processInfo.environment["CAUSEWAY_SCENARIOS"] { return folder }
        var root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        for _ in 0..<3 { root.deleteLastPathComponent() }
        return root.deletingLastPathComponent().appendingPathComponent("shared/lab/scenarios").path
    }()

    static let files: [String] = {
        let data = folder + "/data"
        let paths = FileManager.default.subpaths(atPath: data) ?? []
        return paths.filter { $0.hasSuffix("swanctl.conf") }.sorted().map { data + "/" + $0 }
    }()

    static let areAvailable: Bool = {
        if files.isEmpty { print("skipping scenarios: none in \(folder) (set CAUSEWAY_SCENARIOS)") }
        return !files.isEmpty
    }()

    /// The scenarios' files are templates: names of hosts stand for their addresses.
    static func completed(_ text: String) -> String {
        var text = text
        for (index, host) in ["MOON", "SUN", "CAROL", "DAVE", "ALICE", "VENUS", "WINNETOU"].enumerated() {
            text = text.replacingOccurrences(of: "PH_IP_\(host)", with: "192.0.2.\(index + 1)")
        }
        return text
    }
}
