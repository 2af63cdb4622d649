public import Cryptography
public import EAP

/// How this side proves who it is.
public struct LocalAuthentication: Hashable, Sendable {
    /// What proves it.
    public enum Method: Hashable, Sendable {
        /// A pre-shared key.
        case sharedKey
        /// A signature by the key of a certificate, or by a bare key.
        case signature
        /// EAP, as initiator.
        case eap(EAPOptions)

        /// How we take part in EAP; nil for other methods.
        public var eap: EAPOptions? { if case .eap(let options) = self { options } else { nil } }
    }

    /// What proves it.
    public var method: Method
    /// The certificates, in DER, of which one is taken; empty for any of ours that fits the identity.
    public var certificates: [[UInt8]]
    /// Which signatures are made.
    public var constraint: SignatureConstraint
    /// When the certificate is sent.
    public var sending: CertificateSending
    /// No identity is configured: it is the one that the peer asks for, if a certificate of ours is for it.
    public var takesWantedIdentity = false

    /// A pre-shared key, or whatever is named.
    public init(
        _ method: Method = .sharedKey,
        certificates: [[UInt8]] = [],
        constraint: SignatureConstraint = SignatureConstraint(),
        sending: CertificateSending = .ifAsked
    ) {
        self.method = method
        self.certificates = certificates
        self.constraint = constraint
        self.sending = sending
    }
}

/// When a CERT payload is sent, in strongSwan's words.
public enum CertificateSending: String, Hashable, Sendable, CaseIterable {
    /// When the peer sent a CERTREQ.
    case ifAsked = "ifasked"
    /// In any case.
    case always
    /// Never: the peer has it.
    case never
}

/// What is accepted as proof of who the peer is.
public struct RemoteAuthentication: Hashable, Sendable {
    /// A pre-shared key is accepted.
    public var acceptsSharedKey: Bool
    /// A signature is accepted.
    public var acceptsSignature: Bool
    /// Methods of EAP that prove a responder which sends no AUTH payload of its own first (RFC 5998).
    public var eapMethods: [EAPMethod] = []
    /// Certificates of which the peer must have one; empty for any that an authority vouches for.
    public var certificates: [[UInt8]]
    /// Authorities of which one must stand above the peer's certificate; empty for any that is believed.
    public var authorities: [[UInt8]]
    /// Keys of which the peer must have one, certificate or none.
    public var publicKeys: [PublicKeyInfo]
    /// Which signatures are accepted.
    public var constraint: SignatureConstraint
    /// How sure it must be that nothing in the chain is revoked.
    public var revocation: RevocationPolicy
    /// The peer is asked for its certificate.
    public var requestsCertificate: Bool

    /// A pre-shared key alone.
    public static let sharedKey = RemoteAuthentication(acceptsSharedKey: true, acceptsSignature: false)
    /// A signature alone.
    public static let signature = RemoteAuthentication(acceptsSharedKey: false, acceptsSignature: true)
    /// Either.
    public static let either = RemoteAuthentication(acceptsSharedKey: true, acceptsSignature: true)

    /// A method of EAP alone, which proves both ends.
    public static let eap: RemoteAuthentication = {
        var remote = RemoteAuthentication(acceptsSharedKey: false, acceptsSignature: false)
        remote.eapMethods = EAPMethod.allCases.filter { $0.mayProveServerAlone }
        return remote
    }()

    private init(acceptsSharedKey: Bool, acceptsSignature: Bool) {
        self.acceptsSharedKey = acceptsSharedKey
        self.acceptsSignature = acceptsSignature
        certificates = []
        authorities = []
        publicKeys = []
        constraint = SignatureConstraint()
        revocation = .relaxed
        requestsCertificate = true
    }
}

/// Which keys and signatures are good enough.
public struct SignatureConstraint: Hashable, Sendable {
    /// The kinds of keys; empty for all.
    public var algorithms: Set<SignatureKeyAlgorithm>
    /// The fewest bits of an RSA key.
    public var leastRSABits: Int
    /// The fewest bits of a curve.
    public var leastCurveBits: Int
    /// The hashes, the preferred one first; empty for those that fit the key.
    public var hashes: [SignatureHash]
    /// RSA signs by PSS; nil leaves it to the peer, and is PKCS #1 for ours.
    public var usesPSS: Bool?

    /// RSA keys with fewer bits are nobody's.
    public static let leastRSABits = 1024

    /// No constraint.
    public init() {
        algorithms = []
        leastRSABits = Self.leastRSABits
        leastCurveBits = 0
        hashes = []
        usesPSS = nil
    }

    /// Why a key is not good enough; nil when it is.
    public func refusal(of key: PublicKeyInfo) -> String? {
        if !algorithms.isEmpty, !algorithms.contains(key.algorithm) {
            let wanted = algorithms.map { $0.rawValue }.sorted().joined(separator: " or ")
            return "its key is \(key.algorithm.rawValue), \(wanted) is asked for"
        }
        let least =
            switch key.algorithm {
            case .rsa: max(leastRSABits, Self.leastRSABits)
            case .ecdsa: leastCurveBits
            case .ed25519, .ed448: 0
            }
        return key.bits < least ? "its key has \(key.bits) bits, \(least) are asked for" : nil
    }

    /// Why a signature of this kind is not accepted; nil when it is.
    public func refusal(of scheme: SignatureScheme) -> String? {
        if let hash = scheme.hash, !hashes.isEmpty, !hashes.contains(hash) {
            return "it signs with \(hash), \(hashes.map { "\($0)" }.joined(separator: " or ")) is asked for"
        }
        switch (scheme, usesPSS) {
        case (.rsaPKCS1, true): return "it signs by RSA with PKCS #1, PSS is asked for"
        case (.rsaPSS, false): return "it signs by RSA with PSS, PKCS #1 is asked for"
        default: return nil
        }
    }
}
