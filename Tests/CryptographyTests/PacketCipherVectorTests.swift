import Primitives
import TestSupport
import Testing

@testable import Cryptography

/// Opens one packet; nil when its ICV is wrong.
private func opened(
    _ packet: [UInt8],
    _ transform: CipherTransform,
    key: [UInt8],
    integrityKey: [UInt8] = [],
    esnHigh: UInt32? = nil
) throws -> [UInt8]? {
    var cipher = try PacketCipher(
        transform,
        encryptionKey: SecretKey(copying: key),
        integrityKey: SecretKey(copying: integrityKey),
        esn: esnHigh != nil,
        direction: .open
    )
    var arena = PacketArena(capacity: packet.count)
    arena.write(packet, at: 0)
    let sequence = UInt64(esnHigh ?? 0) << 32 | UInt64(arena.load32(at: 4))
    var jobs = [PacketJob(offset: 0, length: Int32(packet.count), sequence: sequence)]
    cipher.open(&jobs, range: 0..<1, in: &arena)
    guard jobs[0].status == .done else { return nil }
    return arena.octets((8 + transform.ivLength)..<(packet.count - transform.icvLength))
}

/// The payload without padding, pad length and next header.
private func withoutTrailer(_ payload: [UInt8]) -> [UInt8] {
    guard payload.count >= 2 else { return [] }
    return payload.dropLast(2 + Int(payload[payload.count - 2]))
}

@Suite(.enabled(if: Vectors.areAvailable)) struct PacketCipherVectorTests {
    @Test(arguments: [
        ("esp_aes_gcm_rfc4106", 18), ("esp_chacha20poly1305_rfc7634", 1), ("esp_aes_ccm_rfc4309", 14),
    ])
    func opensTheKernelsAEADVectors(file: String, count: Int) throws {
        var run = 0
        for vector in Vectors.load("esp/" + file)["cases"].elements {
            let key = vector["key"].octets
            let aad = vector["aad_spi_seq"].octets
            let bits = key.count * 8
            let icvLength = vector["icv_len"].int ?? 16
            let transform: CipherTransform =
                file.contains("gcm")
                ? .aesGCM16(keyBits: bits)
                : file.contains("ccm") ? .aesCCM(keyBits: bits, icvLength: icvLength) : .chacha20Poly1305
            let header = aad.count == 12 ? aad[0..<4] + aad[8..<12] : aad[...]
            let high = aad.count == 12 ? aad[4..<8].reduce(UInt32(0)) { $0 << 8 | UInt32($1) } : nil
            let packet = Array(header) + vector["iv"].octets + vector["cipher_and_icv"].octets
            let payload = try opened(packet, transform, key: key + vector["salt"].octets, esnHigh: high)
            #expect(vector["expect"].text == "ok")
            #expect(payload == vector["plain"].octets, "\(vector["id"].text)")
            run += 1
        }
        #expect(run == count)
    }

    @Test func opensThePacketOfRFC7634() throws {
        let cases = Vectors.load("esp/rfc7634_esp_and_ikev2")["cases"].elements
        let vector = try #require(cases.first { $0["kind"].text == "esp" })
        let payload = try #require(
            try opened(
                Array(vector["outer_packet"].octets.dropFirst(20)),
                .chacha20Poly1305,
                key: vector["key"].octets + vector["salt"].octets
            )
        )
        #expect(withoutTrailer(payload) == vector["inner_packet"].octets)
    }

    private func integrity(_ name: String) -> IntegrityAlgorithm? {
        switch name {
        case "SHA1_HMAC": .hmacSHA1_96
        case "SHA256_HMAC": .hmacSHA256_128
        case "SHA384_HMAC": .hmacSHA384_192
        case "SHA512_HMAC": .hmacSHA512_256
        default: nil
        }
    }

    private func transform(_ vector: JSON) -> CipherTransform? {
        guard vector["proto"].text == "ESP" else { return nil }
        switch vector["cipher"].text {
        case "AES_GCM": return .aesGCM16(keyBits: vector["key"].octets.count * 8)
        case "AES_CBC": return integrity(vector["auth"].text).map { .aesCBC(keyBits: 128, $0) }
        case "NULL": return integrity(vector["auth"].text).map { .null($0) }
        default: return nil
        }
    }

    @Test func opensTheFullPacketsOfDPDK() throws {
        var run = 0
        var skipped = [String]()
        for vector in Vectors.load("esp/dpdk_full_packets")["cases"].elements {
            guard let transform = transform(vector) else {
                skipped.append(vector["id"].text)
                continue
            }
            let outer = vector["outer_packet"].octets
            let headerLength = outer.first.map { $0 >> 4 == 4 ? 20 : 40 } ?? 0
            let payload = try #require(
                try opened(
                    Array(outer.dropFirst(headerLength)),
                    transform,
                    key: vector["key"].octets + vector["salt"].octets,
                    integrityKey: vector["auth_key"].octets
                ),
                "\(vector["id"].text)"
            )
            #expect(withoutTrailer(payload) == vector["inner_packet"].octets, "\(vector["id"].text)")
            run += 1
        }
        print("skipped packets of algorithms that are not offered:", skipped)
        #expect(run == 5)
    }

    @Test func opensThePacketsOfTheLinuxKernel() throws {
        var run = 0
        var skipped = [String]()
        for vector in Vectors.load("esp/scapy_linux_reference")["cases"].elements {
            guard vector["crypt_algo"].text == "AES-GCM" else {
                skipped.append(vector["crypt_algo"].text)
                continue
            }
            let key = vector["crypt_key"].octets
            let high = vector["esn_en"].bool ? UInt32(vector["esn"].int ?? 0) : nil
            let payload = try #require(
                try opened(
                    vector["esp_bytes"].octets,
                    .aesGCM16(keyBits: (key.count - 4) * 8),
                    key: key,
                    esnHigh: high
                )
            )
            // A whole IPv4 packet (next header 4) whose own length field agrees.
            let inner = withoutTrailer(payload)
            #expect(payload.last == 4)
            #expect(inner.first == 0x45)
            #expect(Int(inner[2]) << 8 | Int(inner[3]) == inner.count)
            run += 1
        }
        print("skipped packets of algorithms that are not offered:", skipped)
        #expect(run == 2)
    }
}
