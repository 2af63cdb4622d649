/// Something that happened to an SA, as the daemon's events tell it: one line for people, one object for programs.
public struct SAEvent: Equatable, Sendable {
    /// The events that are told, by their names in the protocol.
    public static let names = [
        "ike-updown", "child-updown", "ike-rekey", "child-rekey", "ike-update", "alert",
    ]

    /// The event's name.
    public let name: String
    /// What the daemon sent with it.
    public let message: ViciMessage
    /// The connection; nil if the event concerns none.
    public let connection: String?

    private let sa: ViciMessage

    /// Takes an event apart; one whose parts are missing has fewer words.
    public init(name: String, message: ViciMessage) {
        self.name = name
        self.message = message
        let section = (message.section("ike-sa") ?? message).sections.first
        connection = section?.name ?? message.string("connection")
        sa = section?.message ?? ViciMessage()
    }

    /// True for an SA that came up, false for one that went down; nil for another event.
    public var isUp: Bool? {
        guard name == "ike-updown" || name == "child-updown" else { return nil }
        return message.flag("up") ?? false
    }

    /// One line: which SA, what happened, and why if the daemon says so.
    public var text: String {
        let parts =
            switch name {
            case "ike-updown": ikeUpDown
            case "child-updown": childUpDown
            case "ike-rekey":
                "\(connection ?? "?"): IKE_SA \(Self.number(old, "[", "]")) rekeyed: "
                    + "\(Self.number(new, "[", "]")) takes over, \(StatusReport.ikeSuite(new))"
            case "child-rekey":
                "\(place): CHILD_SA \(Self.number(old, "{", "}")) rekeyed: "
                    + "\(Self.number(new, "{", "}")) takes over, \(StatusReport.childSuite(new))"
            case "ike-update":
                "\(connection ?? "?"): IKE_SA \(Self.number(sa, "[", "]")) moves from "
                    + "\(Self.ends(sa)) to \(Self.ends(message))"
            case "alert": alert
            default: [connection, name].compactMap { $0 }.joined(separator: ": ")
            }
        return StatusReport.printable(parts)
    }

    /// One JSON object on one line; `time` is when it was heard.
    ///
    /// Its keys are part of the command's interface: `causeway(1)` lists them.
    public func json(time: String) -> String {
        let isRekey = name.hasSuffix("-rekey")
        let ike = name == "ike-rekey" ? old : sa
        return ViciJSON.object([
            ("time", ViciJSON.quoted(time)),
            ("event", ViciJSON.quoted(name)),
            ("connection", connection.map { ViciJSON.quoted($0) }),
            ("tunnel", tunnel.map { ViciJSON.quoted($0) }),
            ("up", isUp.map { $0 ? "true" : "false" }),
            ("ike-id", Self.id(ike)),
            ("child-id", Self.id(isRekey ? (name == "child-rekey" ? old : nil) : child?.message)),
            ("new-ike-id", name == "ike-rekey" ? Self.id(new) : nil),
            ("new-child-id", name == "child-rekey" ? Self.id(new) : nil),
            ("reason", reason.map { ViciJSON.quoted($0) }),
            ("data", message.json),
        ])
    }
}

// MARK: - Parts

extension SAEvent {
    private var child: (name: String, message: ViciMessage)? { sa.section("child-sas")?.sections.first }

    /// The tunnel's name; the section's is that of the SA.
    private var tunnel: String? {
        guard let child else { return nil }
        return child.message.string("name") ?? (name == "child-rekey" ? child.name : nil)
    }

    private var place: String { [connection ?? "?", tunnel].compactMap { $0 }.joined(separator: "/") }

    /// The SA that gives way.
    private var old: ViciMessage { replaced.section("old") ?? ViciMessage() }

    /// The SA that takes over.
    private var new: ViciMessage { replaced.section("new") ?? ViciMessage() }

    private var replaced: ViciMessage { name == "child-rekey" ? child?.message ?? ViciMessage() : sa }

    /// Why: in the daemon's words, else what the type of an alert means.
    private var reason: String? {
        if let cause = message.string("cause") { return cause }
        return name == "alert" ? message.string("type").map { Self.meaning(ofAlert: $0) } : nil
    }

