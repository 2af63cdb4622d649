import EAP
import IPsecTypes

/// Valid settings that Causeway does not carry out yet, and what is said of each: one line a setting, so that a
/// feature is switched on by taking its line away.
///
/// A setting that has the effect of strongSwan's default, or of what we do anyway, is none of them.
struct UnsupportedSettings {
    private(set) var found: [(path: String, value: String)] = []

    init(_ options: ConnectionOptions) {
        let path = "connections.\(options.name)"
        addExchange(options, path)
        addAddresses(options, path)
        addExtensions(options, path)
        addRounds(options, path)
        for child in options.children {
            let path = "\(path).children.\(child.name)"
            addProtection(child, path)
            addPolicies(child, path)
            addMarks(child, path)
            addHeaders(child, path)
        }
    }

    /// Throws the first one.
    func check() throws(LoadRefusal) {
        if let first = found.first { throw .notSupported(first.path, first.value) }
    }

    private mutating func add(_ path: String, _ value: String?) {
        if let value { found.append((path, value)) }
    }

    // MARK: - Connections

    private mutating func addExchange(_ options: ConnectionOptions, _ path: String) {
        if let version = options.version, version == 1 { add("\(path).version", "1") }
        if options.aggressive == true { add("\(path).aggressive", "yes") }
        if options.pull == false { add("\(path).pull", "no") }
        if let dscp = options.dscp, dscp != 0 {
            let digits = String(dscp, radix: 2)
            add("\(path).dscp", String(repeating: "0", count: 6 - digits.count) + digits)
        }
        for case .unsupported(let text) in options.proposals { add("\(path).proposals", text) }
    }

    private mutating func addAddresses(_ options: ConnectionOptions, _ path: String) {
        for (host, text) in zip(options.localHosts, options.localTexts) {
            switch host {
            case .any(isIPv6: nil), .address: break
            case .any, .prefix, .range, .name: add("\(path).local_addrs", text)
            }
        }
        if let port = options.localPort, ![0, 500].contains(port) { add("\(path).local_port", "\(port)") }
        if let port = options.remotePort, ![0, 500].contains(port) { add("\(path).remote_port", "\(port)") }
        add("\(path).pools", options.pools.first)
    }

    private mutating func addExtensions(_ options: ConnectionOptions, _ path: String) {
        for (key, value) in [("if_id_in", options.interfaceIDIn), ("if_id_out", options.interfaceIDOut)] {
            if let value, !value.isZero { add("\(path).\(key)", value.description) }
        }
        if options.mediation == true { add("\(path).mediation", "yes") }
        for (key, name) in [("mediated_by", options.mediatedBy), ("mediation_peer", options.mediationPeer)] {
            if let name, !name.isEmpty { add("\(path).\(key)", name) }
        }
    }

    private mutating func addRounds(_ options: ConnectionOptions, _ path: String) {
        for round in options.localRounds { addRound(round, path, isLocal: true) }
        // The peer as EAP client is a responder's matter; as initiator, EAP may prove the responder too (RFC 5998).
        let usesEAP = options.localRounds.contains { if case .eap = $0.method { true } else { false } }
        for (index, round) in options.remoteRounds.enumerated() {
            addRound(round, path, isLocal: false)
            guard case .eap(let text) = round.method else { continue }
            let proves = EAPOption(text)?.methods.contains { $0.mayProveServerAlone } ?? false
            if !usesEAP || !proves || index > 0 { add("\(path).\(round.name).auth", text) }
        }
        let rounds = [options.localRounds, options.remoteRounds].first { $0.count > 1 }
        // RFC 8784 does not say which of several proofs the key is part of.
        if let second = rounds?[1], !(options.ppkIdentity ?? "").isEmpty || options.ppkRequired == true {
            add("\(path).\(second.name)", "a second round of authentication beside ppk_id")
        }
    }

    private mutating func addRound(_ round: AuthenticationOptions, _ path: String, isLocal: Bool) {
        let path = "\(path).\(round.name)"
        var takesEAP = false
        switch round.method {
        case .psk, nil: break
        case .publicKey(let text): if SignatureOption(text) == nil { add("\(path).auth", text) }
        case .eap(let text):
            takesEAP = isLocal
            if EAPOption(text) == nil { add("\(path).auth", text) }
        case .xauth(let text): add("\(path).auth", text)
        }
        let names: [(String, IdentityOption?, isTaken: Bool)] = [
            ("id", round.identity, true), ("ca_id", round.caIdentity, false),
            ("aaa_id", round.aaaIdentity, takesEAP), ("eap_id", round.eapIdentity, takesEAP),
            ("xauth_id", round.xauthIdentity, false),
        ]
        for (key, value, isTaken) in names {
            guard let value else { continue }
            if !isTaken || value.identity == nil { add("\(path).\(key)", value.description) }
        }
        add("\(path).groups", round.groups.first?.description)
        add("\(path).cert_policy", round.certificatePolicies.first)
        for section in round.tokenSections { add("\(path).\(section)", "a certificate") }
    }

    // MARK: - Children

    private mutating func addProtection(_ child: ChildOptions, _ path: String) {
        if let mode = child.mode, mode != .tunnel { add("\(path).mode", mode.rawValue) }
        for case .unsupported(let text) in child.ahProposals { add("\(path).ah_proposals", text) }
        for case .unsupported(let text) in child.espProposals { add("\(path).esp_proposals", text) }
        if child.ipcomp == true { add("\(path).ipcomp", "yes") }
        if child.sha256With96 == true { add("\(path).sha256_96", "yes") }
        if let window = child.replayWindow, !ConnectionBuilder.replayWindows.contains(window) {
            add("\(path).replay_window", "\(window)")
        }
    }

    private mutating func addPolicies(_ child: ChildOptions, _ path: String) {
        if child.policies == false { add("\(path).policies", "no") }
        if let number = child.reqid, number != 0 { add("\(path).reqid", "\(number)") }
        if let interface = child.interface, !interface.isEmpty { add("\(path).interface", interface) }
        add("\(path).label", child.label)
        if let mode = child.labelMode, mode == "selinux" { add("\(path).label_mode", mode) }
        if let word = child.perCPU, word != "no" { add("\(path).per_cpu_sas", word) }
        if let word = child.hardwareOffload, word != "no", word != "auto" {
            add("\(path).hw_offload", word)
        }
        for (key, selectors) in [("local_ts", child.localSelectors), ("remote_ts", child.remoteSelectors)] {
            for selector in selectors where selector.isOpaque && selector.addresses == .dynamic {
                add("\(path).\(key)", selector.description)
            }
        }
    }

    private mutating func addMarks(_ child: ChildOptions, _ path: String) {
        let marks: [(String, MarkOption?)] = [
            ("mark_in", child.markIn), ("mark_out", child.markOut), ("set_mark_in", child.setMarkIn),
            ("set_mark_out", child.setMarkOut), ("if_id_in", child.interfaceIDIn),
            ("if_id_out", child.interfaceIDOut),
        ]
        for (key, mark) in marks {
            if let mark, !mark.isZero { add("\(path).\(key)", mark.description) }
        }
        if child.markInSA == true { add("\(path).mark_in_sa", "yes") }
    }

    /// What the data plane does with the outer header is fixed; see `ESP`.
    private mutating func addHeaders(_ child: ChildOptions, _ path: String) {
        if child.icmp == true { add("\(path).icmp", "yes") }
    }
}
