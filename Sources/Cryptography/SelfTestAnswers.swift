/// The known answers of the self-test.
enum SelfTestAnswers {
    /// A message and what a cipher makes of it.
    struct CipherAnswer {
        let transform: CipherTransform
        let key: String
        var aad = ""
        let iv: String
        let plaintext: String
        /// Ciphertext and ICV; the ciphertext alone where an integrity algorithm stands beside the cipher.
        let sealed: String
    }

    /// An ESP packet that a cipher must open.
    struct PacketAnswer {
        let transform: CipherTransform
        let key: String
        let packet: String
        let payload: String
    }

    /// A message and its tag.
    struct MACAnswer {
        let prf: PRFAlgorithm
        let key: String
        let message: String
        let tag: String
    }

    private static let zeros = "00000000000000000000000000000000"

    /// "The Galois/Counter Mode of Operation", McGrew and Viega, test cases 2, 8 and 14; a shorter ICV is its beginning.
    private static let gcm: [CipherAnswer] = [
        (128, zeros, "0388dace60b6a392f328c2b971b2fe78" + "ab6e47d42cec13bdf53a67b21257bddf"),
        (
            192, zeros + "0000000000000000",
            "98e7247c07f0fe411c267e4384b0f600" + "2ff58d80033927ab8ef4d4587514f0fb"
        ),
        (256, zeros + zeros, "cea7403d4d606b6e074ec5d3baf39d18" + "d0d1c8a799996bf0265b98b5d48ab919"),
    ].flatMap { (keyBits, key, sealed) in
        [8, 12, 16].map { icvLength in
            CipherAnswer(
                transform: .aesGCM(keyBits: keyBits, icvLength: icvLength),
                key: key + "00000000",
                iv: "0000000000000000",
                plaintext: zeros,
                sealed: String(sealed.prefix(2 * (16 + icvLength)))
            )
        }
    }

    /// A block of zeros under a key, a nonce and associated data of zeros, computed by another implementation; CCM's
    /// first block holds the length of the ICV, so each length has its own tag.
    private static let ccm: [CipherAnswer] = [
        (128, 8, "2e9aca6bda54fc6f1250e8de813c6308" + "eb726813b94f3f8b"),
        (128, 12, "2e9aca6bda54fc6f1250e8de813c6308" + "f30a27892ebe06c912bcbea3"),
        (128, 16, "2e9aca6bda54fc6f1250e8de813c6308" + "1a22ba75eed4d5b5275001ac033339fb"),
        (192, 8, "ede9d4d4c39873327a84b374a4666b6c" + "e7c5df8d9f6c1dc3"),
        (192, 12, "ede9d4d4c39873327a84b374a4666b6c" + "da29fc9c8b72a8181c919c2a"),
        (192, 16, "ede9d4d4c39873327a84b374a4666b6c" + "66a74fd1a14e29305dfcf0c6e7e90e09"),
        (256, 8, "d8d85dec77929c05f4dde14f5ab3b006" + "9c486b747707cfda"),
        (256, 12, "d8d85dec77929c05f4dde14f5ab3b006" + "8e9e8edf702ed6b24317c766"),
        (256, 16, "d8d85dec77929c05f4dde14f5ab3b006" + "3cb27d4d84b60069fab52a21ebd25fb7"),
    ].map { (keyBits, icvLength, sealed) in
        CipherAnswer(
            transform: .aesCCM(keyBits: keyBits, icvLength: icvLength),
            key: String(repeating: "00", count: keyBits / 8 + 3),
            aad: "0000000000000000",
            iv: "0000000000000000",
            plaintext: zeros,
            sealed: sealed
        )
    }

