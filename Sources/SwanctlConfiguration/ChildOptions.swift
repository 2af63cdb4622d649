import IPsecTypes
import Policy

/// A section of `children` as it was sent: a key that was not sent is nil.
struct ChildOptions {
    /// `mode`.
    enum Mode: String {
        case tunnel, transport, transportProxy = "transport_proxy", iptfs, beet, drop, pass
    }

    let name: String

    var updown: String?
    var hostaccess: Bool?
    var mode: Mode?
    var policies: Bool?
    var forwardPolicies: Bool?
    var replayWindow: UInt32?
    var rekeyTime: UInt64?
    var lifeTime: UInt64?
    var randTime: UInt64?
    var rekeyBytes: UInt64?
    var lifeBytes: UInt64?
    var randBytes: UInt64?
    var rekeyPackets: UInt64?
    var lifePackets: UInt64?
    var randPackets: UInt64?
    var dpdAction: StartAction?
    var startAction: StartAction?
    var closeAction: StartAction?
    var ipcomp: Bool?
    var inactivity: UInt64?
    var reqid: UInt32?
    var markIn: MarkOption?
    var markInSA: Bool?
    var markOut: MarkOption?
    var setMarkIn: MarkOption?
    var setMarkOut: MarkOption?
    /// Nil inside for `mtu`.
    var tfcPadding: PaddingOption?
    var priority: UInt32?
    var interface: String?
    var hardwareOffload: String?
    var sha256With96: Bool?
    var copyDF: Bool?
    var copyECN: Bool?
    var copyDSCP: HeaderCopying.DSCP?
    var icmp: Bool?
    var interfaceIDIn: MarkOption?
    var interfaceIDOut: MarkOption?
    var label: String?
    var labelMode: String?
    var perCPU: String?

    var ahProposals: [ProposalOption] = []
    var espProposals: [ProposalOption] = []
    var localSelectors: [SelectorOption] = []
    var remoteSelectors: [SelectorOption] = []

    init(name: String) {
        self.name = name
    }

    mutating func set(_ key: String, _ value: [UInt8]) -> OptionOutcome {
        switch key {
        case "updown": .keep(OptionText.printable(value), in: &updown)
        case "hostaccess": .keep(OptionText.flag(value), in: &hostaccess)
        case "mode": .keep(Self.mode(value), in: &mode)
        case "policies": .keep(OptionText.flag(value), in: &policies)
        case "policies_fwd_out": .keep(OptionText.flag(value), in: &forwardPolicies)
        case "replay_window": .keep(OptionText.number(value), in: &replayWindow)
        case "rekey_time": .keep(OptionText.seconds(value), in: &rekeyTime)
        case "life_time": .keep(OptionText.seconds(value), in: &lifeTime)
        case "rand_time": .keep(OptionText.seconds(value), in: &randTime)
        case "rekey_bytes": .keep(OptionText.volume(value), in: &rekeyBytes)
        case "life_bytes": .keep(OptionText.volume(value), in: &lifeBytes)
        case "rand_bytes": .keep(OptionText.volume(value), in: &randBytes)
        case "rekey_packets": .keep(OptionText.number(value), in: &rekeyPackets)
        case "life_packets": .keep(OptionText.number(value), in: &lifePackets)
        case "rand_packets": .keep(OptionText.number(value), in: &randPackets)
        case "dpd_action": .keep(Self.action(value), in: &dpdAction)
        case "start_action": .keep(Self.action(value), in: &startAction)
        case "close_action": .keep(Self.action(value), in: &closeAction)
        case "ipcomp": .keep(OptionText.flag(value), in: &ipcomp)
        case "inactivity": .keep(OptionText.seconds(value), in: &inactivity)
        case "reqid": .keep(OptionText.number(value), in: &reqid)
        case "tfc_padding": .keep(PaddingOption(value), in: &tfcPadding)
        case "priority": .keep(OptionText.number(value), in: &priority)
        case "interface": .keep(OptionText.printable(value), in: &interface)
        case "hw_offload": .keep(Self.offload(value), in: &hardwareOffload)
        case "sha256_96": .keep(OptionText.flag(value), in: &sha256With96)
        case "copy_df": .keep(OptionText.flag(value), in: &copyDF)
        case "copy_ecn": .keep(OptionText.flag(value), in: &copyECN)
        case "copy_dscp": .keep(Self.dscpCopy(value), in: &copyDSCP)
        case "icmp": .keep(OptionText.flag(value), in: &icmp)
        case "label": .keep(OptionText.word(value), in: &label)
        case "label_mode": .keep(Self.labelMode(value), in: &labelMode)
        case "per_cpu_sas": .keep(Self.perCPU(value), in: &perCPU)
        default: setMark(key, value)
        }
    }

