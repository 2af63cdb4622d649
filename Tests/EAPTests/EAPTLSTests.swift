import Cryptography
import Primitives
import Synchronization
import Testing

@testable import EAP

/// EAP-TLS with a server of ours: the same handshake with the other role.
@Suite struct EAPTLSTests {
    private static let now: Int64 = 1_800_000_000

    private struct Chain {
        let root: CertificateInfo
        let own: EAPCredentials.Certificate

        init(_ name: String, extraNames: Int = 0) throws {
            let (rootKey, key) = (try PrivateKeyInfo.generate(.p256), try PrivateKeyInfo.generate(.p256))
            var content = CertificateContent(
                subject: [("CN", "root of \(name)")],
                authority: .unlimited,
                notBefore: now - 1000,
                notAfter: now + 1000
            )
            root = try rootKey.issue(content, for: try rootKey.publicKey(), issuer: nil)
            content.subject = [("CN", name)]
            content.authority = nil
            content.alternativeNames = (0..<extraNames).map { .dns("name-\($0).example.org") }
            let leaf = try rootKey.issue(content, for: try key.publicKey(), issuer: root)
            own = EAPCredentials.Certificate(certificate: leaf, path: [], key: key)
        }
    }

    /// A server that fragments as it is told.
    private struct Server {
        let session: TLSSession
        let judge: @Sendable ([[UInt8]]) -> TLSVerdict
        var fragment = 500
        private(set) var key: SecretKey?
        private(set) var failure: String?
        private var outgoing: [UInt8] = []
        private var incoming: [UInt8] = []

        init(
            _ own: EAPCredentials.Certificate,
            allowsTLS13: Bool = true,
            _ judge: @escaping @Sendable ([[UInt8]]) -> TLSVerdict
        ) throws {
            session = try TLSSession(
                .server,
                certificate: own.certificate,
                path: own.path,
                key: own.key,
                allowsTLS13: allowsTLS13
            )
            self.judge = judge
        }

        /// The next request's data; nil at the end.
        mutating func answer(_ data: [UInt8]) -> [UInt8]? {
            let flags = data.first ?? 0
            incoming += data.dropFirst(flags & 0x80 != 0 ? 5 : 1)
            if flags & 0x40 != 0 { return [0] }
            if !outgoing.isEmpty { return next(isFirst: false) }
            if key != nil || failure != nil { return nil }
            let flight = incoming
            incoming = []
            switch session.advance(flight, judge: judge) {
            case .going(let octets): outgoing = octets
            case .waiting: return nil
            case .done(let octets, let key): (outgoing, self.key) = (octets, key)
            case .failed(let octets, let reason): (outgoing, failure) = (octets, reason)
            }
            return outgoing.isEmpty ? nil : next(isFirst: true)
        }

