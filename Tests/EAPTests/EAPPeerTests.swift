import Cryptography
import Primitives
import TestSupport
import Testing

@testable import EAP

@Suite struct EAPPeerTests {
    private var entropy: any EntropySource = SeededEntropy(seed: 1)

    private func credentials(
        _ methods: [EAPMethod],
        _ password: String? = "Ar3etTnp"
    ) throws -> EAPCredentials {
        EAPCredentials(
            identity: Array("carol".utf8),
            methods: methods,
            password: try password.map { try SecretKey(copying: Array($0.utf8)) }
        )
    }

    /// Runs a conversation to its end.
    private func run(_ peer: inout EAPPeer, _ server: inout EAPServer) throws -> Result<
        EAPOutcome, EAPFailure
    > {
        var entropy = entropy
        var packet = server.first
        for _ in 0..<20 {
            switch peer.receive(packet, entropy: &entropy) {
            case .respond(let octets): packet = try #require(try server.answer(octets))
            case .compute: return .failure(.malformed("no slow work is expected"))
            case .succeeded(let outcome): return .success(outcome)
            case .failed(let failure): return .failure(failure)
            }
        }
        return .failure(.malformed("no end"))
    }

    @Test(arguments: [EAPMethod.md5, .gtc, .mschapv2])
    func passwords(_ method: EAPMethod) throws {
        var (peer, server) = (EAPPeer(try credentials(EAPMethod.allCases)), EAPServer(method))
        let outcome = try run(&peer, &server).get()
        #expect(outcome.method == method)
        #expect(server.identity == Array("carol".utf8))
        #expect(outcome.key == server.key)
        #expect((outcome.key != nil) == (method == .mschapv2))
        #expect(outcome.key?.count ?? 64 == 64)
    }

    @Test(arguments: [EAPMethod.md5, .gtc, .mschapv2])
    func wrongPasswords(_ method: EAPMethod) throws {
        var (peer, server) = (EAPPeer(try credentials([method], "Ar3etTnq")), EAPServer(method))
        guard case .failure(.refused(let text)) = try run(&peer, &server) else {
            Issue.record("not refused")
            return
        }
        #expect(text.contains(method == .mschapv2 ? "wrong user name or password" : "carol"))
    }

    @Test func hashInPlaceOfThePassword() throws {
        var credentials = try credentials([.md5, .mschapv2], nil)
        credentials.passwordHash = try MSCHAPv2.hash(ofPassword: SecretKey(copying: Array("Ar3etTnp".utf8)))
        var (peer, server) = (EAPPeer(credentials), EAPServer(.mschapv2))
        #expect(try run(&peer, &server).get().key == server.key)
    }

    /// A method that is not allowed, or lacks its secret, is declined with those that are.
    @Test func declines() throws {
        var (peer, server) = (EAPPeer(try credentials([.mschapv2, .tls])), EAPServer(.md5))
        #expect(try run(&peer, &server).get().method == .mschapv2)
        #expect(server.naks == [EAPMethod.mschapv2.rawValue])
        var (other, tls) = (EAPPeer(try credentials([.tls])), EAPServer(.tls))
        guard case .failure(.method(let text)) = try run(&other, &tls) else {
            Issue.record("not declined")
            return
        }
        #expect(tls.naks == [0])
        #expect(text.contains("certificate"))
    }

    @Test func declinesExpandedTypes() throws {
        var peer = EAPPeer(try credentials([.md5]))
        var entropy = entropy
        let request = EAPPacket(.request, 1, type: EAPType.expanded, data: [0, 0, 9, 0, 0, 0, 1])
        guard case .respond(let octets) = peer.receive(request.encoded ?? [], entropy: &entropy) else {
            Issue.record("no answer")
            return
        }
        let packet = try EAPPacket(parsing: octets)
        #expect(packet.type == EAPType.expanded)
        #expect(packet.data == [0, 0, 0, 0, 0, 0, 3, 254, 0, 0, 0, 0, 0, 0, 4])
    }

    /// CVE-2018-10811, CVE-2023-26463 and their like: nothing but the method's own end is success.
    @Test func noSuccessWithoutTheMethod() throws {
        for fault in [EAPServer.Fault.earlySuccess, .noProof] {
            var (peer, server) = (EAPPeer(try credentials([.mschapv2])), EAPServer(.mschapv2))
            server.fault = fault
            guard case .failure(.early) = try run(&peer, &server) else {
                Issue.record("\(fault) was believed")
                continue
            }
        }
        var (peer, server) = (EAPPeer(try credentials([.mschapv2])), EAPServer(.mschapv2))
        server.fault = .wrongProof
        guard case .failure(.server) = try run(&peer, &server) else {
            Issue.record("a server without the password was believed")
            return
        }
    }

    @Test func oneMethodAConversation() throws {
        var (peer, server) = (EAPPeer(try credentials([.mschapv2, .gtc])), EAPServer(.mschapv2))
        server.fault = .changesMethod
        guard case .failure(.malformed) = try run(&peer, &server) else {
            Issue.record("the password was given away")
            return
        }
    }

    @Test func roundsAreBounded() throws {
        var peer = EAPPeer(try credentials([.md5]))
        var entropy = entropy
        let request = EAPPacket(.request, 1, type: EAPType.identity).encoded ?? []
        for _ in 0..<EAPPeer.mostRounds {
            guard case .respond = peer.receive(request, entropy: &entropy) else {
                Issue.record("no answer")
                return
            }
        }
        guard case .failed(.malformed) = peer.receive(request, entropy: &entropy) else {
            Issue.record("it goes on for ever")
            return
        }
    }

    /// Whatever arrives, in whatever state: an answer or an end, never a trap, and never a success.
    @Test func mutatedConversations() throws {
        var random = SeededEntropy(seed: 77)
        for _ in 0..<20_000 {
            let method: EAPMethod = [.md5, .gtc, .mschapv2, .tls][Int(random.nextUInt32() % 4)]
            var (peer, server) = (EAPPeer(try credentials(EAPMethod.allCases)), EAPServer(method))
            var entropy = entropy
            var packet = server.first
            for _ in 0..<8 {
                let mutated = Self.mutate(packet, &random)
                let step = peer.receive(mutated, entropy: &entropy)
                guard case .respond(let octets) = step else {
                    if case .succeeded(let outcome) = step { #expect(outcome.key == server.key) }
                    break
                }
                guard let next = try? server.answer(octets) else { break }
                packet = next
            }
        }
    }

    private static func mutate(_ octets: [UInt8], _ random: inout SeededEntropy) -> [UInt8] {
        var result = octets
        guard random.nextUInt32() % 2 == 0, !result.isEmpty else { return result }
        for _ in 0...random.nextUInt32() % 3 {
            let index = Int(random.nextUInt32()) % result.count
            switch random.nextUInt32() % 4 {
            case 0: result[index] = UInt8(truncatingIfNeeded: random.nextUInt32())
            case 1: result[index] ^= 1 << UInt8(random.nextUInt32() % 8)
            case 2: result.insert(0xff, at: index)
            default: if result.count > 1 { result.remove(at: index) }
            }
        }
        // A right length, mostly: else nothing but the length is looked at.
        if result.count >= 4, random.nextUInt32() % 8 != 0 {
            result[2] = UInt8(truncatingIfNeeded: result.count >> 8)
            result[3] = UInt8(truncatingIfNeeded: result.count)
        }
        return result
    }
}
