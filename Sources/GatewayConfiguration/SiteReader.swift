import IPPackets
import Policy

/// A site of the file with the places that messages name.
struct LocatedSite {
    let site: SiteDescription
    let position: SourcePosition
    let addressPosition: SourcePosition
    let networks: [(value: IPPrefix, position: SourcePosition)]

    /// The address for messages.
    var addressWord: String { site.address == .any ? "any" : site.address.description }
}

/// Reads one entry of the `sites` section.
enum SiteReader {
    static let keys = ["address", "networks", "prefixes"]

    static func read(_ entry: ConfigurationEntry, _ sink: DiagnosticSink) -> LocatedSite? {
        let path = "sites.\(entry.key)"
        guard
            let reader = MappingReader(entry.value, at: entry.position, path: path, accepting: keys, sink)
        else { return nil }
        if reader.entry("networks") != nil, reader.entry("prefixes") != nil {
            reader.error("prefixes", "stands beside 'networks', which means the same; accepted: one of them")
        }
        let networks =
            reader.located("networks", ScalarText.prefix) ?? reader.located("prefixes", ScalarText.prefix)
            ?? []
        if reader.entry("address") == nil {
            reader.missing("address", "the outer address of the peer, its DNS name, a list of these, or any")
        }
        guard let address = address(reader) else { return nil }
        return LocatedSite(
            site: SiteDescription(name: entry.key, address: address, networks: networks.map { $0.value }),
            position: entry.position,
            addressPosition: reader.entry("address")?.value.position ?? entry.position,
            networks: networks
        )
    }

    /// More hosts than this are a mistake, and would make attempts go round for hours.
    private static let maximumHosts = 32

    private static func address(_ reader: MappingReader) -> RemoteAddress? {
        guard let hosts = reader.located("address", ScalarText.remoteHost), !hosts.isEmpty else { return nil }
        if let any = hosts.first(where: { $0.value == nil }) {
            guard hosts.count > 1 else { return .any }
            reader.sink.error(
                any.position,
                reader.path(of: "address"),
                "any stands beside others; accepted: any alone, or a list without it"
            )
            return nil
        }
        var seen: Set<RemoteHost> = []
        for (host, position) in hosts {
            guard let host, !seen.insert(host).inserted else { continue }
            reader.sink.error(position, reader.path(of: "address"), "'\(host)' stands there twice")
        }
        if hosts.count > maximumHosts {
            reader.error("address", "has \(hosts.count) entries; accepted: at most \(maximumHosts)")
        }
        return RemoteAddress(hosts.compactMap { $0.value })
    }
}
