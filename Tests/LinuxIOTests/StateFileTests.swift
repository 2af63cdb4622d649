import Foundation
import IPPackets
import LinuxIO
import Testing

@Suite struct StateFileTests {
    private let directory: String

    init() throws {
        directory = NSTemporaryDirectory() + "causeway-state-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    }

    @Test func replacesTheWholeAndReadsItBack() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let file = StateFile(path: directory + "/state")
        #expect(try file.read() == nil)
        try file.write(Array(repeating: 7, count: 10_000))
        try file.write([1, 2, 3])
        #expect(try file.read() == [1, 2, 3])
        #expect(try FileManager.default.contentsOfDirectory(atPath: directory) == ["state"])
        let attributes = try FileManager.default.attributesOfItem(atPath: file.path)
        #expect(attributes[.posixPermissions] as? Int == 0o600)
    }

    @Test func isBounded() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let file = StateFile(path: directory + "/state")
        #expect(throws: LinuxError.self) { try file.write(Array(repeating: 0, count: StateFile.limit + 1)) }
        try Data(count: StateFile.limit + 1).write(to: URL(fileURLWithPath: file.path))
        #expect(throws: LinuxError.self) { try file.read() }
    }

    @Test func followsNoLink() throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try FileManager.default.createSymbolicLink(
            atPath: directory + "/state",
            withDestinationPath: "/etc/hostname"
        )
        #expect(throws: LinuxError.self) { try StateFile(path: directory + "/state").read() }
    }
}

@Suite struct NameLookupTests {
    @Test func numbersStandForThemselves() throws {
        #expect(try NameLookup.addresses(of: "192.0.2.7").map { $0.description } == ["192.0.2.7"])
        #expect(try NameLookup.addresses(of: "2001:db8::7").map { $0.description } == ["2001:db8::7"])
    }

    @Test(arguments: ["", "a\0b", "no-such-name.invalid"]) func saysWhyThereIsNone(_ name: String) {
        #expect(throws: NameLookupError.self) { try NameLookup.addresses(of: name) }
    }
}
