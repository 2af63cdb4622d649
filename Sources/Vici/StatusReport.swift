/// Lays out a `GatewayStatus` as text of at most 80 columns.
public struct StatusReport: Sendable {
    /// The most characters of a line.
    public static let columns = 80

    private var lines: [String] = []

    private init() {}

    /// The report of `status`: a line about the daemon, a block for each connection, the drops.
    public static func text(_ status: GatewayStatus) -> String {
        var report = StatusReport()
        report.addDaemon(status)
        report.addDataPlane(status)
        for connection in status.connections { report.add(connection) }
        report.addDrops(status.drops)
        return report.lines.joined(separator: "\n") + "\n"
    }

    private mutating func addDaemon(_ status: GatewayStatus) {
        let daemon = status.version.string("daemon") ?? "daemon"
        let parts = [daemon, status.version.string("version")].compactMap { $0 }
        var text = parts.joined(separator: " ")
        if let running = status.stats.section("uptime")?.string("running") { text += ", up \(running)" }
        if let sas = status.stats.section("ikesas"), let total = sas.string("total") {
            text += ", \(total) IKE_SAs, \(sas.string("half-open") ?? "0") half-open"
        }
        add("", text)
    }

    private mutating func addDataPlane(_ status: GatewayStatus) {
        guard let plane = status.stats.section("causeway")?.section("data-plane"),
            let offloads = plane.section("offloads")
        else { return }
        let names = offloads.elements.map(\.name)
        let used = names.filter { offloads.string($0) == "yes" }
        let missing = names.filter { offloads.string($0) != "yes" }
        var text = "data plane: \(plane.string("workers") ?? "0") worker(s)"
        text += used.isEmpty ? ", no offloads" : ", " + used.joined(separator: " ")
        if !missing.isEmpty { text += ", without " + missing.joined(separator: " ") }
        add("", text)
    }

    private mutating func add(_ connection: GatewayStatus.Connection) {
        lines.append("")
        let missing = connection.missingTunnels
        var title = "\(connection.name)  \(connection.state.rawValue)"
        if connection.state == .up, !missing.isEmpty {
            let count = connection.tunnels.count
            title += ", \(count - missing.count) of \(count) tunnels"
        }
        add("", title)
        if connection.sas.isEmpty {
            let remote = connection.configuration.strings("remote_addrs") ?? []
            add("peer", remote.isEmpty ? "any" : remote.joined(separator: ", "))
        }
        for sa in connection.sas { add(sa: sa, showsState: connection.sas.count > 1) }
        for tunnel in missing {
            let child = connection.configuration.section("children")?.section(tunnel)
            add("tunnel", "\(tunnel)  DOWN" + StatusReport.nextAttempt(child))
            add("", StatusReport.selectors(child ?? ViciMessage()), indent: 4)
            if let cause = child?.string("last-error") { add("", "cause: " + cause, indent: 4) }
        }
        for (name, record) in connection.configuration.section("names")?.sections ?? [] {
            add(name: name, record)
        }
        let told = missing.compactMap {
            connection.configuration.section("children")?.section($0)?.string("last-error")
        }
        if let error = connection.configuration.string("last-error"), !error.isEmpty,
            !told.contains(error)
        {
            add("last error", error)
        }
    }

    private static func nextAttempt(_ child: ViciMessage?) -> String {
        guard let seconds = child?.number("next-attempt", as: UInt64.self) else { return "" }
        return seconds == 0 ? ", next attempt now" : ", next attempt in \(Units.duration(seconds))"
    }

    /// What a DNS name of the peer stands for.
    private mutating func add(name: String, _ record: ViciMessage) {
        let addresses = record.strings("addresses") ?? []
        var text = name + " is " + (addresses.isEmpty ? "unknown" : addresses.joined(separator: ", "))
        if let age = record.number("age", as: UInt64.self) { text += ", asked \(Units.duration(age)) ago" }
        if let error = record.string("error") { text += ": " + error }
        add("name", text)
    }

    private mutating func add(sa: ViciMessage, showsState: Bool) {
        let host = sa.string("remote-host") ?? "?"
        let identity = sa.string("remote-id").map { $0 == host ? "" : "  \($0)" } ?? ""
        let port = sa.string("remote-port").map { $0 == "500" ? "" : "[\($0)]" } ?? ""
        add("peer", host + port + identity)
        let state = showsState ? [sa.string("state") ?? "?"] : []
        add("IKE", (state + [StatusReport.ikeSuite(sa)]).joined(separator: " "))
        var age: [String] = []
        if let seconds = sa.number("established", as: UInt64.self) { age.append(Units.duration(seconds)) }
        age += StatusReport.times(sa)
        if !age.isEmpty { add("age", age.joined(separator: ", ")) }
        for (name, child) in sa.section("child-sas")?.sections ?? [] { add(child: child, key: name) }
    }

    private mutating func add(child: ViciMessage, key: String) {
        let head = [
            child.string("name") ?? key, child.string("state") ?? "?", StatusReport.childSuite(child),
        ]
        add("tunnel", head.joined(separator: "  "))
        add("", StatusReport.selectors(child), indent: 4)
        if let local = child.string("path-local"), let remote = child.string("path-remote") {
            add("", [local + "..." + remote, StatusReport.mtu(child)].joined(separator: ", "), indent: 4)
        }
        let times = StatusReport.times(child)
        if !times.isEmpty { add("", times.joined(separator: ", "), indent: 4) }
        add("", StatusReport.traffic(child), indent: 4)
    }

