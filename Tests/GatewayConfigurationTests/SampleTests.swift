import Cryptography
import Foundation
import GatewayConfiguration
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@Suite("The sample Config/gateway.yaml")
struct SampleTests {
    static let sample: String = {
        var root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        for _ in 0..<3 { root.deleteLastPathComponent() }
        let file = root.appendingPathComponent("Config/gateway.yaml")
        return (try? String(contentsOf: file, encoding: .utf8)) ?? ""
    }()

    @Test func loadsWithoutErrorOrWarning() throws {
        let gateway = try load(Self.sample)
        #expect(gateway.warnings.isEmpty)
        #expect(gateway.connections.count >= 1)
        for connection in gateway.connections { #expect(!connection.tunnels.isEmpty) }
    }

    /// Every commented key is a key: the sample must not show what the loader refuses.
    @Test func commentedKeysAreAcceptedToo() throws {
        let lines = Self.sample.split(separator: "\n", omittingEmptySubsequences: false).map {
            line -> String in
            guard let hash = line.firstIndex(of: "#"), line[..<hash].allSatisfy({ $0 == " " }),
                hash > line.startIndex,
                line[hash...].firstMatch(of: /^# [a-zA-Z-]+: [^ ]/) != nil
            else { return String(line) }
            return String(line[..<hash]) + String(line[line.index(hash, offsetBy: 2)...])
        }
        let text = lines.joined(separator: "\n")
        #expect(text != Self.sample)
        let found = errors(of: text)
        #expect(found.isEmpty, "\(found)")
    }

    /// Whatever is done to the text, the loader answers; it never traps.
    @Test func mutationsNeverTrap() {
        var entropy = SeededEntropy(seed: 0x5eed_0001)
        let base = Array(Self.sample.utf8.filter { $0 < 0x80 })
        let pieces = [
            "*a", "&a ", "<<: *a", "[", "]", "{", "}", ": ", "- ", "\n", "\t", "\"", "'", "? ", "|", ">",
            "!!int ", "%", "\r", "\u{85}", "\u{0}", "é", "\u{e000}", "name", "999999999999999999999", "0x",
            "-1",
        ].map { Array($0.utf8) }
        var refused = 0
        for _ in 0..<20_000 {
            var text = base
            for _ in 0...(entropy.nextUInt32() % 4) {
                let position = Int(entropy.nextUInt32()) % text.count
                let length = min(Int(entropy.nextUInt32() % 12), text.count - position)
                switch entropy.nextUInt32() % 5 {
                case 0: text.removeSubrange(position..<position + length)
                case 1: text[position] = UInt8(entropy.nextUInt32() % 128)
                case 2:
                    text.insert(contentsOf: pieces[Int(entropy.nextUInt32()) % pieces.count], at: position)
                case 3:
                    text.insert(
                        contentsOf: text[position..<position + length],
                        at: Int(entropy.nextUInt32()) % text.count
                    )
                default: text.removeSubrange(position...)
                }
                if text.isEmpty { text = base }
            }
            let found = errors(of: String(decoding: text, as: UTF8.self))
            if !found.isEmpty { refused += 1 }
            #expect(
                found.allSatisfy {
                    $0.line >= 1 && $0.column >= 1 && !$0.message.isEmpty && !$0.message.contains("\n")
                }
            )
        }
        #expect(refused > 5_000 && refused < 20_000)
    }
}
