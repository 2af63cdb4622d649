import Foundation

/// The folder of test vectors: `CAUSEWAY_VECTORS`, or `../shared/vectors` beside the package.
public enum Vectors {
    /// Where the vectors are.
    public static var folder: String {
        if let folder = ProcessInfo.processInfo.environment["CAUSEWAY_VECTORS"] { return folder }
        var root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        for _ in 0..<3 { root.deleteLastPathComponent() }
        return root.deletingLastPathComponent().appendingPathComponent("shared/vectors").path
    }

    /// False when the folder is absent: tests that read it are then skipped.
    public static let areAvailable: Bool = {
        let exists = FileManager.default.fileExists(atPath: folder)
        if !exists { print("skipping tests of vectors: no folder \(folder) (set CAUSEWAY_VECTORS)") }
        return exists
    }()

    /// The file `name.json` of the folder; `.null` after a printed message when it is absent.
    public static func load(_ name: String) -> JSON {
        let path = folder + "/" + name + ".json"
        guard let data = FileManager.default.contents(atPath: path),
            let object = try? JSONSerialization.jsonObject(with: data, options: [.fragmentsAllowed])
        else {
            print("skipping vectors \(name): cannot read \(path)")
            return .null
        }
        return convert(object)
    }

    private static func convert(_ object: Any) -> JSON {
        if let text = object as? String { return .string(text) }
        if let elements = object as? [Any] { return .array(elements.map(convert)) }
        if let members = object as? [String: Any] { return .object(members.mapValues(convert)) }
        if let number = object as? NSNumber { return .number(number.doubleValue) }
        return .null
    }
}
