import Cryptography
import IPPackets
import IPsecTypes
import Policy

/// What connections refer to.
struct ConnectionContext {
    let gateway: GatewayDescription
    /// Where the gateway's values stand that stand in for a connection's own.
    let gatewayPositions: [String: SourcePosition]
    let sites: [String: LocatedSite]
    /// Every name of the section, also of sites that were refused.
    let siteNames: [String]
    let policies: [String: NamedPolicy]
    let policyNames: [String]
    let secret: (String) throws(Refusal) -> [UInt8]
    /// The text of a file that everybody may read.
    let file: (String) throws(Refusal) -> String
    let sink: DiagnosticSink

    func origin(_ position: SourcePosition) -> ConfigurationOrigin {
        ConfigurationOrigin(source: sink.file, line: position.line)
    }
}

/// Reads one entry of the `connections` section.
struct ConnectionReader {
    static let keys =
        [
            "site", "ike", "mode", "start", "local-id", "remote-id", "policy", "compat", "ike-proposals",
            "esp-proposals", "dpd-delay", "dpd-timeout", "keepalive", "encap", "addresses", "replay-window",
            "child-sas", "tfc-padding", "copy-dscp", "copy-ecn", "copy-df",
            "retransmit", "tunnels", "path-mtu-discovery", "pfs-preflight",
            "fragmentation", "mobike", "redirect", "vips", "inactivity", "ppk-id", "ppk-file", "ppk-required",
        ] + CredentialReader.keys + LifetimeReader.ikeKeys + LifetimeReader.childKeys

    let reader: MappingReader
    let context: ConnectionContext
    let name: String

    /// The connection that stands at `entry`; nil after an error that leaves none.
    static func read(_ entry: ConfigurationEntry, _ context: ConnectionContext) -> ConnectionPolicy? {
        let path = "connections.\(entry.key)"
        guard
            let reader = MappingReader(
                entry.value,
                at: entry.position,
                path: path,
                accepting: keys,
                context.sink
            )
        else { return nil }
        return ConnectionReader(reader: reader, context: context, name: entry.key).connection()
    }

    private func connection() -> ConnectionPolicy? {
        checkVersion()
        let site = site()
        let policy = policy()
        let compatible = compatibility()
        let start = startMode(for: site)
        let addresses = reader.list("addresses", ScalarText.address) ?? context.gateway.outerAddresses
        let identity = reader.value("local-id", ScalarText.ownIdentity) ?? context.gateway.identity
        let remoteIdentity = reader.value("remote-id", ScalarText.identity)
        let credentials = CredentialReader(reader: reader, context: context).read(localIdentity: identity)
        let ike =
            proposals("ike-proposals", .ike, in: reader) ?? policy?.ike?.proposals ?? compatible?.ike
            ?? DefaultProposals.ike
        let liveness = livenessDelay()
        let keepalive =
            duration("keepalive", .seconds(1) ... .seconds(3600)) ?? context.gateway.keepaliveInterval
        let encap = reader.value("encap", ScalarText.boolean) ?? true
        let retransmission = retransmission()
        let lifetime = LifetimeReader([reader], prefix: "ike-").lifetime(.ikeDefault)
        let discovers = reader.value("path-mtu-discovery", ScalarText.boolean)
        let preflights = reader.value("pfs-preflight", ScalarText.boolean)
        let fragmentation = reader.value("fragmentation", Self.fragmentation)
        let mobike = reader.value("mobike", ScalarText.boolean)
        let postquantum = PostquantumReader(reader: reader, context: context).read()
        let virtual = reader.list("vips", Self.virtualAddress) ?? []
        let tunnels = TunnelReader(
            connection: self,
            site: site,
            policy: policy,
            compatible: compatible,
            start: start,
            isVirtual: !virtual.isEmpty
        ).tunnels()
        guard let site, let credentials else { return nil }
        var connection = ConnectionPolicy(
            name: name,
            localAddresses: addresses,
            remoteAddress: site.site.address,
            localIdentity: credentials.identity ?? identity,
            remoteIdentity: remoteIdentity,
            sharedKeys: credentials.keyring,
            proposals: ike,
            tunnels: tunnels,
            forcesEncapsulation: encap,
            livenessDelay: liveness,
            keepaliveInterval: keepalive,
            lifetime: lifetime,
            retransmission: retransmission,
            discoversPathMTU: discovers ?? context.gateway.discoversPathMTU,
            preflightsPFS: preflights ?? context.gateway.preflightsPFS,
            origin: context.origin(reader.position),
            keyOrigins: keyOrigins(site, policy)
        )
        connection.localAuthentication = credentials.local.first ?? LocalAuthentication()
        connection.remoteAuthentication = credentials.remote.first ?? .sharedKey
        connection.laterLocalRounds = credentials.local.dropFirst().map {
            LocalRound(identity: connection.localIdentity, authentication: $0)
        }
        connection.laterRemoteRounds = credentials.remote.dropFirst().map {
            RemoteRound(identity: connection.effectiveRemoteIdentity, authentication: $0)
        }
        connection.eapSecrets = credentials.eapSecrets
        connection.credentials = credentials.credentials
        connection.fragmentation = fragmentation ?? .yes
        connection.mobike = mobike ?? true
        connection.redirect = reader.value("redirect", Self.redirect)
        connection.requestedAddresses = virtual
        connection.postquantum = postquantum
        return connection
    }

