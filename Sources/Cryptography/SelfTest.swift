import Primitives
import Synchronization

/// Known answers for every algorithm, asked before it is offered.
///
/// What a gateway offers by itself is tested at the start; what only a connection can name is tested when one names it,
/// so that a library without it costs nobody anything else.
public enum SelfTest {
    /// What can be asked for its known answers.
    public enum Subject: Hashable, Sendable {
        /// A cipher; what stands beside it does not matter.
        case cipher(CipherTransform)
        /// An integrity algorithm.
        case integrity(IntegrityAlgorithm)
        /// A pseudo-random function.
        case prf(PRFAlgorithm)
        /// A key exchange group.
        case group(KeyExchangeGroup)

        /// The name in errors.
        public var name: String {
            switch self {
            case .cipher(let transform): transform.name
            case .integrity(let algorithm): algorithm.name
            case .prf(let algorithm): "\(algorithm)"
            case .group(let group): group.name
            }
        }
    }

    private static let verdicts = Mutex<[Subject: Bool]>([:])

    /// Throws `.backend` with the name of the first algorithm of `subjects` that answers wrongly.
    public static func run(_ subjects: [Subject]) throws(CryptoError) {
        for subject in subjects where !passes(subject) { throw .backend(subject.name) }
    }

    /// True when the algorithm gave its known answers, which it is asked for once.
    public static func passes(_ subject: Subject) -> Bool {
        let subject = normalized(subject)
        if let known = verdicts.withLock({ $0[subject] }) { return known }
        let verdict: Bool
        do throws(CryptoError) { verdict = try check(subject) } catch { verdict = false }
        verdicts.withLock { $0[subject] = verdict }
        return verdict
    }

    private static func normalized(_ subject: Subject) -> Subject {
        guard case .cipher(let transform) = subject else { return subject }
        let beside = SelfTestAnswers.integrity
        return switch transform {
        case .aesCBC(let keyBits, _): .cipher(.aesCBC(keyBits: keyBits, beside))
        case .aesCTR(let keyBits, _): .cipher(.aesCTR(keyBits: keyBits, beside))
        case .camelliaCBC(let keyBits, _): .cipher(.camelliaCBC(keyBits: keyBits, beside))
        case .tripleDESCBC: .cipher(.tripleDESCBC(beside))
        case .desCBC: .cipher(.desCBC(beside))
        case .null: .cipher(.null(beside))
        case .aesGCM, .aesCCM, .aesGMAC, .chacha20Poly1305: subject
        }
    }

    private static func check(_ subject: Subject) throws(CryptoError) -> Bool {
        switch subject {
        case .cipher(.null): return true
        case .cipher(let transform):
            if let answer = SelfTestAnswers.ciphers.first(where: { $0.transform == transform }) {
                return try check(answer)
            }
            guard let answer = SelfTestAnswers.packets.first(where: { $0.transform == transform }) else {
                return false
            }
            return try check(answer)
        case .prf(let algorithm):
            guard let answer = SelfTestAnswers.macs.first(where: { $0.prf == algorithm }) else {
                return false
            }
            return try check(answer)
        case .integrity(let algorithm): return try check(algorithm)
        case .group(let group):
            guard let answer = SelfTestAnswers.exchanges[group] else { return false }
            let isEncapsulation = group.family == .moduleLattice
            guard try isEncapsulation ? checkEncapsulation(group, answer) : check(group, answer) else {
                return false
            }
            return try checkPair(group)
        }
    }

    private static func check(_ answer: SelfTestAnswers.CipherAnswer) throws(CryptoError) -> Bool {
        let iv = try octets(answer.iv)
        let plaintext = try octets(answer.plaintext)
        let sealed = try octets(answer.sealed)
        let cipher = try MessageCipher(
            answer.transform,
            encryptionKey: SecretKey(copying: octets(answer.key)),
            integrityKey: SecretKey(
                copying: [UInt8](repeating: 0, count: answer.transform.integrityKeyLength)
            )
        )
        guard answer.transform.isAEAD else {
            var text = plaintext
            try cipher.run(&text, iv: iv, direction: .encrypt)
            guard text == sealed else { return false }
            try cipher.run(&text, iv: iv, direction: .decrypt)
            return text == plaintext
        }
        let aad = try octets(answer.aad)
        guard try cipher.seal(aad: aad, iv: iv, plaintext: plaintext) == sealed,
            try cipher.open(aad: aad, iv: iv, sealed: sealed) == plaintext
        else { return false }
        var forged = sealed
        forged[forged.count - 1] ^= 1
        do throws(CryptoError) {
            _ = try cipher.open(aad: aad, iv: iv, sealed: forged)
        } catch .authenticationFailed {
            return true
        }
        return false
    }

