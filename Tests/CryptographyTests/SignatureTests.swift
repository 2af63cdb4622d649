import Cryptography
import Primitives
import TestSupport
import Testing

/// Signatures of AUTH payloads (RFC 7427, RFC 4754, RFC 8420).
@Suite struct SignatureTests {
    private static let message = Array("InitiatorSignedOctets".utf8)

    private static let schemes: [(SignatureKeyKind, [SignatureScheme])] = [
        (
            .rsa(bits: 2048),
            [
                .rsaPKCS1(.sha1), .rsaPKCS1(.sha256), .rsaPKCS1(.sha384), .rsaPKCS1(.sha512),
                .rsaPSS(.sha256, saltLength: 32), .rsaPSS(.sha384, saltLength: 48),
                .rsaPSS(.sha512, saltLength: 64),
            ]
        ),
        (.p256, [.ecdsa(.sha256), .ecdsa(.sha512)]), (.p384, [.ecdsa(.sha384)]),
        (.p521, [.ecdsa(.sha512)]), (.ed25519, [.ed25519]), (.ed448, [.ed448]),
    ]

    @Test func whatIsSignedIsValidForThisSchemeKeyAndMessageAlone() throws {
        let other = try PrivateKeyInfo.generate(.p256).publicKey()
        for (kind, schemes) in Self.schemes {
            let key = try PrivateKeyInfo.generate(kind)
            let open = try key.publicKey()
            #expect(open.algorithm == key.algorithm && open.keyID == key.keyID)
            for scheme in schemes {
                let signature = try key.sign(Self.message, by: scheme)
                #expect(open.isValid(signature, over: Self.message, by: scheme))
                #expect(!open.isValid(signature, over: Self.message + [0], by: scheme))
                #expect(!open.isValid(signature.dropLast(), over: Self.message, by: scheme))
                #expect(!open.isValid([], over: Self.message, by: scheme))
                #expect(!other.isValid(signature, over: Self.message, by: scheme))
                for wrong in schemes where wrong != scheme {
                    #expect(!open.isValid(signature, over: Self.message, by: wrong), "\(scheme) as \(wrong)")
                }
            }
            let foreign = kind == .ed25519 ? SignatureScheme.ed448 : .ed25519
            #expect(throws: CryptoError.self) { try key.sign(Self.message, by: foreign) }
        }
    }

