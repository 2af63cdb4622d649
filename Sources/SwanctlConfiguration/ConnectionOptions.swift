import IPPackets
import Policy
import Vici

/// A connection as `load-conn` sent it: a key that was not sent is nil.
struct ConnectionOptions {
    let name: String

    var version: UInt32?
    var aggressive: Bool?
    var pull: Bool?
    var dscp: UInt8?
    var encap: Bool?
    var mobike: Bool?
    var dpdDelay: UInt64?
    var dpdTimeout: UInt64?
    var fragmentation: String?
    var childless: String?
    var sendCertificateRequest: Bool?
    var sendCertificate: String?
    var ocsp: String?
    var keyingTries: UInt32?
    var unique: Uniqueness?
    var localPort: UInt32?
    var remotePort: UInt32?
    var reauthTime: UInt64?
    var rekeyTime: UInt64?
    var overTime: UInt64?
    var randTime: UInt64?
    var ppkIdentity: String?
    var ppkRequired: Bool?
    var interfaceIDIn: MarkOption?
    var interfaceIDOut: MarkOption?
    var mediation: Bool?
    var mediatedBy: String?
    var mediationPeer: String?

    var localHosts: [HostOption] = []
    var remoteHosts: [HostOption] = []
    /// The same, as they were written, for lists.
    var localTexts: [String] = []
    var remoteTexts: [String] = []
    var proposals: [ProposalOption] = []
    var virtualAddresses: [IPAddress] = []
    var pools: [String] = []

    var localRounds: [AuthenticationOptions] = []
    var remoteRounds: [AuthenticationOptions] = []
    var children: [ChildOptions] = []

    init(name: String) {
        self.name = name
    }

    mutating func set(_ key: String, _ value: [UInt8]) -> OptionOutcome {
        switch key {
        case "version": .keep(OptionText.number(value), in: &version)
        case "aggressive": .keep(OptionText.flag(value), in: &aggressive)
        case "pull": .keep(OptionText.flag(value), in: &pull)
        case "dscp": .keep(OptionText.bits(value), in: &dscp)
        case "encap": .keep(OptionText.flag(value), in: &encap)
        case "mobike": .keep(OptionText.flag(value), in: &mobike)
        case "dpd_delay": .keep(OptionText.seconds(value), in: &dpdDelay)
        case "dpd_timeout": .keep(OptionText.seconds(value), in: &dpdTimeout)
        case "fragmentation":
            .keep(Self.word(value, ["yes", "accept", "no", "force"]), in: &fragmentation)
        case "childless": .keep(Self.word(value, ["allow", "prefer", "never", "force"]), in: &childless)
        case "send_certreq": .keep(OptionText.flag(value), in: &sendCertificateRequest)
        case "send_cert": .keep(Self.word(value, ["ifasked", "always", "never"]), in: &sendCertificate)
        case "ocsp": .keep(Self.word(value, ["both", "reply", "request", "never"]), in: &ocsp)
        case "keyingtries": .keep(OptionText.number(value), in: &keyingTries)
        case "unique": .keep(Self.uniqueness(value), in: &unique)
        case "local_port": .keep(OptionText.number(value), in: &localPort)
        case "remote_port": .keep(OptionText.number(value), in: &remotePort)
        case "reauth_time": .keep(OptionText.seconds(value), in: &reauthTime)
        case "rekey_time": .keep(OptionText.seconds(value), in: &rekeyTime)
        case "over_time": .keep(OptionText.seconds(value), in: &overTime)
        case "rand_time": .keep(OptionText.seconds(value), in: &randTime)
        case "ppk_id": .keep(OptionText.printable(value), in: &ppkIdentity)
        case "ppk_required": .keep(OptionText.flag(value), in: &ppkRequired)
        case "if_id_in": .keep(MarkOption(interfaceID: value), in: &interfaceIDIn)
        case "if_id_out": .keep(MarkOption(interfaceID: value), in: &interfaceIDOut)
        case "mediation": .keep(OptionText.flag(value), in: &mediation)
        case "mediated_by": .keep(OptionText.printable(value), in: &mediatedBy)
        case "mediation_peer": .keep(OptionText.printable(value), in: &mediationPeer)
        default: .unknown
        }
    }

    mutating func append(_ key: String, _ item: [UInt8]) -> OptionOutcome {
        switch key {
        case "local_addrs": Self.append(host: item, to: &localHosts, &localTexts)
        case "remote_addrs": Self.append(host: item, to: &remoteHosts, &remoteTexts)
        case "proposals": .append(ProposalOption(ike: item), to: &proposals)
        case "vips": .append(Self.virtualAddress(item), to: &virtualAddresses)
        case "pools": .append(OptionText.word(item), to: &pools)
        default: .unknown
        }
    }

    /// An address, or one of a family for any of it.
    private static func virtualAddress(_ item: [UInt8]) -> IPAddress? {
        switch HostOption(item) {
        case .address(let address): address
        case .any(isIPv6: true?): .v6(.any)
        case .any: .v4(.any)
        case .prefix, .range, .name, nil: nil
        }
    }

    private static func append(host item: [UInt8], to hosts: inout [HostOption], _ texts: inout [String])
        -> OptionOutcome
    {
        guard let text = OptionText.word(item), let host = HostOption(item) else { return .invalid }
        hosts.append(host)
        texts.append(text)
        return .accepted
    }

    private static func word(_ value: [UInt8], _ words: [String]) -> String? {
        OptionText.choice(value, words.map { ($0, $0) })
    }

    private static func uniqueness(_ value: [UInt8]) -> Uniqueness? {
        OptionText.choice(
            value,
            [("no", .no), ("never", .never), ("keep", .keep), ("replace", .replace)]
        )
    }
}