    private static func check(_ answer: SelfTestAnswers.PacketAnswer) throws(CryptoError) -> Bool {
        var cipher = try PacketCipher(
            answer.transform,
            encryptionKey: SecretKey(copying: octets(answer.key)),
            integrityKey: nil,
            esn: false,
            direction: .open
        )
        let packet = try octets(answer.packet)
        var arena = PacketArena(capacity: packet.count)
        var statuses = [PacketJob.Status]()
        for forged in [false, true] {
            arena.write(packet, at: 0)
            let last = packet.count - answer.transform.icvLength - 1
            if forged { arena.store8(arena.load8(at: last) ^ 1, at: last) }
            var jobs = [PacketJob(offset: 0, length: Int32(packet.count), sequence: 7)]
            cipher.open(&jobs, range: 0..<1, in: &arena)
            statuses.append(jobs[0].status)
        }
        return statuses == [.done, .authenticationFailed]
    }

    private static func check(_ answer: SelfTestAnswers.MACAnswer) throws(CryptoError) -> Bool {
        let tag = try PRF.tag(answer.prf, key: .bytes(octets(answer.key)), [.bytes(octets(answer.message))])
        return try tag == octets(answer.tag)
    }

    /// An integrity algorithm is the beginning of a PRF's output, which has known answers: the null transform shows it.
    private static func check(_ algorithm: IntegrityAlgorithm) throws(CryptoError) -> Bool {
        guard let prf = PRFAlgorithm.allCases.first(where: { $0.function == algorithm.function }),
            passes(.prf(prf))
        else { return false }
        let key = try SecretKey(copying: [UInt8](repeating: 0x0b, count: algorithm.keyLength))
        let cipher = try MessageCipher(
            .null(algorithm),
            encryptionKey: SecretKey(copying: []),
            integrityKey: key
        )
        let sealed = try cipher.seal(aad: [1, 2, 3, 4], iv: [], plaintext: [5, 6, 7, 8])
        let tag = try PRF.tag(prf, key: .secret(key), [.bytes([1, 2, 3, 4]), .bytes([5, 6, 7, 8])])
        return sealed == [5, 6, 7, 8] + tag.prefix(algorithm.icvLength)
    }

    private static func check(_ group: KeyExchangeGroup, _ answer: String) throws(CryptoError) -> Bool {
        let count = try group.privateValueLength
        func pair(from first: Int) throws(CryptoError) -> KeyExchangeKeyPair {
            let octets = (0..<count).map { UInt8(truncatingIfNeeded: first + $0) }
            return try KeyExchangeKeyPair(group: group, privateValue: SecretKey(copying: octets))
        }
        let (one, other) = (try pair(from: 1), try pair(from: 0))
        let shared = try one.sharedSecret(with: other.publicValue)
        guard try other.sharedSecret(with: one.publicValue) == shared else { return false }
        return try Digest.sha256([one.publicValue, other.publicValue, shared.copied()]) == octets(answer)
    }

    /// The key of a known seed, and the secret of a ciphertext that is nobody's: FIPS 203 §6.3 says which one.
    private static func checkEncapsulation(_ group: KeyExchangeGroup, _ answer: String) throws(CryptoError)
        -> Bool
    {
        let seed = (0..<ModuleLattice.seedLength).map { UInt8(truncatingIfNeeded: 1 + $0) }
        let pair = try KeyExchangeKeyPair(group: group, privateValue: SecretKey(copying: seed))
        let ciphertext = (0..<group.answerLength).map { UInt8(truncatingIfNeeded: $0) }
        let secret = try pair.sharedSecret(with: ciphertext)
        return try Digest.sha256([pair.publicValue, secret.copied()]) == octets(answer)
    }

    /// Two new ends agree, and on something.
    private static func checkPair(_ group: KeyExchangeGroup) throws(CryptoError) -> Bool {
        let first = try KeyExchangeKeyPair(group: group)
        let (second, other) = try KeyExchangeKeyPair.answer(group, to: first.publicValue)
        let shared = try first.sharedSecret(with: second.publicValue)
        return shared == other && first.publicValue != second.publicValue
            && shared.count == group.sharedSecretLength
    }

    private static func octets(_ hex: String) throws(CryptoError) -> [UInt8] {
        guard let octets = Hex.decode(hex) else { throw .invalidLength }
        return octets
    }
}
