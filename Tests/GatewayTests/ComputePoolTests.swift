import Cryptography
import EAP
import IKECore
import IPPackets
import Logging
import Policy
import Primitives
import Synchronization
import Testing

@testable import Gateway

@Suite struct ComputePoolTests {
    private final class Answers: Sendable {
        let results = Mutex<[ComputeResult]>([])

        func waitFor(_ count: Int) async throws -> [ComputeResult] {
            for _ in 0..<3000 {
                let results = results.withLock { $0 }
                if results.count >= count { return results }
                try await Task.sleep(for: .milliseconds(10))
            }
            return results.withLock { $0 }
        }
    }

    private static func pool(width: Int, _ answers: Answers) -> ComputePool {
        let cache = RevocationCache { 0 }
        return ComputePool(
            width: width,
            cache: cache,
            fetcher: RevocationFetcher(cache: cache, mark: 0, logger: Logger(label: "test"))
        ) { result in answers.results.withLock { $0.append(result) } }
    }

    private func peer(_ number: UInt32) -> IPAddress { .v4(IPv4Address(number)) }

    @Test func answersEveryJobAlsoThoseItHasNoRoomFor() async throws {
        let answers = Answers()
        let pool = Self.pool(width: 1, answers)
        let count = ComputePool.maximumWaiting + 500
        for id in 0..<count {
            pool.submit(ComputeJob(id: UInt64(id), peer: peer(1), work: .generateKeyPair(.ecp384)))
        }
        let results = try await answers.waitFor(count)
        #expect(Set(results.map { $0.id }).count == count)
        let failures = results.filter { if case .failure(.exhausted) = $0.outcome { true } else { false } }
        #expect(UInt64(failures.count) == pool.refused)
        #expect(!failures.isEmpty)
    }

    @Test func aPeerThatFloodsDoesNotDelayAnother() async throws {
        let answers = Answers()
        let pool = Self.pool(width: 2, answers)
        for id in 0..<200 {
            pool.submit(ComputeJob(id: UInt64(id), peer: peer(1), work: .generateKeyPair(.modp4096)))
        }
        pool.submit(ComputeJob(id: 1000, peer: peer(2), work: .generateKeyPair(.x25519)))
        let results = try await answers.waitFor(201)
        let place = results.firstIndex { $0.id == 1000 } ?? .max
        #expect(place < 100)
    }

    /// A step of a handshake is carried out with what the server sent, which must not go astray on the way.
    @Test func stepsOfHandshakesHaveTheirInput() async throws {
        let key = try PrivateKeyInfo.generate(.p256)
        let content = CertificateContent(subject: [("CN", "carol")], notBefore: 0, notAfter: 4_000_000_000)
        let certificate = try key.issue(content, for: try key.publicKey(), issuer: nil)
        let own = EAPCredentials.Certificate(certificate: certificate, path: [], key: key)
        var peer = EAPPeer(EAPCredentials(identity: [], methods: [.tls], certificate: own))
        var entropy: any EntropySource = SystemEntropy()
        let connection = ConnectionPolicy(
            name: "c",
            localAddresses: [],
            remoteAddress: .any,
            localIdentity: nil,
            remoteIdentity: nil,
            sharedKeys: SharedKeyring([]),
            proposals: [],
            tunnels: [],
            origin: ConfigurationOrigin(source: "test")
        )
        let answers = Answers()
        let pool = Self.pool(width: 1, answers)
        for (number, data) in [[0x20], [0] + [UInt8](repeating: 0x41, count: 64)].enumerated() {
            let packet = EAPPacket(.request, 1, type: EAPMethod.tls.rawValue, data: data)
            guard case .compute(let work) = peer.receive(packet.encoded ?? [], entropy: &entropy) else {
                Issue.record("nothing to compute")
                return
            }
            let check = EAPServerCheck(work, connection: connection, identity: nil)
            pool.submit(ComputeJob(id: UInt64(number), peer: self.peer(1), work: .advance(check)))
            let result = try await answers.waitFor(number + 1)[number]
            guard case .advanced(let progress) = result.outcome else {
                Issue.record("another outcome")
                return
            }
            switch (number, progress) {
            case (0, .going(let flight)):
                #expect(!flight.isEmpty)
                _ = peer.take(progress)
            // No record of TLS: whoever sees it says so.
            case (1, .failed): break
            default: Issue.record("step \(number): \(progress)")
            }
        }
    }
}