    private func keyOrigins(_ site: LocatedSite, _ policy: NamedPolicy?) -> [String: ConfigurationOrigin] {
        var origins = context.gatewayPositions.mapValues { context.origin($0) }
        origins["address"] = context.origin(site.addressPosition)
        origins["remote"] = context.origin(site.networks.first?.position ?? site.position)
        if let position = policy?.ike?.position { origins["ike-proposals"] = context.origin(position) }
        if let position = policy?.esp?.position { origins["esp-proposals"] = context.origin(position) }
        for key in [
            "ike-proposals", "esp-proposals", "local-id", "remote-id", "vips", "inactivity", "ppk-id",
        ]
            + CredentialReader.keys
        {
            if let entry = reader.entry(key) { origins[key] = context.origin(entry.position) }
        }
        if let tunnels = reader.entry("tunnels") {
            for key in ["local", "remote"] { origins[key] = context.origin(tunnels.position) }
        }
        return origins
    }

    // MARK: - References

    private func checkVersion() {
        _ = reader.value("ike") { (text) throws(Refusal) in
            switch text {
            case "v2": return
            case "v1", "auto": throw Refusal("\(quoted(text)) is not supported yet; accepted: v2")
            default: throw Refusal("\(quoted(text)) is not accepted; accepted: v2")
            }
        }
    }

    private func site() -> LocatedSite? {
        guard reader.entry("site") != nil else {
            reader.missing("site", "the name of one of the sites: " + list(context.siteNames))
            return nil
        }
        guard let name = reader.value("site", ScalarText.text) else { return nil }
        if !context.siteNames.contains(name) { unknown("site", name, context.siteNames) }
        return context.sites[name]
    }

    private func policy() -> NamedPolicy? {
        guard let name = reader.value("policy", ScalarText.text) else { return nil }
        if !context.policyNames.contains(name) { unknown("policy", name, context.policyNames) }
        return context.policies[name]
    }

    private func unknown(_ key: String, _ name: String, _ names: [String]) {
        let nearest = NearestWord.nearest(to: name, among: names).map { ", did you mean '\($0)'?" } ?? ""
        reader.error(key, "there is no \(key) \(quoted(name))\(nearest); accepted: \(list(names))")
    }

    private func list(_ names: [String]) -> String {
        guard !names.isEmpty else { return "none, the section is empty" }
        return names.prefix(20).joined(separator: ", ") + (names.count > 20 ? ", …" : "")
    }

    // MARK: - Start

    private func startMode(for site: LocatedSite?) -> StartMode {
        let cannotInitiate = site.map { !$0.site.address.canInitiate } ?? false
        let mode =
            reader.value("mode") { (text) throws(Refusal) in
                try ScalarText.choice(
                    text,
                    [("Default", nil), ("InitiatorOnly", .start), ("ResponderOnly", .passive)]
                )
            } as StartMode??
        let byMode = mode.flatMap { $0 }
        let start = reader.value("start", Self.startMode)
        if let start, let byMode, (start == .passive) != (byMode == .passive) {
            reader.error("start", "'\(start.rawValue)' contradicts 'mode'; accepted: \(byMode.rawValue)")
        }
        let chosen = start ?? byMode
        if cannotInitiate, let chosen, chosen != .passive {
            let key = start == nil ? "mode" : "start"
            let accepted = start == nil ? "Default, ResponderOnly" : "passive"
            let address = site?.addressWord ?? "any"
            reader.error(key, "a site with the address \(address) cannot be called; accepted: \(accepted)")
        }
        return chosen ?? (cannotInitiate ? .passive : .start)
    }

    static func startMode(_ text: String) throws(Refusal) -> StartMode {
        try ScalarText.choice(text, StartMode.allCases.map { ($0.rawValue, $0) })
    }

