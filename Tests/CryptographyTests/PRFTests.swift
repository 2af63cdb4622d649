import Primitives
import TestSupport
import Testing

@testable import Cryptography

private func algorithm(_ hash: String) -> PRFAlgorithm? {
    switch hash {
    case "SHA-1": .hmacSHA1
    case "SHA-256": .hmacSHA256
    case "SHA-384": .hmacSHA384
    case "SHA-512": .hmacSHA512
    default: nil
    }
}

@Suite(.enabled(if: Vectors.areAvailable)) struct PRFVectorTests {
    @Test func derivesKeysLikeTheIKEv2ValidationVectors() throws {
        var run = 0
        var skipped = [String: Int]()
        for vector in Vectors.load("kdf/ikev2_cavp")["cases"].elements {
            guard let prf = algorithm(vector["hash"].text) else {
                skipped[vector["hash"].text, default: 0] += 1
                continue
            }
            try check(vector, prf)
            run += 1
        }
        if !skipped.isEmpty { print("skipped PRFs that are not offered:", skipped) }
        #expect(run == 133)
    }

    private func check(_ vector: JSON, _ prf: PRFAlgorithm) throws {
        let nonces: [PRFInput] = [.bytes(vector["ni"].octets), .bytes(vector["nr"].octets)]
        let shared = try PRFInput.secret(SecretKey(copying: vector["gir"].octets))
        let sharedNew = try PRFInput.secret(SecretKey(copying: vector["gir_new"].octets))
        let id = vector["id"].text
        let seed = try PRF.compute(prf, key: .bytes(vector["ni"].octets + vector["nr"].octets), [shared])
        #expect(seed.exposedForTesting() == vector["skeyseed"].octets, "\(id)")
        let spis: [PRFInput] = [.bytes(vector["spi_i"].octets), .bytes(vector["spi_r"].octets)]
        let material = try PRF.expand(prf, key: seed, seed: nonces + spis, count: vector["dkm"].octets.count)
        #expect(material.exposedForTesting() == vector["dkm"].octets, "\(id)")
        let derive = try material.slice(0..<prf.keyLength)
        let child = vector["dkm_child"].octets
        #expect(
            try PRF.expand(prf, key: derive, seed: nonces, count: child.count).exposedForTesting() == child,
            "\(id)"
        )
        let childNew = vector["dkm_child_dh"].octets
        #expect(
            try PRF.expand(prf, key: derive, seed: [sharedNew] + nonces, count: childNew.count)
                .exposedForTesting() == childNew,
            "\(id)"
        )
        #expect(
            try PRF.tag(prf, key: .secret(derive), [sharedNew] + nonces) == vector["skeyseed_rekey"].octets,
            "\(id)"
        )
    }

    @Test func matchesTheHMACVectorsOfRFC4868() throws {
        var run = 0
        for vector in Vectors.load("mac_prf/rfc4868_hmac_sha2")["cases"].elements {
            let prf = try #require(algorithm(vector["hash"].text))
            let tag = try PRF.tag(prf, key: .bytes(vector["key"].octets), [.bytes(vector["data"].octets)])
            #expect(tag == vector["prf"].octets, "\(vector["id"].text)")
            run += 1
        }
        #expect(run == 8)
    }

    @Test func matchesTheStrongSwanMACVectors() throws {
        let offered: [String: PRFAlgorithm] = [
            "PRF_HMAC_SHA1": .hmacSHA1, "PRF_HMAC_SHA2_256": .hmacSHA256, "PRF_HMAC_SHA2_384": .hmacSHA384,
            "PRF_HMAC_SHA2_512": .hmacSHA512, "AUTH_HMAC_SHA1_160": .hmacSHA1, "PRF_HMAC_MD5": .hmacMD5,
            "AUTH_HMAC_MD5_96": .hmacMD5, "AUTH_HMAC_MD5_128": .hmacMD5, "AUTH_HMAC_SHA1_96": .hmacSHA1,
            "AUTH_AES_XCBC_96": .aesXCBC, "PRF_AES128_XCBC": .aesXCBC, "AUTH_AES_CMAC_96": .aesCMAC,
            "PRF_AES128_CMAC": .aesCMAC, "AUTH_HMAC_SHA2_512_256": .hmacSHA512,
            "AUTH_HMAC_SHA1_128": .hmacSHA1,
            "AUTH_HMAC_SHA2_256_128": .hmacSHA256, "AUTH_HMAC_SHA2_384_192": .hmacSHA384,
        ]
        var run = 0
        var skipped = [String: Int]()
        for vector in Vectors.load("mac_prf/strongswan_mac_prf")["cases"].elements {
            guard let prf = offered[vector["alg"].text] else {
                skipped[vector["alg"].text, default: 0] += 1
                continue
            }
            let expected = vector["out"].octets
            let tag = try PRF.tag(prf, key: .bytes(vector["key"].octets), [.bytes(vector["data"].octets)])
            #expect(Array(tag.prefix(expected.count)) == expected, "\(vector["id"].text)")
            run += 1
        }
        print("skipped MACs that are not offered:", skipped.sorted { $0.key < $1.key })
        #expect(run == 37)
    }

    @Test(arguments: [
        ("hmac_sha1", PRFAlgorithm.hmacSHA1, 121), ("hmac_sha256", .hmacSHA256, 103),
        ("hmac_sha384", .hmacSHA384, 103), ("hmac_sha512", .hmacSHA512, 118),
    ])
    func matchesTheWycheproofHMACVectors(file: String, prf: PRFAlgorithm, count: Int) throws {
        var run = 0
        for group in Vectors.load("wycheproof/mac_prf/" + file)["testGroups"].elements {
            for vector in group["tests"].elements {
                let expected = vector["tag"].octets
                let tag = try PRF.tag(
                    prf,
                    key: .secret(SecretKey(copying: vector["key"].octets)),
                    [.bytes(vector["msg"].octets)]
                )
                let matches = Array(tag.prefix(expected.count)) == expected
                #expect(matches == (vector["result"].text == "valid"), "\(file) \(vector["tcId"])")
                run += 1
            }
        }
        #expect(run == count)
    }
}

