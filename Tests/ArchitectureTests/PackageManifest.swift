/// The Swift targets that Package.swift declares, and what each depends on.
struct PackageManifest {
    struct Target: Equatable {
        let name: String
        let line: Int
        /// Targets of ours and the products of other packages.
        let dependencies: Set<String>
    }

    private(set) var targets: [Target] = []

    /// Understands `module("Name", ["A", b])` and `program(...)`, where `let b` is a product of another package.
    init(_ text: String) {
        var products: [String: String] = [:]
        for match in text.matches(of: /let (\w+) = Target\.Dependency\.product\(name: "(\w+)"/) {
            products[String(match.output.1)] = String(match.output.2)
        }
        for match in text.matches(of: /(?:module|program)\(\s*"(\w+)",\s*\[([^\]]*)\]/) {
            let words = match.output.2.matches(of: /("?)(\w+)"?/).map { word in
                let name = String(word.output.2)
                return word.output.1.isEmpty ? products[name] ?? name : name
            }
            let line = text[..<match.range.lowerBound].count { $0 == "\n" } + 1
            targets.append(Target(name: String(match.output.1), line: line, dependencies: Set(words)))
        }
    }

    /// Where the manifest and the module table disagree.
    func violations(against modules: [ModuleRule]) -> [Violation] {
        let path = "Package.swift"
        let missing = modules.filter { module in !targets.contains { $0.name == module.name } }.map {
            Violation(path: path, line: 1, message: "no target \($0.name), which the module table names")
        }
        return missing
            + targets.flatMap { target -> [Violation] in
                let say = { (text: String) in
                    Violation(path: path, line: target.line, message: "\(target.name) \(text)")
                }
                guard let rule = modules.first(where: { $0.name == target.name }) else {
                    return [say("is not in the module table")]
                }
                return target.dependencies.subtracting(rule.imports).sorted().map {
                    say("depends on \($0), which the module table does not allow")
                }
                    + rule.imports.subtracting(target.dependencies).sorted().map {
                        say("does not depend on \($0), which the module table allows")
                    }
            }
    }
}
