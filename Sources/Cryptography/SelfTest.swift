import Primitives

/// Known answers for every algorithm that is offered, checked once before the first key is made.
public enum SelfTest {
    /// Throws `.backend` with the name of the first algorithm that answers wrongly.
    public static func run() throws(CryptoError) {
        for answer in cipherAnswers { try check(answer) }
        for answer in macAnswers { try check(answer) }
        try checkIntegrity()
        for answer in exchangeAnswers { try check(answer) }
        for group in KeyExchangeGroup.allCases where !isCostly(group) { try checkPair(group) }
    }

    private struct CipherAnswer {
        let name: String
        let transform: CipherTransform
        let key: String
        var aad = ""
        let iv: String
        let plaintext: String
        /// Ciphertext and ICV; for CBC the ciphertext alone.
        let sealed: String
    }

    private static let zeros = "00000000000000000000000000000000"

    private static let cipherAnswers = [
        // "The Galois/Counter Mode of Operation", McGrew and Viega, test cases 2, 8 and 14.
        CipherAnswer(
            name: "AES-128-GCM",
            transform: .aesGCM16(keyBits: 128),
            key: zeros + "00000000",
            iv: "0000000000000000",
            plaintext: zeros,
            sealed: "0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"
        ),
        CipherAnswer(
            name: "AES-192-GCM",
            transform: .aesGCM16(keyBits: 192),
            key: zeros + "000000000000000000000000",
            iv: "0000000000000000",
            plaintext: zeros,
            sealed: "98e7247c07f0fe411c267e4384b0f6002ff58d80033927ab8ef4d4587514f0fb"
        ),
        CipherAnswer(
            name: "AES-256-GCM",
            transform: .aesGCM16(keyBits: 256),
            key: zeros + zeros + "00000000",
            iv: "0000000000000000",
            plaintext: zeros,
            sealed: "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"
        ),
        // RFC 7634 appendix B.
        CipherAnswer(
            name: "ChaCha20-Poly1305",
            transform: .chacha20Poly1305,
            key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f" + "a0a1a2a3",
            aad: "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029",
            iv: "1011121314151617",
            plaintext: "0000000c000040010000000a00",
            sealed: "610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2"
        ),
        // RFC 3602 §4 case 1; NIST SP 800-38A F.2.3 and F.2.5.
        CipherAnswer(
            name: "AES-128-CBC",
            transform: .aesCBC(keyBits: 128, .hmacSHA256_128),
            key: "06a9214036b8a15b512e03d534120006",
            iv: "3dafba429d9eb430b422da802c9fac41",
            plaintext: "53696e676c6520626c6f636b206d7367",
            sealed: "e353779c1079aeb82708942dbe77181a"
        ),
        CipherAnswer(
            name: "AES-192-CBC",
            transform: .aesCBC(keyBits: 192, .hmacSHA256_128),
            key: "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
            iv: "000102030405060708090a0b0c0d0e0f",
            plaintext: "6bc1bee22e409f96e93d7e117393172a",
            sealed: "4f021db243bc633d7178183a9fa071e8"
        ),
        CipherAnswer(
            name: "AES-256-CBC",
            transform: .aesCBC(keyBits: 256, .hmacSHA256_128),
            key: "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            iv: "000102030405060708090a0b0c0d0e0f",
            plaintext: "6bc1bee22e409f96e93d7e117393172a",
            sealed: "f58c4c04d6e5f1ba779eabfb5f7bfbd6"
        ),
    ]

    private struct MACAnswer {
        let algorithm: PRFAlgorithm
        let integrity: IntegrityAlgorithm
        let tag: String
    }

