import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

@testable import IKEv2

/// One engine whose outputs are collected; compute jobs are carried out at once unless they are held.
///
/// It is a value: a copy goes its own way from the state that the original has.
struct LoneEngine {
    var engine: IKEv2Engine
    var now = Instant.zero
    var holdsJobs = false
    private(set) var heldJobs: [ComputeJob] = []
    private(set) var outputs: [EngineOutput] = []
    let local: Endpoint

    init(
        _ side: Side,
        _ fixture: PolicyFixture,
        configuration: EngineConfiguration = EngineConfiguration()
    ) {
        engine = IKEv2Engine(configuration: configuration, entropy: SeededEntropy(seed: 77), at: .zero)
        local = Endpoint(side.publicAddress, 500)
        engine.handle(.setPolicies([fixture.policy]), at: .zero)
    }

    /// Handles an input and all that follows from it; the answer is what it says to the peer.
    @discardableResult
    mutating func handle(_ input: EngineInput) -> [[UInt8]] {
        engine.handle(input, at: now)
        var replies = [[UInt8]]()
        while let output = engine.nextOutput() {
            outputs.append(output)
            switch output {
            case .transmit(let datagram): replies.append(datagram.octets)
            case .compute(let job) where holdsJobs: heldJobs.append(job)
            case .compute(let job): engine.handle(.computed(job.run(at: 1_800_000_000)), at: now)
            case .keepalive, .redirect, .install, .useForSending, .remove, .move, .message, .event: break
            }
        }
        return replies
    }

    @discardableResult
    mutating func receive(_ octets: [UInt8], from remote: Endpoint) -> [[UInt8]] {
        handle(.datagram(IKEDatagram(octets: octets, local: local, remote: remote)))
    }

    /// Carries out the jobs that were held.
    @discardableResult
    mutating func release() -> [[UInt8]] {
        let jobs = heldJobs
        heldJobs = []
        return jobs.flatMap { handle(.computed($0.run(at: 1_800_000_000))) }
    }

    mutating func forgetOutputs() { outputs = [] }

    var installs: Int { outputs.filter { if case .install = $0 { true } else { false } }.count }
    var removals: Int { outputs.filter { if case .remove = $0 { true } else { false } }.count }
    var failures: [DownCause] {
        outputs.compactMap {
            if case .event(.attemptFailed(let failure)) = $0 { failure.cause } else { nil }
        }
    }
    var downs: [DownCause] {
        outputs.compactMap { if case .event(.ikeDown(_, let cause)) = $0 { cause } else { nil } }
    }

    /// What must not change through anything that is not authentic.
    var standing: [String] {
        engine.snapshots.filter { $0.state != .connecting }.map { sa in
            "\(sa.id) \(sa.state) \(sa.remote) \(sa.children.map { "\($0.inboundSPI)\($0.outboundSPI)" })"
        }
    }
}

/// A peer made of loose parts: it can say anything, also what no engine would, with the right keys.
struct Puppet {
    let isInitiator: Bool
    let endpoint: Endpoint
    let spi: IKESPI
    let nonce: [UInt8]
    let keyPair: KeyExchangeKeyPair
    let suite: IKESuite
    var sharedKey = "correct horse battery staple"
    var identity: Identity
    private(set) var peerSPI: UInt64 = 0
    private(set) var peerNonce: [UInt8] = []
    private(set) var initRequest: [UInt8] = []
    private(set) var initResponse: [UInt8] = []
    private(set) var keys: IKEKeys?
    private var ivCounter: UInt64 = 1 << 40

    init(_ side: Side, number: UInt64 = 1, address: IPAddress? = nil, suite name: String? = nil) throws {
        isInitiator = side == .initiator
        identity = side.identity
        endpoint = Endpoint(address ?? side.publicAddress, 500)
        spi = try IKESPI(0x5050_0000_0000_0000 + number).unwrapped
        nonce = (0..<32).map { UInt8(truncatingIfNeeded: $0 &+ Int(number)) }
        let chosen = proposals([name ?? "aes256gcm16-prfsha256-x25519"], .ike)
        suite = try IKESuite(chosen.first.unwrapped).unwrapped
        keyPair = try KeyExchangeKeyPair(group: suite.group)
    }

    private var spis: (initiator: UInt64, responder: UInt64) {
        isInitiator ? (spi.value, peerSPI) : (peerSPI, spi.value)
    }

    func header(_ exchange: ExchangeType, id: UInt32, isResponse: Bool) -> IKEHeader {
        IKEHeader(
            initiatorSPI: spis.initiator,
            responderSPI: spis.responder,
            exchange: exchange,
            isFromInitiator: isInitiator,
            isResponse: isResponse,
            messageID: id
        )
    }

    private func initPayloads() -> [Payload] {
        [
            .securityAssociation(SAPayload([suite.proposal])),
            .keyExchange(KEPayload(group: keyPair.group.rawValue, data: keyPair.publicValue)),
            .nonce(nonce),
        ]
    }

