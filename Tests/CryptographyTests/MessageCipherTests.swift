import Primitives
import TestSupport
import Testing

@testable import Cryptography

let allTransforms: [CipherTransform] =
    [128, 192, 256].flatMap { bits in
        [16, 12, 8].flatMap { icvLength -> [CipherTransform] in
            [.aesGCM(keyBits: bits, icvLength: icvLength), .aesCCM(keyBits: bits, icvLength: icvLength)]
        }
    } + [.chacha20Poly1305]
    + IntegrityAlgorithm.allCases.flatMap { integrity -> [CipherTransform] in
        [128, 192, 256].flatMap { bits -> [CipherTransform] in
            [
                .aesCBC(keyBits: bits, integrity), .aesCTR(keyBits: bits, integrity),
                .camelliaCBC(keyBits: bits, integrity),
            ]
        } + [.tripleDESCBC(integrity), .desCBC(integrity), .null(integrity)]
    }

/// Those of packets: GMAC is not for messages.
let packetTransforms: [CipherTransform] = allTransforms + [128, 192, 256].map { .aesGMAC(keyBits: $0) }

func makeKeys(_ transform: CipherTransform) throws -> (SecretKey, SecretKey?) {
    let integrity = transform.isAEAD ? nil : try SecretKey.random(count: transform.integrityKeyLength)
    return (try SecretKey.random(count: transform.encryptionKeyLength), integrity)
}