    static let ciphers: [CipherAnswer] =
        gcm + ccm + [
            // RFC 7634 appendix B.
            CipherAnswer(
                transform: .chacha20Poly1305,
                key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f" + "a0a1a2a3",
                aad: "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029",
                iv: "1011121314151617",
                plaintext: "0000000c000040010000000a00",
                sealed: "610394701f8d017f7c129248896b71bfe25236efd7cdc67066906315b2"
            ),
            // RFC 3602 §4 case 1; NIST SP 800-38A F.2.3 and F.2.5.
            CipherAnswer(
                transform: .aesCBC(keyBits: 128, integrity),
                key: "06a9214036b8a15b512e03d534120006",
                iv: "3dafba429d9eb430b422da802c9fac41",
                plaintext: "53696e676c6520626c6f636b206d7367",
                sealed: "e353779c1079aeb82708942dbe77181a"
            ),
            CipherAnswer(
                transform: .aesCBC(keyBits: 192, integrity),
                key: "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b",
                iv: "000102030405060708090a0b0c0d0e0f",
                plaintext: "6bc1bee22e409f96e93d7e117393172a",
                sealed: "4f021db243bc633d7178183a9fa071e8"
            ),
            CipherAnswer(
                transform: .aesCBC(keyBits: 256, integrity),
                key: "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
                iv: "000102030405060708090a0b0c0d0e0f",
                plaintext: "6bc1bee22e409f96e93d7e117393172a",
                sealed: "f58c4c04d6e5f1ba779eabfb5f7bfbd6"
            ),
            // RFC 3686 §6, test vectors 1, 4 and 7: the key with its nonce.
            CipherAnswer(
                transform: .aesCTR(keyBits: 128, integrity),
                key: "ae6852f8121067cc4bf7a5765577f39e" + "00000030",
                iv: "0000000000000000",
                plaintext: "53696e676c6520626c6f636b206d7367",
                sealed: "e4095d4fb7a7b3792d6175a3261311b8"
            ),
            CipherAnswer(
                transform: .aesCTR(keyBits: 192, integrity),
                key: "16af5b145fc9f579c175f93e3bfb0eed863d06ccfdb78515" + "00000048",
                iv: "36733c147d6d93cb",
                plaintext: "53696e676c6520626c6f636b206d7367",
                sealed: "4b55384fe259c9c84e7935a003cbe928"
            ),
            CipherAnswer(
                transform: .aesCTR(keyBits: 256, integrity),
                key: "776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104" + "00000060",
                iv: "db5672c97aa8f0b2",
                plaintext: "53696e676c6520626c6f636b206d7367",
                sealed: "145ad01dbf824ec7560863dc71e3e0c0"
            ),
            // RFC 3713 appendix A: one block under an IV of zeros.
            CipherAnswer(
                transform: .camelliaCBC(keyBits: 128, integrity),
                key: "0123456789abcdeffedcba9876543210",
                iv: zeros,
                plaintext: "0123456789abcdeffedcba9876543210",
                sealed: "67673138549669730857065648eabe43"
            ),
            CipherAnswer(
                transform: .camelliaCBC(keyBits: 192, integrity),
                key: "0123456789abcdeffedcba98765432100011223344556677",
                iv: zeros,
                plaintext: "0123456789abcdeffedcba9876543210",
                sealed: "b4993401b3e996f84ee5cee7d79b09b9"
            ),
            CipherAnswer(
                transform: .camelliaCBC(keyBits: 256, integrity),
                key: "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
                iv: zeros,
                plaintext: "0123456789abcdeffedcba9876543210",
                sealed: "9acc237dff16d76c20ef7c919e3a7509"
            ),
            // NIST SP 800-67 appendix B, the first block; the worked example of DES that all text books share.
            CipherAnswer(
                transform: .tripleDESCBC(integrity),
                key: "0123456789abcdef23456789abcdef01456789abcdef0123",
                iv: "0000000000000000",
                plaintext: "5468652071756663",
                sealed: "a826fd8ce53b855f"
            ),
            CipherAnswer(
                transform: .desCBC(integrity),
                key: "133457799bbcdff1",
                iv: "0000000000000000",
                plaintext: "0123456789abcdef",
                sealed: "85e813540f0ab405"
            ),
        ]

    /// What stands beside a cipher without an integrity of its own while it is tested.
    static let integrity = IntegrityAlgorithm.hmacSHA256_128

    private static let gmacHeader = "0000432100000007" + "0000000000000001"
    private static let gmacPayload = "0102030405060708090a0b0c0d0e0f10"

    /// GMAC over a packet with number 1 in its IV, computed by another implementation; the key is 0, 1, 2 and so on.
    static let packets: [PacketAnswer] = [
        (128, "000102030405060708090a0b0c0d0e0f", "9c73b9659634a7f2c747027acfe7a19e"),
        (192, "000102030405060708090a0b0c0d0e0f1011121314151617", "bbe008324c2941bb26e5b8f2d0e9b54c"),
        (
            256, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "73a7545e801e829d3952e196738574ac"
        ),
    ].map { (keyBits, key, tag) in
        PacketAnswer(
            transform: .aesGMAC(keyBits: keyBits),
            key: key + "00000000",
            packet: gmacHeader + gmacPayload + tag,
            payload: gmacPayload
        )
    }

    private static let jefe = "4a656665"
    private static let nothing = "7768617420646f2079612077616e7420666f72206e6f7468696e673f"