    @Test func identifiersAreThoseOfTheRFC() throws {
        // RFC 7427 appendix A, RFC 8410 §3.
        let known: [(String, SignatureScheme)] = [
            ("300d06092a864886f70d0101050500", .rsaPKCS1(.sha1)),
            ("300d06092a864886f70d01010b0500", .rsaPKCS1(.sha256)),
            ("300d06092a864886f70d01010c0500", .rsaPKCS1(.sha384)),
            ("300d06092a864886f70d01010d0500", .rsaPKCS1(.sha512)),
            ("300906072a8648ce3d0401", .ecdsa(.sha1)), ("300a06082a8648ce3d040302", .ecdsa(.sha256)),
            ("300a06082a8648ce3d040303", .ecdsa(.sha384)), ("300a06082a8648ce3d040304", .ecdsa(.sha512)),
            ("300506032b6570", .ed25519), ("300506032b6571", .ed448),
        ]
        for (text, scheme) in known {
            let octets = try #require(Hex.decode(text))
            #expect(scheme.identifier == octets)
            #expect(SignatureScheme(identifier: octets) == scheme)
        }
        for (_, schemes) in Self.schemes {
            for scheme in schemes { #expect(SignatureScheme(identifier: scheme.identifier) == scheme) }
        }
    }

    @Test func readsOtherWritingsOfTheSame() throws {
        let same: [(String, SignatureScheme)] = [
            // Appendix A.4.3, with the trailer field that DER leaves out.
            (
                "304606092a864886f70d01010a3039a00f300d06096086480165030402010500"
                    + "a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120a303020101",
                .rsaPSS(.sha256, saltLength: 32)
            ),
            // Appendix A.4.1: all defaults.
            ("300d06092a864886f70d01010a3000", .rsaPSS(.sha1, saltLength: 20)),
            // PKCS#1 without NULL.
            ("300b06092a864886f70d01010b", .rsaPKCS1(.sha256)),
        ]
        for (text, scheme) in same {
            #expect(SignatureScheme(identifier: try #require(Hex.decode(text))) == scheme)
        }
    }

    @Test func refusesWhatIsNoIdentifier() throws {
        let wrong = [
            "", "30", "3000", "300506032b6572", "300a06082a8648ce3d04030200", "300506032b657000",
            // Two hashes, a salt without end, a trailer that does not exist.
            "304106092a864886f70d01010a3034a00f300d06096086480165030402010500"
                + "a11c301a06092a864886f70d010108300d06096086480165030402020500a203020120",
            "301206092a864886f70d01010a3005a203020141", "301206092a864886f70d01010a3005a303020102",
            "3081050603 2b6570".replacing(" ", with: ""),
        ]
        for text in wrong {
            let octets = try #require(Hex.decode(text))
            #expect(SignatureScheme(identifier: octets) == nil, "\(text)")
        }
        // Every cut and every changed octet of one is read without a trap.
        let whole = SignatureScheme.rsaPSS(.sha384, saltLength: 48).identifier
        for count in 0..<whole.count {
            #expect(SignatureScheme(identifier: Array(whole.prefix(count))) == nil)
        }
        for index in whole.indices {
            for value in [UInt8(0), 0x7f, 0x80, 0x84, 0xff] {
                var changed = whole
                changed[index] = value
                _ = SignatureScheme(identifier: changed)
            }
        }
    }

    @Test func plainSignaturesAreTheSameTwoNumbers() throws {
        let key = try PrivateKeyInfo.generate(.p521)
        for _ in 0..<50 {
            let encoded = try key.sign(Self.message, by: .ecdsa(.sha512))
            let plain = try #require(PlainECDSASignature.plain(encoded, width: 66))
            #expect(plain.count == 132)
            #expect(PlainECDSASignature.encoded(plain, width: 66) == encoded)
        }
        #expect(PlainECDSASignature.encoded([UInt8](repeating: 1, count: 63), width: 32) == nil)
        #expect(PlainECDSASignature.plain([0x30, 0x03, 0x02, 0x01, 0x01], width: 32) == nil)
    }
}

@Suite(.enabled(if: Vectors.areAvailable)) struct SignatureVectorTests {
    private static let files: [(String, SignatureScheme, width: Int?)] = [
        ("ecdsa_secp256r1_sha256", .ecdsa(.sha256), nil),
        ("ecdsa_secp256r1_sha256_p1363", .ecdsa(.sha256), 32),
        ("ecdsa_secp384r1_sha384", .ecdsa(.sha384), nil),
        ("ecdsa_secp384r1_sha384_p1363", .ecdsa(.sha384), 48),
        ("ecdsa_secp521r1_sha512", .ecdsa(.sha512), nil),
        ("ecdsa_secp521r1_sha512_p1363", .ecdsa(.sha512), 66), ("ed25519", .ed25519, nil),
        ("ed448", .ed448, nil), ("rsa_pss_2048_sha256_mgf1_32", .rsaPSS(.sha256, saltLength: 32), nil),
        ("rsa_pss_3072_sha256_mgf1_32", .rsaPSS(.sha256, saltLength: 32), nil),
        ("rsa_pss_4096_sha384_mgf1_48", .rsaPSS(.sha384, saltLength: 48), nil),
        ("rsa_pss_4096_sha512_mgf1_64", .rsaPSS(.sha512, saltLength: 64), nil),
        ("rsa_signature_2048_sha256", .rsaPKCS1(.sha256), nil),
        ("rsa_signature_2048_sha384", .rsaPKCS1(.sha384), nil),
        ("rsa_signature_2048_sha512", .rsaPKCS1(.sha512), nil),
        ("rsa_signature_3072_sha256", .rsaPKCS1(.sha256), nil),
        ("rsa_signature_4096_sha256", .rsaPKCS1(.sha256), nil),
    ]

    @Test func noneOfTheWycheproofSignaturesIsJudgedWrongly() throws {
        var run = 0
        var wrong = [String]()
        for (name, scheme, width) in Self.files {
            for group in Vectors.load("wycheproof/sig/\(name)")["testGroups"].elements {
                let key = try PublicKeyInfo(parsing: group["publicKeyDer"].octets)
                for test in group["tests"].elements {
                    let octets = test["sig"].octets
                    let signature =
                        width.map { PlainECDSASignature.encoded(octets, width: $0) ?? [] } ?? octets
                    let isValid = key.isValid(signature, over: test["msg"].octets, by: scheme)
                    run += 1
                    guard test["result"].text != "acceptable" else { continue }
                    if isValid != (test["result"].text == "valid") {
                        wrong.append("\(name) \(test["tcId"].int ?? 0) \(test["comment"].text)")
                    }
                }
            }
        }
        #expect(wrong.isEmpty, "\(wrong.prefix(10))")
        #expect(run > 2800)
        print("\(run) signatures of Wycheproof")
    }

    /// Parsing only: whatever OpenSSL makes of them, it takes no long time.
    @Test func certificatesThatOthersChokedOnAreReadQuickly() {
        var slowest = Duration.zero
        var run = 0
        for name in [
            "strongswan_fuzz_certs", "strongswan_fuzz_certs_crash", "strongswan_fuzz_crls",
            "strongswan_fuzz_ocsp_rsp", "strongswan_fuzz_ocsp_rsp_crash", "strongswan_fuzz_ocsp_req",
        ] {
            for vector in Vectors.load("x509/\(name)")["cases"].elements {
                let octets = vector["hex"].octets
                let time = ContinuousClock().measure {
                    _ = try? CertificateInfo(parsing: octets)
                    _ = try? RevocationListInfo(parsing: octets)
                    _ = try? PublicKeyInfo(parsing: octets)
                    _ = OCSPResponse.nextUpdate(octets)
                }
                slowest = max(slowest, time)
                run += 1
            }
        }
        #expect(run > 200)
        // 50 ms each, with room for a machine that does other things.
        #expect(slowest < .milliseconds(150), "\(slowest)")
    }
}