    /// Test case 2 of RFC 2202 §3 and RFC 4231: key "Jefe".
    private static let macAnswers = [
        MACAnswer(
            algorithm: .hmacSHA1,
            integrity: .hmacSHA1_96,
            tag: "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        ),
        MACAnswer(
            algorithm: .hmacSHA256,
            integrity: .hmacSHA256_128,
            tag: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        ),
        MACAnswer(
            algorithm: .hmacSHA384,
            integrity: .hmacSHA384_192,
            tag: "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47"
                + "e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"
        ),
        MACAnswer(
            algorithm: .hmacSHA512,
            integrity: .hmacSHA512_256,
            tag: "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
                + "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        ),
    ]

    private struct ExchangeAnswer {
        let group: KeyExchangeGroup
        let privateValue: String
        let peer: String
        let shared: String
    }

    /// RFC 7748 §5.2 and RFC 5903 §8.1 and §8.2.
    private static let exchangeAnswers = [
        ExchangeAnswer(
            group: .x25519,
            privateValue: "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            peer: "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            shared: "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
        ),
        ExchangeAnswer(
            group: .ecp256,
            privateValue: "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
            peer: "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63"
                + "56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
            shared: "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"
        ),
        ExchangeAnswer(
            group: .ecp384,
            privateValue: "099f3c7034d4a2c699884d73a375a67f7624ef7c6b3c0f16"
                + "0647b67414dce655e35b538041e649ee3faef896783ab194",
            peer:
                "e558dbef53eecde3d3fccfc1aea08a89a987475d12fd950d"
                + "83cfa41732bc509d0d1ac43a0336def96fda41d0774a3571"
                + "dcfbec7aacf3196472169e838430367f66eebe3c6e70c416"
                + "dd5f0c68759dd1fff83fa40142209dff5eaad96db9e6386c",
            shared: "11187331c279962d93d604243fd592cb9d0a926f422e4718"
                + "7521287e7156c5c4d603135569b9e9d09cf5d4a270f59746"
        ),
    ]

    private static func check(_ answer: CipherAnswer) throws(CryptoError) {
        let iv = try octets(answer.iv)
        let plaintext = try octets(answer.plaintext)
        let sealed = try octets(answer.sealed)
        let cipher = try MessageCipher(
            answer.transform,
            encryptionKey: SecretKey(copying: octets(answer.key)),
            integrityKey: SecretKey(
                copying: [UInt8](repeating: 0, count: answer.transform.integrityKeyLength)
            )
        )
        guard answer.transform.isAEAD else {
            var text = plaintext
            try cipher.runCBC(&text, iv: iv, direction: .encrypt)
            guard text == sealed else { throw .backend(answer.name) }
            try cipher.runCBC(&text, iv: iv, direction: .decrypt)
            guard text == plaintext else { throw .backend(answer.name) }
            return
        }
        let aad = try octets(answer.aad)
        guard try cipher.seal(aad: aad, iv: iv, plaintext: plaintext) == sealed,
            try cipher.open(aad: aad, iv: iv, sealed: sealed) == plaintext
        else { throw .backend(answer.name) }
        var forged = sealed
        forged[forged.count - 1] ^= 1
        do throws(CryptoError) {
            _ = try cipher.open(aad: aad, iv: iv, sealed: forged)
        } catch .authenticationFailed {
            return
        }
        throw .backend(answer.name)
    }

    private static func check(_ answer: MACAnswer) throws(CryptoError) {
        let message = Array("what do ya want for nothing?".utf8)
        let tag = try PRF.tag(answer.algorithm, key: .bytes(Array("Jefe".utf8)), [.bytes(message)])
        guard try tag == octets(answer.tag) else { throw .backend(answer.integrity.name) }
    }

    /// Each integrity algorithm is its HMAC, cut: the null transform shows it.
    private static func checkIntegrity() throws(CryptoError) {
        for answer in macAnswers {
            let key = try SecretKey(copying: [UInt8](repeating: 0x0b, count: answer.integrity.keyLength))
            let cipher = try MessageCipher(
                .null(answer.integrity),
                encryptionKey: SecretKey(copying: []),
                integrityKey: key
            )
            let sealed = try cipher.seal(aad: [1, 2, 3, 4], iv: [], plaintext: [5, 6, 7, 8])
            let tag = try PRF.tag(
                answer.algorithm,
                key: .secret(key),
                [.bytes([1, 2, 3, 4]), .bytes([5, 6, 7, 8])]
            )
            guard sealed == [5, 6, 7, 8] + tag.prefix(answer.integrity.icvLength) else {
                throw .backend(answer.integrity.name)
            }
        }
    }

    private static func check(_ answer: ExchangeAnswer) throws(CryptoError) {
        let pair = try KeyExchangeKeyPair(
            group: answer.group,
            privateValue: SecretKey(copying: octets(answer.privateValue))
        )
        guard try pair.sharedSecret(with: octets(answer.peer)).copied() == octets(answer.shared) else {
            throw .backend(answer.group.name)
        }
    }

    /// Groups whose modular exponentiation would delay the start noticeably.
    private static func isCostly(_ group: KeyExchangeGroup) -> Bool {
        switch group {
        case .modp3072, .modp4096: true
        case .modp2048, .ecp256, .ecp384, .ecp521, .x25519: false
        }
    }

    /// Two new pairs agree, and on something.
    private static func checkPair(_ group: KeyExchangeGroup) throws(CryptoError) {
        let first = try KeyExchangeKeyPair(group: group)
        let second = try KeyExchangeKeyPair(group: group)
        let shared = try first.sharedSecret(with: second.publicValue)
        let other = try second.sharedSecret(with: first.publicValue)
        guard shared == other, first.publicValue != second.publicValue,
            shared.count == group.sharedSecretLength
        else { throw .backend(group.name) }
    }

    private static func octets(_ hex: String) throws(CryptoError) -> [UInt8] {
        guard let octets = Hex.decode(hex) else { throw .invalidLength }
        return octets
    }
}
