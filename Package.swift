// swift-tools-version: 6.3
import PackageDescription

/// Settings of every Swift target.
///
/// `Lifetimes` is for the `~Escapable` cursors over `Span`.
let strict: [SwiftSetting] = [
    .strictMemorySafety(),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]

func module(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .target(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: strict)
}

func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: name + "Tests",
        dependencies: [.target(name: name), "TestSupport"] + dependencies,
        swiftSettings: strict
    )
}

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let heap = Target.Dependency.product(name: "HeapModule", package: "swift-collections")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

let package = Package(
    name: "causeway",
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
        .package(url: "https://github.com/apple/swift-collections", exact: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
        .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
    ],
    targets: [
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CSodium", pkgConfig: "libsodium", providers: [.apt(["libsodium-dev"])]),
        .target(name: "CFetch"),
        .target(name: "CLinux"),
        .target(name: "CIPsecMB"),
        .target(name: "CChecksum"),
        module("Primitives", []),
        module("IPPackets", ["Primitives"]),
        module("Cryptography", ["COpenSSL", "CSodium", "CIPsecMB", "CChecksum", "Primitives", crypto]),
        module("IPsecTypes", ["Primitives", "IPPackets", "Cryptography"]),
        module("IKEMessages", ["Primitives", "IPPackets", "Cryptography", "IPsecTypes"]),
        module("EAP", ["Primitives", "Cryptography"]),
        module("Policy", ["Primitives", "IPPackets", "Cryptography", "IPsecTypes", "EAP"]),
        module(
            "IKECore",
            [
                "Primitives", "IPPackets", "Cryptography", "IPsecTypes", "EAP", "IKEMessages", "Policy", heap,
                deque,
            ]
        ),
        module(
            "IKEv2",
            [
                "Primitives", "IPPackets", "Cryptography", "IPsecTypes", "EAP", "IKEMessages", "Policy",
                "IKECore", deque,
            ]
        ),
        module("ESP", ["Primitives", "IPPackets", "IPsecTypes", "Cryptography"]),
        module("PacketPump", ["ESP", "IPsecTypes", "IPPackets", "Cryptography", "CLinux", "Primitives"]),
        module("LinuxIO", ["CLinux", "CFetch", "Primitives", "IPPackets"]),
        module("Vici", ["Primitives"], exclude: ["README.md"]),
        module(
            "GatewayConfiguration",
            ["Policy", "Primitives", "IPPackets", "IPsecTypes", "Cryptography", "EAP", yams]
        ),
        module(
            "SwanctlConfiguration",
            ["Vici", "Policy", "Primitives", "IPPackets", "IPsecTypes", "Cryptography", "EAP"]
        ),
        module(
            "Gateway",
            [
                "Primitives", "IPPackets", "Cryptography", "IPsecTypes", "EAP", "IKEMessages", "Policy",
                "IKECore", "IKEv2", "ESP", "PacketPump", "LinuxIO", "Vici", "GatewayConfiguration",
                "SwanctlConfiguration", logging, deque, heap,
            ]
        ),
        program("causewayd", ["Gateway", "GatewayConfiguration", "LinuxIO", logging, argumentParser]),
        program("causeway", ["Vici", "LinuxIO", "Primitives", "GatewayConfiguration", argumentParser]),

        .executableTarget(
            name: "microbench",
            dependencies: ["Cryptography", "ESP", "IPPackets", "IPsecTypes", "Primitives"],
            path: "Benchmarks/Micro",
            swiftSettings: strict
        ),

        .target(
            name: "TestSupport",
            dependencies: ["Primitives", "Cryptography", "EAP"],
            path: "Tests/TestSupport",
            swiftSettings: strict
        ),
        .target(name: "AllocationCounter", path: "Tests/AllocationCounter"),
        tests("Primitives", []),
        tests("IPPackets", ["Primitives"]),
        tests("Cryptography", ["Primitives", "CChecksum"]),
        tests("IPsecTypes", ["Primitives", "IPPackets", "Cryptography"]),
        tests("IKEMessages", ["Primitives", "IPPackets", "Cryptography", "IPsecTypes"]),
        tests("EAP", ["Primitives", "Cryptography"]),
        tests("Policy", ["Primitives", "IPPackets", "Cryptography", "IPsecTypes"]),
        tests(
            "IKEv2",
            [
                "Primitives", "IPPackets", "Cryptography", "IPsecTypes", "EAP", "IKEMessages", "Policy",
                "IKECore",
            ]
        ),
        tests("ESP", ["Primitives", "IPPackets", "IPsecTypes", "Cryptography"]),
        tests(
            "PacketPump",
            ["ESP", "IPsecTypes", "IPPackets", "Cryptography", "CLinux", "Primitives", "AllocationCounter"]
        ),
        tests("LinuxIO", ["Primitives", "IPPackets"]),
        tests("Vici", ["Primitives"]),
        tests(
            "GatewayConfiguration",
            ["Policy", "Primitives", "IPPackets", "IPsecTypes", "Cryptography", "EAP"]
        ),
        tests(
            "SwanctlConfiguration",
            ["Vici", "Policy", "Primitives", "IPPackets", "IPsecTypes", "Cryptography"]
        ),
        tests(
            "Gateway",
            [
                "Policy", "Primitives", "IPPackets", "IPsecTypes", "IKECore", "IKEMessages", "Cryptography",
                "EAP",
                "LinuxIO", "Vici", "GatewayConfiguration", logging,
            ]
        ),
        .testTarget(
            name: "SimulatedNetwork",
            dependencies: [
                "TestSupport", "Primitives", "IPPackets", "Cryptography", "IPsecTypes", "IKEMessages",
                "Policy",
                "IKECore", "IKEv2", "Gateway", heap,
            ],
            swiftSettings: strict
        ),
        .testTarget(name: "ArchitectureTests", dependencies: ["TestSupport"], swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
