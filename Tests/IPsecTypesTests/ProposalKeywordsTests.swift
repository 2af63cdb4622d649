import Cryptography
import IPsecTypes
import Testing

@Suite("strongSwan's proposal words")
struct ProposalKeywordsTests {
    private func ike(_ text: String) -> String {
        do throws(ProposalSyntaxError) {
            return try Proposal(keywords: text, for: .ike).description
        } catch {
            return error.description
        }
    }

    private func esp(_ text: String) -> String {
        do throws(ProposalSyntaxError) {
            return try Proposal(keywords: text, for: .esp).description
        } catch {
            return error.description
        }
    }

    @Test(arguments: [
        ("aes256gcm16-prfsha384-ecp384", "IKE:AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384"),
        ("aes256-sha256-modp2048", "IKE:AES_CBC_256/PRF_HMAC_SHA2_256/HMAC_SHA2_256_128/MODP_2048"),
        ("aes-sha1-modp2048", "IKE:AES_CBC_128/PRF_HMAC_SHA1/HMAC_SHA1_96/MODP_2048"),
        ("AES256-SHA512-ECP521", "IKE:AES_CBC_256/PRF_HMAC_SHA2_512/HMAC_SHA2_512_256/ECP_521"),
        ("chacha20poly1305-prfsha256-curve25519", "IKE:CHACHA20_POLY1305/PRF_HMAC_SHA2_256/CURVE_25519"),
        ("aes128ccm12-aesxcbc-x25519", "IKE:AES_CCM_12_128/PRF_AES128_XCBC/CURVE_25519"),
        ("aes128-aescmac-x448", "IKE:AES_CBC_128/PRF_AES128_CMAC/AES_CMAC_96/CURVE_448"),
        ("3des-md5-modp1024", "IKE:3DES_CBC/PRF_HMAC_MD5/HMAC_MD5_96/MODP_1024"),
        ("3des-sha1_160-modp768", "IKE:3DES_CBC/PRF_HMAC_SHA1/HMAC_SHA1_160/MODP_768"),
        ("aes256gcm16-prfsha384-mlkem1024", "IKE:AES_GCM_16_256/PRF_HMAC_SHA2_384/ML_KEM_1024"),
        // An AEAD with an integrity word takes its PRF from it, as strongSwan does.
        ("aes128gcm16-sha256-x25519", "IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/CURVE_25519"),
        ("modp2048-sha256-aes256", "IKE:AES_CBC_256/PRF_HMAC_SHA2_256/HMAC_SHA2_256_128/MODP_2048"),
        ("aes256-sha256-prfsha1-ecp256", "IKE:AES_CBC_256/PRF_HMAC_SHA1/HMAC_SHA2_256_128/ECP_256"),
        (
            "aes256-aes128-aes256-sha256-ecp256",
            "IKE:AES_CBC_256/AES_CBC_128/PRF_HMAC_SHA2_256/HMAC_SHA2_256_128/ECP_256"
        ),
    ])
    func readsIKE(text: String, description: String) {
        #expect(ike(text) == description)
    }

