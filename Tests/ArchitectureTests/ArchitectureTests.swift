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

    @Test func filesOfCAreNotTooLong() throws {
        let files = try Project.files(under: "Sources", suffixes: [".c", ".h"])
        try #require(!files.isEmpty)
        for file in files {
            for violation in Rules.fileLength(SourceText(path: file, try Project.text(file))) {
                Issue.record("\(violation)")
            }
        }
    }

    @Test func theModuleTableIsThatOfThePackage() throws {
        let manifest = PackageManifest(try Project.text("Package.swift"))
        for violation in manifest.violations(against: ModuleTable.modules) { Issue.record("\(violation)") }
    }

    /// What nobody needs any more is taken back.
    @Test func everyModuleOfTheSystemInTheTableIsImported() throws {
        var used: [String: Set<String>] = [:]
        for file in try Project.files(under: "Sources", suffixes: [".swift"]) {
            let source = SourceText(path: file, try Project.text(file))
            used[source.module ?? "", default: []].formUnion(source.code.compactMap(Rules.importedModule))
        }
        for module in ModuleTable.modules {
            let unused = module.system.subtracting(used[module.name] ?? []).sorted()
            #expect(unused == [], "\(module.name) may import what none of its files does")
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
            #expect(module.system == [], "\(module.name) is pure and may import modules of the system")
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

    @Test func unsafeCodeHasThreeHomes() {
        let homes = ModuleTable.modules.filter(\.mayBeUnsafe).map(\.name)
        #expect(homes == ["Cryptography", "PacketPump", "LinuxIO"])
    }

    @Test func theProjectSpeaksOfItselfAlone() throws {
        let files = try Project.allFiles()
        for file in ["Package.swift", "Makefile", "Tests/Interop/lab.py"] {
            try #require(files.contains(file), "the tree was not searched in full")
        }
        for file in files {
            guard let text = Project.textIfAny(file) else { continue }
            for violation in BannedWords.violations(path: file, text) { Issue.record("\(violation)") }
        }
    }
}

/// The package on disk.
enum Project {
    static let root = URL(filePath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

    static func text(_ path: String) throws -> String {
        try String(contentsOfFile: root + "/" + path, encoding: .utf8)
    }

    /// Nil for a folder and for what is not text.
    static func textIfAny(_ path: String) -> String? {
        guard let data = FileManager.default.contents(atPath: root + "/" + path), !data.contains(0) else {
            return nil
        }
        return String(data: data, encoding: .utf8)
    }

    /// Paths relative to the root, sorted.
    static func files(under folder: String, suffixes: [String]) throws -> [String] {
        try FileManager.default.subpathsOfDirectory(atPath: root + "/" + folder)
            .filter { path in suffixes.contains { path.hasSuffix($0) } }
            .map { folder + "/" + $0 }
            .sorted()
    }

    /// Everything but what tools leave behind.
    static func allFiles() throws -> [String] {
        let left: (String) -> Bool = { [".git", ".lab", ".swiftpm"].contains($0) || $0.hasPrefix(".build") }
        let top = try FileManager.default.contentsOfDirectory(atPath: root).filter { !left($0) }
        let below = top.flatMap { name in
            (FileManager.default.subpaths(atPath: root + "/" + name) ?? []).map { name + "/" + $0 }
        }
        return (top + below).filter { !$0.contains("__pycache__") }.sorted()
    }
}
