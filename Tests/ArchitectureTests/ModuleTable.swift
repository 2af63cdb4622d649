/// One target of the package, and what its files may import.
struct ModuleRule {
    enum Kind {
        /// Neither the system nor C nor external packages, swift-collections excepted.
        case pure
        /// External packages, but not the system.
        case external
        /// Everything that the table names, and the system.
        case system
    }

    let name: String
    let kind: Kind
    /// Targets of ours and external modules; the system's modules come with the kind.
    let imports: Set<String>
    /// `unsafe`, `@unchecked` and pointers may appear.
    let mayBeUnsafe: Bool

    init(_ name: String, _ kind: Kind, _ imports: Set<String>, unsafe mayBeUnsafe: Bool = false) {
        self.name = name
        self.kind = kind
        self.imports = imports
        self.mayBeUnsafe = mayBeUnsafe
    }

    var allowed: Set<String> {
        kind == .system ? imports.union(ModuleTable.systemModules) : imports
    }
}

/// The layers of the project, lowest first.
///
/// A line is added here before a file imports something new.
enum ModuleTable {
    static let systemModules: Set<String> = ["Foundation", "Dispatch", "Glibc", "Synchronization"]
    static let collections: Set<String> = ["Collections", "DequeModule", "HeapModule", "OrderedCollections"]
    /// Targets that consist of C headers only.
    static let headers: Set<String> = ["COpenSSL", "CSodium", "CLinux"]

    static let modules: [ModuleRule] = [
        ModuleRule("Primitives", .pure, []),
        ModuleRule("IPPackets", .pure, ["Primitives"]),
        ModuleRule("Cryptography", .system, ["COpenSSL", "CSodium", "Primitives"], unsafe: true),
        ModuleRule("IPsecTypes", .pure, ["Primitives", "IPPackets", "Cryptography"]),
        ModuleRule("IKEMessages", .pure, ["Primitives", "IPPackets", "Cryptography", "IPsecTypes"]),
        ModuleRule("Policy", .pure, ["Primitives", "IPPackets", "Cryptography", "IPsecTypes"]),
        ModuleRule("IKECore", .pure, ikeBase.union(["IKEMessages", "Policy"])),
        ModuleRule("IKEv2", .pure, ikeBase.union(["IKEMessages", "Policy", "IKECore"])),
        ModuleRule("ESP", .pure, ["Primitives", "IPPackets", "IPsecTypes", "Cryptography"]),
        ModuleRule(
            "PacketPump",
            .system,
            ["Primitives", "IPPackets", "Cryptography", "IPsecTypes", "ESP", "CLinux"],
            unsafe: true
        ),
        ModuleRule("LinuxIO", .system, ["CLinux", "Primitives", "IPPackets"], unsafe: true),
        ModuleRule("Vici", .pure, ["Primitives"]),
        ModuleRule(
            "GatewayConfiguration",
            .external,
            ["Primitives", "IPPackets", "Cryptography", "IPsecTypes", "Policy", "Yams"]
        ),
        ModuleRule(
            "Gateway",
            .system,
            ikeBase.union([
                "IKEMessages", "Policy", "IKECore", "IKEv2", "ESP", "PacketPump", "LinuxIO", "Vici",
                "GatewayConfiguration", "Logging",
            ])
        ),
        ModuleRule(
            "causewayd",
            .system,
            ["Gateway", "GatewayConfiguration", "LinuxIO", "Logging", "ArgumentParser"]
        ),
        ModuleRule(
            "causeway",
            .system,
            ["Vici", "GatewayConfiguration", "LinuxIO", "Primitives", "ArgumentParser"]
        ),
    ]

    private static let ikeBase: Set<String> = collections.union([
        "Primitives", "IPPackets", "Cryptography", "IPsecTypes",
    ])

    static func rule(_ name: String) -> ModuleRule? {
        modules.first { $0.name == name }
    }
}