    private mutating func setMark(_ key: String, _ value: [UInt8]) -> OptionOutcome {
        switch key {
        case "mark_in": .keep(MarkOption(mark: value), in: &markIn)
        case "mark_in_sa": .keep(OptionText.flag(value), in: &markInSA)
        case "mark_out": .keep(MarkOption(mark: value), in: &markOut)
        case "set_mark_in": .keep(MarkOption(setMark: value), in: &setMarkIn)
        case "set_mark_out": .keep(MarkOption(setMark: value), in: &setMarkOut)
        case "if_id_in": .keep(MarkOption(interfaceID: value), in: &interfaceIDIn)
        case "if_id_out": .keep(MarkOption(interfaceID: value), in: &interfaceIDOut)
        default: .unknown
        }
    }

    mutating func append(_ key: String, _ item: [UInt8]) -> OptionOutcome {
        switch key {
        case "ah_proposals": .append(ProposalOption(ah: item), to: &ahProposals)
        case "esp_proposals": .append(ProposalOption(esp: item), to: &espProposals)
        case "local_ts": .append(SelectorOption(item), to: &localSelectors)
        case "remote_ts": .append(SelectorOption(item), to: &remoteSelectors)
        default: .unknown
        }
    }
}

extension ChildOptions {
    private static func mode(_ value: [UInt8]) -> Mode? {
        OptionText.printable(value).flatMap { Mode(rawValue: $0.lowercased()) }
    }

    private static func dscpCopy(_ value: [UInt8]) -> HeaderCopying.DSCP? {
        OptionText.printable(value).flatMap { HeaderCopying.DSCP(rawValue: $0.lowercased()) }
    }

    /// Both actions may stand together: `trap|start`.
    private static func action(_ value: [UInt8]) -> StartAction? {
        let words: [(String, StartAction)] = [
            ("start", .start), ("restart", .start), ("route", .trap), ("trap", .trap), ("none", .none),
            ("clear", .none),
        ]
        if let action = OptionText.choice(value, words) { return action }
        guard let text = OptionText.word(value) else { return nil }
        var traps = false
        var starts = false
        for word in text.lowercased().split(separator: "|") {
            switch word.drop(while: { $0 == " " }).prefix(while: { $0 != " " }) {
            case "none": break
            case "trap": traps = true
            case "start": starts = true
            default: return nil
            }
        }
        switch (traps, starts) {
        case (true, true): return .trapAndStart
        case (true, false): return .trap
        case (false, true): return .start
        case (false, false): return StartAction.none
        }
    }

    private static func offload(_ value: [UInt8]) -> String? {
        OptionText.choice(
            value,
            [("no", "no"), ("yes", "yes"), ("crypto", "crypto"), ("packet", "packet"), ("auto", "auto")]
        )
    }

    private static func labelMode(_ value: [UInt8]) -> String? {
        OptionText.choice(value, [("system", "system"), ("simple", "simple"), ("selinux", "selinux")])
    }

    private static func perCPU(_ value: [UInt8]) -> String? {
        OptionText.choice(value, [("encap", "encap")])
            ?? OptionText.flag(value).map { $0 ? "yes" : "no" }
    }
}
