import Cryptography
import Foundation
import IPPackets
import IPsecTypes
import Testing

@testable import ESP

/// A whole outer packet with its keys, from somebody else's implementation or an RFC.
struct PacketVector: Sendable, CustomStringConvertible {
    let description: String
    let transform: CipherTransform
    let encryptionKey: [UInt8]
    let integrityKey: [UInt8]
    let sequence: UInt64
    let usesESN: Bool
    let esp: [UInt8]
    let inner: [UInt8]
}

enum Vectors {
    static let directory: URL = {
        if let path = ProcessInfo.processInfo.environment["CAUSEWAY_VECTORS"] {
            return URL(fileURLWithPath: path)
        }
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return root.appendingPathComponent("../shared/vectors").standardizedFileURL
    }()

    static let packets: [PacketVector] =
        load("esp/dpdk_full_packets.json") + load("esp/rfc7634_esp_and_ikev2.json")

    /// AES-GCM packets that Linux made, with and without extended sequence numbers; the high half is 1.
    static let linuxESP: [(key: [UInt8], high: UInt64, usesESN: Bool, esp: [UInt8])] =
        cases("esp/scapy_linux_reference.json").compactMap { fields in
            guard fields["crypt_algo"] as? String == "AES-GCM", let esp = fields["esp_bytes"] as? String,
                let key = fields["crypt_key"] as? String
            else { return nil }
            let usesESN = fields["esn_en"] as? Bool ?? false
            return (octets(key), UInt64(fields["esn"] as? Int ?? 0), usesESN, octets(esp))
        }

    private static func load(_ name: String) -> [PacketVector] { cases(name).compactMap { vector($0) } }

    private static func cases(_ name: String) -> [[String: Any]] {
        guard let data = try? Data(contentsOf: directory.appendingPathComponent(name)),
            let file = try? JSONSerialization.jsonObject(with: data) as? [String: Any],
            let cases = file["cases"] as? [[String: Any]]
        else {
            print("skipped: no vectors at \(directory.path)/\(name)")
            return []
        }
        return cases
    }

    private static func vector(_ fields: [String: Any]) -> PacketVector? {
        func text(_ name: String) -> String { fields[name] as? String ?? "" }
        let key = octets(text("key")) + octets(text("salt"))
        let outer = octets(text("outer_packet"))
        let inner = octets(text("inner_packet"))
        guard
            let transform = transform(text("cipher"), text("auth"), octets(text("key")).count, text("kind")),
            let first = outer.first, !inner.isEmpty, text("mode") != "TRANSPORT"
        else { return nil }
        let start = first >> 4 == 6 ? 40 : Int(first & 15) * 4
        var esp = Array(outer.dropFirst(start))
        if (fields["udp_encap"] as? Int ?? 0) != 0 { esp = Array(esp.dropFirst(8)) }
        guard esp.count > 8 else { return nil }
        let low = esp[4..<8].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        let usesESN = (fields["esn"] as? Int ?? 0) != 0
        let high = usesESN ? UInt64(text("esn_hi")) ?? 0 : 0
        return PacketVector(
            description: text("id"),
            transform: transform,
            encryptionKey: key,
            integrityKey: octets(text("auth_key")),
            sequence: high << 32 | low,
            usesESN: usesESN,
            esp: esp,
            inner: inner
        )
    }

    private static func transform(_ cipher: String, _ auth: String, _ keyLength: Int, _ kind: String)
        -> CipherTransform?
    {
        let hmacs: [String: IntegrityAlgorithm] = [
            "SHA1_HMAC": .hmacSHA1_96, "SHA256_HMAC": .hmacSHA256_128, "SHA384_HMAC": .hmacSHA384_192,
            "SHA512_HMAC": .hmacSHA512_256,
        ]
        if kind == "esp" { return .chacha20Poly1305 }
        switch cipher {
        case "AES_GCM": return .aesGCM16(keyBits: keyLength * 8)
        case "CHACHA20_POLY1305": return .chacha20Poly1305
        case "AES_CBC": return hmacs[auth].map { .aesCBC(keyBits: keyLength * 8, $0) }
        case "NULL": return hmacs[auth].map { .null($0) }
        default: return nil
        }
    }

    private static func octets(_ text: String) -> [UInt8] {
        let digits = Array(text)
        return stride(from: 0, to: digits.count - 1, by: 2).compactMap {
            UInt8(String(digits[$0...$0 + 1]), radix: 16)
        }
    }
}