@Suite(.enabled(if: Vectors.areAvailable)) struct BlockMACVectorTests {
    @Test func cmacMatchesTheWycheproofVectors() throws {
        var run = 0
        for group in Vectors.load("wycheproof/mac_prf/aes_cmac")["testGroups"].elements
        where group["keySize"].int == 128 {
            for vector in group["tests"].elements {
                let expected = vector["tag"].octets
                let tag = try PRF.tag(
                    .aesCMAC,
                    key: .bytes(vector["key"].octets),
                    [.bytes(vector["msg"].octets)]
                )
                #expect(
                    (Array(tag.prefix(expected.count)) == expected) == (vector["result"].text == "valid"),
                    "\(vector["tcId"])"
                )
                run += 1
            }
        }
        #expect(run > 50)
    }

    /// However a message is cut into parts, its tag is the same.
    @Test(arguments: [PRFAlgorithm.aesCMAC, .aesXCBC, .hmacMD5])
    func partsDoNotMatter(prf: PRFAlgorithm) throws {
        var random = SplitMix64(state: 7)
        for length in [0, 1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 272, 1000] {
            let message = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            let key = PRFInput.bytes([UInt8](repeating: 9, count: 16))
            let whole = try PRF.tag(prf, key: key, [.bytes(message)])
            for _ in 0..<20 {
                var parts = [PRFInput]()
                var rest = message[...]
                while !rest.isEmpty {
                    let count = Int.random(in: 0...min(rest.count, 40), using: &random)
                    parts.append(.bytes(Array(rest.prefix(count))))
                    rest = rest.dropFirst(count)
                }
                #expect(try PRF.tag(prf, key: key, parts) == whole)
            }
        }
    }
}

@Suite struct PRFTests {
    @Test func refusesMoreThan255Blocks() throws {
        let key = try SecretKey(copying: [1])
        #expect(throws: CryptoError.invalidLength) {
            try PRF.expand(.hmacSHA1, key: key, seed: [], count: 255 * 20 + 1)
        }
        #expect(try PRF.expand(.hmacSHA1, key: key, seed: [], count: 255 * 20).count == 5_100)
    }

    @Test func aShorterExpansionIsAPrefix() throws {
        let key = try SecretKey(copying: [1, 2, 3])
        let long = try PRF.expand(.hmacSHA256, key: key, seed: [.bytes([9])], count: 100)
        let short = try PRF.expand(.hmacSHA256, key: key, seed: [.bytes([9])], count: 33)
        #expect(try long.slice(0..<33) == short)
    }

    @Test func splittingTheMessageChangesNothing() throws {
        let whole = try PRF.tag(.hmacSHA384, key: .bytes([1]), [.bytes([1, 2, 3])])
        let parts = try PRF.tag(
            .hmacSHA384,
            key: .bytes([1]),
            [.bytes([1]), .bytes([]), .secret(SecretKey(copying: [2, 3]))]
        )
        #expect(whole == parts)
    }

    @Test func hashesAsPublished() throws {
        // FIPS 180-4 examples: "abc".
        let abc = Array("abc".utf8)
        #expect(try Hex.encode(Digest.sha1([abc])) == "a9993e364706816aba3e25717850c26c9cd0d89d")
        #expect(
            try Hex.encode(Digest.sha256([[97], [], [98, 99]]))
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        )
    }
}
