/// Names of ports in /etc/services, as tools show them.
public enum ServiceNames {
    /// Read once: a file that is not there, or not readable, has no names.
    private static let names = parse((try? TextFile.read("/etc/services")) ?? "")

    /// The name of a port of UDP (17) or TCP (6); nil without one.
    public static func name(port: UInt16, ipProtocol: UInt8) -> String? {
        names[UInt32(ipProtocol) << 16 | UInt32(port)]
    }

    /// Lines are `ssh 22/tcp aliases # comment`; the first name of a port counts.
    static func parse(_ text: String) -> [UInt32: String] {
        var result: [UInt32: String] = [:]
        for line in text.split(separator: "\n") {
            let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" }
            guard words.count >= 2 else { continue }
            let parts = words[1].split(separator: "/")
            guard parts.count == 2, let port = UInt16(parts[0]) else { continue }
            let number: UInt32
            switch parts[1] {
            case "tcp": number = 6
            case "udp": number = 17
            default: continue
            }
            let key = number << 16 | UInt32(port)
            if result[key] == nil, words[0].utf8.allSatisfy({ (0x21...0x7e).contains($0) }) {
                result[key] = String(words[0])
            }
        }
        return result
    }
}
