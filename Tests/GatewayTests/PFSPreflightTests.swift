import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import Gateway

@Suite struct PFSPreflightTests {
    private let key = TunnelKey(connection: "branch", tunnel: "net")
    private let later = Instant.zero.advanced(by: .seconds(60))

    private func preflight(known: [String] = []) -> PFSPreflight {
        PFSPreflight(known: known, entropy: SeededEntropy(seed: 5))
    }

    @Test func triesEachPolicyOnceBetweenTenAndSixtySeconds() throws {
        var preflight = preflight()
        preflight.childUp(key, id: 1, fingerprint: "a", at: .zero)
        preflight.childUp(key, id: 2, fingerprint: "a", at: .zero)
        let due = try #require(preflight.deadline)
        #expect((10...60).contains(Instant.zero.duration(to: due).fractionalSeconds))
        let (early, onTime) = (preflight.takeDue(at: .zero), preflight.takeDue(at: later))
        #expect(early.isEmpty && onTime == [1])
        let again = preflight.takeDue(at: later)
        #expect(again.isEmpty)
        let isNew = preflight.childRekeyed(1)
        #expect(isNew && preflight.known == ["a"])
        preflight.childUp(key, id: 3, fingerprint: "a", at: later)
        #expect(preflight.deadline == nil)
    }

    @Test func knowsWhatAnEarlierProcessSaw() {
        var preflight = preflight(known: ["a"])
        preflight.childUp(key, id: 1, fingerprint: "a", at: .zero)
        #expect(preflight.deadline == nil)
        preflight.childUp(key, id: 1, fingerprint: "b", at: .zero)
        #expect(preflight.deadline != nil)
    }

    @Test func aRealRekeyBeforeTheTrialSparesIt() {
        var preflight = preflight()
        preflight.childUp(key, id: 1, fingerprint: "a", at: .zero)
        let isNew = preflight.childRekeyed(1)
        let due = preflight.takeDue(at: later)
        #expect(isNew && due.isEmpty)
    }

    @Test func aFailureIsToldOnceAProcess() {
        var preflight = preflight()
        preflight.childUp(key, id: 1, fingerprint: "a", at: .zero)
        let beforeTheTrial = preflight.rekeyFailed(1, tellsPolicy: true)
        _ = preflight.takeDue(at: later)
        let (inTheTrial, another) = (
            preflight.rekeyFailed(1, tellsPolicy: true), preflight.rekeyFailed(1, tellsPolicy: true)
        )
        #expect(!beforeTheTrial && inTheTrial && !another)
        preflight.childUp(key, id: 2, fingerprint: "a", at: later)
        #expect(preflight.deadline == nil && preflight.known.isEmpty)
    }

    @Test func aFailureForAnotherReasonLeavesItToTheNextSetup() {
        var preflight = preflight()
        preflight.childUp(key, id: 1, fingerprint: "a", at: .zero)
        _ = preflight.takeDue(at: later)
        #expect(preflight.isRunning(1))
        let isTold = preflight.rekeyFailed(1, tellsPolicy: false)
        #expect(!isTold && !preflight.isRunning(1))
        preflight.childUp(key, id: 2, fingerprint: "a", at: later)
        #expect(preflight.deadline != nil)
        #expect(PreflightText.tellsPolicy(.peerRefused(.noProposalChosen, hint: "")))
        #expect(!PreflightText.tellsPolicy(.peerRefused(.temporaryFailure, hint: "")))
    }

    @Test func forgetsChildrenThatAreGone() {
        var preflight = preflight()
        preflight.childUp(key, id: 1, fingerprint: "a", at: .zero)
        preflight.childDown(1)
        #expect(preflight.deadline == nil)
    }

    @Test func isBounded() {
        var preflight = preflight(known: (0..<10_000).map { "k\($0)" })
        #expect(preflight.known.count == PFSPreflight.maximumKnown)
        for id in UInt32(0)..<10_000 { preflight.childUp(key, id: id, fingerprint: "f\(id)", at: .zero) }
        let due = preflight.takeDue(at: later)
        #expect(due.count == PFSPreflight.maximumPlanned)
        for id in due { _ = preflight.childRekeyed(id) }
        #expect(preflight.known.count == PFSPreflight.maximumKnown && preflight.known.last == "f1023")
    }

    @Test func fingerprintsTellPoliciesApartAndHoldNoSecret() throws {
        func connection(_ esp: String, key: [UInt8] = [1, 2, 3]) throws -> ConnectionPolicy {
            let prefix = try #require(IPPrefix("10.0.0.0/8"))
            let tunnel = TunnelPolicy(
                name: "net",
                local: [TrafficSelector(prefix)],
                remote: [TrafficSelector(prefix)],
                proposals: [try Proposal(keywords: esp, for: .esp)],
                start: .start,
                origin: ConfigurationOrigin(source: "f", line: 1)
            )
            return ConnectionPolicy(
                name: "c",
                localAddresses: [],
                remoteAddress: .any,
                localIdentity: nil,
                remoteIdentity: nil,
                sharedKeys: SharedKeyring(try SecretKey(copying: key)),
                proposals: DefaultProposals.ike,
                tunnels: [tunnel],
                origin: ConfigurationOrigin(source: "f", line: 1)
            )
        }
        func fingerprint(_ connection: ConnectionPolicy) throws -> String {
            let tunnel = try #require(connection.tunnels.first)
            return try #require(PolicyFingerprint.of(connection, tunnel))
        }
        let plain = try connection("aes256gcm16")
        let pfs = try connection("aes256gcm16-ecp384")
        let (one, other) = (try fingerprint(plain), try fingerprint(pfs))
        #expect(one != other && one.utf8.count == 64)
        #expect(try fingerprint(try connection("aes256gcm16", key: [9])) == one)
        #expect(plain.tunnels.map { PreflightText.groups($0) } == ["no PFS"])
        #expect(pfs.tunnels.map { PreflightText.groups($0) } == ["PFS with ECP_384"])
    }

    @Test func theFileHoldsOnlyFingerprints() {
        let one = String(repeating: "ab", count: 32)
        #expect(PolicyMemory.parse(PolicyMemory.text([one, one])) == [one, one])
        #expect(PolicyMemory.parse([]) == [])
        for damaged in ["abc\n", one, one + "\nzz\n", String(repeating: "zz", count: 32) + "\n"] {
            #expect(PolicyMemory.parse(Array(damaged.utf8)) == nil, "\(damaged)")
        }
        #expect(PolicyMemory.parse([0xff, 0xfe, 10]) == nil)
        let many = [String](repeating: one, count: PFSPreflight.maximumKnown + 1)
        #expect(PolicyMemory.parse(PolicyMemory.text(many)) == nil)
    }

    @Test(arguments: [(5, "5s"), (61, "1m"), (28_740, "7h 59m"), (-3, "0s")])
    func spansAreShort(_ seconds: Int, _ text: String) {
        #expect(PreflightText.span(.seconds(seconds)) == text)
    }
}