        private mutating func next(isFirst: Bool) -> [UInt8] {
            let total = outgoing.count
            let part = outgoing.prefix(fragment)
            outgoing.removeFirst(part.count)
            let length = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: total >> $0) }
            let more: UInt8 = outgoing.isEmpty ? 0 : 0x40
            return isFirst ? [0x80 | more] + length + part : [more] + part
        }
    }

    private func verdict(_ root: CertificateInfo) -> @Sendable ([[UInt8]]) -> TLSVerdict {
        { chain in
            let trust = CertificateTrust(anchors: [root])
            switch VerifiedCertificate.verify(peer: chain, by: trust, at: Self.now) {
            case .success: return .believed
            case .failure(let refusal): return .refused("\(refusal)", code: refusal.code)
            }
        }
    }

    private func run(
        _ peer: inout EAPPeer,
        _ server: inout Server,
        _ judge: @escaping @Sendable ([[UInt8]]) -> TLSVerdict
    ) throws -> (result: Result<EAPOutcome, EAPFailure>, works: Int) {
        var entropy: any EntropySource = SeededEntropy(seed: 3)
        var request = EAPPacket(.request, 1, type: EAPMethod.tls.rawValue, data: [0x20])
        var works = 0
        for identifier in 2..<UInt8(200) {
            var step = peer.receive(request.encoded ?? [], entropy: &entropy)
            while case .compute(let work) = step {
                works += 1
                step = peer.take(work.session.advance(work.input, judge: judge))
            }
            switch step {
            case .respond(let octets):
                let response = try EAPPacket(parsing: octets)
                if let data = server.answer(response.data) {
                    request = EAPPacket(.request, identifier, type: EAPMethod.tls.rawValue, data: data)
                } else {
                    request = EAPPacket(server.key == nil ? .failure : .success, identifier)
                }
            case .succeeded(let outcome): return (.success(outcome), works)
            case .failed(let failure): return (.failure(failure), works)
            case .compute: break
            }
        }
        throw CryptoError.invalidLength
    }

    private func peer(_ own: EAPCredentials.Certificate) -> EAPPeer {
        EAPPeer(EAPCredentials(identity: [], methods: [.tls], certificate: own))
    }

    @Test(arguments: [64, 500, 4000], [true, false])
    func handshakes(_ fragment: Int, _ allowsTLS13: Bool) throws {
        let (ours, theirs) = (try Chain("carol"), try Chain("moon", extraNames: fragment == 64 ? 0 : 200))
        var peer = peer(ours.own)
        var server = try Server(theirs.own, allowsTLS13: allowsTLS13, verdict(ours.root))
        server.fragment = fragment
        let outcome = try run(&peer, &server, verdict(theirs.root)).result.get()
        #expect(outcome.method == .tls)
        #expect(outcome.key != nil)
        #expect(outcome.key == server.key)
        #expect(server.session.version == (allowsTLS13 ? "TLSv1.3" : "TLSv1.2"))
    }

    /// Our own certificate goes in fragments as well.
    @Test func longCertificateOfOurs() throws {
        let (ours, theirs) = (try Chain("carol", extraNames: 300), try Chain("moon"))
        var peer = peer(ours.own)
        var server = try Server(theirs.own, verdict(ours.root))
        #expect(try run(&peer, &server, verdict(theirs.root)).result.get().key == server.key)
    }

    @Test func strangersAreToldApart() throws {
        let (ours, theirs, other) = (try Chain("carol"), try Chain("moon"), try Chain("other"))
        var peer = peer(ours.own)
        var server = try Server(theirs.own, verdict(ours.root))
        guard case .failure(.server(let text)) = try run(&peer, &server, verdict(other.root)).result else {
            Issue.record("a server of another authority is believed")
            return
        }
        #expect(text.contains("issuer"))
        #expect(server.failure?.contains("unknown ca") == true, "\(server.failure ?? "nothing")")
        var stranger = self.peer(other.own)
        var again = try Server(theirs.own, verdict(ours.root))
        guard case .failure = try run(&stranger, &again, verdict(theirs.root)).result else {
            Issue.record("a stranger is believed")
            return
        }
        #expect(again.key == nil)
    }

    /// What must be asked of the network first is asked for, and the handshake goes on where it stood.
    @Test func verdictsThatTakeTheirTime() throws {
        let (ours, theirs) = (try Chain("carol"), try Chain("moon"))
        let asked = Mutex(0)
        let judge = verdict(theirs.root)
        var peer = peer(ours.own)
        var server = try Server(theirs.own, verdict(ours.root))
        let (result, works) = try run(&peer, &server) { chain in
            asked.withLock { $0 += 1 } as Void
            return asked.withLock { $0 } < 3 ? .unknown([]) : judge(chain)
        }
        #expect(try result.get().key == server.key)
        #expect(asked.withLock { $0 } == 3)
        #expect(works > 4)
    }

    @Test func flightsAreBounded() throws {
        var peer = peer(try Chain("carol").own)
        var entropy: any EntropySource = SeededEntropy(seed: 3)
        func send(_ data: [UInt8]) -> EAPPeer.Step {
            let packet = EAPPacket(.request, 1, type: EAPMethod.tls.rawValue, data: data)
            return peer.receive(packet.encoded ?? [], entropy: &entropy)
        }
        guard case .compute(let work) = send([0x20]) else {
            Issue.record("not started")
            return
        }
        _ = peer.take(work.session.advance(work.input) { _ in .unknown([]) })
        for _ in 0..<TLSPeer.longestFlight / 8192 {
            guard case .respond = send([0x40] + [UInt8](repeating: 22, count: 8192)) else {
                Issue.record("refused too early")
                return
            }
        }
        guard case .failed(.malformed) = send([0x40] + [UInt8](repeating: 22, count: 8192)) else {
            Issue.record("no bound")
            return
        }
    }
}
