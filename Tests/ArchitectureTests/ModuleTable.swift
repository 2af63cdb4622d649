/// One target of the package, and what its files may import.
struct ModuleRule {
    enum Kind {
        /// Neither the system nor C nor external packages, swift-collections excepted.
        case pure
        /// External packages, but not the system.
        case external
        /// Everything that the table names.
        case system
    }

    let name: String
    let kind: Kind
    /// Targets of ours and products of other packages: what Package.swift gives this target.
    let imports: Set<String>
    /// Modules that come with the compiler and the system.
    let system: Set<String>
    /// `unsafe`, `@unchecked` and pointers may appear.
    let mayBeUnsafe: Bool

    init(
        _ name: String,
        _ kind: Kind,
        _ imports: Set<String>,
        system: Set<String> = [],
        unsafe mayBeUnsafe: Bool = false
    ) {
        self.name = name
        self.kind = kind
        self.imports = imports
        self.system = system
        self.mayBeUnsafe = mayBeUnsafe
    }

    var allowed: Set<String> { imports.union(system) }
}

/// The layers of the project, lowest first.
///
/// A line is added here before a file imports something new.
enum ModuleTable {
    /// The products of swift-collections that a pure target may use.
    static let collections: Set<String> = ["DequeModule", "HeapModule"]
    /// Targets that consist of C only.
    static let headers: Set<String> = [
        "COpenSSL", "CSodium", "CIPsecMB", "CChecksum", "CFetch", "CLinux",
    ]

    static let modules: [ModuleRule] = [
        ModuleRule("Primitives", .pure, []),
        ModuleRule("IPPackets", .pure, ["Primitives"]),
        ModuleRule(
            "Cryptography",
            .system,
            ["COpenSSL", "CSodium", "CIPsecMB", "CChecksum", "Primitives", "Crypto"],
            system: ["Synchronization", "FoundationEssentials"],
            unsafe: true
        ),
        ModuleRule("EAP", .pure, ["Primitives", "Cryptography"]),
        ModuleRule("IPsecTypes", .pure, ["Primitives", "IPPackets", "Cryptography"]),
        ModuleRule("IKEMessages", .pure, vocabulary),
        ModuleRule("Policy", .pure, vocabulary.union(["EAP"])),
        ModuleRule(
            "IKECore",
            .pure,
            vocabulary.union(["EAP", "IKEMessages", "Policy", "HeapModule", "DequeModule"])
        ),
        ModuleRule(
            "IKEv2",
            .pure,
            vocabulary.union(["EAP", "IKEMessages", "Policy", "IKECore", "DequeModule"])
        ),
        ModuleRule("ESP", .pure, vocabulary),
        ModuleRule(
            "PacketPump",
            .system,
            vocabulary.union(["ESP", "CLinux"]),
            system: ["Dispatch", "Synchronization"],
            unsafe: true
        ),
        ModuleRule(
            "LinuxIO",
            .system,
            ["CLinux", "CFetch", "Primitives", "IPPackets"],
            system: ["Dispatch", "Glibc", "Synchronization"],
            unsafe: true
        ),
        ModuleRule("Vici", .pure, ["Primitives"]),
        ModuleRule("GatewayConfiguration", .external, vocabulary.union(["EAP", "Policy", "Yams"])),
        ModuleRule("SwanctlConfiguration", .pure, vocabulary.union(["EAP", "Vici", "Policy"])),
        ModuleRule(
            "Gateway",
            .system,
            vocabulary.union([
                "EAP", "IKEMessages", "Policy", "IKECore", "IKEv2", "ESP", "PacketPump", "LinuxIO", "Vici",
                "GatewayConfiguration", "SwanctlConfiguration", "Logging", "DequeModule", "HeapModule",
            ]),
            system: ["Dispatch", "Synchronization"]
        ),
        ModuleRule(
            "causewayd",
            .system,
            ["Gateway", "GatewayConfiguration", "LinuxIO", "Logging", "ArgumentParser"],
            system: ["Dispatch"]
        ),
        ModuleRule(
            "causeway",
            .system,
            ["Vici", "GatewayConfiguration", "LinuxIO", "Primitives", "ArgumentParser"],
            system: ["Dispatch", "Foundation"]
        ),
    ]

    /// What both planes share.
    private static let vocabulary: Set<String> = ["Primitives", "IPPackets", "Cryptography", "IPsecTypes"]

    static func rule(_ name: String) -> ModuleRule? {
        modules.first { $0.name == name }
    }

    /// Every module that some file can name.
    static let names: Set<String> = modules.reduce(into: headers) { names, module in
        names.formUnion(module.allowed)
        names.insert(module.name)
    }
}
