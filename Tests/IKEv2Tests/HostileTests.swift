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

/// Octets that nobody honest sends: nothing traps, and no IKE_SA changes through what is not authentic.
@Suite struct HostileTests {
    /// Every datagram of the vectors' recordings as an IKE message, the non-ESP marker taken off.
    private static func recorded(_ file: String) -> [[UInt8]] {
        Vectors.load(file)["cases"].elements.flatMap { vector -> [[UInt8]] in
            if let octets = vector["hex"].hex { return [octets] }
            return vector["packets"].elements.map { packet in
                let octets = packet["udp_payload"].octets
                return octets.starts(with: [0, 0, 0, 0]) ? Array(octets.dropFirst(4)) : octets
            }
        }
    }

    private static let golden = recorded("golden/strongswan_handshakes").filter { octets in
        (try? ReceivedMessage.header(of: octets)) != nil
    }

    private static let others =
        [
            "hostile/cve_and_fuzz_packets", "captures/scapy_captures", "captures/scapy_message_literals",
            "captures/wireshark_ikev1", "captures/wireshark_ikev2_decrypt",
        ].flatMap { recorded($0) }

    /// The message with its own length in the header, and addressed to the IKE_SA of a state.
    private static func addressed(_ octets: [UInt8], to state: EngineInState) -> [UInt8] {
        guard octets.count >= 28 else { return octets }
        let own = state.puppet.header(.informational, id: 0, isResponse: false)
        var writer = ByteWriter()
        writer.u64(own.initiatorSPI)
        writer.u64(own.responderSPI)
        var result = octets
        result.replaceSubrange(0..<16, with: writer.bytes)
        result[17] = 0x20
        // The I flag as the puppet has it, R as it was.
        result[19] = (octets[19] & 0x20) | (state.puppet.isInitiator ? 0x08 : 0)
        return LengthField(offset: 24, width: 4).setting(UInt64(result.count), in: result)
    }

    /// Feeds octets to a copy of an engine; what stands must stand, and nothing is installed or removed.
    private static func feed(_ octets: [UInt8], to state: EngineInState, _ what: @autoclosure () -> String) {
        var lone = state.lone
        let before = lone.standing
        let replies = lone.receive(octets, from: state.puppet.endpoint)
        if lone.standing != before || lone.installs > 0 || lone.removals > 0 || replies.count > 1 {
            Issue.record("\(state.name): \(what()) changed something: \(Hex.encode(octets))")
        }
    }

    private static func parse(_ octets: [UInt8]) {
        guard let message = try? ReceivedMessage(parsing: octets), case .clear(let payloads) = message.content
        else { return }
        // What can be read can be written, unless a payload holds what we do not keep.
        _ = try? IKEMessage(header: message.header, payloads: payloads).encoded()
    }

    /// States without held jobs' noise: what has been installed there was forgotten.
    private static func states() throws -> [EngineInState] {
        try EngineInState.all().map { state in
            var state = state
            state.lone.forgetOutputs()
            return state
        }
    }

    @Test(.enabled(if: Vectors.areAvailable)) func truncationsOfRecordedMessagesChangeNothing() throws {
        let states = try Self.states()
        var fed = 0
        for octets in Self.golden {
            for count in 0...octets.count {
                let part = Array(octets.prefix(count))
                Self.parse(part)
                guard count >= 28 else { continue }
                let repaired = LengthField(offset: 24, width: 4).setting(UInt64(count), in: part)
                Self.parse(repaired)
                for state in states {
                    Self.feed(repaired, to: state, "truncation to \(count)")
                    Self.feed(Self.addressed(part, to: state), to: state, "addressed truncation to \(count)")
                    fed += 2
                }
            }
        }
        print("\(Self.golden.count) recorded messages, \(fed) truncations to engines")
        #expect(fed > 100_000)
    }

    @Test(.enabled(if: Vectors.areAvailable)) func lyingLengthsOfRecordedMessagesChangeNothing() throws {
        let states = try Self.states()
        var lies = 0
        for octets in Self.golden {
            for field in LengthField.message(octets) {
                for lie in field.lies(about: octets) {
                    Self.parse(lie)
                    for state in states {
                        Self.feed(lie, to: state, "length at \(field.offset)")
                        Self.feed(Self.addressed(lie, to: state), to: state, "length at \(field.offset)")
                    }
                    lies += 1
                }
            }
        }
        print("\(lies) lying lengths in \(states.count) states")
        #expect(lies > 2000)
    }

    @Test(.enabled(if: Vectors.areAvailable)) func knownAttacksAndCapturesChangeNothing() throws {
        let states = try Self.states()
        #expect(Self.others.count > 60)
        for octets in Self.others {
            Self.parse(octets)
            for state in states {
                Self.feed(octets, to: state, "vector")
                Self.feed(Self.addressed(octets, to: state), to: state, "addressed vector")
            }
        }
    }

