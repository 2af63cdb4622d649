import Cryptography
import Policy
public import Vici

/// What `list-conns` tells of a connection, in charon's words and charon's order.
public struct ConnectionListing: Equatable, Sendable {
    /// What it tells of a tunnel.
    public struct Child: Equatable, Sendable {
        /// The tunnel's name.
        public let name: String
        /// Its section.
        public let section: ViciMessage
    }

    /// Everything before the tunnels: addresses, version, times, and the rounds of authentication.
    public let head: ViciMessage
    /// The tunnels in the order in which they were loaded.
    public let children: [Child]

    /// The whole section of the connection.
    public var section: ViciMessage {
        var section = head
        section.section("children") { list in
            for child in children { list.section(child.name, child.section) }
        }
        return section
    }
}

extension ConnectionListing {
    init(_ options: ConnectionOptions, _ credentials: RoundCredentials) {
        let lifetime = Lifetimes.IKE(options)
        head = ViciMessage { conn in
            conn.list("local_addrs", options.localTexts.isEmpty ? ["%any"] : options.localTexts)
            conn.list("remote_addrs", options.remoteTexts.isEmpty ? ["%any"] : options.remoteTexts)
            conn.set("local_port", Self.port(options.localPort))
            conn.set("remote_port", Self.port(options.remotePort))
            conn.set("version", options.version == 2 ? "IKEv2" : "IKEv1/2")
            conn.set("reauth_time", lifetime.reauth)
            conn.set("rekey_time", lifetime.rekey)
            conn.set("unique", Self.word(options.unique ?? .no))
            if let delay = options.dpdDelay, delay > 0 { conn.set("dpd_delay", delay) }
            if let timeout = options.dpdTimeout, timeout > 0 { conn.set("dpd_timeout", timeout) }
            if let identity = options.ppkIdentity { conn.set("ppk_id", identity) }
            if options.ppkRequired == true { conn.set("ppk_required", flag: true) }
            Self.add(options.localRounds, "local", credentials.local, to: &conn)
            Self.add(options.remoteRounds, "remote", credentials.remote, to: &conn)
        }
        children = options.children.map { Child(name: $0.name, section: Self.section($0)) }
    }

    private static func port(_ port: UInt32?) -> UInt32 {
        guard let port, port != 0 else { return 500 }
        return port
    }

    private static func word(_ unique: Uniqueness) -> String {
        switch unique {
        case .no: "UNIQUE_NO"
        case .never: "UNIQUE_NEVER"
        case .keep: "UNIQUE_KEEP"
        case .replace: "UNIQUE_REPLACE"
        }
    }

    private static func add(
        _ rounds: [AuthenticationOptions],
        _ side: String,
        _ credentials: [RoundCredentials.Round],
        to conn: inout ViciMessage
    ) {
        // charon has a round of any class where none was given.
        let rounds = rounds.isEmpty ? [AuthenticationOptions(name: side)] : rounds
        for (index, round) in rounds.enumerated() {
            conn.section("\(side)-\(index + 1)") { section in
                setClass(round, &section)
                if let word = round.revocation, word != "relaxed" {
                    section.set("revocation", word == "strict" ? "GOOD" : "SKIPPED")
                }
                for (key, identity) in [
                    ("id", round.identity), ("ca_id", round.caIdentity), ("aaa_id", round.aaaIdentity),
                    ("eap_id", round.eapIdentity), ("xauth_id", round.xauthIdentity),
                ] {
                    if let identity { section.set(key, identity.description) }
                }
                section.list("groups", round.groups.map { $0.description })
                section.list("cert_policy", round.certificatePolicies)
                section.list(
                    "certs",
                    credentials.indices.contains(index)
                        ? credentials[index].certificates.map { $0.subject } : []
                )
                section.list(
                    "cacerts",
                    credentials.indices.contains(index)
                        ? credentials[index].authorities.map { $0.subject } : []
                )
            }
        }
    }

    private static func setClass(_ round: AuthenticationOptions, _ section: inout ViciMessage) {
        switch round.method {
        case .psk: section.set("class", "pre-shared key")
        case .publicKey: section.set("class", "public key")
        case .eap(let text):
            section.set("class", "EAP")
            let word = text.split(separator: ":").first.map { String($0) } ?? text
            if word.utf8.count > 4 { section.set("eap-type", "EAP_" + word.dropFirst(4).uppercased()) }
        case .xauth(let text):
            section.set("class", "XAuth")
            if text.utf8.count > 6 { section.set("xauth", String(text.dropFirst(6))) }
        case nil: break
        }
    }

    private static func section(_ child: ChildOptions) -> ViciMessage {
        let volumes = Lifetimes.Volumes(child)
        return ViciMessage { section in
            section.set("mode", (child.mode ?? .tunnel).rawValue.uppercased())
            if let label = child.label { section.set("label", label) }
            section.set("rekey_time", volumes.time.rekey)
            section.set("rekey_bytes", volumes.octets.rekey)
            section.set("rekey_packets", volumes.packets.rekey)
            section.set("dpd_action", word(child.dpdAction ?? StartAction.none))
            section.set("close_action", word(child.closeAction ?? StartAction.none))
            section.list("local-ts", texts(child.localSelectors))
            section.list("remote-ts", texts(child.remoteSelectors))
            if let interface = child.interface, !interface.isEmpty { section.set("interface", interface) }
            if let priority = child.priority, priority != 0 { section.set("priority", priority) }
        }
    }

    private static func texts(_ selectors: [SelectorOption]) -> [String] {
        (selectors.isEmpty ? [SelectorOption()] : selectors).map { $0.description }
    }

    private static func word(_ action: StartAction) -> String {
        switch action {
        case .none: "none"
        case .trap: "trap"
        case .start: "start"
        case .trapAndStart: "trap|start"
        }
    }
}