    // MARK: - Values

    /// The proposals of `key`, each text one proposal in strongSwan's syntax; `default` stands for ours.
    func proposals(
        _ key: String,
        _ securityProtocol: SecurityProtocol,
        in reader: MappingReader
    ) -> [Proposal]? {
        let parts = reader.located(key) { (text) throws(Refusal) -> [Proposal] in
            if text == "default" {
                return securityProtocol == .ike ? DefaultProposals.ike : DefaultProposals.esp
            }
            do throws(ProposalSyntaxError) {
                return [try Proposal(keywords: text, for: securityProtocol)]
            } catch {
                throw Refusal("\(quoted(text)): \(error.description)")
            }
        }
        for (proposals, position) in parts ?? [] {
            for proposal in proposals {
                WeakAlgorithms.warn(of: proposal, at: position, reader.path(of: key), context.sink)
            }
        }
        return parts.map { parts in
            parts.flatMap { $0.value }.enumerated().map { index, proposal in
                var numbered = proposal
                numbered.number = UInt8(truncatingIfNeeded: index + 1)
                return numbered
            }
        }
    }

    /// Whose older offers this connection makes and takes where it names none.
    func compatibility() -> CompatibleProposals? {
        guard let entry = reader.entry("compat") else { return nil }
        let choices = CompatibleProposals.allCases.map { ($0.name, $0) }
        let found = reader.value("compat") { (text) throws(Refusal) in try ScalarText.choice(text, choices) }
        for proposal in (found?.ike ?? []) + (found?.esp ?? []) {
            WeakAlgorithms.warn(
                of: proposal,
                at: entry.value.position,
                reader.path(of: "compat"),
                context.sink
            )
        }
        return found
    }

    private func duration(_ key: String, _ range: ClosedRange<Duration>) -> Duration? {
        reader.value(key) { (text) throws(Refusal) in try ScalarText.duration(text, in: range) }
    }

    /// An address to ask for; `any` and `any6` are any of a family.
    private static func virtualAddress(_ text: String) throws(Refusal) -> IPAddress {
        switch text {
        case "any": return .v4(.any)
        case "any6": return .v6(.any)
        default:
            guard let address = IPAddress(text) else {
                throw Refusal("\(quoted(text)) is no address; accepted: any, any6, or an address to ask for")
            }
            return address
        }
    }

    /// Another gateway: an address or a DNS name.
    private static func redirect(_ text: String) throws(Refusal) -> Identity {
        if let address = IPAddress(text) { return .address(address) }
        guard case .name(let name) = try ScalarText.remoteHost(text) else {
            throw Refusal("\(quoted(text)) is no gateway; accepted: an address or a DNS name")
        }
        return .fqdn(name)
    }

    private static func fragmentation(_ text: String) throws(Refusal) -> FragmentationPolicy {
        try ScalarText.choice(text, FragmentationPolicy.allCases.map { ($0.rawValue, $0) })
    }

    private func livenessDelay() -> Duration? {
        if reader.entry("dpd-delay") != nil, reader.entry("dpd-timeout") != nil {
            reader.error(
                "dpd-timeout",
                "stands beside 'dpd-delay', which means the same; accepted: one of them"
            )
        }
        let parse = { (text: String) throws(Refusal) -> Duration? in
            text == "off" ? nil : try ScalarText.duration(text, in: .seconds(1) ... .seconds(86_400))
        }
        if reader.entry("dpd-delay") != nil { return reader.value("dpd-delay", parse) ?? nil }
        if reader.entry("dpd-timeout") != nil { return reader.value("dpd-timeout", parse) ?? nil }
        return .seconds(30)
    }

    private func retransmission() -> RetransmissionPolicy {
        var policy = RetransmissionPolicy()
        guard let entry = reader.entry("retransmit"),
            let values = MappingReader(
                entry.value,
                at: entry.position,
                path: reader.path(of: "retransmit"),
                accepting: ["initial", "base", "tries", "limit"],
                context.sink
            )
        else { return policy }
        let wait = { (text: String) throws(Refusal) -> Duration in
            try ScalarText.duration(text, in: .milliseconds(100) ... .seconds(300))
        }
        policy.initial = values.value("initial", wait) ?? policy.initial
        policy.limit = values.value("limit", wait) ?? policy.limit
        policy.base = values.value("base", ScalarText.factor) ?? policy.base
        policy.tries =
            values.value("tries") { (text) throws(Refusal) in try ScalarText.integer(text, in: 0...100) }
            ?? policy.tries
        return policy
    }
}
