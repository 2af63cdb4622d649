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
        /// A step of EAP-TLS.
        case advance(EAPServerCheck)
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

    /// The job to be carried out once what it asked for is there.
    public func again() -> ComputeJob {
        guard case .advance(let check) = work else { return self }
        return ComputeJob(id: id, peer: peer, work: .advance(check.again()))
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
            case .advance(let check):
                return ComputeResult(id: id, outcome: .advanced(check.run(at: seconds, knowing: knowledge)))
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
        /// How far EAP-TLS came.
        case advanced(TLSProgress)
        /// The peer's value was refused, or the library failed.
        case failure(CryptoError)
    }

    /// The job's number.
    public let id: UInt64
    /// What came out.
    public let outcome: Outcome

    /// What must be asked of the network before the job can be carried out; nil when it was.
    public var inquiries: [RevocationInquiry]? {
        switch outcome {
        case .checked(let verdict): verdict.inquiries.isEmpty ? nil : verdict.inquiries
        case .advanced(.waiting(let inquiries)): inquiries.isEmpty ? nil : inquiries
        default: nil
        }
    }

    /// Makes an answer.
    public init(id: UInt64, outcome: Outcome) {
        self.id = id
        self.outcome = outcome
    }
}
