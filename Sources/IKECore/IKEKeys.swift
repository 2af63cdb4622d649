public import Cryptography
public import IPsecTypes

/// The algorithms of an IKE_SA, read off its chosen proposal.
public struct IKESuite: Hashable, Sendable {
    /// The chosen proposal.
    public let proposal: Proposal
    /// Protection of SK payloads.
    public let cipher: CipherTransform
    /// The PRF.
    public let prf: PRFAlgorithm
    /// The key exchange group.
    public let group: KeyExchangeGroup
    /// The groups of further key exchanges, in their order (RFC 9370).
    public let additionalGroups: [KeyExchangeGroup]

    /// The suite of a chosen proposal, or nil if one of its parts is not carried out by us.
    public init?(_ proposal: Proposal) {
        guard let cipher = proposal.cipherTransform, let prf = proposal.transform(of: .prf)?.prfAlgorithm,
            let group = proposal.transform(of: .keyExchange)?.keyExchangeGroup
        else { return nil }
        self.proposal = proposal
        self.cipher = cipher
        self.prf = prf
        self.group = group
        additionalGroups = proposal.additionalGroups
    }
}

/// The keys of an IKE_SA (RFC 7296 §2.14).
public struct IKEKeys: Sendable {
    /// From which CHILD_SA keys and the next IKE_SA's are derived.
    public let skD: SecretKey
    /// Initiator's AUTH key.
    public let skPi: SecretKey
    /// Responder's AUTH key.
    public let skPr: SecretKey
    /// Opens and seals messages from the initiator.
    public let initiatorCipher: MessageCipher
    /// Opens and seals messages from the responder.
    public let responderCipher: MessageCipher

    /// Keys of the first IKE_SA: SKEYSEED = prf(Ni | Nr, g^ir), with the beginnings of the nonces for two PRFs; {SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} =
    /// prf+(SKEYSEED, Ni | Nr | SPIi | SPIr).
    public init(
        suite: IKESuite,
        sharedSecret: SecretKey,
        initiatorNonce: [UInt8],
        responderNonce: [UInt8],
        initiatorSPI: IKESPI,
        responderSPI: IKESPI
    ) throws(CryptoError) {
        let nonces = initiatorNonce + responderNonce
        let seedKey =
            suite.prf.nonceOctetsInSeedKey.map {
                Array(initiatorNonce.prefix($0) + responderNonce.prefix($0))
            } ?? nonces
        let seed = try PRF.compute(suite.prf, key: .bytes(seedKey), [.secret(sharedSecret)])
        try self.init(
            suite: suite,
            seed: seed,
            nonces: nonces,
            initiatorSPI: initiatorSPI,
            responderSPI: responderSPI
        )
    }

    /// Keys of an IKE_SA that replaces another: SKEYSEED = prf(SK_d (old), g^ir | Ni | Nr) with the old PRF
    /// (RFC 7296 §2.18); further key exchanges add theirs behind: g^ir | Ni | Nr | SK(1) … (RFC 9370 §2.2.4).
    ///
    /// With the PRF and the SPIs unchanged these are also the keys after an IKE_INTERMEDIATE exchange with a further
    /// key exchange: SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr) (RFC 9370 §2.2.2).
    public init(
        rekeying old: IKEKeys,
        oldPRF: PRFAlgorithm,
        suite: IKESuite,
        sharedSecret: SecretKey,
        additionalSecrets: [SecretKey] = [],
        initiatorNonce: [UInt8],
        responderNonce: [UInt8],
        initiatorSPI: IKESPI,
        responderSPI: IKESPI
    ) throws(CryptoError) {
        let nonces = initiatorNonce + responderNonce
        let seed = try PRF.compute(
            oldPRF,
            key: .secret(old.skD),
            [.secret(sharedSecret), .bytes(nonces)] + additionalSecrets.map { .secret($0) }
        )
        try self.init(
            suite: suite,
            seed: seed,
            nonces: nonces,
            initiatorSPI: initiatorSPI,
            responderSPI: responderSPI
        )
    }

    private init(
        suite: IKESuite,
        seed: SecretKey,
        nonces: [UInt8],
        initiatorSPI: IKESPI,
        responderSPI: IKESPI
    ) throws(CryptoError) {
        let prfLength = suite.prf.keyLength
        let integrity = suite.cipher.integrityKeyLength
        let encryption = suite.cipher.encryptionKeyLength
        let material = try PRF.expand(
            suite.prf,
            key: seed,
            seed: [.bytes(nonces + initiatorSPI.octets + responderSPI.octets)],
            count: 3 * prfLength + 2 * integrity + 2 * encryption
        )
        var offset = 0
        func next(_ count: Int) throws(CryptoError) -> SecretKey? {
            guard count > 0 else { return nil }
            defer { offset += count }
            return try material.slice(offset..<offset + count)
        }
        func required(_ count: Int) throws(CryptoError) -> SecretKey {
            guard let key = try next(count) else { throw .invalidKeyLength }
            return key
        }
        skD = try required(prfLength)
        let skAi = try next(integrity)
        let skAr = try next(integrity)
        let skEi = try required(encryption)
        let skEr = try required(encryption)
        skPi = try required(prfLength)
        skPr = try required(prfLength)
        initiatorCipher = try MessageCipher(suite.cipher, encryptionKey: skEi, integrityKey: skAi)
        responderCipher = try MessageCipher(suite.cipher, encryptionKey: skEr, integrityKey: skAr)
    }

    /// The same with a post-quantum pre-shared key: SK_d, SK_pi and SK_pr become prf+(PPK, SK) (RFC 8784 §3).
    public func mixing(_ ppk: SecretKey, prf: PRFAlgorithm) throws(CryptoError) -> IKEKeys {
        func mixed(_ key: SecretKey) throws(CryptoError) -> SecretKey {
            try PRF.expand(prf, key: ppk, seed: [.secret(key)], count: key.count)
        }
        return IKEKeys(
            skD: try mixed(skD),
            skPi: try mixed(skPi),
            skPr: try mixed(skPr),
            initiatorCipher: initiatorCipher,
            responderCipher: responderCipher
        )
    }

    private init(
        skD: SecretKey,
        skPi: SecretKey,
        skPr: SecretKey,
        initiatorCipher: MessageCipher,
        responderCipher: MessageCipher
    ) {
        self.skD = skD
        self.skPi = skPi
        self.skPr = skPr
        self.initiatorCipher = initiatorCipher
        self.responderCipher = responderCipher
    }

    /// KEYMAT = prf+(SK_d, [g^ir |] Ni | Nr [| SK(1) …]) (RFC 7296 §2.17, RFC 9370 §2.2.4); `sharedSecret` is that of an
    /// exchange with PFS, `additionalSecrets` are those of further key exchanges.
    public func childKeys(
        prf: PRFAlgorithm,
        transform: CipherTransform,
        initiatorNonce: [UInt8],
        responderNonce: [UInt8],
        sharedSecret: SecretKey? = nil,
        additionalSecrets: [SecretKey] = []
    ) throws(CryptoError) -> KEYMAT {
        let secret: [PRFInput] = sharedSecret.map { [.secret($0)] } ?? []
        let material = try PRF.expand(
            prf,
            key: skD,
            seed: secret + [.bytes(initiatorNonce + responderNonce)] + additionalSecrets.map { .secret($0) },
            count: KEYMAT.length(for: transform)
        )
        return try KEYMAT(cutting: material, for: transform)
    }
}