    /// An IKE_SA_INIT request.
    mutating func request(first: [Payload] = [], last: [Payload] = []) throws -> [UInt8] {
        let header = header(.ikeSAInit, id: 0, isResponse: false)
        initRequest = try IKEMessage(header: header, payloads: first + initPayloads() + last).encoded()
        return initRequest
    }

    /// Takes an IKE_SA_INIT response and derives the keys.
    mutating func take(response: [UInt8]) throws {
        initResponse = response
        try derive(from: response, initiatorNonce: nil)
    }

    /// Answers an engine's IKE_SA_INIT request and derives the keys.
    mutating func answer(_ request: [UInt8], saying more: [Payload] = []) throws -> [UInt8] {
        initRequest = request
        peerSPI = try ReceivedMessage.header(of: request).initiatorSPI
        try derive(from: request, initiatorNonce: peerNonce)
        let header = header(.ikeSAInit, id: 0, isResponse: true)
        initResponse = try IKEMessage(header: header, payloads: initPayloads() + more).encoded()
        return initResponse
    }

    private mutating func derive(from octets: [UInt8], initiatorNonce: [UInt8]?) throws {
        let message = try ReceivedMessage(parsing: octets)
        guard case .clear(let payloads) = message.content else { throw PuppetError.unexpected }
        peerSPI = isInitiator ? message.header.responderSPI : message.header.initiatorSPI
        peerNonce = try payloads.nonce.unwrapped
        let secret = try keyPair.sharedSecret(with: payloads.keyExchange.unwrapped.data)
        keys = try IKEKeys(
            suite: suite,
            sharedSecret: secret,
            initiatorNonce: isInitiator ? nonce : peerNonce,
            responderNonce: isInitiator ? peerNonce : nonce,
            initiatorSPI: IKESPI(spis.initiator).unwrapped,
            responderSPI: IKESPI(spis.responder).unwrapped
        )
    }

    /// The payloads of our IKE_AUTH message; `id` and the key are what this puppet pretends.
    func authPayloads(extra: [Payload] = [], tunnel side: Side? = nil) throws -> [Payload] {
        let keys = try keys.unwrapped
        let idPayload = IDPayload(type: identity.type, data: identity.data)
        let signed = SignedOctets(
            prf: suite.prf,
            message: isInitiator ? initRequest : initResponse,
            nonce: peerNonce,
            identity: idPayload,
            macKey: isInitiator ? keys.skPi : keys.skPr
        )
        let auth = try signed.sharedKeyAUTH(key(sharedKey))
        let offer = proposals(["aes256gcm16"], .esp).map { proposal in
            var proposal = proposal
            proposal.spi = [0xc0, 0xff, 0xee, UInt8(truncatingIfNeeded: spi.value)]
            return proposal
        }
        let id: Payload = isInitiator ? .initiatorID(idPayload) : .responderID(idPayload)
        return [id] + extra + [
            .authentication(AUTHPayload(method: 2, data: auth)),
            .securityAssociation(SAPayload(offer)),
            .initiatorSelectors(TSPayload([selector("10.1.0.0/16")])),
            .responderSelectors(TSPayload([selector("10.2.0.0/16")])),
        ]
    }

    /// Our IKE_AUTH message.
    mutating func auth(extra: [Payload] = []) throws -> [UInt8] {
        try seal(authPayloads(extra: extra), .ikeAuth, id: 1, isResponse: !isInitiator)
    }

    /// A protected message of ours.
    mutating func seal(
        _ payloads: [Payload],
        _ exchange: ExchangeType,
        id: UInt32,
        isResponse: Bool = false
    ) throws -> [UInt8] {
        var writer = ByteWriter()
        try PayloadChain.write(payloads, into: &writer)
        let first = payloads.first?.type ?? 0
        return try seal(chain: writer.bytes, first: first, exchange, id: id, isResponse: isResponse)
    }

    /// A protected message around octets that need be no payloads.
    mutating func seal(
        chain: [UInt8],
        first: UInt8,
        _ exchange: ExchangeType,
        id: UInt32,
        isResponse: Bool = false,
        pad: [UInt8]? = nil
    ) throws -> [UInt8] {
        let keys = try keys.unwrapped
        let iv = nextIV()
        let block = suite.cipher.isAEAD ? 1 : suite.cipher.blockLength
        let padLength = (block - (chain.count + 1) % block) % block
        let plain = chain + (pad ?? [UInt8](repeating: 0, count: padLength) + [UInt8(padLength)])
        var header = header(exchange, id: id, isResponse: isResponse)
        header.nextPayload = 46
        let body = 4 + iv.count + plain.count + suite.cipher.icvLength
        header.messageLength = UInt32(28 + body)
        var writer = ByteWriter()
        header.write(into: &writer)
        writer.u8(first)
        writer.u8(0)
        writer.u16(UInt16(truncatingIfNeeded: body))
        let cipher = isInitiator ? keys.initiatorCipher : keys.responderCipher
        return try writer.bytes + iv + cipher.seal(aad: writer.bytes, iv: iv, plaintext: plain)
    }