    @Test(arguments: [
        ("aes256gcm16", "ESP:AES_GCM_16_256/NO_EXT_SEQ"), ("aes128gcm", "ESP:AES_GCM_16_128/NO_EXT_SEQ"),
        ("aes192gcm128", "ESP:AES_GCM_16_192/NO_EXT_SEQ"),
        ("aes128gcm8", "ESP:AES_GCM_8_128/NO_EXT_SEQ"), ("aes256gcm96", "ESP:AES_GCM_12_256/NO_EXT_SEQ"),
        ("aes128ccm", "ESP:AES_CCM_16_128/NO_EXT_SEQ"), ("aes128ccm64", "ESP:AES_CCM_8_128/NO_EXT_SEQ"),
        ("aes256gmac", "ESP:NULL_AES_GMAC_256/NO_EXT_SEQ"),
        ("null-sha256", "ESP:NULL/HMAC_SHA2_256_128/NO_EXT_SEQ"),
        ("3des-sha1_160-modp2048s256", "ESP:3DES_CBC/HMAC_SHA1_160/MODP_2048_256/NO_EXT_SEQ"),
        ("des-md5_128", "ESP:DES_CBC/HMAC_MD5_128/NO_EXT_SEQ"),
        ("camellia192-aescmac-ecp512bp", "ESP:CAMELLIA_CBC_192/AES_CMAC_96/ECP_512_BP/NO_EXT_SEQ"),
        ("aes256ctr-aesxcbc", "ESP:AES_CTR_256/AES_XCBC_96/NO_EXT_SEQ"),
        ("aes256-sha256", "ESP:AES_CBC_256/HMAC_SHA2_256_128/NO_EXT_SEQ"),
        ("aes256gcm16-ecp384-esn-noesn", "ESP:AES_GCM_16_256/ECP_384/EXT_SEQ/NO_EXT_SEQ"),
        ("aes256gcm16-modpnone", "ESP:AES_GCM_16_256/MODP_NONE/NO_EXT_SEQ"),
        (
            "aes128-sha1-sha256-modp2048",
            "ESP:AES_CBC_128/HMAC_SHA1_96/HMAC_SHA2_256_128/MODP_2048/NO_EXT_SEQ"
        ),
    ])
    func readsESP(text: String, description: String) {
        #expect(esp(text) == description)
    }

    @Test(arguments: [
        ("", "unknown algorithm ''"), ("aes256--sha256", "unknown algorithm ''"),
        ("aes512-sha256-ecp256", "unknown algorithm 'aes512'"),
        ("aes256gcm16-ecp384", "needs a PRF, such as prfsha256"),
        ("aes256-sha256", "needs a key exchange group"),
        ("aes256-ecp256", "needs an integrity algorithm"), ("sha256-ecp256", "names no encryption algorithm"),
        ("aes256gcm16-aes256-sha256-ecp256", "mixes combined-mode and other ciphers: write two proposals"),
        ("aes256-sha256-modpnone", "needs a key exchange group"),
        ("aes256-sha256-ecp256-esn", "esn and noesn belong to ESP"),
        ("aes256-sha256-ecp192", "algorithm 'ecp192' (ECP_192) is not supported"),
        ("aes256gcm16-prfsha256-x25519-ke1_mlkem512", "(ML_KEM_512) is not supported"),
        ("null-sha256-modp2048", "NULL does not encrypt: it belongs to ESP proposals"),
        ("aes128gmac-prfsha256-modp2048", "NULL_AES_GMAC_128 does not encrypt"),
        ("ａes256-sha256-ecp256", "unknown algorithm"),
    ])
    func refusesIKE(text: String, reason: String) {
        #expect(ike(text).contains(reason), "\(ike(text))")
    }

    @Test(arguments: [
        ("aes256gcm16-sha256", "is combined-mode and takes no integrity: drop HMAC_SHA2_256_128"),
        ("aes256-sha256-prfsha256", "a PRF belongs to IKE proposals"),
        ("aes256", "needs an integrity algorithm, such as sha256"),
        ("aes128gmac-sha256", "is combined-mode and takes no integrity: drop HMAC_SHA2_256_128"),
        ("null", "NULL needs an integrity algorithm, such as sha256"),
        ("noesn", "names no encryption algorithm"),
    ])
    func refusesESP(text: String, reason: String) {
        #expect(esp(text).contains(reason), "\(esp(text))")
    }

