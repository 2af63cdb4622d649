import Primitives
import TestSupport
import Testing

@testable import Cryptography

/// A number in `count` octets: leading zeros are added or removed.
private func padded(_ octets: [UInt8], _ count: Int) -> [UInt8] {
    let digits = Array(octets.drop { $0 == 0 })
    return [UInt8](repeating: 0, count: max(0, count - digits.count)) + digits
}

@Suite(.enabled(if: Vectors.areAvailable)) struct KeyExchangeVectorTests {
    @Test func agreesWithTheIKEGroupVectors() throws {
        var run = 0
        var skipped = [String]()
        for vector in Vectors.load("dh/ike_groups_dh")["cases"].elements {
            guard let group = vector["ike_group"].int.flatMap({ KeyExchangeGroup(rawValue: UInt16($0)) })
            else {
                skipped.append(vector["name"].text)
                continue
            }
            let initiator = try pair(group, vector["priv_i"])
            let responder = try pair(group, vector["priv_r"])
            #expect(initiator.publicValue == vector["pub_i"].octets)
            #expect(responder.publicValue == vector["pub_r"].octets)
            let first = try initiator.sharedSecret(with: responder.publicValue)
            let second = try responder.sharedSecret(with: initiator.publicValue)
            #expect(first.exposedForTesting() == vector["shared"].octets)
            #expect(second == first)
            run += 1
        }
        print("skipped groups that are not offered:", skipped)
        #expect(run == 13)
    }

    private func pair(_ group: KeyExchangeGroup, _ value: JSON) throws -> KeyExchangeKeyPair {
        try KeyExchangeKeyPair(group: group, privateValue: SecretKey(copying: value.octets))
    }

    @Test func agreesWithTheNISTVectors() throws {
        let groups: [String: KeyExchangeGroup] = ["P-256": .ecp256, "P-384": .ecp384, "P-521": .ecp521]
        var run = 0
        for vector in Vectors.load("dh/nist_ecc_cdh")["cases"].elements {
            let group = try #require(groups[vector["curve"].text])
            let length = group.sharedSecretLength
            let pair = try pair(group, vector["priv"])
            let own = padded(vector["pub_x"].octets, length) + padded(vector["pub_y"].octets, length)
            #expect(pair.publicValue == own)
            let peer = padded(vector["peer_x"].octets, length) + padded(vector["peer_y"].octets, length)
            let shared = try pair.sharedSecret(with: peer)
            #expect(shared.exposedForTesting() == padded(vector["shared"].octets, length))
            run += 1
        }
        #expect(run == 53)
    }

    @Test func agreesWithTheScalarMultiplicationVectors() throws {
        var run = 0
        for vector in Vectors.load("dh/rfc7748_scalarmult")["cases"].elements {
            let group = vector["func"].text == "X25519" ? KeyExchangeGroup.x25519 : .x448
            let shared = try pair(group, vector["scalar"]).sharedSecret(with: vector["u"].octets)
            #expect(shared.exposedForTesting() == vector["out"].octets)
            run += 1
        }
        #expect(run >= 2)
    }

    @Test func usesThePublishedPrimes() throws {
        var run = 0
        for vector in Vectors.load("dh/modp_primes")["cases"].elements {
            guard let number = vector["ike_group"].int,
                let group = KeyExchangeGroup(rawValue: UInt16(number))
            else { continue }
            #expect(try ModularGroup.of(group).primeOctets() == vector["prime"].octets)
            run += 1
        }
        #expect(run == 11)
    }

    @Test(arguments: [("x25519", KeyExchangeGroup.x25519, 323), ("x448", .x448, 331)])
    func agreesWithTheWycheproofMontgomeryVectors(file: String, curve: KeyExchangeGroup, all: Int) throws {
        var equal = 0
        var refused = 0
        for group in Vectors.load("wycheproof/dh/" + file)["testGroups"].elements {
            for vector in group["tests"].elements {
                let own = try pair(curve, vector["private"])
                if vector["shared"].octets.allSatisfy({ $0 == 0 }) {
                    #expect(throws: CryptoError.self) { try own.sharedSecret(with: vector["public"].octets) }
                    refused += 1
                } else {
                    let shared = try own.sharedSecret(with: vector["public"].octets)
                    #expect(shared.exposedForTesting() == vector["shared"].octets, "\(vector["tcId"])")
                    equal += 1
                }
            }
        }
        #expect(equal + refused == all)
        #expect(refused > 0)
    }

    @Test(arguments: [
        ("ecdh_secp256r1_ecpoint", KeyExchangeGroup.ecp256, 224, 241),
        ("ecdh_secp384r1_ecpoint", .ecp384, 504, 519),
        ("ecdh_secp521r1_ecpoint", .ecp521, 423, 439),
    ])
    func agreesWithTheWycheproofECPVectors(
        file: String,
        group: KeyExchangeGroup,
        valid: Int,
        all: Int
    ) throws {
        var equal = 0
        var refused = 0
        for part in Vectors.load("wycheproof/dh/" + file)["testGroups"].elements {
            for vector in part["tests"].elements {
                let scalar = padded(vector["private"].octets, group.sharedSecretLength)
                let own = try KeyExchangeKeyPair(group: group, privateValue: SecretKey(copying: scalar))
                let point = vector["public"].octets
                // IKE sends x|y; other point formats cannot be expressed and have the wrong length.
                let peer = point.first == 4 ? Array(point.dropFirst()) : point
                if vector["result"].text == "valid" {
                    let shared = try own.sharedSecret(with: peer)
                    #expect(shared.exposedForTesting() == vector["shared"].octets, "\(vector["tcId"])")
                    equal += 1
                } else {
                    #expect(throws: CryptoError.self, "\(vector["tcId"])") {
                        try own.sharedSecret(with: peer)
                    }
                    refused += 1
                }
            }
        }
        #expect(equal == valid)
        #expect(equal + refused == all)
    }
}

