import IPPackets
import Policy

/// Loads gateway.yaml.
public enum GatewayConfigurationFile {
    static let sections = ["gateway", "policies", "sites", "connections"]

    /// Reads and checks the file at `path` and the secrets it names; throws all errors at once.
    ///
    /// A relative path is looked for beside the configuration file.
    public static func load(
        path: String,
        files: some ConfigurationFiles
    ) throws(ConfigurationErrors) -> GatewayDescription {
        let sink = DiagnosticSink(file: path)
        var gateway = GatewayDescription()
        if let text = text(path, files, sink) {
            if let root = YAMLDocument.read(text, sink) {
                let directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
                func absolute(_ path: String) -> String { path.hasPrefix("/") ? path : directory + path }
                read(
                    root,
                    into: &gateway,
                    sink,
                    secret: { (path) throws(Refusal) in try secret(absolute(path), files) },
                    file: { (path) throws(Refusal) in try contents(absolute(path), files) }
                )
            } else if !sink.hasErrors {
                sink.error(
                    SourcePosition(line: 1, column: 1),
                    "",
                    "the file is empty; accepted: the sections " + sections.joined(separator: ", ")
                )
            }
        }
        let errors = sink.sortedErrors
        guard errors.isEmpty else { throw ConfigurationErrors(diagnostics: errors) }
        gateway.warnings = sink.sortedWarnings
        return gateway
    }

    private static func text(_ path: String, _ files: some ConfigurationFiles, _ sink: DiagnosticSink)
        -> String?
    {
        do {
            return try files.text(path)
        } catch {
            sink.error(SourcePosition(line: 1, column: 1), "", "cannot be read: \(error)")
            return nil
        }
    }

    private static func secret(_ path: String, _ files: some ConfigurationFiles) throws(Refusal) -> [UInt8] {
        do {
            return try files.secret(path)
        } catch {
            throw Refusal("\(error)")
        }
    }

    private static func contents(_ path: String, _ files: some ConfigurationFiles) throws(Refusal) -> String {
        do {
            return try files.text(path)
        } catch {
            throw Refusal("\(error)")
        }
    }

    private static func read(
        _ root: ConfigurationNode,
        into gateway: inout GatewayDescription,
        _ sink: DiagnosticSink,
        secret: @escaping (String) throws(Refusal) -> [UInt8],
        file: @escaping (String) throws(Refusal) -> String
    ) {
        guard
            let reader = MappingReader(root, at: root.position, path: "", accepting: sections, sink)
        else { return }
        let section = reader.entry("gateway").flatMap { GatewayReader($0, sink) }
        section?.apply(to: &gateway)
        if reader.entry("gateway") == nil {
            reader.missing("gateway", "this gateway's name, addresses and networks")
        }
        let policyEntries = named("policies", in: reader)
        let siteEntries = named("sites", in: reader)
        let policies = policyEntries.compactMap { entry in
            PolicyReader.read(entry, sink).map { (entry.key, $0) }
        }
        let sites = siteEntries.compactMap { SiteReader.read($0, sink) }
        gateway.sites = sites.map { $0.site }
        let context = ConnectionContext(
            gateway: gateway,
            gatewayPositions: section?.positions ?? [:],
            sites: Dictionary(sites.map { ($0.site.name, $0) }, uniquingKeysWith: { first, _ in first }),
            siteNames: siteEntries.map { $0.key },
            policies: Dictionary(policies, uniquingKeysWith: { first, _ in first }),
            policyNames: policyEntries.map { $0.key },
            secret: secret,
            file: file,
            sink: sink
        )
        let connections = named("connections", in: reader).compactMap { entry in
            ConnectionReader.read(entry, context).map { (policy: $0, position: entry.position) }
        }
        gateway.connections = connections.map { $0.policy }
        let checks = CrossChecks(sink: sink)
        checks.checkOverlaps(gateway: section?.networks ?? [], sites: sites)
        checks.noteOuterAddresses(sites)
        checks.checkDistinguishable(connections)
    }

    /// The entries of a section whose keys are names.
    private static func named(_ key: String, in reader: MappingReader) -> [ConfigurationEntry] {
        guard let entry = reader.entry(key),
            let section = MappingReader(named: entry.value, at: entry.position, path: key, reader.sink)
        else { return [] }
        for entry in section.entries {
            do throws(Refusal) {
                _ = try ScalarText.name(entry.key)
            } catch {
                reader.sink.error(entry.position, key, error.text)
            }
        }
        return section.entries
    }
}
