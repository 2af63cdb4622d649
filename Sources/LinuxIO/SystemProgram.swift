import CLinux
import Glibc

/// Programs of the system, run without a shell.
enum SystemProgram {
    private static let directories = ["/usr/sbin", "/sbin", "/usr/bin"]

    /// Runs `name` with `input` on its standard input; what it wrote, at most 64 KiB of it.
    ///
    /// Any exit but 0 is an error with the program's first line as detail.
    @discardableResult
    static func run(
        _ name: String,
        _ arguments: [String],
        input: String,
        operation: String
    ) throws(LinuxError) -> String {
        let candidates: [String] = directories.map { "\($0)/\(name)" }
        guard let path = candidates.first(where: { (file: String) in unsafe access(file, X_OK) == 0 }) else {
            let places = directories.joined(separator: ", ")
            throw LinuxError(operation: operation, errno: ENOENT, detail: "no program \(name) in \(places)")
        }
        var output = [UInt8](repeating: 0, count: 65_536)
        var count = 0
        let octets = Array(input.utf8)
        // The copies live until the end of the call.
        var copies = unsafe ([path] + arguments).map { (text: String) -> UnsafePointer<CChar>? in
            unsafe UnsafePointer(strdup(text))
        }
        defer { unsafe copies.forEach { unsafe free(UnsafeMutablePointer(mutating: $0)) } }
        unsafe copies.append(UnsafePointer<CChar>?.none)
        let status = unsafe octets.withUnsafeBytes { source in
            unsafe output.withUnsafeMutableBytes { target in
                unsafe clinux_run(
                    path,
                    copies,
                    source.baseAddress,
                    source.count,
                    target.baseAddress?.assumingMemoryBound(to: CChar.self),
                    target.count,
                    &count,
                    10_000
                )
            }
        }
        try LinuxError.check(status, operation)
        let text = String(decoding: output.prefix(max(0, count)), as: UTF8.self)
        guard status == 0 else {
            let line =
                text.split(whereSeparator: \.isNewline).first.map { String($0.prefix(300)) } ?? "no message"
            throw LinuxError(operation: operation, errno: EINVAL, detail: "\(name): \(line)")
        }
        return text
    }
}