@Suite(.enabled(if: Vectors.areAvailable)) struct MessageCipherVectorTests {
    private func cipher(_ transform: CipherTransform, _ key: [UInt8]) throws -> MessageCipher {
        let integrity = try SecretKey(copying: [UInt8](repeating: 0, count: transform.integrityKeyLength))
        return try MessageCipher(
            transform,
            encryptionKey: SecretKey(copying: key),
            integrityKey: transform.isAEAD ? nil : integrity
        )
    }

    @Test func matchesTheStrongSwanAEADVectors() throws {
        var run = 0
        var skipped = [String: Int]()
        for vector in Vectors.load("aead/strongswan_aead")["cases"].elements {
            let name = vector["alg"].text
            let key = vector["key"].octets
            let icvLength = name.split(separator: "ICV").last.flatMap { Int($0) } ?? 16
            let transform: CipherTransform
            switch true {
            case name.hasPrefix("ENCR_AES_GCM_ICV"):
                transform = .aesGCM(keyBits: key.count * 8, icvLength: icvLength)
            case name.hasPrefix("ENCR_AES_CCM_ICV"):
                transform = .aesCCM(keyBits: key.count * 8, icvLength: icvLength)
            case name.contains("CHACHA"): transform = .chacha20Poly1305
            default:
                skipped[name, default: 0] += 1
                continue
            }
            let cipher = try cipher(transform, key + vector["salt"].octets)
            let sealed = vector["cipher_and_icv"].octets
            let (aad, iv, plain) = (vector["aad"].octets, vector["iv"].octets, vector["plain"].octets)
            #expect(try cipher.seal(aad: aad, iv: iv, plaintext: plain) == sealed, "\(vector["id"].text)")
            #expect(try cipher.open(aad: aad, iv: iv, sealed: sealed) == plain, "\(vector["id"].text)")
            run += 1
        }
        print("skipped AEADs that are not offered:", skipped.sorted { $0.key < $1.key })
        #expect(run == 23)
    }

    @Test(arguments: [("aes_gcm", 120, 79), ("chacha20_poly1305", 207, 3)])
    func matchesTheWycheproofAEADVectors(file: String, expected: Int, otherIVs: Int) throws {
        var run = 0
        var skipped = 0
        for group in Vectors.load("wycheproof/aead/" + file)["testGroups"].elements {
            for vector in group["tests"].elements {
                guard group["ivSize"].int == 96, group["tagSize"].int == 128 else {
                    skipped += 1
                    continue
                }
                let key = vector["key"].octets
                let nonce = vector["iv"].octets
                let transform: CipherTransform =
                    file == "aes_gcm" ? .aesGCM16(keyBits: key.count * 8) : .chacha20Poly1305
                let cipher = try cipher(transform, key + nonce.prefix(4))
                let iv = Array(nonce.dropFirst(4))
                let (aad, plain) = (vector["aad"].octets, vector["msg"].octets)
                let sealed = vector["ct"].octets + vector["tag"].octets
                if vector["result"].text == "valid" {
                    #expect(try cipher.seal(aad: aad, iv: iv, plaintext: plain) == sealed)
                    #expect(try cipher.open(aad: aad, iv: iv, sealed: sealed) == plain)
                } else {
                    #expect(throws: CryptoError.authenticationFailed, "\(vector["tcId"])") {
                        try cipher.open(aad: aad, iv: iv, sealed: sealed)
                    }
                }
                run += 1
            }
        }
        #expect(run == expected)
        #expect(skipped == otherIVs)
    }

    /// RFC 4309 has nonces of 11 octets and ICVs of 8, 12 and 16; the file's others cannot be expressed.
    @Test func matchesTheWycheproofCCMVectors() throws {
        var run = 0
        for group in Vectors.load("wycheproof/aead/aes_ccm")["testGroups"].elements {
            guard group["ivSize"].int == 88, let tagBits = group["tagSize"].int,
                [64, 96, 128].contains(tagBits)
            else { continue }
            for vector in group["tests"].elements {
                let key = vector["key"].octets
                let nonce = vector["iv"].octets
                let cipher = try cipher(
                    .aesCCM(keyBits: key.count * 8, icvLength: tagBits / 8),
                    key + nonce.prefix(3)
                )
                let iv = Array(nonce.dropFirst(3))
                let (aad, plain) = (vector["aad"].octets, vector["msg"].octets)
                let sealed = vector["ct"].octets + vector["tag"].octets
                if vector["result"].text == "valid" {
                    #expect(try cipher.seal(aad: aad, iv: iv, plaintext: plain) == sealed)
                    #expect(try cipher.open(aad: aad, iv: iv, sealed: sealed) == plain)
                } else {
                    #expect(throws: CryptoError.authenticationFailed, "\(vector["tcId"])") {
                        try cipher.open(aad: aad, iv: iv, sealed: sealed)
                    }
                }
                run += 1
            }
        }
        #expect(run > 0)
    }

    @Test func matchesTheWycheproofCBCVectors() throws {
        var run = 0
        for group in Vectors.load("wycheproof/cbc/aes_cbc_pkcs5")["testGroups"].elements {
            for vector in group["tests"].elements {
                let key = vector["key"].octets
                let cipher = try cipher(.aesCBC(keyBits: key.count * 8, .hmacSHA256_128), key)
                let message = vector["msg"].octets
                let padding = 16 - message.count % 16
                let padded = message + [UInt8](repeating: UInt8(padding), count: padding)
                var text = padded
                try cipher.run(&text, iv: vector["iv"].octets, direction: .encrypt)
                // The invalid ones are wrong in their padding, which is not this layer's: they must differ.
                #expect(
                    (text == vector["ct"].octets) == (vector["result"].text == "valid"),
                    "\(vector["tcId"])"
                )
                try cipher.run(&text, iv: vector["iv"].octets, direction: .decrypt)
                #expect(text == padded)
                run += 1
            }
        }
        #expect(run == 131)
    }

    @Test func matchesTheCBCVectorsOfRFC3602() throws {
        var run = 0
        for vector in Vectors.load("esp/rfc3602_aes_cbc")["cases"].elements {
            let isESP = vector["kind"].text == "esp"
            let packet = vector["outer_packet"].octets
            let cipher = try cipher(.aesCBC(keyBits: 128, .hmacSHA1_96), vector["key"].octets)
            var text = isESP ? Array(packet.dropFirst(44)) : vector["cipher"].octets
            let iv = isESP ? Array(packet[28..<44]) : vector["iv"].octets
            try cipher.run(&text, iv: iv, direction: .decrypt)
            #expect(text == (isESP ? vector["pre_encryption"] : vector["plain"]).octets)
            run += 1
        }
        #expect(run == 6)
    }

    @Test func sealsTheIKEMessageOfRFC7634() throws {
        let cases = Vectors.load("esp/rfc7634_esp_and_ikev2")["cases"].elements
        let vector = try #require(cases.first { $0["kind"].text == "ikev2" })
        let cipher = try cipher(.chacha20Poly1305, vector["key"].octets + vector["salt"].octets)
        let (aad, iv, plain) = (vector["aad"].octets, vector["iv"].octets, vector["plain"].octets)
        let sealed = try cipher.seal(aad: aad, iv: iv, plaintext: plain)
        #expect(aad + iv + sealed == vector["ike_message"].octets)
        #expect(try cipher.open(aad: aad, iv: iv, sealed: sealed) == plain)
    }
}

