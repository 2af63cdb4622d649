import GatewayConfiguration
import Testing

/// Files in memory: one configuration, and secrets that are good unless said otherwise.
struct MemoryFiles: ConfigurationFiles {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    var texts: [String: String] = [:]
    var secrets: [String: Result<[UInt8], Failure>] = [:]

    func text(_ path: String) throws -> String {
        guard let text = texts[path] else {
            throw Failure(description: "open \(path): No such file or directory")
        }
        return text
    }

    func secret(_ path: String) throws -> [UInt8] {
        try secrets[path]?.get() ?? Array("a key of more than sixteen octets".utf8)
    }
}

let path = "/etc/causeway/gateway.yaml"

/// Loads `yaml` as if it stood in `path`.
func load(
    _ yaml: String,
    secrets: [String: Result<[UInt8], MemoryFiles.Failure>] = [:]
) throws(ConfigurationErrors) -> GatewayDescription {
    try GatewayConfigurationFile.load(path: path, files: MemoryFiles(texts: [path: yaml], secrets: secrets))
}

/// The errors of `yaml`; none when it loads.
func errors(
    of yaml: String,
    secrets: [String: Result<[UInt8], MemoryFiles.Failure>] = [:]
) -> [ConfigurationDiagnostic] {
    do throws(ConfigurationErrors) {
        _ = try load(yaml, secrets: secrets)
        return []
    } catch {
        return error.diagnostics
    }
}

/// Text without its `¶`, and the line and column where that stood.
func marked(_ text: String) -> (yaml: String, line: Int, column: Int) {
    guard let mark = text.firstIndex(of: "¶") else { return (text, 0, 0) }
    let before = text[..<mark]
    let line = before.count { $0 == "\n" } + 1
    let column =
        before.count
        - (before.lastIndex(of: "\n").map { before.distance(from: before.startIndex, to: $0) + 1 } ?? 0) + 1
    return (text.replacing("¶", with: ""), line, column)
}

/// Expects exactly one error, at the `¶` of `text`, whose message has all of `words`.
func expectError(
    _ text: String,
    _ words: String...,
    secrets: [String: Result<[UInt8], MemoryFiles.Failure>] = [:],
    sourceLocation: SourceLocation = #_sourceLocation
) {
    let (yaml, line, column) = marked(text)
    let found = errors(of: yaml, secrets: secrets)
    #expect(found.count == 1, "\(found)", sourceLocation: sourceLocation)
    guard let error = found.first else { return }
    #expect(
        "\(error.file):\(error.line):\(error.column)" == "\(path):\(line):\(column)",
        "\(error)",
        sourceLocation: sourceLocation
    )
    for word in words {
        #expect(
            error.message.contains(word),
            "\(word) is not in: \(error.message)",
            sourceLocation: sourceLocation
        )
    }
}

/// A small correct file; the arguments are lines in flow style that go into its sections.
func gatewayFile(
    gateway: String = "",
    policies: String = "{}",
    site: String = "address: 192.0.2.2, networks: [10.2.0.0/16]",
    sites: String = "",
    connection: String = "site: branch, psk-file: /psk",
    connections: String = ""
) -> String {
    """
    gateway:
      name: hq
      addresses: [192.0.2.1]
      networks: [10.1.0.0/16]
      \(gateway)
    policies: \(policies)
    sites:
      branch: { \(site) }
      \(sites)
    connections:
      branch: { \(connection) }
      \(connections)
    """
}
