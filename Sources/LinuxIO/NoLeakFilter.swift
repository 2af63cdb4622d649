import Glibc
public import IPPackets

/// Drops and counts plaintext from outside that claims a source behind a tunnel (RFC 4301 §5.2).
///
/// It lives in an nftables table of its own for each instance and touches no other.
public struct NoLeakFilter: Hashable, Sendable {
    /// Whose table it is.
    public let instance: String
    /// Interfaces that may deliver such sources: our TUN devices, and private paths.
    public let tunNames: [String]
    /// Sources that only tunnels may deliver.
    ///
    /// The caller takes out what is local: `0.0.0.0/0` would else cut off the own LAN.
    public let protected: [IPPrefix]
    /// Outer addresses of peers: they may send IKE and ESP from inside a protected prefix.
    public let exceptSources: [IPAddress]

    /// Describes the filter; EINVAL when a name cannot stand in a script.
    public init(
        instance: String,
        tunNames: [String],
        protected: [IPPrefix],
        exceptSources: [IPAddress] = []
    ) throws(LinuxError) {
        self.instance = try Self.checked(instance: instance)
        for name in tunNames where !Self.isQuotable(name) {
            throw LinuxError(
                operation: "filter interface \(name)",
                errno: EINVAL,
                detail: "not a usable name"
            )
        }
        self.tunNames = Array(Set(tunNames)).sorted()
        self.protected = Self.widest(protected)
        self.exceptSources = Array(Set(exceptSources)).sorted()
    }

    /// The name of an instance's table.
    public static func tableName(instance: String) -> String { "causeway_\(instance)" }

    /// The whole transaction; the counter begins at `packets`.
    public func script(packets: UInt64 = 0, octets: UInt64 = 0) -> String {
        let table = "table inet \(Self.tableName(instance: instance))"
        let interfaces = (["lo"] + tunNames).map { "\"\($0)\"" }.joined(separator: ", ")
        // Nearly every packet is done with after the first rule. A fragment without ports can only complete a datagram whose first fragment was let through.
        return """
            \(table)
            delete \(table)
            \(table) {
                counter \(Self.counterName) { packets \(packets) bytes \(octets) }
            \(sets)
                chain prerouting {
                    type filter hook prerouting priority raw; policy accept;
                    ip saddr != @protected4 accept
                    ip6 saddr != @protected6 accept
                    iifname { \(interfaces) } accept
                    ip saddr @except4 udp dport { 500, 4500 } accept
                    ip saddr @except4 ip protocol esp accept
                    ip saddr @except4 ip protocol udp ip frag-off & 0x1fff != 0 accept
                    ip6 saddr @except6 udp dport { 500, 4500 } accept
                    ip6 saddr @except6 meta l4proto esp accept
                    ip6 saddr @except6 frag frag-off != 0 accept
                    ip saddr @protected4 counter name "\(Self.counterName)" drop
                    ip6 saddr @protected6 counter name "\(Self.counterName)" drop
                }
            }

            """
    }

    private var sets: String {
        let elements: [(String, String, [String])] = [
            (
                "protected4", "ipv4_addr; flags interval",
                protected.filter { $0.address.bitWidth == 32 }.map(\.description)
            ),
            (
                "protected6", "ipv6_addr; flags interval",
                protected.filter { $0.address.bitWidth == 128 }.map(\.description)
            ),
            ("except4", "ipv4_addr", exceptSources.filter { $0.bitWidth == 32 }.map(\.description)),
            ("except6", "ipv6_addr", exceptSources.filter { $0.bitWidth == 128 }.map(\.description)),
        ]
        return elements.map { name, type, members in
            let list = members.isEmpty ? "" : " elements = { \(members.joined(separator: ", ")) };"
            return "    set \(name) { type \(type);\(list) }"
        }.joined(separator: "\n")
    }

    private static let counterName = "plaintext_dropped"

    /// Puts the filter in the place of the instance's former one, in one transaction; the count goes on.
    public func apply() throws(LinuxError) {
        let former = (try? Self.counted(instance: instance)) ?? (0, 0)
        try SystemProgram.run(
            "nft",
            ["-f", "-"],
            input: script(packets: former.0, octets: former.1),
            operation: "apply leak filter"
        )
    }

    /// Puts a filter in the place of the instance's former one.
    public static func apply(
        instance: String,
        tunNames: [String],
        protected: [IPPrefix],
        exceptSources: [IPAddress] = []
    ) throws(LinuxError) {
        try NoLeakFilter(
            instance: instance,
            tunNames: tunNames,
            protected: protected,
            exceptSources: exceptSources
        ).apply()
    }

    /// Removes the instance's table; none is no error.
    public static func remove(instance: String) throws(LinuxError) {
        let table = "table inet \(tableName(instance: try checked(instance: instance)))"
        try SystemProgram.run(
            "nft",
            ["-f", "-"],
            input: "\(table)\ndelete \(table)\n",
            operation: "remove leak filter"
        )
    }

    /// Packets dropped since the filter was first applied.
    public static func droppedPackets(instance: String) throws(LinuxError) -> UInt64 {
        try counted(instance: instance).packets
    }

    private static func counted(instance: String) throws(LinuxError) -> (packets: UInt64, octets: UInt64) {
        let table = tableName(instance: try checked(instance: instance))
        let operation = "read leak filter's counter"
        let text = try SystemProgram.run(
            "nft",
            ["list", "counter", "inet", table, counterName],
            input: "",
            operation: operation
        )
        guard let count = parseCounter(text) else {
            throw LinuxError(operation: operation, errno: EBADMSG, detail: "no counter in nft's answer")
        }
        return count
    }

    /// Reads `packets N bytes M`.
    static func parseCounter(_ text: String) -> (packets: UInt64, octets: UInt64)? {
        let words = text.split(whereSeparator: \.isWhitespace)
        guard let start = words.firstIndex(of: "packets") else { return nil }
        let found = words[start...].prefix(4).map { String($0) }
        guard found.count == 4, found[2] == "bytes", let packets = UInt64(found[1]),
            let octets = UInt64(found[3])
        else { return nil }
        return (packets, octets)
    }

    /// Prefixes that lie inside another are left out: nft refuses intervals that overlap.
    private static func widest(_ prefixes: [IPPrefix]) -> [IPPrefix] {
        var result = [IPPrefix]()
        for prefix in prefixes.sorted() {
            if let last = result.last, last.contains(prefix) { continue }
            result.append(prefix)
        }
        return result
    }

    private static func checked(instance: String) throws(LinuxError) -> String {
        let isPlain = instance.utf8.allSatisfy {
            (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                || [45, 95].contains($0)
        }
        guard (1...32).contains(instance.utf8.count), isPlain else {
            throw LinuxError(
                operation: "use instance name",
                errno: EINVAL,
                detail: "letters, digits, - and _ only"
            )
        }
        return instance
    }

    /// '*' is a wildcard to nft, a quote ends the string.
    private static func isQuotable(_ name: String) -> Bool {
        TunDeviceControl.isValid(name) && !name.contains { "\"\\*".contains($0) }
    }
}
