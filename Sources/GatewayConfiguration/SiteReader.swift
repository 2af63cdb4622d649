import IPPackets
import Policy

/// A site of the file with the places that messages name.
struct LocatedSite {
    let site: SiteDescription
    let position: SourcePosition
    let addressPosition: SourcePosition
    let networks: [(value: IPPrefix, position: SourcePosition)]
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
            reader.missing("address", "the outer address of the peer, or any")
        }
        guard let address = reader.value("address", ScalarText.remoteAddress) else { return nil }
        return LocatedSite(
            site: SiteDescription(name: entry.key, address: address, networks: networks.map { $0.value }),
            position: entry.position,
            addressPosition: reader.entry("address")?.value.position ?? entry.position,
            networks: networks
        )
    }
}