    /// Test case 2 of RFC 2202 §2 and §3 and of RFC 4231; RFC 4434 §3 case 2 and RFC 4615 §4 with the whole key.
    static let macs: [MACAnswer] = [
        MACAnswer(prf: .hmacMD5, key: jefe, message: nothing, tag: "750c783e6ab0b503eaa86e310a5db738"),
        MACAnswer(
            prf: .hmacSHA1,
            key: jefe,
            message: nothing,
            tag: "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
        ),
        MACAnswer(
            prf: .hmacSHA256,
            key: jefe,
            message: nothing,
            tag: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        ),
        MACAnswer(
            prf: .hmacSHA384,
            key: jefe,
            message: nothing,
            tag: "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47"
                + "e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649"
        ),
        MACAnswer(
            prf: .hmacSHA512,
            key: jefe,
            message: nothing,
            tag: "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
                + "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        ),
        MACAnswer(
            prf: .aesXCBC,
            key: "000102030405060708090a0b0c0d0e0f",
            message: "000102030405060708090a0b0c0d0e0f10111213",
            tag: "47f51b4564966215b8985c63055ed308"
        ),
        MACAnswer(
            prf: .aesCMAC,
            key: "000102030405060708090a0b0c0d0e0f",
            message: "000102030405060708090a0b0c0d0e0f10111213",
            tag: "980ae87b5f4c9c5214f5b6a8455e4c2d"
        ),
    ]

    /// SHA-256 of both public values and the shared secret, for private values whose octets are 1, 2, 3 … and 0, 1, 2 and so on.
    ///
    /// Computed with plain integers, not with a library of cryptography.
    static let exchanges: [KeyExchangeGroup: String] = [
        .modp768: "f9f75d1cf193471c3ea4861654f7ec1542c409335d88fd513ed64ffdcdf8f943",
        .modp1024: "8ee7cd1d62e96d2d0911ebfca97890574eb678a0180eec85accd1dfe68edbaf8",
        .modp1536: "9d1994cedd9d252dd97ea56027fd6e115d8c74eef667380ba422b0696101173c",
        .modp2048: "49fb127520e01e38fb4b273e2c169d5a66536e2511e7420e6688c8efc17cead0",
        .modp3072: "162b06dd90e5ff8d5592b4dab8fd52c656b7fc461635aecb9ea97e1c80cb8416",
        .modp4096: "c2ef3fecb4700519d4cb97b15fdde8ea8bb07160aadec7c38571415df689f434",
        .modp6144: "0ad0da13f5ad5407ad5655d2220e46c6263c1a12da53944f7bef4c46fba7d6eb",
        .modp8192: "d2ce9b3d7e49c318a5bf802b5b94e67e04869caf7f09b05da4f88c3fc0636e39",
        .ecp256: "0bf318d2125e843936ea8c55418f966e32cb6b3026b5ff459258409357804971",
        .ecp384: "920cc5d68be7a42438dae4f68e34c9919d780eb451c3f4dce96d4d32aaa62e3f",
        .ecp521: "8da6f9b366a49457c10e66ef526b177d25adc273e2073d7c8b893c1ab7770764",
        .modp1024s160: "dc38d93f7041cdf1d6acecec5620f656f5055699e338e49b4df87a57825f417e",
        .modp2048s224: "009d9f0aab046126f45f4c86ad3e585d8e3c5adac271f989b1aed93b1b499884",
        .modp2048s256: "54246e9a88f4641d4bcb037e37878a52944657055c3c7f89f9f148db3ab906be",
        .brainpool224: "82de481d55ca3e5b61523437f676f584a5775946bb2c2394361d27c7bcd92b84",
        .brainpool256: "fdaabf5482138cb3b3871f672d89f0192c5523d5d4dd5e3fc27dae5d75025fd3",
        .brainpool384: "6afe86bb36f86ccd49fec242991577cb969a1aaf4af39483f231651d31b64156",
        .brainpool512: "6eb314b1d9629ff8a24d0d62e615be37c8c20806751f12d7d63edd19c4ba219d",
        .x25519: "34304774b0e90a9bd8aaa3ae3a85d319bd8694e86c3f81b70a76fe0c76e53b7d",
        .x448: "9d681a9d0f32af55a3b2668d4fa4bfd74f53fc30dfbc12c0190a319da86dbf2e",
        .mlkem768: "3553fc353d5b4c152c59a52c70b24ca436f6c6bdde908f2b4e94d76c70942310",
        .mlkem1024: "a5833dfd452188daf6524f5c7b723e12d42513900850d8f39f6d727301de67ca",
    ]
}