@Suite struct KeyExchangeTests {
    @Test(arguments: KeyExchangeGroup.allCases)
    func bothSidesAgree(group: KeyExchangeGroup) throws {
        let first = try KeyExchangeKeyPair(group: group)
        let (second, answered) = try KeyExchangeKeyPair.answer(group, to: first.publicValue)
        #expect(first.publicValue.count == group.publicValueLength)
        #expect(second.publicValue.count == group.answerLength)
        #expect(first.publicValue != second.publicValue)
        let shared = try first.sharedSecret(with: second.publicValue)
        #expect(shared.count == group.sharedSecretLength)
        #expect(shared == answered)
        guard group.family != .moduleLattice else { return }
        #expect(try second.sharedSecret(with: first.publicValue) == shared)
    }

    /// RFC 6989 §2.2: elements outside of the subgroup tell about the exponent.
    @Test(arguments: KeyExchangeGroup.allCases.filter { $0.hasSubgroup })
    func refusesValuesOutsideTheSubgroup(group: KeyExchangeGroup) throws {
        let own = try KeyExchangeKeyPair(group: group)
        let length = group.publicValueLength
        for peer in [padded([2], length), padded([3], length)] {
            #expect(throws: CryptoError.invalidPublicValue("not in the subgroup")) {
                try own.sharedSecret(with: peer)
            }
        }
        for peer in [padded([], length), padded([1], length), [UInt8](repeating: 255, count: length)] {
            #expect(throws: CryptoError.invalidPublicValue("outside 1 < y < p-1")) {
                try own.sharedSecret(with: peer)
            }
        }
    }

    /// FIPS 203 §7.2: an encapsulation key whose coefficients are not reduced is refused.
    @Test(arguments: [KeyExchangeGroup.mlkem768, .mlkem1024])
    func refusesEncapsulationKeysThatAreNone(group: KeyExchangeGroup) throws {
        #expect(throws: CryptoError.invalidPublicValue("not an encapsulation key")) {
            try KeyExchangeKeyPair.answer(group, to: [UInt8](repeating: 255, count: group.publicValueLength))
        }
        // A ciphertext that was changed gives another secret, and no error to learn from.
        let own = try KeyExchangeKeyPair(group: group)
        let (answer, secret) = try KeyExchangeKeyPair.answer(group, to: own.publicValue)
        var changed = answer.publicValue
        changed[7] ^= 1
        #expect(try own.sharedSecret(with: changed) != secret)
        #expect(throws: CryptoError.unsupported(group.name)) { try answer.sharedSecret(with: changed) }
    }

    @Test(arguments: KeyExchangeGroup.allCases)
    func refusesEveryOtherLength(group: KeyExchangeGroup) throws {
        let own = try KeyExchangeKeyPair(group: group)
        for count in [0, 1, group.answerLength - 1, group.answerLength + 1] {
            let peer = [UInt8](repeating: 2, count: count)
            #expect(throws: CryptoError.invalidPublicValue("wrong length")) {
                try own.sharedSecret(with: peer)
            }
        }
    }

    @Test(arguments: KeyExchangeGroup.allCases.filter { $0.family == .modular && !$0.hasSubgroup })
    func refusesModularValuesOutsideTheRange(group: KeyExchangeGroup) throws {
        let own = try KeyExchangeKeyPair(group: group)
        let prime = try ModularGroup.of(group).primeOctets()
        let length = group.publicValueLength
        var beforePrime = prime
        beforePrime[length - 1] -= 1
        let refused = [
            padded([], length), padded([1], length), beforePrime, prime,
            [UInt8](repeating: 255, count: length),
        ]
        for peer in refused {
            #expect(throws: CryptoError.invalidPublicValue("outside 1 < y < p-1")) {
                try own.sharedSecret(with: peer)
            }
        }
        var lastAllowed = beforePrime
        lastAllowed[length - 1] -= 1
        #expect(try own.sharedSecret(with: lastAllowed).count == length)
        #expect(try own.sharedSecret(with: padded([2], length)).exposedForTesting() == own.publicValue)
    }

    @Test(arguments: KeyExchangeGroup.allCases.filter { $0.family == .ellipticCurve })
    func refusesPointsOffTheCurve(group: KeyExchangeGroup) throws {
        let own = try KeyExchangeKeyPair(group: group)
        var off = own.publicValue
        off[off.count - 1] ^= 1
        let zeros = [UInt8](repeating: 0, count: group.publicValueLength)
        let ones = [UInt8](repeating: 255, count: group.publicValueLength)
        for peer in [off, zeros, ones] {
            #expect(throws: CryptoError.invalidPublicValue("not on the curve")) {
                try own.sharedSecret(with: peer)
            }
        }
    }

    @Test(arguments: KeyExchangeGroup.allCases)
    func refusesUnusablePrivateValues(group: KeyExchangeGroup) throws {
        let empty = try SecretKey(copying: [])
        #expect(throws: CryptoError.self) { try KeyExchangeKeyPair(group: group, privateValue: empty) }
        guard group != .x25519, group != .x448 else { return }
        let zero = try SecretKey(copying: [0, 0])
        #expect(throws: CryptoError.self) { try KeyExchangeKeyPair(group: group, privateValue: zero) }
    }
}

extension KeyExchangeGroup {
    /// Its generator makes a small part of the numbers.
    fileprivate var hasSubgroup: Bool {
        switch self {
        case .modp1024s160, .modp2048s224, .modp2048s256: true
        default: false
        }
    }
}
