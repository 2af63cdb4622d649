import Cryptography
import Vici

/// Just enough of swanctl.conf's syntax, and of what swanctl makes of it, to have its messages in tests.
struct SwanctlFile {
    /// A section: its keys and its sections, in order.
    final class Section {
        var name: String
        var values: [(key: String, value: String)] = []
        var sections: [Section] = []

        init(_ name: String) {
            self.name = name
        }

        func section(_ name: String) -> Section? { sections.first { $0.name == name } }
    }

    let root = Section("")

    init(_ text: String) {
        var stack = [root]
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            var rest = Self.trimmed(Self.withoutComment(line))
            while !rest.isEmpty {
                if rest.hasPrefix("}") {
                    if stack.count > 1 { stack.removeLast() }
                    rest = Self.trimmed(rest.dropFirst())
                } else if let brace = rest.firstIndex(of: "{"),
                    rest.firstIndex(of: "=").map({ $0 > brace }) ?? true
                {
                    let section = Section(String(Self.trimmed(rest[..<brace])))
                    stack[stack.count - 1].sections.append(section)
                    stack.append(section)
                    rest = Self.trimmed(rest[rest.index(after: brace)...])
                } else if let equals = rest.firstIndex(of: "=") {
                    let key = String(Self.trimmed(rest[..<equals]))
                    var value = Self.trimmed(rest[rest.index(after: equals)...])
                    var tail = Substring()
                    if value.hasSuffix("}"), let end = value.lastIndex(of: "}") {
                        tail = value[end...]
                        value = Self.trimmed(value[..<end])
                    }
                    if value.count >= 2, value.first == "\"", value.last == "\"" {
                        value = value.dropFirst().dropLast()
                    }
                    stack[stack.count - 1].values.append((key, String(value)))
                    rest = tail
                } else {
                    rest = ""  // include, and what else has no meaning here
                }
            }
        }
    }

    private static func withoutComment(_ line: Substring) -> Substring {
        var isQuoted = false
        for index in line.indices {
            if line[index] == "\"" { isQuoted.toggle() }
            if line[index] == "#", !isQuoted,
                index == line.startIndex || line[line.index(before: index)] != "@"
            {
                return line[..<index]
            }
        }
        return line
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text.drop { $0.isWhitespace }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }

    // MARK: - Messages

    private static let lists: Set<String> = [
        "local_addrs", "remote_addrs", "proposals", "esp_proposals", "ah_proposals", "local_ts", "remote_ts",
        "vips", "pools", "groups", "cert_policy",
    ]
    private static let fileLists: Set<String> = ["certs", "cacerts", "pubkeys"]

    /// The `load-conn` messages.
    var connections: [ViciMessage] { messages(of: "connections") }

    /// The `load-shared` messages.
    var secrets: [ViciMessage] {
        (root.section("secrets")?.sections ?? []).compactMap { section in
            let types = ["eap", "xauth", "ntlm", "ike", "ppk"]
            guard let type = types.first(where: { section.name.hasPrefix($0) }),
                let secret = section.values.first(where: { $0.key == "secret" })?.value
            else { return nil }
            return ViciMessage { message in
                message.set("id", section.name)
                message.set("type", type)
                message.set("data", secret)
                message.list("owners", section.values.filter { $0.key.hasPrefix("id") }.map { $0.value })
            }
        }
    }

    private func messages(of name: String) -> [ViciMessage] {
        (root.section(name)?.sections ?? []).map { section in
            ViciMessage { $0.section(section.name, Self.message(section)) }
        }
    }

    private static func message(_ section: Section) -> ViciMessage {
        ViciMessage { message in
            for (key, value) in section.values {
                if lists.contains(key) {
                    message.list(key, items(value))
                } else if fileLists.contains(key) {
                    // swanctl sends the files' octets; whose they are does not count here.
                    message.list(key, octets: items(value).map { _ in fileContents[key] ?? [] })
                } else {
                    message.set(key, value)
                }
            }
            for child in section.sections { message.section(child.name, Self.message(child)) }
        }
    }

    /// A certificate of an authority, and its key.
    private static let fileContents: [String: [UInt8]] = {
        do throws(CryptoError) {
            let key = try PrivateKeyInfo.generate(.ed25519)
            let content = CertificateContent(
                subject: [("CN", "file")],
                authority: .unlimited,
                notBefore: 1_700_000_000,
                notAfter: 1_900_000_000
            )
            let certificate = try key.issue(content, for: try key.publicKey(), issuer: nil).encoded
            return ["certs": certificate, "cacerts": certificate, "pubkeys": try key.publicKey().encoded]
        } catch {
            return [:]
        }
    }()

    private static func items(_ value: String) -> [String] {
        value.split(separator: ",").map { String(trimmed($0)) }.filter { !$0.isEmpty }
    }
}
