import Foundation
import Testing

/// The rules hold for the files of this package.
@Suite struct ArchitectureTests {
    @Test func sourcesKeepTheRules() throws {
        let files = try Project.files(under: "Sources", suffixes: [".swift"])
        try #require(files.count > 50, "the sources were not found under \(Project.root)")
        for file in files {
            for violation in Rules.all(SourceText(path: file, try Project.text(file))) {
                Issue.record("\(violation)")
            }
        }
    }

    @Test func everyTargetIsInTheModuleTable() throws {
        let targets = try FileManager.default.contentsOfDirectory(atPath: Project.root + "/Sources").sorted()
        let known = Set(ModuleTable.modules.map(\.name)).union(ModuleTable.headers)
        for target in targets where !target.hasPrefix(".") {
            #expect(known.contains(target), "Sources/\(target) is not in the module table")
        }
        for name in known.sorted() {
            #expect(targets.contains(name), "the module table names \(name), which has no sources")
        }
    }

    @Test func noImportInTheTablePointsUp() {
        var lower = ModuleTable.headers
        let own = Set(ModuleTable.modules.map(\.name)).union(ModuleTable.headers)
        for module in ModuleTable.modules {
            let upward = module.imports.intersection(own).subtracting(lower).sorted()
            #expect(upward == [], "\(module.name) may import what stands above it")
            lower.insert(module.name)
        }
    }

    @Test func pureTargetsReachTheSystemThroughCryptographyOnly() {
        for module in ModuleTable.modules where module.kind == .pure {
            for name in module.imports.sorted() {
                let isAllowed =
                    ModuleTable.rule(name)?.kind == .pure || name == "Cryptography"
                    || ModuleTable.collections.contains(name)
                #expect(isAllowed, "\(module.name) is pure and may import \(name)")
            }
        }
    }

    @Test func ikeAndESPDoNotKnowEachOther() {
        for name in ["IKEMessages", "IKECore", "IKEv2"] {
            #expect(ModuleTable.rule(name)?.imports.contains("ESP") == false)
            #expect(ModuleTable.rule("ESP")?.imports.contains(name) == false)
        }
    }

    @Test func theProjectSpeaksOfItselfAlone() throws {
        let folders = ["Sources", "Tests", "Docs", "Config", "systemd", ".ci"]
        let suffixes = [
            ".swift", ".py", ".md", ".h", ".c", ".yaml", ".service", ".conf", ".8", ".1", ".5", "run", "deps",
            ".modulemap",
        ]
        var files = ["README.md", "Makefile", "Package.swift"]
        for folder in folders { files += try Project.files(under: folder, suffixes: suffixes) }
        for file in files {
            for violation in BannedWords.violations(path: file, try Project.text(file)) {
                Issue.record("\(violation)")
            }
        }
    }
}

/// The package on disk.
enum Project {
    static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

    static func text(_ path: String) throws -> String {
        try String(contentsOfFile: root + "/" + path, encoding: .utf8)
    }

    /// Paths relative to the root, sorted.
    static func files(under folder: String, suffixes: [String]) throws -> [String] {
        let top = URL(filePath: root + "/" + folder).resolvingSymlinksInPath().path
        return try FileManager.default.subpathsOfDirectory(atPath: top)
            .filter { path in suffixes.contains { path.hasSuffix($0) } && !path.contains("__pycache__") }
            .map { folder + "/" + $0 }
            .sorted()
    }
}
