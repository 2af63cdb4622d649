import Cryptography
import IPsecTypes
import Policy
import Primitives

/// What is negotiated at a rekey for the first time fails hours after the setup, when nobody looks.
///
/// The first CHILD_SA takes its keys from the IKE_SA: its PFS group is compared by nobody until the first rekey
/// (RFC 7296 §1.2, §1.3). So soon after the first setup with a policy that was not seen before, one rekey is tried.
/// Pure: told what happens, asked what is due.
struct PFSPreflight: Sendable {
    static let wait: (least: Double, most: Double) = (10, 60)
    static let maximumKnown = 4096
    static let maximumPlanned = 1024

    /// A trial to come or under way.
    private struct Trial: Sendable {
        let key: TunnelKey
        let fingerprint: String
        let dueAt: Instant
        var isRunning = false
    }

    /// Fingerprints of policies whose rekey went well, the oldest first; they outlive the process.
    private(set) var known: [String]
    private var passed: Set<String>
    /// Fingerprints whose trial failed: once a process is enough.
    private var failed: Set<String> = []
    private var trials: [UInt32: Trial] = [:]
    private var entropy: any EntropySource

    init(known: [String] = [], entropy: any EntropySource) {
        self.known = Array(known.suffix(Self.maximumKnown))
        passed = Set(self.known)
        self.entropy = entropy
    }

    /// When the next trial is due.
    var deadline: Instant? { trials.values.filter { !$0.isRunning }.map { $0.dueAt }.min() }

    /// A CHILD_SA is up.
    mutating func childUp(_ key: TunnelKey, id: UInt32, fingerprint: String, at now: Instant) {
        guard !passed.contains(fingerprint), !failed.contains(fingerprint),
            trials.count < Self.maximumPlanned,
            !trials.values.contains(where: { $0.fingerprint == fingerprint })
        else { return }
        let seconds = Self.wait.least + (Self.wait.most - Self.wait.least) * entropy.fraction()
        let dueAt = now.advanced(by: .milliseconds(Int64(seconds * 1000)))
        trials[id] = Trial(key: key, fingerprint: fingerprint, dueAt: dueAt)
    }

    /// The CHILD_SAs to rekey now.
    mutating func takeDue(at now: Instant) -> [UInt32] {
        let due = trials.filter { !$0.value.isRunning && $0.value.dueAt <= now }.keys.sorted()
        for id in due { trials[id]?.isRunning = true }
        return due
    }

    /// A CHILD_SA was replaced, for whatever reason.
    ///
    /// - Returns: true if there is a new policy to remember.
    mutating func childRekeyed(_ id: UInt32) -> Bool {
        guard let trial = trials.removeValue(forKey: id), passed.insert(trial.fingerprint).inserted else {
            return false
        }
        known.append(trial.fingerprint)
        while known.count > Self.maximumKnown { passed.remove(known.removeFirst()) }
        return true
    }

    /// True while a trial of this CHILD_SA is under way.
    func isRunning(_ id: UInt32) -> Bool { trials[id]?.isRunning ?? false }

    /// A rekey failed.
    ///
    /// - Parameter tellsPolicy: the peer refused what we offered; else the next setup tries again.
    /// - Returns: true if it was a trial of ours that shows what will happen.
    mutating func rekeyFailed(_ id: UInt32, tellsPolicy: Bool) -> Bool {
        guard let trial = trials[id], trial.isRunning else { return false }
        trials[id] = nil
        guard tellsPolicy else { return false }
        if failed.count < Self.maximumKnown { failed.insert(trial.fingerprint) }
        return true
    }

    /// A CHILD_SA is gone.
    mutating func childDown(_ id: UInt32) {
        trials[id] = nil
    }
}

/// What a rekey negotiates, as a text that tells two policies apart and reveals no secret.
enum PolicyFingerprint {
    static func of(_ connection: ConnectionPolicy, _ tunnel: Policy.TunnelPolicy) -> String? {
        let parts = [
            connection.name, tunnel.name, connection.remoteAddress.configured.description,
            connection.proposals.map { $0.description }.joined(separator: ","),
            tunnel.proposals.map { $0.description }.joined(separator: ","),
            tunnel.local.map { $0.description }.joined(separator: ","),
            tunnel.remote.map { $0.description }.joined(separator: ","),
            "\(connection.lifetime)", "\(tunnel.lifetime)", "\(tunnel.rekeyVolume)", "\(tunnel.limit)",
        ]
        let digest = try? Digest.sha256([Array(parts.joined(separator: "\n").utf8)])
        return digest.map { Hex.encode($0) }
    }
}

/// The file that fingerprints are kept in: one a line.
enum PolicyMemory {
    static func text(_ known: [String]) -> [UInt8] {
        Array(known.map { $0 + "\n" }.joined().utf8)
    }

    /// The fingerprints in `octets`; nil for what is no such file.
    static func parse(_ octets: [UInt8]) -> [String]? {
        guard let text = String(validating: octets, as: UTF8.self) else { return nil }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.last?.isEmpty ?? true, lines.count <= PFSPreflight.maximumKnown + 1 else { return nil }
        let fingerprints = lines.dropLast().map { String($0) }
        return fingerprints.allSatisfy({ $0.utf8.count == 64 && Hex.decode($0) != nil }) ? fingerprints : nil
    }
}