struct VectorTests {
    @Test(arguments: Vectors.packets)
    func opensThePacketsOfOthers(vector: PacketVector) throws {
        let number = vector.esp[0..<4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        // Some use SPIs that are reserved; the cipher is the same for any, the ICV is not: they cannot be
        // rewritten.
        guard SPI(number) != nil else { return try openWithCipher(vector) }
        let keys = SAKeys(
            encryption: try SecretKey(copying: vector.encryptionKey),
            integrity: vector.integrityKey.isEmpty ? nil : try SecretKey(copying: vector.integrityKey)
        )
        let all = [try Fixture.selector("0.0.0.0/0"), try Fixture.selector("::/0")]
        let b = try EngineHost(
            Fixture.description(
                isA: false,
                vector.transform,
                esn: vector.usesESN,
                local: all,
                remote: all,
                inboundKeys: keys,
                inboundSPI: number
            )
        )
        b.engine.inbound[0].window = ReplayWindow(
            size: 1024,
            usesESN: vector.usesESN,
            top: vector.sequence - 1
        )
        #expect(b.open([vector.esp]) == [vector.inner])
        #expect(b.droppedOnly())
    }

    @Test func opensWhatLinuxSealedWithAndWithoutESN() throws {
        for vector in Vectors.linuxESP {
            for high in [vector.high, vector.high + 1] {
                var cipher = try PacketCipher(
                    .aesGCM16(keyBits: 128),
                    encryptionKey: try SecretKey(copying: vector.key),
                    integrityKey: nil,
                    esn: vector.usesESN,
                    direction: .open
                )
                var arena = PacketArena(capacity: vector.esp.count)
                arena.write(vector.esp, at: 0)
                let sequence = high << 32 | UInt64(arena.load32(at: 4))
                var jobs = [PacketJob(offset: 0, length: Int32(vector.esp.count), sequence: sequence)]
                cipher.open(&jobs, range: 0..<1, in: &arena)
                // The high half counts only where it is agreed on.
                let isRight = high == vector.high || !vector.usesESN
                #expect(jobs[0].status == (isRight ? .done : .authenticationFailed))
            }
        }
        #expect(Vectors.packets.isEmpty || Vectors.linuxESP.count == 2)
    }

    /// RFC 4303 §2.2.1: the HMAC covers the packet up to the ICV and then the high half, which is not sent.
    @Test(arguments: [false, true])
    func icvOfNullEncryptionIsAnHMACOfThePacket(esn: Bool) throws {
        let transform = CipherTransform.null(.hmacSHA256_128)
        let a = try EngineHost(Fixture.description(isA: true, transform, esn: esn))
        a.engine.outbound[0].sequence = esn ? 7 << 32 | 0xffff_fffe : 5
        let inner = try Fixture.packet(payload: 3)
        let high: [[UInt8]] = esn ? [[0, 0, 0, 7], [0, 0, 0, 8]] : [[], []]
        let key = try #require(Fixture.keys(transform, 0x80).integrity)
        for (packet, high) in zip(a.seal([inner, inner]), high) {
            let covered = Array(packet.dropLast(16))
            let tag = try PRF.tag(.hmacSHA256, key: .secret(key), [.bytes(covered + high)])
            #expect(Array(packet.suffix(16)) == Array(tag.prefix(16)))
            // RFC 2410: the packet itself is in clear.
            #expect(Array(packet[8..<8 + inner.count]) == inner)
        }
    }

    private func openWithCipher(_ vector: PacketVector) throws {
        var cipher = try PacketCipher(
            vector.transform,
            encryptionKey: try SecretKey(copying: vector.encryptionKey),
            integrityKey: vector.integrityKey.isEmpty ? nil : try SecretKey(copying: vector.integrityKey),
            esn: vector.usesESN,
            direction: .open
        )
        var arena = PacketArena(capacity: vector.esp.count)
        arena.write(vector.esp, at: 0)
        var jobs = [PacketJob(offset: 0, length: Int32(vector.esp.count), sequence: vector.sequence)]
        cipher.open(&jobs, range: 0..<1, in: &arena)
        #expect(jobs[0].status == .done)
        let start = 8 + vector.transform.ivLength
        #expect(arena.octets(start..<start + vector.inner.count) == vector.inner)
    }
}
