import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import TestSupport
import Testing

@testable import IKEv2

/// What a replay has found so far in a recorded conversation.
struct GoldenReplay {
    private(set) var conversation: GoldenConversation
    /// Keys by initiator's and responder's SPI.
    private(set) var keys: [[UInt64]: GoldenConversation.Keys] = [:]
    private(set) var opened = 0
    private(set) var children = 0
    private(set) var rekeys = 0
    private(set) var authentications = 0
    /// Messages with their keys, chains and first payload types, for the hostile tests.
    private(set) var plaintexts: [(chain: [UInt8], first: UInt8)] = []

    /// Fragments of messages that are not complete.
    private var parts: [(first: UInt8, chain: [UInt8])] = []
    private(set) var fragments = 0
    private var requests: [UInt32: [Payload]] = [:]
    private let ike: IKEKeys
    private let nonces: (initiator: [UInt8], responder: [UInt8])

    init(_ recorded: GoldenConversation) throws {
        conversation = recorded
        let (request, response) = try recorded.initExchange()
        let (asked, answered) = try (
            GoldenConversation.clear(request.octets), GoldenConversation.clear(response.octets)
        )
        let chosen = try answered.securityAssociation.unwrapped.proposals.first.unwrapped
        let suite = try IKESuite(chosen).unwrapped
        nonces = try (asked.nonce.unwrapped, answered.nonce.unwrapped)
        let secret = try SecretKey(copying: conversation.take("shared Diffie Hellman secret").unwrapped)
        let header = response.header
        ike = try IKEKeys(
            suite: suite,
            sharedSecret: secret,
            initiatorNonce: nonces.initiator,
            responderNonce: nonces.responder,
            initiatorSPI: IKESPI(header.initiatorSPI).unwrapped,
            responderSPI: IKESPI(header.responderSPI).unwrapped
        )
        keys[[header.initiatorSPI, header.responderSPI]] = GoldenConversation.Keys(
            suite: suite,
            skD: ike.skD,
            initiatorCipher: ike.initiatorCipher,
            responderCipher: ike.responderCipher
        )
        let seed = try PRF.compute(
            suite.prf,
            key: .bytes(nonces.initiator + nonces.responder),
            [.secret(secret)]
        )
        let spis = [header.initiatorSPI, header.responderSPI].flatMap { IKESPI($0)?.octets ?? [] }
        let own = try GoldenConversation.rekeyed(
            suite: suite,
            seed: seed,
            nonces: nonces.initiator + nonces.responder,
            spis: spis
        )
        compare(seed: seed, own.parts)
        #expect(ike.skD == own.parts[0] && ike.skPi == own.skPi && ike.skPr == own.skPr)
        // The engine does not show SK_e and SK_a: they must seal as the recorded ones do.
        let iv = [UInt8](repeating: 3, count: suite.cipher.ivLength)
        let text = [UInt8](repeating: 4, count: 32)
        for (mine, theirs) in [
            (ike.initiatorCipher, own.keys.initiatorCipher), (ike.responderCipher, own.keys.responderCipher),
        ] {
            #expect(
                try mine.seal(aad: [1], iv: iv, plaintext: text)
                    == theirs.seal(aad: [1], iv: iv, plaintext: text)
            )
        }
    }

    private mutating func compare(seed: SecretKey, _ parts: [SecretKey]) {
        #expect(conversation.take("SKEYSEED") == seed.exposedForTesting(), "\(conversation.id)")
        for (name, part) in zip(["d", "ai", "ar", "ei", "er", "pi", "pr"], parts) where part.count > 0 {
            #expect(
                conversation.take("Sk_\(name) secret") == part.exposedForTesting(),
                "\(conversation.id) SK_\(name)"
            )
        }
    }

    /// Opens, reads, writes and seals every protected message, and follows every rekey.
    mutating func replay() throws {
        for message in conversation.messages where [46, 53].contains(message.header.nextPayload) {
            let pair = [message.header.initiatorSPI, message.header.responderSPI]
            let current = try keys[pair].unwrapped
            let whole =
                message.header.nextPayload == 46
                ? try rewrite(message, current) : try rewriteFragment(message, current)
            guard let payloads = whole else { continue }
            opened += 1
            switch message.header.exchange {
            case .ikeAuth:
                try checkAUTH(payloads, message)
                if message.header.isResponse { try checkFirstChild(payloads, current) }
            case .createChildSA:
                if message.header.isResponse {
                    try checkRekey(requests[message.header.messageID].unwrapped, payloads, current)
                } else {
                    requests[message.header.messageID] = payloads
                }
            case .ikeSAInit, .informational, .ikeIntermediate, .ikeFollowUpKE, .unknown: break
            }
        }
    }

    /// Opens and seals a fragment; the payloads when it was the last one.
    private mutating func rewriteFragment(
        _ message: GoldenConversation.Message,
        _ keys: GoldenConversation.Keys
    ) throws -> [Payload]? {
        let recorded = try GoldenConversation.plaintext(message, keys)
        let cipher = keys.cipher(message.header)
        let sealed = try cipher.seal(
            aad: recorded.prefix,
            iv: recorded.iv,
            plaintext: recorded.chain + recorded.padding
        )
        #expect(recorded.prefix + recorded.iv + sealed == message.octets, "\(conversation.id)")
        fragments += 1
        parts.append((recorded.prefix[28], recorded.chain))
        guard parts.count == Int(recorded.prefix[34]) << 8 | Int(recorded.prefix[35]) else { return nil }
        defer { parts = [] }
        let chain = parts.flatMap { $0.chain }
        var reader = ByteReader(chain.span)
        let payloads = try PayloadChain.parse(first: parts[0].first, from: &reader)
        var writer = ByteWriter()
        try PayloadChain.write(payloads, into: &writer)
        #expect(writer.bytes == chain, "\(conversation.id)")
        plaintexts.append((chain, parts[0].first))
        return payloads
    }

    private mutating func rewrite(
        _ message: GoldenConversation.Message,
        _ keys: GoldenConversation.Keys
    ) throws -> [Payload] {
        guard case .encrypted(let content) = try ReceivedMessage(parsing: message.octets).content else {
            throw PuppetError.unexpected
        }
        let cipher = keys.cipher(message.header)
        let payloads = try content.open(with: cipher, transform: keys.suite.cipher)
        let recorded = try GoldenConversation.plaintext(message, keys)
        var writer = ByteWriter()
        try PayloadChain.write(payloads, into: &writer)
        #expect(writer.bytes == recorded.chain, "\(conversation.id) \(message.header.exchange)")
        let sealed = try cipher.seal(
            aad: recorded.prefix,
            iv: recorded.iv,
            plaintext: writer.bytes + recorded.padding
        )
        #expect(recorded.prefix + recorded.iv + sealed == message.octets, "\(conversation.id)")
        // Where strongSwan pads as we do, our own encoder gives the same message.
        let block = keys.suite.cipher.isAEAD ? 1 : keys.suite.cipher.blockLength
        let isMinimal = recorded.padding.count <= block && recorded.padding.dropLast().allSatisfy { $0 == 0 }
        if isMinimal {
            let again = try IKEMessage(header: message.header, payloads: payloads)
                .sealed(with: cipher, transform: keys.suite.cipher, iv: recorded.iv)
            #expect(again == message.octets, "\(conversation.id) \(message.header.exchange)")
        }
        plaintexts.append((recorded.chain, payloads.first?.type ?? 0))
        return payloads
    }

    private mutating func checkAUTH(_ payloads: [Payload], _ message: GoldenConversation.Message) throws {
        let (request, response) = try conversation.initExchange()
        let isResponse = message.header.isResponse
        let id = try (isResponse ? payloads.responderID : payloads.initiatorID).unwrapped
        let signed = SignedOctets(
            prf: try keys.values.first.unwrapped.suite.prf,
            message: isResponse ? response.octets : request.octets,
            nonce: isResponse ? nonces.initiator : nonces.responder,
            identity: id,
            macKey: isResponse ? ike.skPr : ike.skPi
        )
        guard conversation.certificates.isEmpty else { return try checkSignature(payloads, id, signed) }
        let auth = try signed.sharedKeyAUTH(key(conversation.sharedKey))
        let payload = try payloads.authentication.unwrapped
        #expect(payload.method == SignedOctets.sharedKeyMethod)
        #expect(payload.data == auth, "\(conversation.id)")
        #expect(conversation.take("AUTH = prf(prf(secret, keypad), octets)") == auth, "\(conversation.id)")
        #expect(conversation.take("IDx'") == id.body)
        let peer = try VerifiedPeer.verifying(
            payload,
            identity: Identity(type: id.type, data: id.data),
            sharedKey: key(conversation.sharedKey),
            octets: signed
        )
        #expect(peer.identity == .fqdn(isResponse ? "b.test" : "a.test"))
        #expect(throws: CryptoError.authenticationFailed) {
            try VerifiedPeer.verifying(
                payload,
                identity: peer.identity,
                sharedKey: key("another"),
                octets: signed
            )
        }
        authentications += 1
    }

    /// The signature holds with the certificate that was sent, over exactly what strongSwan wrote down.
    private mutating func checkSignature(
        _ payloads: [Payload],
        _ id: IDPayload,
        _ signed: SignedOctets
    ) throws {
        let octets = try signed.signed()
        #expect(conversation.take("octets = message + nonce + prf(Sk_px, IDx')") == octets)
        #expect(conversation.take("IDx'") == id.body)
        let authority = try CertificateInfo(parsing: conversation.certificates["ca"].unwrapped)
        let connection = PolicyFixture(.initiator).policy.signing(nil, trusting: [authority])
        let identity = Identity(type: id.type, data: id.data)
        var certificates = payloads.certificates
        let name = identity == .fqdn("a.test") ? "a" : "b"
        #expect(certificates.first?.data == conversation.certificates[name])
        func verdict(_ payload: AUTHPayload, _ identity: Identity) -> SignatureCheck.Verdict {
            let check = SignatureCheck(
                payload,
                identity: identity,
                octets: signed,
                certificates: certificates,
                connections: [connection]
            )
            guard
                case .checked(let verdict) = ComputeJob(id: 1, peer: fixed("192.0.2.1"), work: .check(check))
                    .run(at: authority.notBefore + 3_600).outcome
            else { fatalError("a check has no other outcome") }
            return verdict
        }
        let payload = try payloads.authentication.unwrapped
        let believed = verdict(payload, identity)
        #expect(believed.proof?.peer.identity == identity, "\(believed.refusals)")
        #expect(verdict(payload, .fqdn("c.test")).proof == nil)
        var forged = payload
        forged.data[forged.data.count - 1] ^= 1
        #expect(verdict(forged, identity).proof == nil)
        certificates = [CERTPayload(try conversation.certificates[name == "a" ? "b" : "a"].unwrapped)]
        #expect(verdict(payload, identity).proof == nil)
        authentications += 1
    }

    private mutating func checkFirstChild(_ payloads: [Payload], _ keys: GoldenConversation.Keys) throws {
        let chosen = try payloads.securityAssociation.unwrapped.proposals.first.unwrapped
        let transform = try chosen.cipherTransform.unwrapped
        let material = try ike.childKeys(
            prf: keys.suite.prf,
            transform: transform,
            initiatorNonce: nonces.initiator,
            responderNonce: nonces.responder
        )
        compare(material)
    }

    private mutating func compare(_ material: KEYMAT) {
        let (i, r) = (material.initiator, material.responder)
        #expect(conversation.take("encryption initiator key") == i.encryption.exposedForTesting())
        #expect(conversation.take("encryption responder key") == r.encryption.exposedForTesting())
        if let integrity = i.integrity {
            #expect(conversation.take("integrity initiator key") == integrity.exposedForTesting())
        }
        if let integrity = r.integrity {
            #expect(conversation.take("integrity responder key") == integrity.exposedForTesting())
        }
        children += 1
    }

    private mutating func checkRekey(
        _ request: [Payload],
        _ response: [Payload],
        _ current: GoldenConversation.Keys
    ) throws {
        guard let chosen = response.securityAssociation?.proposals.first else { return }
        let both = try request.nonce.unwrapped + response.nonce.unwrapped
        if chosen.securityProtocol == .esp {
            let transform = try chosen.cipherTransform.unwrapped
            var seed = [PRFInput]()
            if response.keyExchange != nil {
                seed.append(.bytes(try conversation.take("DH secret").unwrapped))
            }
            let count = KEYMAT.length(for: transform)
            let material = try PRF.expand(
                current.suite.prf,
                key: current.skD,
                seed: seed + [.bytes(both)],
                count: count
            )
            compare(try KEYMAT(cutting: material, for: transform))
            return
        }
        let suite = try IKESuite(chosen).unwrapped
        let secret = try conversation.take("shared Diffie Hellman secret").unwrapped
        let seed = try PRF.compute(
            current.suite.prf,
            key: .secret(current.skD),
            [.bytes(secret), .bytes(both)]
        )
        let spiI = try request.securityAssociation.unwrapped.proposals.first.unwrapped.spi
        let next = try GoldenConversation.rekeyed(
            suite: suite,
            seed: seed,
            nonces: both,
            spis: spiI + chosen.spi
        )
        compare(seed: seed, next.parts)
        let numbers = [spiI, chosen.spi].map { $0.reduce(UInt64(0)) { $0 << 8 | UInt64($1) } }
        keys[numbers] = next.keys
        rekeys += 1
    }
}

@Suite(.enabled(if: Vectors.areAvailable)) struct GoldenReplayVectorTests {
    @Test func replaysEveryRecordedConversation() throws {
        let conversations = GoldenConversation.withSharedKeys + GoldenConversation.withCertificates
        #expect(conversations.count == 5)
        for conversation in conversations {
            var replay = try GoldenReplay(conversation)
            try replay.replay()
            print("\(conversation.id): \(replay.opened) protected messages, \(replay.children) CHILD_SAs")
            #expect(replay.opened >= 10)
            #expect(replay.authentications == 2)
            #expect((replay.fragments == 2) == !conversation.certificates.isEmpty)
            #expect(replay.children == 2)
            #expect(replay.rekeys == 1)
            // Every recorded secret was compared, but for intermediate values.
            let expected: Set = [
                "SK_p", "octets = message + nonce + prf(Sk_px, IDx')", "secret", "prf(secret, keypad)",
                "seed",
            ]
            #expect(replay.conversation.remainingLabels.isSubset(of: expected), "\(conversation.id)")
        }
    }
}