@Suite struct MessageCipherTests {
    @Test(arguments: allTransforms)
    func opensWhatItSealed(transform: CipherTransform) throws {
        let (encryption, integrity) = try makeKeys(transform)
        let cipher = try MessageCipher(transform, encryptionKey: encryption, integrityKey: integrity)
        var entropy = SystemEntropy()
        for blocks in [0, 1, 2, 7, 64] {
            let plaintext = entropy.bytes(blocks * 16)
            let iv = entropy.bytes(transform.ivLength)
            let sealed = try cipher.seal(aad: [1, 2, 3], iv: iv, plaintext: plaintext)
            #expect(sealed.count == plaintext.count + transform.icvLength)
            #expect(try cipher.open(aad: [1, 2, 3], iv: iv, sealed: sealed) == plaintext)
        }
    }

    @Test(arguments: allTransforms)
    func refusesEveryChangedOctet(transform: CipherTransform) throws {
        let (encryption, integrity) = try makeKeys(transform)
        let cipher = try MessageCipher(transform, encryptionKey: encryption, integrityKey: integrity)
        let (aad, iv) = ([UInt8](repeating: 1, count: 32), [UInt8](repeating: 2, count: transform.ivLength))
        let sealed = try cipher.seal(aad: aad, iv: iv, plaintext: [UInt8](repeating: 3, count: 32))
        for index in 0..<(aad.count + iv.count + sealed.count) {
            var whole = aad + iv + sealed
            whole[index] ^= 0x80
            let forged = (
                aad: Array(whole[..<aad.count]), iv: Array(whole[aad.count..<(aad.count + iv.count)]),
                sealed: Array(whole[(aad.count + iv.count)...])
            )
            #expect(throws: CryptoError.authenticationFailed) {
                try cipher.open(aad: forged.aad, iv: forged.iv, sealed: forged.sealed)
            }
        }
    }

    @Test(arguments: allTransforms)
    func refusesWrongLengths(transform: CipherTransform) throws {
        let (encryption, integrity) = try makeKeys(transform)
        let cipher = try MessageCipher(transform, encryptionKey: encryption, integrityKey: integrity)
        let iv = [UInt8](repeating: 0, count: transform.ivLength)
        for count in 0..<transform.icvLength {
            #expect(throws: CryptoError.invalidLength) {
                try cipher.open(aad: [], iv: iv, sealed: [UInt8](repeating: 0, count: count))
            }
        }
        #expect(throws: CryptoError.invalidLength) { try cipher.seal(aad: [], iv: iv + [0], plaintext: []) }
        let long = try SecretKey.random(count: transform.encryptionKeyLength + 1)
        #expect(throws: CryptoError.invalidKeyLength) {
            try MessageCipher(transform, encryptionKey: long, integrityKey: integrity)
        }
        if transform.mode == .cbc {
            #expect(throws: CryptoError.invalidLength) { try cipher.seal(aad: [], iv: iv, plaintext: [1]) }
        }
        if !transform.isAEAD {
            #expect(throws: CryptoError.invalidKeyLength) {
                try MessageCipher(transform, encryptionKey: encryption, integrityKey: nil)
            }
        }
    }

    @Test func refusesGMACWhichDoesNotEncrypt() throws {
        let key = try SecretKey.random(count: 20)
        #expect(throws: CryptoError.unsupported("NULL_AES_GMAC-128")) {
            try MessageCipher(.aesGMAC(keyBits: 128), encryptionKey: key, integrityKey: nil)
        }
    }

    @Test func refusesKeySizesThatAESDoesNotHave() throws {
        let key = try SecretKey.random(count: 12)
        #expect(throws: CryptoError.self) {
            try MessageCipher(.aesGCM16(keyBits: 64), encryptionKey: key, integrityKey: nil)
        }
    }
}
