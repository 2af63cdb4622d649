import IPPackets
import Policy

/// Reads the `gateway` section.
struct GatewayReader {
    static let keys = [
        "name", "address", "addresses", "networks", "interface", "identity", "mark", "routing-table",
        "rule-priority", "ports", "vici", "mtu", "workers", "log-level", "asn",
        "path-mtu-discovery", "pfs-preflight", "disable-offloads", "keepalive",
    ]
    private static let levels = ["trace", "debug", "info", "notice", "warning", "error", "critical"]

    private let reader: MappingReader
    /// The networks with the places where they stand.
    let networks: [(value: IPPrefix, position: SourcePosition)]

    init?(_ entry: ConfigurationEntry, _ sink: DiagnosticSink) {
        guard
            let reader = MappingReader(
                entry.value,
                at: entry.position,
                path: "gateway",
                accepting: Self.keys,
                sink
            )
        else { return nil }
        self.reader = reader
        networks = reader.located("networks", ScalarText.prefix) ?? []
    }

    /// Where the values stand that connections take over, by the key that the connection has for them.
    var positions: [String: SourcePosition] {
        var result: [String: SourcePosition] = [:]
        if let network = networks.first { result["local"] = network.position }
        if let entry = reader.entry("identity") { result["local-id"] = entry.position }
        return result
    }

    /// Fills `gateway` with what the section says.
    func apply(to gateway: inout GatewayDescription) {
        gateway.name = reader.value("name", ScalarText.gatewayName) ?? gateway.name
        gateway.outerAddresses = addresses()
        gateway.networks = networks.map { $0.value }
        gateway.identity = reader.value("identity", ScalarText.ownIdentity)
        gateway.interfaceName = reader.value("interface", ScalarText.interfaceName) ?? gateway.interfaceName
        gateway.mark = reader.value("mark", ScalarText.unsigned32) ?? gateway.mark
        gateway.routingTable = reader.value("routing-table", Self.table) ?? gateway.routingTable
        gateway.rulePriority = integer("rule-priority", 1...32_765).map { UInt32($0) } ?? gateway.rulePriority
        gateway.viciPaths = reader.list("vici", ScalarText.socketPath) ?? gateway.viciPaths
        gateway.innerMTU = integer("mtu", 1280...65_535)
        gateway.workers = integer("workers", 1...64)
        gateway.disabledOffloads =
            reader.list("disable-offloads") { (text) throws(Refusal) in
                try ScalarText.choice(text, GatewayDescription.offloads.map { ($0, $0) })
            } ?? []
        gateway.logLevel = reader.value("log-level") { (text) throws(Refusal) in
            try ScalarText.choice(text, Self.levels.map { ($0, $0) })
        }
        gateway.asn = reader.value("asn", ScalarText.unsigned32)
        gateway.discoversPathMTU = reader.value("path-mtu-discovery", ScalarText.boolean) ?? true
        gateway.preflightsPFS = reader.value("pfs-preflight", ScalarText.boolean) ?? true
        let keepalive = reader.value("keepalive") { (text) throws(Refusal) in
            try ScalarText.duration(text, in: .seconds(1) ... .seconds(3600))
        }
        gateway.keepaliveInterval = keepalive ?? gateway.keepaliveInterval
        applyPorts(to: &gateway)
    }

    private func integer(_ key: String, _ range: ClosedRange<Int>) -> Int? {
        reader.value(key) { (text) throws(Refusal) in try ScalarText.integer(text, in: range) }
    }

    private func addresses() -> [IPAddress] {
        if reader.entry("address") != nil, reader.entry("addresses") != nil {
            reader.error("address", "stands beside 'addresses'; accepted: one of them")
        }
        return reader.list("address", ScalarText.address) ?? reader.list("addresses", ScalarText.address)
            ?? []
    }

    /// Tables 253 to 255 are the system's own.
    private static func table(_ text: String) throws(Refusal) -> UInt32 {
        let number = try ScalarText.unsigned32(text)
        guard !(253...255).contains(number) else {
            throw Refusal("\(quoted(text)) is a table of the system; accepted: any but 253, 254 and 255")
        }
        return number
    }

    private func applyPorts(to gateway: inout GatewayDescription) {
        guard let entry = reader.entry("ports"),
            let ports = MappingReader(
                entry.value,
                at: entry.position,
                path: "gateway.ports",
                accepting: ["ike", "nat-t"],
                reader.sink
            )
        else { return }
        let port = { (key: String) in
            ports.value(key) { (text) throws(Refusal) in try ScalarText.integer(text, in: 1...65_535) }
                .flatMap { UInt16(exactly: $0) }
        }
        gateway.ikePort = port("ike") ?? gateway.ikePort
        gateway.natTraversalPort = port("nat-t") ?? gateway.natTraversalPort
        if gateway.ikePort == gateway.natTraversalPort {
            reader.sink.error(entry.position, "gateway.ports", "ike and nat-t must be two different ports")
        }
    }
}