    /// Chains that are authentic but broken, from recorded plaintexts of a real peer.
    @Test(.enabled(if: Vectors.areAvailable)) func authenticLiesEndOnlyTheirOwnSA() throws {
        var plaintexts = [(chain: [UInt8], first: UInt8)]()
        for conversation in GoldenConversation.withSharedKeys + GoldenConversation.withCertificates {
            var replay = try GoldenReplay(conversation)
            try replay.replay()
            plaintexts += replay.plaintexts
        }
        let awaiting = try Self.awaiting()
        var count = 0
        for (chain, first) in plaintexts {
            var broken = LengthField.chain(chain, first: first, from: 0).flatMap { $0.lies(about: chain) }
            broken += (0..<chain.count).map { Array(chain.prefix($0)) }
            for lie in broken {
                var reader = ByteReader(lie.span)
                _ = try? PayloadChain.parse(first: first, from: &reader)
                for state in awaiting { try Self.feedAuthentic(lie, first, state) }
                count += 1
            }
        }
        print("\(count) authentic lies")
        #expect(count > 5000)
    }

    /// Engines that await an authentic message, each with its peer's keys.
    private static func awaiting() throws -> [EngineInState] {
        try EngineInState.initiator().suffix(2) + [.awaitingAuth(), .establishedResponder()]
    }

    private static func feedAuthentic(_ chain: [UInt8], _ first: UInt8, _ state: EngineInState) throws {
        var (lone, puppet) = (state.lone, state.puppet)
        lone.forgetOutputs()
        let isUp = lone.engine.snapshots.first?.state == .established
        let message =
            isUp
            ? try puppet.seal(chain: chain, first: first, .informational, id: puppet.isInitiator ? 2 : 0)
            : try puppet.seal(chain: chain, first: first, .ikeAuth, id: 1, isResponse: !puppet.isInitiator)
        // A recorded AUTH proves nothing here: no lie may bring an SA up.
        lone.receive(message, from: puppet.endpoint)
        if lone.installs > 0 || (!isUp && !lone.standing.isEmpty) {
            Issue.record("\(state.name): an authentic lie brought an SA up: \(Hex.encode(chain))")
        }
    }

    @Test func seededMutationsChangeNothing() throws {
        let states = try Self.states()
        var sources = Vectors.areAvailable ? Self.golden + Self.others : []
        for state in states where state.puppet.keys != nil {
            var puppet = state.puppet
            sources.append(try puppet.seal([.delete(.ike)], .informational, id: 2))
        }
        var puppet = try Puppet(.initiator)
        sources.append(try puppet.request())
        var mutator = Mutator(seed: 2026)
        for run in 0..<200_000 {
            let source = sources[run % sources.count]
            let octets = mutator.mutate(source)
            Self.parse(octets)
            let state = states[mutator.number(below: states.count)]
            let isAddressed = mutator.number(below: 3) > 0
            let fed = isAddressed ? Self.addressed(octets, to: state) : octets
            // Addressing can repair what the mutation broke; then the message is the authentic one.
            if fed != source { Self.feed(fed, to: state, "run \(run)") }
        }
    }

    @Test func seededMutationsOfAuthenticChainsDoNotTrap() throws {
        let awaiting = try Self.awaiting()
        let state = try EngineInState.awaitingAuth()
        var writer = ByteWriter()
        let payloads = try state.puppet.authPayloads(extra: [.notify(NotifyPayload(.initialContact))])
        try PayloadChain.write(payloads, into: &writer)
        var delete = ByteWriter()
        let spi = try SPI(0xc0ff_ee01).unwrapped
        try PayloadChain.write([.delete(.esp([spi])), .notify(NotifyPayload(.invalidSPI))], into: &delete)
        var mutator = Mutator(seed: 7296)
        for run in 0..<20_000 {
            let isAuth = run % 2 == 0
            let chain = mutator.mutate(isAuth ? writer.bytes : delete.bytes)
            try Self.feedMutated(chain, isAuth ? 35 : 42, awaiting)
        }
    }

    private static func feedMutated(_ chain: [UInt8], _ first: UInt8, _ awaiting: [EngineInState]) throws {
        for state in awaiting {
            var (lone, puppet) = (state.lone, state.puppet)
            let isUp = lone.engine.snapshots.first?.state == .established
            let id: UInt32 = isUp ? (puppet.isInitiator ? 2 : 0) : 1
            let message = try puppet.seal(
                chain: chain,
                first: first,
                isUp ? .informational : .ikeAuth,
                id: id,
                isResponse: !isUp && !puppet.isInitiator
            )
            #expect(lone.receive(message, from: puppet.endpoint).count <= 1)
        }
    }
}

/// Breaks octets in reproducible ways.
struct Mutator {
    private var entropy: any EntropySource

    init(seed: UInt64) { entropy = SeededEntropy(seed: seed) }

    mutating func number(below limit: Int) -> Int { Int(entropy.nextUInt32() % UInt32(max(limit, 1))) }

    mutating func mutate(_ octets: [UInt8]) -> [UInt8] {
        var result = octets
        for _ in 0...number(below: 4) {
            guard !result.isEmpty else { return entropy.bytes(number(below: 64)) }
            let index = number(below: result.count)
            switch number(below: 6) {
            case 0: result[index] ^= 1 << UInt8(number(below: 8))
            case 1: result[index] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][number(below: 6)]
            case 2: result.remove(at: index)
            case 3: result.insert(UInt8(number(below: 256)), at: index)
            case 4: result.removeLast(number(below: result.count))
            default: result.append(contentsOf: entropy.bytes(number(below: 12)))
            }
        }
        guard result.count >= 28, number(below: 4) > 0 else { return result }
        return LengthField(offset: 24, width: 4).setting(UInt64(result.count), in: result)
    }
}
