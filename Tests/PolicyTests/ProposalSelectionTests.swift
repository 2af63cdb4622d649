import IPsecTypes
import Policy
import Testing

@Suite("Selection of proposals")
struct ProposalSelectionTests {
    private static let origin = ConfigurationOrigin(source: "gateway.yaml", line: 7)

    private func ike(_ texts: String...) throws -> [Proposal] { try numbered(texts, .ike) }
    private func esp(_ texts: String...) throws -> [Proposal] { try numbered(texts, .esp) }

    private func numbered(_ texts: [String], _ kind: SecurityProtocol) throws -> [Proposal] {
        try texts.enumerated().map { index, text in
            var proposal = try Proposal(keywords: text, for: kind)
            proposal.number = UInt8(index + 1)
            return proposal
        }
    }

    private func choose(_ offered: [Proposal], _ accepted: [Proposal], ignoringGroups: Bool = false) throws
        -> Proposal
    {
        try ProposalRefusal.choose(
            from: offered,
            accepting: accepted,
            ignoringGroups: ignoringGroups,
            origin: Self.origin
        ).proposal
    }

    @Test func ourOrderDecidesNotThePeers() throws {
        let offered = try ike(
            "aes128-sha1-sha256-modp2048",
            "aes256gcm16-aes128gcm16-prfsha256-ecp256-x25519"
        )
        let accepted = try ike(
            "aes128gcm16-aes256gcm16-prfsha384-prfsha256-x25519-ecp256",
            "aes128-sha256-modp2048"
        )
        let chosen = try choose(offered, accepted)
        #expect(
            chosen.description == "IKE:AES_GCM_16_128/PRF_HMAC_SHA2_256/CURVE_25519" && chosen.number == 2
        )
    }

    @Test func answersWithThePeersNumberAndSPI() throws {
        var offered = try esp("aes256-sha256", "aes256gcm16")
        offered[1].spi = [1, 2, 3, 4]
        let chosen = try choose(offered, try esp("aes256gcm16"))
        #expect(chosen.number == 2 && chosen.spi == [1, 2, 3, 4])
    }

    @Test func refusalNamesTheDifferenceAndTheLine() throws {
        let refusal = #expect(throws: ProposalRefusal.self) {
            try choose(
                try ike("aes256-sha1-modp2048"),
                try ike("aes256gcm16-prfsha384-ecp384", "aes256-sha256-modp2048")
            )
        }
        #expect(refusal?.missing == [.prf, .integrity])
        let text = refusal?.description ?? ""
        #expect(text.hasPrefix("no common PRF, no common integrity; peer offered IKE:AES_CBC_256/"))
        #expect(text.contains("; gateway.yaml:7 accepts IKE:AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384"))
    }

    @Test func anotherProtocolIsNoMatch() throws {
        let refusal = #expect(throws: ProposalRefusal.self) {
            try choose(try esp("aes256gcm16"), try ike("aes256gcm16-prfsha256-ecp256"))
        }
        #expect(refusal?.missing == [] && refusal?.description.hasPrefix("no common protocol") == true)
        #expect(throws: ProposalRefusal.self) { try choose([], try esp("aes256gcm16")) }
    }

    @Test func unknownTypesAndAttributesAreNotAcceptable() throws {
        var offered = try esp("aes256gcm16")
        offered[0].transforms.append(Transform(.unknown(6), 1))
        #expect(throws: ProposalRefusal.self) { try choose(offered, try esp("aes256gcm16")) }
        let withAttribute = Proposal(
            securityProtocol: .esp,
            transforms: [Transform(.encryption, 20, keyBits: 256, hasUnknownAttribute: true), .noESN]
        )
        #expect(throws: ProposalRefusal.self) { try choose([withAttribute], try esp("aes256gcm16")) }
        // Next to a good one it does no harm.
        let both = Proposal(
            securityProtocol: .esp,
            transforms: withAttribute.transforms + [Transform(.encryption, 20, keyBits: 256)]
        )
        #expect(
            try choose([both], try esp("aes256gcm16")).transform(of: .encryption)?.hasUnknownAttribute
                == false
        )
    }

    @Test func aKeyWithoutItsLengthIsNotAccepted() throws {
        let bare = Proposal(securityProtocol: .esp, transforms: [Transform(.encryption, 20), .noESN])
        #expect(throws: ProposalRefusal.self) { try choose([bare], try esp("aes256gcm16")) }
    }

    @Test func integrityNoneEqualsNoIntegrity() throws {
        var offered = try esp("aes256gcm16")
        offered[0].transforms.append(Transform(.integrity, 0))
        #expect(try choose(offered, try esp("aes256gcm16")).transforms(of: .integrity).isEmpty)
        offered[0].transforms.append(Transform(.integrity, 12))
        #expect(try choose(offered, try esp("aes256gcm16")).transforms(of: .integrity).isEmpty)
        offered[0].transforms.removeAll { $0 == Transform(.integrity, 0) }
        #expect(throws: ProposalRefusal.self) { try choose(offered, try esp("aes256gcm16")) }
    }

    @Test func perfectForwardSecrecyIsAsked() throws {
        let plain = try esp("aes256gcm16")
        let pfs = try esp("aes256gcm16-ecp384")
        let either = try esp("aes256gcm16-ecp384-modpnone")
        #expect(throws: ProposalRefusal.self) { try choose(plain, pfs) }
        #expect(throws: ProposalRefusal.self) { try choose(pfs, plain) }
        #expect(try choose(plain, either).transforms(of: .keyExchange).isEmpty)
        #expect(try choose(pfs, either).transform(of: .keyExchange) == Transform(.keyExchange, 20))
        for (offered, accepted) in [(plain, pfs), (pfs, plain), (pfs, pfs), (plain, plain)] {
            #expect(try choose(offered, accepted, ignoringGroups: true).transforms(of: .keyExchange).isEmpty)
        }
    }

    @Test func extendedSequenceNumbersMustBeCommon() throws {
        #expect(throws: ProposalRefusal.self) {
            try choose(try esp("aes256gcm16-esn"), try esp("aes256gcm16"))
        }
        let chosen = try choose(try esp("aes256gcm16-esn-noesn"), try esp("aes256gcm16"))
        #expect(chosen.transforms(of: .esn) == [.noESN])
        let old = Proposal(securityProtocol: .esp, transforms: [Transform(.encryption, 20, keyBits: 256)])
        #expect(try choose([old], try esp("aes256gcm16")).transforms == old.transforms)
        #expect(throws: ProposalRefusal.self) { try choose([old], try esp("aes256gcm16-esn")) }
    }

    @Test func everyChoiceIsAValidAnswer() throws {
        for (offered, accepted) in [
            (try ike("aes256-aes128-sha256-sha1-modp2048-ecp256"), DefaultProposals.ike),
            (try ike("chacha20poly1305-prfsha256-x25519"), DefaultProposals.ike),
        ] {
            let chosen = try choose(offered, accepted)
            #expect(ProposalRefusal.isValidAnswer(chosen, to: offered))
            for type in [TransformType.encryption, .prf, .keyExchange] {
                #expect(chosen.transforms(of: type).count == 1)
            }
        }
    }

    @Test func forgedAnswersAreRefused() throws {
        let offered = try ike("aes256-sha256-modp2048-ecp256", "aes128-sha1-modp2048")
        let good = try choose(offered, offered)
        #expect(ProposalRefusal.isValidAnswer(good, to: offered))
        var other = good
        other.number = 2
        #expect(!ProposalRefusal.isValidAnswer(other, to: offered))
        other.number = 9
        #expect(!ProposalRefusal.isValidAnswer(other, to: offered))
        for index in good.transforms.indices {
            var lacking = good
            lacking.transforms.remove(at: index)
            #expect(!ProposalRefusal.isValidAnswer(lacking, to: offered), "without \(good.transforms[index])")
        }
        var twice = good
        twice.transforms.append(Transform(.keyExchange, 19))
        #expect(!ProposalRefusal.isValidAnswer(twice, to: offered))
        var weak = good
        weak.transforms.append(Transform(.prf, 2))
        #expect(!ProposalRefusal.isValidAnswer(weak, to: offered))
        var esp = good
        esp.securityProtocol = .esp
        #expect(!ProposalRefusal.isValidAnswer(esp, to: offered))
    }

    @Test func defaultsAreCompleteAndSupported() {
        #expect(DefaultProposals.ike.count == 2 && DefaultProposals.esp.count == 2)
        for proposal in DefaultProposals.ike + DefaultProposals.esp {
            #expect(proposal.transforms.allSatisfy { $0.isSupported })
        }
        #expect(DefaultProposals.esp.allSatisfy { $0.transforms(of: .keyExchange).isEmpty })
    }
}