    private var ikeUpDown: String {
        let start = "\(connection ?? "?"): IKE_SA \(Self.number(sa, "[", "]")) "
        guard isUp == true else { return start + "with \(peer) is down" + because }
        return start + "with \(peer) is up, \(StatusReport.ikeSuite(sa))"
    }

    private var childUpDown: String {
        let child = self.child?.message ?? ViciMessage()
        let start = "\(place): CHILD_SA \(Self.number(child, "{", "}")) "
        guard isUp == true else {
            return start + "is down" + because + " (it carried \(StatusReport.traffic(child)))"
        }
        return start + "is up, \(StatusReport.selectors(child)), \(StatusReport.childSuite(child))"
    }

    private var alert: String {
        let what = reason ?? "something went wrong"
        return (connection.map { "\($0): " } ?? "") + "alert: " + what
    }

    private var because: String { reason.map { ": \($0)" } ?? "" }

    private var peer: String {
        let host = sa.string("remote-host") ?? "?"
        let port = sa.string("remote-port").map { $0 == "500" ? "" : "[\($0)]" } ?? ""
        let identity = sa.string("remote-id").map { $0 == host || $0 == "%any" ? "" : " (\($0))" } ?? ""
        return host + port + identity
    }

    private static func number(_ sa: ViciMessage, _ left: String, _ right: String) -> String {
        left + (sa.string("uniqueid") ?? "?") + right
    }

    private static func ends(_ message: ViciMessage) -> String {
        ["local", "remote"].map { side in
            (message.string("\(side)-host") ?? "?") + "[\(message.string("\(side)-port") ?? "?")]"
        }.joined(separator: "...")
    }

    private static func id(_ sa: ViciMessage?) -> String? {
        sa?.number("uniqueid", as: UInt64.self).map(String.init)
    }

    /// What strongSwan's alerts mean; the type itself if it is a new one.
    private static func meaning(ofAlert type: String) -> String { alerts[type] ?? type }

    private static let alerts: [String: String] = [
        "authorization-failed": "the peer is authentic but not allowed in",
        "cert-exceeded-path-len": "the peer's certificate chain is longer than a CA allows",
        "cert-expired": "the peer's certificate has expired",
        "cert-no-issuer": "the issuer of the peer's certificate is not trusted here",
        "cert-policy-violation": "the peer's certificate breaks a policy of its CA",
        "cert-revoked": "the peer's certificate was revoked",
        "cert-untrusted-root": "the root of the peer's certificate is not trusted here",
        "cert-validation-failed": "it could not be found out whether the peer's certificate was revoked",
        "half-open-timeout": "a peer began to negotiate and did not go on",
        "ike-sa-expired": "an IKE_SA reached its lifetime before it was replaced",
        "install-child-policy-failed": "the selectors of a tunnel could not be installed",
        "install-child-sa-failed": "a CHILD_SA could not be installed",
        "invalid-ike-spi": "a message came for an IKE_SA that does not exist",
        "keep-on-child-sa-failure": "a tunnel was refused; its IKE_SA stays",
        "local-auth-failed": "the peer did not accept our authentication",
        "parse-error-body": "a message could not be read",
        "parse-error-header": "a message's header could not be read",
        "peer-addr-failed": "the peer's name could not be looked up",
        "peer-auth-failed": "the peer did not prove its identity",
        "peer-init-unreachable": "the peer did not answer the first message",
        "proposal-mismatch-child": "no common ESP proposal",
        "proposal-mismatch-ike": "no common IKE proposal",
        "radius-not-responding": "a RADIUS server does not answer",
        "retransmit-receive": "the peer repeated a message",
        "retransmit-send": "the peer has not answered yet; the message was sent again",
        "retransmit-send-cleared": "the peer answered a repeated message",
        "retransmit-send-timeout": "the peer answered none of the repeated messages",
        "shutdown-signal": "the daemon was told to stop",
        "ts-mismatch": "no common traffic selectors",
        "ts-narrowed": "the traffic selectors were narrowed",
        "unique-keep": "a second IKE_SA of the peer was refused: the first stays",
        "unique-replace": "a second IKE_SA of the peer replaced the first",
        "vip-failure": "no virtual address could be assigned",
    ]
}