    @Test func refusalsListWhatIsAccepted() {
        let ikeText = ike("rot13")
        for word in [
            "aes256gcm16", "chacha20poly1305", "aes128", "prfsha384", "sha256", "x25519", "ecp384",
            "modp2048",
        ] {
            #expect(ikeText.contains(" \(word)"), "\(word) is not in \(ikeText)")
        }
        for word in ["3des", "md5", "modp1024", "noesn", "*"] { #expect(!ikeText.contains(word)) }
        #expect(esp("rot13").contains(" esn") && !esp("rot13").contains("prfsha"))
    }

    @Test func everyAcceptedWordIsReadAndSupported() {
        for type in [TransformType.encryption, .prf, .integrity, .keyExchange, .esn] {
            for word in AlgorithmTable.acceptedKeywords(of: type) {
                let found = AlgorithmTable.transform(keyword: word)
                #expect(found?.0.type == type && found?.0.isSupported == true, "\(word)")
            }
        }
    }

    @Test func everySupportedAlgorithmCanBeCarriedOut() {
        for entry in AlgorithmTable.entries where entry.isSupported && entry.id != 0 {
            for size in entry.keySizes.isEmpty ? [nil] : entry.keySizes.map({ Optional($0) }) {
                let transform = Transform(entry.type, entry.id, keyBits: size)
                switch entry.type {
                case .encryption:
                    let extra = transform.isAEAD ? [] : [Transform(.integrity, 12)]
                    #expect(
                        Proposal(securityProtocol: .esp, transforms: [transform] + extra).cipherTransform
                            != nil
                    )
                case .prf: #expect(transform.prfAlgorithm != nil)
                case .integrity: #expect(transform.integrityAlgorithm != nil)
                case .keyExchange, .additionalKeyExchange: #expect(transform.keyExchangeGroup != nil)
                case .esn, .unknown: break
                }
            }
        }
        #expect(KeyExchangeGroup.allCases.allSatisfy { Transform(.keyExchange, $0.rawValue).isSupported })
    }

    @Test func additionalKeyExchangesAreReadInTheirOrder() throws {
        let proposal = try Proposal(
            keywords: "ke2_modp2048-aes256gcm16-x25519-ke1_ecp384-ke1_none-prfsha384",
            for: .ike
        )
        #expect(
            proposal.description
                == "IKE:AES_GCM_16_256/PRF_HMAC_SHA2_384/CURVE_25519/KE1_ECP_384/KE1_NONE/KE2_MODP_2048"
        )
        #expect(proposal.transforms.map { $0.type.number } == [1, 2, 4, 6, 6, 7])
        #expect(
            proposal.transforms.map { TransformType($0.type.number) } == proposal.transforms.map { $0.type }
        )
        #expect(
            try Proposal(keywords: "aes128gcm16-ecp256-ke7_x25519", for: .esp).additionalGroups == [.x25519]
        )
    }

    @Test(arguments: [
        "aes256gcm16-ke1_x25519", "aes256gcm16-x25519-ke1_x25519", "aes256gcm16-x25519-ke0_ecp256",
        "aes256gcm16-x25519-ke8_ecp256", "aes256gcm16-x25519-ke1_sha256", "aes256gcm16-x25519-ke1_",
        "aes256gcm16-x25519-ke_ecp256",
    ])
    func unreasonableAdditionalKeyExchangesAreRefused(_ text: String) {
        #expect(throws: ProposalSyntaxError.self) { try Proposal(keywords: text, for: .esp) }
        #expect(throws: ProposalSyntaxError.self) {
            try Proposal(keywords: text.replacing("gcm16", with: "gcm16-prfsha256"), for: .ike)
        }
    }

    @Test func noTwoAlgorithmsShareAWordOrANumber() {
        let words = AlgorithmTable.entries.flatMap { $0.keywords }
        #expect(Set(words).count == words.count)
        let numbers = AlgorithmTable.entries.map { Transform($0.type, $0.id) }
        #expect(Set(numbers).count == numbers.count)
    }

    @Test func keySizesMustBeThoseOfTheAlgorithm() {
        #expect(
            !Transform(.encryption, 20).isSupported && !Transform(.encryption, 20, keyBits: 64).isSupported
        )
        #expect(
            !Transform(.encryption, 28, keyBits: 256).isSupported && Transform(.encryption, 28).isSupported
        )
        #expect(!Transform(.encryption, 20, keyBits: 256, hasUnknownAttribute: true).isSupported)
        #expect(
            !Transform(.keyExchange, 999).isSupported && Transform(.keyExchange, 999).description == "(4)999"
        )
        #expect(
            Proposal(securityProtocol: .esp, transforms: [Transform(.encryption, 12, keyBits: 256)])
                .cipherTransform == nil
        )
    }

    @Test func numbersSurviveTheWire() {
        for number in UInt8.min...UInt8.max {
            #expect(TransformType(number).number == number && SecurityProtocol(number).number == number)
        }
    }
}
