import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Logging
import Policy
import Primitives

/// One log line for each event: what happened, to what, and why.
struct EventText {
    let level: Logger.Level
    let text: String
    let metadata: Logger.Metadata

    /// What the peer proved itself by, where it is not the usual.
    private static func proof(_ ike: IKESASnapshot) -> String {
        guard let proof = ike.proof, proof != .sharedKey else { return "" }
        return ", the peer by \(proof)"
    }

    init(_ event: EngineEvent) {
        switch event {
        case .ikeUp(let ike):
            level = .notice
            text =
                "IKE_SA \(ike.connection)[\(ike.id)] established between "
                + "\(ike.local)[\(Self.name(ike.localIdentity))]...\(ike.remote)[\(Self.name(ike.remoteIdentity))] "
                + "with \(ike.proposal?.description ?? "?")" + Self.proof(ike)
            metadata = Self.metadata(ike, "ike-up")
        case .ikeDown(let ike, let cause):
            level = .notice
            text = "IKE_SA \(ike.connection)[\(ike.id)] with \(ike.remote) down: \(cause)"
            metadata = Self.metadata(ike, "ike-down")
        case .ikeMoved(let ike):
            (level, metadata) = (.info, Self.metadata(ike, "ike-moved"))
            text = "IKE_SA \(ike.connection)[\(ike.id)] goes by \(ike.local)...\(ike.remote) now"
        case .childUp(let ike, let child):
            level = .notice
            text =
                "CHILD_SA \(TunnelKey(connection: ike.connection, tunnel: child.tunnel)){\(child.id)} established: "
                + "\(Self.list(child.localSelectors)) === \(Self.list(child.remoteSelectors)), "
                + "SPIs \(child.inboundSPI)_i \(child.outboundSPI)_o, \(child.proposal)"
                + (child.encapsulation == .udp ? " in UDP" : "")
            metadata = Self.metadata(ike, "child-up")
        case .childDown(let ike, let child, let cause):
            level = .notice
            text =
                "CHILD_SA \(TunnelKey(connection: ike.connection, tunnel: child.tunnel)){\(child.id)} down: \(cause)"
            metadata = Self.metadata(ike, "child-down")
        case .attemptFailed(let failure):
            (level, text, metadata) = (.warning, Self.text(failure), Self.metadata(failure))
        case .childFailed(let ike, let tunnel, let cause):
            level = .warning
            text = "CHILD_SA \(ike.connection)/\(tunnel ?? "-") with \(ike.remote) refused: \(cause)"
            metadata = Self.metadata(ike, "child-failed")
        case .ikeRekeyed(let old, let new):
            level = .notice
            text =
                "IKE_SA \(old.connection)[\(old.id)] with \(new.remote) rekeyed: [\(new.id)] takes over with "
                + "\(new.proposal?.description ?? "?")"
            metadata = Self.metadata(new, "ike-rekeyed")
        case .childRekeyed(let ike, let old, let child):
            level = .notice
            text =
                "CHILD_SA \(TunnelKey(connection: ike.connection, tunnel: child.tunnel)){\(old.id)} rekeyed: "
                + "{\(child.id)} takes over, SPIs \(child.inboundSPI)_i \(child.outboundSPI)_o, \(child.proposal)"
            metadata = Self.metadata(ike, "child-rekeyed")
        case .rekeyFailed(let ike, let child, let cause, let retryAt):
            level = .warning
            let what =
                child.map { "CHILD_SA \(ike.connection)/\($0.tunnel){\($0.id)}" }
                ?? "IKE_SA \(ike.connection)[\(ike.id)]"
            text =
                "\(what): rekey failed, the old one carries on"
                + "\(retryAt == nil ? " to its end" : " until a next try"): \(cause)"
            metadata = Self.metadata(ike, "rekey-failed")
        case .pathProbed(let ike, let octets, let arrived):
            (level, metadata) = (.debug, Self.metadata(ike, "path-probed"))
            text = "\(ike.connection): a probe of \(octets) octets \(arrived ? "arrived" : "was lost")"
        case .progress(let connection, let progress):
            (level, text) = (.info, "\(connection): \(progress)")
            metadata = ["event": "progress", "connection": "\(connection)"]
        }
    }

    private static func text(_ failure: AttemptFailure) -> String {
        let who =
            failure.connection.map { name in
                failure.tunnel.map { TunnelKey(connection: name, tunnel: $0).description } ?? name
            } ?? "unknown peer"
        let what = failure.isInitiator ? "attempt to" : "request from"
        return "\(who): \(what) \(failure.remote) failed: \(failure.cause)"
    }

    private static func metadata(_ failure: AttemptFailure) -> Logger.Metadata {
        [
            "event": "attempt-failed", "peer": "\(failure.remote)",
            "connection": "\(failure.connection ?? "-")", "cause": "\(failure.cause.reasonName)",
        ]
    }

    private static func name(_ identity: Identity?) -> String { identity?.description ?? "?" }

    private static func list(_ selectors: [TrafficSelector]) -> String {
        selectors.prefix(16).map { $0.description }.joined(separator: " ")
    }

    private static func metadata(_ ike: IKESASnapshot, _ event: String) -> Logger.Metadata {
        ["event": "\(event)", "connection": "\(ike.connection)", "peer": "\(ike.remote)", "ike": "\(ike.id)"]
    }
}

/// Lets one line for each reason through in ten seconds and counts the rest: nobody outside can fill the log.
struct LogThrottle {
    private static let interval = Duration.seconds(10)
    private static let maximumReasons = 512

    private var reasons: [String: (last: Instant, suppressed: UInt64)] = [:]

    /// How many lines of this reason were kept back since the last one, or nil to keep this one back too.
    mutating func admit(_ reason: String, at now: Instant) -> UInt64? {
        if let known = reasons[reason] {
            guard known.last.advanced(by: Self.interval) <= now else {
                reasons[reason] = (known.last, known.suppressed + 1)
                return nil
            }
            reasons[reason] = (now, 0)
            return known.suppressed
        }
        if reasons.count >= Self.maximumReasons {
            reasons = reasons.filter { $0.value.last.advanced(by: Self.interval) > now }
            guard reasons.count < Self.maximumReasons else { return nil }
        }
        reasons[reason] = (now, 0)
        return 0
    }
}
