import Testing

/// Each rule finds what it is there to find, and leaves what is right alone.
@Suite struct RuleTests {
    private func found(_ text: String, in module: String = "IKECore", file: String = "File.swift") -> [String]
    {
        Rules.all(SourceText(path: "Sources/\(module)/\(file)", text)).map(\.description)
    }

    @Test(arguments: [
        ("Primitives", "import Foundation"), ("ESP", "import Dispatch"), ("IKEv2", "import Glibc"),
        ("Policy", "import COpenSSL"), ("IKECore", "public import ESP"), ("Vici", "import Yams"),
        ("ESP", "import IKEMessages"), ("IPPackets", "package import IPsecTypes"),
        ("IKEMessages", "  @preconcurrency public import Logging"),
        ("Primitives", "import struct Foundation.Data"),
        ("IKECore", "import OrderedCollections"),
        ("Gateway", "import Foundation"), ("LinuxIO", "import Gateway"), ("Cryptography", "import CLinux"),
        ("Unheard", "let a = 1"),
    ])
    func findsAForbiddenImport(_ module: String, _ line: String) {
        let violations = found("\n" + line, in: module)
        #expect(violations.count == 1)
        let number = module == "Unheard" ? 1 : 2
        #expect(violations.first?.hasPrefix("Sources/\(module)/File.swift:\(number): ") == true)
    }

    @Test func namesFileLineAndWhatIsAllowed() {
        let expected =
            "Sources/Vici/File.swift:2: Vici, which is pure, may not import Glibc; it may import Primitives"
        #expect(found("import Primitives\nimport Glibc", in: "Vici") == [expected])
        #expect(found("\nf(try! a())") == ["Sources/IKECore/File.swift:2: 'try!' traps"])
        let unsafe = "Sources/ESP/File.swift:1: 'unsafe' belongs into Cryptography, PacketPump, LinuxIO only"
        #expect(found("let a = unsafe b", in: "ESP") == [unsafe])
    }

    @Test func acceptsWhatTheTableAllows() {
        let text = "public import Primitives\nimport HeapModule\nlet important = 1\n// import Foundation"
        #expect(found(text) == [])
        #expect(found("import Glibc\nimport CLinux", in: "LinuxIO") == [])
    }

    @Test(arguments: [
        "let a = unsafe b", "struct A: @unchecked Sendable {}", "let p: UnsafeMutableRawPointer",
        "nonisolated(unsafe) var a = 1", "a.withUnsafeBytes { $0 }", "var p: OpaquePointer?",
    ])
    func findsUnsafeCodeOutsideItsHomes(_ line: String) {
        #expect(!found(line, in: "Gateway").isEmpty)
        #expect(found(line, in: "LinuxIO") == [])
    }

    @Test(arguments: [
        "let a = try! b()", "let a = b as! C", "let a = b!", "let a = b()!", "let a = b[0]!.c", "var a: Int!",
        "f(a!, b)", "let a = b!\n", "let a = \"no! \\(b!) no!\"", "let a = `b`!", "a! += 1",
        "let a = #\"\\#(b(\"!\")!)!\"#", "let a = \"\"\"\n  no! \\(b!)\n  \"\"\"",
    ])
    func findsWhatTraps(_ line: String) {
        #expect(found(line).count == 1)
    }

    @Test(arguments: [
        "if a != b {}", "if !a {}", "guard !a, !(b) else { return }", "let a = \"no! \\(b) no!\"",
        "// never!",
        "/* a! /* b! */ c! */ let a = 1", "let a = b as? C", "let a = #\"x! \"y!\"#", "a.filter { !$0 }",
        "let a = \"\"\"\n  no! \"x!\"\n  \"\"\"", "let a = \"\\(b(\"x)!\"))!\"",
    ])
    func leavesNegationsStringsAndCommentsAlone(_ line: String) {
        #expect(found(line) == [])
    }

    @Test func countsTheLinesOfAFunction() {
        let body = String(repeating: "    a()\n", count: 69)
        #expect(found("func long(\n) {\n" + body.dropLast(16) + "}") == [])
        let violations = found("\nstruct S {\nfunc long(a: () -> Void = {}) {\n" + body + "}\n}")
        #expect(violations == ["Sources/IKECore/File.swift:3: long has 71 lines; a function has at most 70"])
        #expect(found("init?(a: Int) {\n" + body + "}").count == 1)
        #expect(found("var a: Int {\n" + body + "}").count == 1)
        #expect(found("var a = 1\nstruct B {\n" + body + "}").isEmpty)
        #expect(found("protocol P {\n func a()\n var b: Int { get }\n}\nstruct B {\n" + body + "}").isEmpty)
    }

    @Test func countsTheLinesOfAFile() {
        #expect(found(String(repeating: "//\n", count: 600)) == [])
        let violations = found(String(repeating: "//\n", count: 601))
        #expect(violations == ["Sources/IKECore/File.swift:601: 601 lines; a file has at most 600"])
    }

    @Test(arguments: [
        "struct ESP {}", "public enum Policy {", "final class Gateway {", "typealias Vici = Int",
        "protocol Logging {",
    ])
    func findsATypeNamedAsAModule(_ line: String) {
        #expect(found(line).count == 1)
        #expect(found("struct ESPPacket {}\nlet policy = Policy.self") == [])
    }

    @Test func findsWhereManifestAndTableDisagree() {
        let text = """
            let heap = Target.Dependency.product(name: "HeapModule", package: "swift-collections")
            func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {}
            module("A", []),
            program(
                "B",
                ["A", "C", heap]
            ),
            module("E", []),
            """
        let manifest = PackageManifest(text)
        #expect(manifest.targets.map(\.name) == ["A", "B", "E"])
        let rules = [
            ModuleRule("A", .pure, []), ModuleRule("B", .pure, ["A", "D", "HeapModule"]),
            ModuleRule("F", .pure, []),
        ]
        #expect(
            manifest.violations(against: rules).map(\.description) == [
                "Package.swift:1: no target F, which the module table names",
                "Package.swift:4: B depends on C, which the module table does not allow",
                "Package.swift:4: B does not depend on D, which the module table allows",
                "Package.swift:8: E is not in the module table",
            ]
        )
    }

    @Test func findsBannedWords() {
        for word in BannedWords.words {
            let violations = BannedWords.violations(path: "a", "first\nmade with \(word.uppercased()), x")
            #expect(violations.contains { $0.line == 2 })
        }
        #expect(BannedWords.violations(path: "a", "the network of a helper, a session, egpt, wallms") == [])
    }
}
