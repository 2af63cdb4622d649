import Glibc
import Primitives

/// A rule of the kernel's policy routing: which packets look into which table.
public struct Rule: Hashable, Sendable {
    /// The address family that a rule is for.
    public enum Family: CaseIterable, Hashable, Sendable {
        /// IPv4.
        case v4
        /// IPv6.
        case v6

        var number: UInt8 {
            switch self {
            case .v4: NetlinkNumber.familyV4
            case .v6: NetlinkNumber.familyV6
            }
        }
    }

    /// A comparison with a packet's mark.
    public struct Mark: Hashable, Sendable {
        /// What the masked mark must be.
        public var value: UInt32
        /// Bits that count.
        public var mask: UInt32

        /// Matches when mark & mask is `value`.
        public init(value: UInt32, mask: UInt32 = .max) {
            self.value = value
            self.mask = mask
        }
    }

    /// The place in the order: the least is asked first.
    public var priority: UInt32
    /// Where to look.
    public var table: UInt32
    /// Which packets; nil for all.
    public var fwmark: Mark?
    /// True when it is for the packets that do not match.
    public var invert: Bool
    /// The address family.
    public var family: Family
    /// Routes with so many fixed bits or fewer are ignored: 0 leaves out the default route.
    public var suppressPrefixLength: Int?
    /// Who made it.
    public var `protocol`: UInt8

    /// A rule, by default one of ours.
    public init(
        priority: UInt32,
        table: UInt32,
        fwmark: Mark? = nil,
        invert: Bool = false,
        family: Family,
        suppressPrefixLength: Int? = nil,
        protocol: UInt8 = Route.ownProtocol
    ) {
        self.priority = priority
        self.table = table
        self.fwmark = fwmark
        self.invert = invert
        self.family = family
        self.suppressPrefixLength = suppressPrefixLength
        self.protocol = `protocol`
    }

    /// The rules, one a family, that send all but marked packets to `table`.
    public static func exceptMarked(_ mark: Mark, to table: UInt32, priority: UInt32) -> [Rule] {
        Family.allCases.map {
            Rule(priority: priority, table: table, fwmark: mark, invert: true, family: $0)
        }
    }
}

/// FRA_* of linux/fib_rules.h.
private enum RuleAttribute {
    static let priority: UInt16 = 6
    static let mark: UInt16 = 10
    static let suppressPrefixLength: UInt16 = 14
    static let table: UInt16 = 15
    static let markMask: UInt16 = 16
    static let `protocol`: UInt16 = 21

    static let invertFlag: UInt32 = 2
    static let lookUpTable: UInt8 = 1
}

extension Rule {
    /// The payload of RTM_NEWRULE and RTM_DELRULE.
    var payload: [UInt8] {
        var writer = ByteWriter(capacity: 64)
        writer.u8(family.number)
        writer.zeros(3)
        writer.u8(UInt8(exactly: table) ?? 0)
        writer.zeros(2)
        writer.u8(RuleAttribute.lookUpTable)
        writer.host32(invert ? RuleAttribute.invertFlag : 0)
        writer.attribute(RuleAttribute.priority, host32: priority)
        writer.attribute(RuleAttribute.table, host32: table)
        if let fwmark {
            writer.attribute(RuleAttribute.mark, host32: fwmark.value)
            writer.attribute(RuleAttribute.markMask, host32: fwmark.mask)
        }
        if let suppressPrefixLength {
            writer.attribute(
                RuleAttribute.suppressPrefixLength,
                host32: UInt32(clamping: suppressPrefixLength)
            )
        }
        writer.attribute(RuleAttribute.protocol, [`protocol`])
        return writer.bytes
    }

    /// Reads the payload of RTM_NEWRULE; nil for one of another family or with another action.
    init?(payload: [UInt8]) throws(WireError) {
        var reader = ByteReader(payload.span)
        let number = try reader.u8()
        try reader.skip(3)
        let shortTable = try reader.u8()
        try reader.skip(2)
        let action = try reader.u8()
        invert = try reader.host32() & RuleAttribute.invertFlag != 0
        let attributes = try NetlinkAttributes(&reader)
        guard let family = Family.allCases.first(where: { $0.number == number }),
            action == RuleAttribute.lookUpTable
        else { return nil }
        self.family = family
        priority = try attributes.host32(RuleAttribute.priority) ?? 0
        table = try attributes.host32(RuleAttribute.table) ?? UInt32(shortTable)
        let mark = try attributes.host32(RuleAttribute.mark)
        let mask = try attributes.host32(RuleAttribute.markMask)
        fwmark = mark == nil && mask == nil ? nil : Mark(value: mark ?? 0, mask: mask ?? .max)
        // The kernel writes "none" as -1.
        suppressPrefixLength = try attributes.host32(RuleAttribute.suppressPrefixLength)
            .flatMap { $0 == .max ? nil : Int($0) }
        `protocol` = attributes[RuleAttribute.protocol]?.first ?? 0
    }
}

extension Netlink {
    /// Adds `rule`; the same rule there already is no error.
    public func addRule(_ rule: Rule) throws(LinuxError) {
        do throws(LinuxError) {
            try change(
                NetlinkNumber.newRule,
                flags: NetlinkNumber.create | NetlinkNumber.exclusive,
                rule.payload,
                "add rule \(rule.priority) to table \(rule.table)"
            )
        } catch {
            guard error.errno == EEXIST else { throw error }
        }
    }

    /// Removes `rule`; fails with ENOENT when there is none such.
    public func deleteRule(_ rule: Rule) throws(LinuxError) {
        try change(
            NetlinkNumber.deleteRule,
            rule.payload,
            "delete rule \(rule.priority) to table \(rule.table)"
        )
    }

    /// All rules that look into a table, IPv4 before IPv6, the least priority first.
    ///
    /// Selectors that `Rule` does not have (addresses, interfaces) are not shown: look at `protocol` before
    /// deleting what this lists.
    public func rules() throws(LinuxError) -> [Rule] {
        let operation = "list rules"
        var rules = [Rule]()
        for family in Rule.Family.allCases {
            var writer = ByteWriter()
            writer.u8(family.number)
            writer.zeros(11)
            let messages = try dump(NetlinkNumber.getRule, writer.bytes, operation)
            rules += try decode(messages, type: NetlinkNumber.newRule, operation) {
                message throws(WireError) in
                try Rule(payload: message.payload)
            }
        }
        return rules
    }
}
