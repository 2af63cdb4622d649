public import Cryptography
public import EAP
public import IKEMessages
import IPPackets
public import IPsecTypes
public import Policy

/// Proof that a peer authenticated itself.
///
/// Its initialiser is private to this file: only a successful check of an AUTH payload makes one. The only edge
/// to ESTABLISHED and the only way to install a CHILD_SA take such a value.
public struct VerifiedPeer: Hashable, Sendable {
    /// The identity that was proved.
    public let identity: Identity
    /// How it was proved.
    public let method: Method
    /// The addresses that it may stand for by its certificate (RFC 3779); nil for all.
    public let addressBlocks: [TrafficSelector]?

    /// How a peer proved its identity.
    public enum Method: Hashable, Sendable {
        /// A pre-shared key.
        case sharedKey
        /// A signature by the key of a certificate, which leads to an authority that is believed.
        case certificate(subject: String, encoded: [UInt8])
        /// A signature by a key that the configuration names.
        case publicKey
        /// A method of EAP, which proved both ends.
        case eap(EAPMethod)
    }

    private init(identity: Identity, method: Method, addressBlocks: [TrafficSelector]? = nil) {
        self.identity = identity
        self.method = method
        self.addressBlocks = addressBlocks
    }

    /// What of `selectors` it may stand for.
    public func bounded(_ selectors: [TrafficSelector]) -> [TrafficSelector] {
        addressBlocks.map { SelectorNarrowing.narrow(selectors, to: $0) } ?? selectors
    }

    /// Checks the AUTH payload of a peer that shares a key with us (RFC 7296 §2.15).
    ///
    /// - Throws: `CryptoError.authenticationFailed` when the method is another one or the value is wrong.
    public static func verifying(
        _ payload: AUTHPayload,
        identity: Identity,
        sharedKey: SecretKey,
        octets: SignedOctets
    ) throws(CryptoError) -> VerifiedPeer {
        let expected = try octets.sharedKeyAUTH(sharedKey)
        guard payload.method == SignedOctets.sharedKeyMethod, ConstantTime.equal(expected, payload.data)
        else {
            throw .authenticationFailed
        }
        return VerifiedPeer(identity: identity, method: .sharedKey)
    }
}

extension VerifiedPeer {
    /// Checks the AUTH payload that ends an EAP conversation (RFC 7296 §2.16): by the method's key, or SK_p where it has none.
    ///
    /// - Returns: the peer where the method proves it alone (RFC 5998 §4); nil where it does not, and another proof must.
    /// - Throws: `CryptoError.authenticationFailed` when the value is wrong.
    public static func verifying(
        _ payload: AUTHPayload,
        identity: Identity,
        outcome: EAPOutcome,
        octets: SignedOctets
    ) throws(CryptoError) -> VerifiedPeer? {
        let expected = try octets.sharedKeyAUTH(outcome.key ?? octets.macKey)
        guard payload.method == SignedOctets.sharedKeyMethod, ConstantTime.equal(expected, payload.data)
        else {
            throw .authenticationFailed
        }
        guard outcome.method.mayProveServerAlone, outcome.key != nil else { return nil }
        return VerifiedPeer(identity: identity, method: .eap(outcome.method))
    }

    /// Checks a signature over `octets` by a key that is known to be the identity's own; nil when it is none.
    static func signed(
        _ signature: ReceivedSignature,
        _ octets: [UInt8],
        _ key: PublicKeyInfo,
        identity: Identity,
        method: Method,
        addressBlocks: [AddressBlock]?
    ) -> (peer: VerifiedPeer, scheme: SignatureScheme)? {
        let blocks = addressBlocks.map { blocks in
            blocks.compactMap { block -> TrafficSelector? in
                guard let first = IPAddress(octets: block.first), let last = IPAddress(octets: block.last)
                else {
                    return nil
                }
                return TrafficSelector(first, last, ipProtocol: 0, ports: 0...65_535)
            }
        }
        return signature.scheme(key, over: octets).map {
            (VerifiedPeer(identity: identity, method: method, addressBlocks: blocks), $0)
        }
    }
}

extension VerifiedPeer.Method: CustomStringConvertible {
    /// For logs: `certificate 'CN=moon'`.
    public var description: String {
        switch self {
        case .sharedKey: "a pre-shared key"
        case .certificate(let subject, _): "certificate '\(subject)'"
        case .publicKey: "a public key"
        case .eap(let method): "EAP (\(method.name))"
        }
    }
}

/// What an AUTH payload covers (RFC 7296 §2.15): the sender's first message, the other's nonce, MACed ID.
public struct SignedOctets: Sendable {
    /// Shared Key Message Integrity Code.
    public static let sharedKeyMethod: UInt8 = 2

    /// The PRF of the IKE_SA.
    let prf: PRFAlgorithm
    /// RealMessage1 or RealMessage2: the signer's IKE_SA_INIT message, octet by octet as sent.
    let message: [UInt8]
    /// The nonce of the other side.
    let nonce: [UInt8]
    /// The signer's ID payload without its generic header.
    let identity: IDPayload
    /// SK_pi or SK_pr of the signer.
    let macKey: SecretKey
    /// IntAuth, if there were IKE_INTERMEDIATE exchanges (RFC 9242 §3.3.2).
    let intermediate: [UInt8]

    /// Gathers what is signed.
    public init(
        prf: PRFAlgorithm,
        message: [UInt8],
        nonce: [UInt8],
        identity: IDPayload,
        macKey: SecretKey,
        intermediate: [UInt8] = []
    ) {
        self.prf = prf
        self.message = message
        self.nonce = nonce
        self.identity = identity
        self.macKey = macKey
        self.intermediate = intermediate
    }

    /// The octets that are signed: message, nonce, prf(SK_p, identity), and IntAuth if there is one.
    public func signed() throws(CryptoError) -> [UInt8] {
        message + nonce + (try PRF.tag(prf, key: .secret(macKey), [.bytes(identity.body)])) + intermediate
    }

    /// AUTH = prf( prf(Shared Secret, "Key Pad for IKEv2"), octets).
    public func sharedKeyAUTH(_ sharedKey: SecretKey) throws(CryptoError) -> [UInt8] {
        let macedID = try PRF.tag(prf, key: .secret(macKey), [.bytes(identity.body)])
        let padded = try PRF.compute(prf, key: .secret(sharedKey), [.bytes(Array("Key Pad for IKEv2".utf8))])
        return try PRF.tag(
            prf,
            key: .secret(padded),
            [.bytes(message), .bytes(nonce), .bytes(macedID), .bytes(intermediate)]
        )
    }
}
