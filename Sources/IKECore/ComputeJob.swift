public import Cryptography
public import IKEMessages
public import IPPackets

/// Cryptography that is too slow for the control queue (above about 50 µs).
public struct ComputeJob: Sendable {
    /// What is to be computed.
    public enum Work: Sendable {
        /// A key pair of a group.
        case generateKeyPair(KeyExchangeGroup)
        /// The shared secret of our key pair and the peer's public value.
        case deriveSecret(KeyExchangeKeyPair, peer: [UInt8])
        /// A key pair, and the shared secret with the peer's public value.
        case answer(KeyExchangeGroup, peer: [UInt8])
        /// A signature of ours.
        case sign(SignedOctets, PrivateKeyInfo, SignatureMethod)
        /// The check of a peer's.
        case check(SignatureCheck)
    }

    /// The number that the answer carries.
    public let id: UInt64
    /// The peer on whose quota it runs.
    public let peer: IPAddress
    /// The work.
    public let work: Work

    /// Makes a job.
    public init(id: UInt64, peer: IPAddress, work: Work) {
        self.id = id
        self.peer = peer
        self.work = work
    }

    /// Carries the job out; blocks for up to some milliseconds.
    ///
    /// - Parameters:
    ///   - seconds: the time since 1970, at which certificates must be valid.
    ///   - knowledge: what the network says of them.
    public func run(
        at seconds: Int64,
        knowing knowledge: some RevocationKnowledge = NoRevocationKnowledge()
    ) -> ComputeResult {
        do throws(CryptoError) {
            switch work {
            case .generateKeyPair(let group):
                return ComputeResult(id: id, outcome: .keyPair(try KeyExchangeKeyPair(group: group)))
            case .deriveSecret(let pair, let peer):
                return ComputeResult(id: id, outcome: .secret(try pair.sharedSecret(with: peer)))
            case .answer(let group, let peer):
                let (pair, secret) = try KeyExchangeKeyPair.answer(group, to: peer)
                return ComputeResult(id: id, outcome: .answer(pair, secret))
            case .sign(let octets, let key, let method):
                return ComputeResult(id: id, outcome: .signature(try method.sign(try octets.signed(), key)))
            case .check(let check):
                return ComputeResult(id: id, outcome: .checked(check.run(at: seconds, knowing: knowledge)))
            }
        } catch {
            return ComputeResult(id: id, outcome: .failure(error))
        }
    }
}

/// The answer to a `ComputeJob`.
public struct ComputeResult: Sendable {
    /// What was computed.
    public enum Outcome: Sendable {
        /// A key pair.
        case keyPair(KeyExchangeKeyPair)
        /// A shared secret.
        case secret(SecretKey)
        /// Both.
        case answer(KeyExchangeKeyPair, SecretKey)
        /// An AUTH payload of ours.
        case signature(AUTHPayload)
        /// Whether a peer's holds.
        case checked(SignatureCheck.Verdict)
        /// The peer's value was refused, or the library failed.
        case failure(CryptoError)
    }

    /// The job's number.
    public let id: UInt64
    /// What came out.
    public let outcome: Outcome

    /// What must be asked of the network before the job can be carried out; nil when it was.
    public var inquiries: [RevocationInquiry]? {
        guard case .checked(let verdict) = outcome, !verdict.inquiries.isEmpty else { return nil }
        return verdict.inquiries
    }

    /// Makes an answer.
    public init(id: UInt64, outcome: Outcome) {
        self.id = id
        self.outcome = outcome
    }
}
