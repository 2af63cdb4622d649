import Foundation

/// The `openssl` program, which makes keys and certificates for tests.
enum OpenSSLTool {
    /// False when there is none: tests that need it are then skipped.
    static let isAvailable: Bool = {
        let exists = (try? run(["version"])) != nil
        if !exists { print("skipping tests of keys and certificates: no openssl program") }
        return exists
    }()

    struct Failure: Error {
        let status: Int32
    }

    /// What the program prints when it is given `input`.
    @discardableResult
    static func run(_ arguments: [String], input: [UInt8] = []) throws -> [UInt8] {
        let folder = FileManager.default.temporaryDirectory
        let file = folder.appendingPathComponent("causeway-\(UUID().uuidString)")
        try Data(input).write(to: file)
        defer { try? FileManager.default.removeItem(at: file) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = ["openssl"] + arguments.map { $0 == "INPUT" ? file.path : $0 }
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure(status: process.terminationStatus) }
        return [UInt8](data)
    }

    /// A new private key as PEM (PKCS#8).
    static func key(_ arguments: String...) throws -> [UInt8] {
        try run(["genpkey", "-quiet"] + arguments)
    }

    /// The key as PKCS#8 in DER.
    static func pkcs8(_ key: [UInt8]) throws -> [UInt8] {
        try run(["pkcs8", "-topk8", "-nocrypt", "-in", "INPUT", "-outform", "DER"], input: key)
    }

    /// A self-signed certificate of `key` as PEM.
    static func certificate(_ key: [UInt8], subject: String, isAuthority: Bool) throws -> [UInt8] {
        let constraint = isAuthority ? "critical,CA:TRUE" : "critical,CA:FALSE"
        return try run(
            [
                "req", "-x509", "-key", "INPUT", "-subj", subject, "-days", "10", "-set_serial", "4711",
                "-addext", "basicConstraints=\(constraint)",
            ],
            input: key
        )
    }
}