    mutating func nextIV() -> [UInt8] {
        ivCounter += 1
        let count = ivCounter
        return (0..<suite.cipher.ivLength).map { UInt8(truncatingIfNeeded: count >> UInt64($0 % 8 * 8)) }
    }

    /// What an engine said to us.
    func open(_ octets: [UInt8]) throws -> [Payload] {
        let keys = try keys.unwrapped
        guard case .encrypted(let content) = try ReceivedMessage(parsing: octets).content else {
            throw PuppetError.unexpected
        }
        let cipher = isInitiator ? keys.responderCipher : keys.initiatorCipher
        return try content.open(with: cipher, transform: suite.cipher)
    }
}

/// Why a puppet's string broke.
enum PuppetError: Error { case unexpected }

extension Optional {
    /// The value; a missing one fails the test by an error.
    var unwrapped: Wrapped {
        get throws {
            guard let self else { throw PuppetError.unexpected }
            return self
        }
    }
}

/// An engine in a named state, and the puppet that it speaks to.
struct EngineInState {
    let name: String
    var lone: LoneEngine
    var puppet: Puppet

    /// An engine as responder with a puppet, through IKE_SA_INIT.
    static func awaitingAuth(suite: String? = nil, number: UInt64 = 1) throws -> EngineInState {
        var fixture = PolicyFixture(.responder)
        if let suite { fixture.ike = [suite] }
        var lone = LoneEngine(.responder, fixture)
        var puppet = try Puppet(.initiator, number: number, suite: suite)
        let replies = try lone.receive(puppet.request(), from: puppet.endpoint)
        try puppet.take(response: replies.first.unwrapped)
        return EngineInState(name: "responderAwaitingAuth", lone: lone, puppet: puppet)
    }

    /// An engine as responder, established with a puppet.
    static func establishedResponder(suite: String? = nil) throws -> EngineInState {
        let state = try awaitingAuth(suite: suite)
        var (lone, puppet) = (state.lone, state.puppet)
        let replies = try lone.receive(puppet.auth(), from: puppet.endpoint)
        guard lone.engine.snapshots.first?.state == .established,
            try !puppet.open(replies.first.unwrapped).isEmpty
        else { throw PuppetError.unexpected }
        lone.forgetOutputs()
        return EngineInState(name: "established as responder", lone: lone, puppet: puppet)
    }

    /// An engine as initiator in each of its states up to established.
    static func initiator() throws -> [EngineInState] {
        var lone = LoneEngine(.initiator, PolicyFixture(.initiator))
        var puppet = try Puppet(.responder)
        lone.holdsJobs = true
        lone.handle(.initiate(connection: "net", tunnel: "sub", local: lone.local, remote: puppet.endpoint))
        var states = [EngineInState(name: "initiatorGenerating", lone: lone, puppet: puppet)]
        let request = try lone.release().first.unwrapped
        let answer = try puppet.answer(request)
        states.append(EngineInState(name: "initiatorAwaitingInit", lone: lone, puppet: puppet))
        lone.receive(answer, from: puppet.endpoint)
        states.append(EngineInState(name: "initiatorDeriving", lone: lone, puppet: puppet))
        _ = try puppet.open(lone.release().first.unwrapped)
        lone.holdsJobs = false
        states.append(EngineInState(name: "initiatorAwaitingAuth", lone: lone, puppet: puppet))
        lone.receive(try puppet.auth(), from: puppet.endpoint)
        guard lone.engine.snapshots.first?.state == .established else { throw PuppetError.unexpected }
        lone.forgetOutputs()
        states.append(EngineInState(name: "established as initiator", lone: lone, puppet: puppet))
        return states
    }

    /// Every state that an engine can be in.
    static func all() throws -> [EngineInState] {
        var idle = LoneEngine(.responder, PolicyFixture(.responder))
        var puppet = try Puppet(.initiator)
        var states = [EngineInState(name: "without IKE_SAs", lone: idle, puppet: puppet)]
        idle.holdsJobs = true
        idle.receive(try puppet.request(), from: puppet.endpoint)
        states.append(EngineInState(name: "responderComputing", lone: idle, puppet: puppet))
        states.append(try awaitingAuth())
        let established = try establishedResponder()
        states.append(established)
        var (lone, other) = (established.lone, established.puppet)
        lone.receive(try other.seal([.delete(.ike)], .informational, id: 2), from: other.endpoint)
        guard lone.engine.snapshots.isEmpty, lone.engine.deadline != nil else { throw PuppetError.unexpected }
        states.append(EngineInState(name: "lingering", lone: lone, puppet: other))
        return try states + initiator()
    }
}