    private mutating func addDrops(_ drops: [(reason: String, count: UInt64)]) {
        guard !drops.isEmpty else { return }
        lines.append("")
        add("", "dropped packets")
        let width = drops.map { String($0.count).count }.max() ?? 0
        for (reason, count) in drops {
            let number = String(count)
            add("", String(repeating: " ", count: width - number.count) + "\(number)  \(reason)", indent: 2)
        }
    }

    /// The selectors of a CHILD_SA or tunnel, ours first.
    static func selectors(_ child: ViciMessage) -> String {
        ["local-ts", "remote-ts"].map { key in
            let side = child.strings(key) ?? []
            return side.isEmpty ? "?" : side.joined(separator: " ")
        }.joined(separator: " ↔ ")
    }

    /// Version and algorithms of an IKE_SA.
    static func ikeSuite(_ sa: ViciMessage) -> String {
        let version = sa.string("version").map { "IKEv\($0)" } ?? "IKE"
        let suite = suite(sa, keys: ["encr-alg", "integ-alg", "prf-alg", "dh-group"])
        return suite.isEmpty ? version : "\(version) \(suite)"
    }

    /// How the packets of a CHILD_SA travel, and its algorithms.
    static func childSuite(_ child: ViciMessage) -> String {
        let encapsulation = child.flag("encap") == true ? "ESP in UDP" : child.string("protocol") ?? "ESP"
        let suite = suite(child, keys: ["encr-alg", "integ-alg", "dh-group"])
        return suite.isEmpty ? encapsulation : "\(encapsulation) \(suite)"
    }

    /// What a CHILD_SA carried, both ways.
    static func traffic(_ child: ViciMessage) -> String {
        traffic(child, "in") + ", " + traffic(child, "out")
    }

    private static func suite(_ message: ViciMessage, keys: [String]) -> String {
        keys.compactMap { key in
            guard let name = message.string(key), !name.isEmpty else { return nil }
            guard key == "encr-alg", let size = message.string("encr-keysize"), size != "0" else {
                return name
            }
            return "\(name)-\(size)"
        }.joined(separator: "/")
    }

    /// When an SA is replaced, and when it ends whatever comes.
    private static func times(_ sa: ViciMessage) -> [String] {
        [("rekey-time", "rekey"), ("life-time", "ends")].compactMap { key, word in
            sa.number(key, as: UInt64.self).map { "\(word) in \(Units.duration($0))" }
        }
    }

    private static func mtu(_ child: ViciMessage) -> String {
        let path = child.string("path-mtu").map { "path \($0)" } ?? "path not probed"
        return "MTU \(child.string("inner-mtu") ?? "?") (\(path))"
    }

    private static func traffic(_ child: ViciMessage, _ direction: String) -> String {
        let octets = Units.octets(child.number("bytes-\(direction)", as: UInt64.self) ?? 0)
        return "\(direction) \(octets) (\(child.string("packets-\(direction)") ?? "0") packets)"
    }
}

// MARK: - Lines

extension StatusReport {
    private static let labelWidth = 12

    /// Appends `text` after a label, or at `indent` columns if the label is empty, in as many lines as it
    /// takes.
    private mutating func add(_ label: String, _ text: String, indent: Int = 0) {
        let first: String
        let margin: Int
        if label.isEmpty {
            first = String(repeating: " ", count: indent)
            margin = indent
        } else {
            margin = 2 + StatusReport.labelWidth
            first =
                "  " + label + String(repeating: " ", count: max(1, StatusReport.labelWidth - label.count))
        }
        lines += StatusReport.wrapped(text, prefix: first, margin: label.isEmpty ? margin + 2 : margin)
    }

    /// `text` behind `prefix` in as many lines of 80 columns as it takes, the further ones indented to `margin`, or to the
    /// end of the prefix.
    static func wrapped(_ text: String, prefix: String, margin: Int? = nil) -> [String] {
        var lines: [String] = []
        let rest = String(repeating: " ", count: margin ?? prefix.count)
        var line = prefix
        var isFresh = true
        let clean = StatusReport.printable(text)
        for word in clean.split(separator: " ", omittingEmptySubsequences: false) {
            var word = word
            if !isFresh, line.count + 1 + word.count <= StatusReport.columns {
                line += " " + word
                continue
            }
            if !isFresh {
                lines.append(line)
                line = rest
            }
            while line.count + word.count > StatusReport.columns {
                let room = StatusReport.columns - line.count
                lines.append(line + word.prefix(room))
                word = word.dropFirst(room)
                line = rest
            }
            line += word
            isFresh = false
        }
        return lines + [line]
    }

    /// `text` without what could steer a terminal: a peer chooses its identity.
    public static func printable(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
                result.append("?")
            default: result.append(scalar)
            }
        }
        return String(result)
    }
}

/// Numbers with units for people.
enum Units {
    /// A duration by its two largest units.
    static func duration(_ seconds: UInt64) -> String {
        let units: [(size: UInt64, name: String)] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")]
        guard let first = units.firstIndex(where: { seconds >= $0.size }) else { return "0s" }
        var left = seconds
        var parts: [String] = []
        for unit in units[first...].prefix(2) {
            let count = left / unit.size
            left %= unit.size
            if count > 0 { parts.append("\(count)\(unit.name)") }
        }
        return parts.joined(separator: " ")
    }

    /// An amount of octets with one decimal from 1 KiB on.
    static func octets(_ count: UInt64) -> String {
        guard count >= 1024 else { return "\(count) B" }
        var scaled = count
        var rest: UInt64 = 0
        var unit = ""
        for name in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] where scaled >= 1024 {
            rest = scaled % 1024
            scaled /= 1024
            unit = name
        }
        return "\(scaled).\(rest * 10 / 1024) \(unit)"
    }
}
